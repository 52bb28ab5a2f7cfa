"""The list of added tokens in a tokenizer.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinybert.text.added_token import AddedToken
from tinybert.tokenizer_json.fields import Fields

FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")  # of an AddedToken


def read_added_tokens(file: Mapping[str, Any]) -> list[tuple[int, AddedToken]]:
    """Return the added tokens of a tokenizer.json with their ids, in the order of the file.

    Raises ValueError, naming the path in the file, for a damaged token or an id that occurs twice.
    """
    names: dict[int, str] = {}
    tokens = []
    records = file.get("added_tokens")
    if not isinstance(records, (list, type(None))):
        raise ValueError(f"added_tokens must be a list of objects, got {records!r:.80}")
    for index, value in enumerate(records or []):
        record = Fields(value, f"added_tokens[{index}]")
        token_id, content = record.id("id"), record.get("content", str)
        if not content:
            raise ValueError(f"{record.where}.content must not be empty")
        if names.setdefault(token_id, content) != content:
            raise ValueError(
                f"{record.where}.id must be unique, but {names[token_id]!r} and {content!r} "
                f"both have {token_id}"
            )
        flags = {name: record.get(name, bool) for name in FLAGS if name in record.value}
        tokens.append((token_id, AddedToken(content, **flags)))
    return tokens
