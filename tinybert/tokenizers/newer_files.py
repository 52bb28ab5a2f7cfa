"""The special tokens in a tokenizer_config.json of transformers 5, which renamed their options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMED = "model_specific_special_tokens"


def with_extra_tokens(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config whose `additional_special_tokens` have the extra special tokens too.

    `extra_special_tokens` is a list, the new name of `additional_special_tokens`; or, like
    `model_specific_special_tokens`, a dict from names such as "image_token" to tokens. The names
    are not kept. Raises ValueError for anything else.
    """
    extra = [*_tokens(config, "extra_special_tokens"), *_tokens(config, NAMED)]
    more = config.get("additional_special_tokens") or []
    if not isinstance(more, list):  # its type is checked later
        return dict(config)
    return {**config, "additional_special_tokens": [*more, *(t for t in extra if t not in more)]}


def _tokens(config: Mapping[str, Any], name: str) -> list[Any]:
    value = config.get(name) or []
    if not isinstance(value, (list, dict)):
        raise ValueError(f"{name} must be a list or a dict of tokens, got {value!r:.80}")
    return list(value.values() if isinstance(value, dict) else value)
