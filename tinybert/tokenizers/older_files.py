"""The added tokens of older folders, whose tokenizer_config.json does not list them.

They are in special_tokens_map.json, added_tokens.json and tokenizer.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinybert.text.added_token import AddedToken
from tinybert.tokenizer_json.added_tokens import read_added_tokens
from tinybert.tokenizers.added_tokens import ROLES
from tinybert.tokenizers.config import (
    ADDED_TOKENS_FILE,
    COMMON_OPTIONS,
    SPECIAL_TOKENS_FILE,
    TOKENIZER_FILE,
    ErrorsName,
    OptionType,
    check_options,
    from_json,
    read_json,
)


def read_older_files(
    folder: Path,
    options: Mapping[str, Any],
    given: Mapping[str, Any],
    types: Mapping[str, OptionType],
) -> dict[str, Any]:
    """Return `options`, from tokenizer_config.json, with what the older files add to them.

    `given` are the options of the caller: a token that has a role in them is special.
    """
    options = _with_special_tokens(folder / SPECIAL_TOKENS_FILE, options, types)
    special = {
        str(token)
        for found in (options, given)
        for token in (*map(found.get, ROLES), *found.get("additional_special_tokens", ()))
    }
    return {**options, "added_tokens_decoder": _read_added_tokens(folder, special)}


def _with_special_tokens(
    path: Path, options: Mapping[str, Any], types: Mapping[str, OptionType]
) -> dict[str, Any]:
    """Return options in which those of special_tokens_map.json replace the given ones.

    Its additional special tokens are added to the given ones.
    """
    with ErrorsName(path):
        entries = read_json(path).items()
        found = {name: from_json(name, value, special=True) for name, value in entries}
        found = {name: value for name, value in found.items() if name in types}
        check_options(found, types)
    if more := found.pop("additional_special_tokens", []):
        merged: dict[str, str | AddedToken] = {}
        for token in (*options.get("additional_special_tokens", ()), *more):
            merged.setdefault(str(token), token)
        found["additional_special_tokens"] = list(merged.values())
    return {**options, **found}


def _read_added_tokens(folder: Path, special: set[str]) -> dict[int, AddedToken]:
    """Return the tokens of added_tokens.json (token -> id) and tokenizer.json (full records)."""
    found: dict[Any, Any] = {}
    path = folder / ADDED_TOKENS_FILE
    with ErrorsName(path):
        for content, token_id in read_json(path).items():
            found[token_id] = AddedToken(content, special=content in special)
        check_options({"added_tokens_decoder": found}, COMMON_OPTIONS)
    path = folder / TOKENIZER_FILE
    with ErrorsName(path):
        found.update(read_added_tokens(read_json(path)))
    return found
