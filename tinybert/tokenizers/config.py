"""What a tokenizer is built from: the types of its options, and the JSON files that hold them.

Files are not trusted: their size, encoding and every type is checked, and a fault is a
ValueError that names the file. The vocabulary file itself is read by each kind of tokenizer.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tinybert.text.added_token import AddedToken
from tinybert.tokenizer_json.fields import MAX_ID, Fields
from tinybert.tokenizers.added_tokens import ROLES

CONFIG_FILE = "tokenizer_config.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"
ADDED_TOKENS_FILE = "added_tokens.json"
TOKENIZER_FILE = "tokenizer.json"
MAX_FILE_BYTES = 100 * 2**20
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")  # of an AddedToken


class OptionType(NamedTuple):
    """The type of an option, in words and as a test."""

    text: str
    accepts: Callable[[Any], bool]


def _is_token(value: Any) -> bool:
    return isinstance(value, (str, AddedToken)) and bool(str(value))


def _is_length(value: Any) -> bool:
    return value is None or (type(value) is int and value > 0)


def _list_of(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, (list, tuple)) and all(map(test, value))


def _is_added_tokens_decoder(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        type(key) is int and 0 <= key <= MAX_ID and isinstance(token, AddedToken)
        for key, token in value.items()
    )


BOOL = OptionType("True or False", lambda value: isinstance(value, bool))
BOOL_OR_NONE = OptionType("True, False or None", lambda v: v is None or isinstance(v, bool))
TOKEN = OptionType("a non-empty str or AddedToken, or None", lambda v: v is None or _is_token(v))
SIDE = OptionType("'right' or 'left'", lambda value: value in ("right", "left"))
STRINGS_OR_NONE = OptionType(
    "a list of str or None",
    lambda v: v is None or (isinstance(v, (list, tuple, set)) and _list_of(_is_str)(list(v))),
)


def _is_str(value: Any) -> bool:
    return isinstance(value, str)


COMMON_OPTIONS: dict[str, OptionType] = {
    **dict.fromkeys(ROLES, TOKEN),
    "additional_special_tokens": OptionType("a list of str and AddedToken", _list_of(_is_token)),
    "added_tokens_decoder": OptionType("a dict from id to AddedToken", _is_added_tokens_decoder),
    "model_max_length": OptionType("an int of at least 1, or None", _is_length),
    "padding_side": SIDE,
    "truncation_side": SIDE,
    "model_input_names": OptionType(
        "a list of str that holds 'input_ids'", lambda v: _list_of(_is_str)(v) and "input_ids" in v
    ),
    "clean_up_tokenization_spaces": BOOL,
    "split_special_tokens": BOOL,
}


def check_options(options: Mapping[str, Any], types: Mapping[str, OptionType]) -> None:
    """Raise TypeError, naming option, value and what is allowed, for the first wrong one."""
    for name, value in options.items():
        if name not in types:
            raise TypeError(f"unknown tokenizer option {name!r}; there are {', '.join(types)}")
        if not types[name].accepts(value):
            raise TypeError(f"{name} must be {types[name].text}, got {value!r}")


# Reading and writing files ----------------------------------------------------------------------


def read_text(path: Path) -> str:
    """The UTF-8 text of a file of bounded size, line ends as \\n."""
    if (size := path.stat().st_size) > MAX_FILE_BYTES:
        raise ValueError(f"{path}: {size} bytes are too many, at most {MAX_FILE_BYTES} are read")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a UTF-8 text ({error})") from error


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file, or {} if there is no such file."""
    if not path.is_file():
        return {}
    text = read_text(path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a JSON file ({error})") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: must hold a JSON object, not a {type(value).__name__}")
    return value


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: to a temporary name beside it, which is then renamed."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with open(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # as `open` would have made it
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object in the layout that transformers uses."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


# From the files of a folder to options ------------------------------------------------------------


def read_options(
    folder: Path, types: Mapping[str, OptionType], given: Mapping[str, Any]
) -> dict[str, Any]:
    """The options that a folder holds, those in `given` taking precedence.

    tokenizer_config.json alone counts if it lists the added tokens (`added_tokens_decoder`).
    Older folders have them in special_tokens_map.json, added_tokens.json and tokenizer.json.
    Keys that are no options (names of classes, templates for chats) are left aside.
    """
    path = folder / CONFIG_FILE
    config = read_json(path)
    with Blame(path):
        if config.get("extra_special_tokens"):
            raise ValueError("extra_special_tokens: use additional_special_tokens instead")
        if "max_len" in config:  # the old name
            config = {"model_max_length": config["max_len"], **config}
        options = {name: _from_json(name, config[name]) for name in types if name in config}
        check_options(options, types)
    if "added_tokens_decoder" not in options:
        _read_special_tokens(folder / SPECIAL_TOKENS_FILE, options, types)
        special = [*map(options.get, ROLES), *options.get("additional_special_tokens", ())]
        special += map(given.get, ROLES)
        special += given.get("additional_special_tokens", ())
        options["added_tokens_decoder"] = _read_added_tokens(folder, {str(t) for t in special})
    options.update(given)
    known = {str(token): token for token in options["added_tokens_decoder"].values()}
    for role in ROLES:  # what the list of added tokens says of a token wins
        if str(options.get(role)) in known:
            options[role] = known[str(options[role])]
    return options


def _read_special_tokens(
    path: Path, options: dict[str, Any], types: Mapping[str, OptionType]
) -> None:
    """Let special_tokens_map.json overrule, and for additional tokens extend, `options`."""
    with Blame(path):
        entries = read_json(path).items()
        found = {name: _from_json(name, value, special=True) for name, value in entries}
        found = {name: value for name, value in found.items() if name in types}
        check_options(found, types)
    more = found.pop("additional_special_tokens", [])
    options.update(found)
    if more:
        merged: dict[str, str | AddedToken] = {}
        for token in (*options.get("additional_special_tokens", ()), *more):
            merged.setdefault(str(token), token)
        options["additional_special_tokens"] = list(merged.values())


def _read_added_tokens(folder: Path, special: set[str]) -> dict[int, AddedToken]:
    """The added tokens of added_tokens.json (token -> id) and tokenizer.json (full records)."""
    found: dict[Any, Any] = {}
    path = folder / ADDED_TOKENS_FILE
    with Blame(path):
        for content, token_id in read_json(path).items():
            found[token_id] = AddedToken(content, special=content in special)
        check_options({"added_tokens_decoder": found}, COMMON_OPTIONS)
    path = folder / TOKENIZER_FILE
    with Blame(path):
        found.update(read_added_tokens(read_json(path)))
    return found


def read_added_tokens(file: Mapping[str, Any]) -> list[tuple[int, AddedToken]]:
    """The added tokens of a tokenizer.json with their ids, in its order.

    Raises ValueError, naming the place in the file, for one that is damaged, or has an id twice.
    """
    names: dict[int, str] = {}
    tokens = []
    records = file.get("added_tokens")
    if not isinstance(records, (list, type(None))):
        raise ValueError(f"added_tokens must be a list of objects, got {records!r:.80}")
    for place, value in enumerate(records or []):
        record = Fields(value, f"added_tokens[{place}]")
        token_id, content = record.id("id"), record.get("content", str)
        if not content:
            raise ValueError(f"{record.where}.content must not be empty")
        if names.setdefault(token_id, content) != content:
            raise ValueError(
                f"{record.where}.id must be of its own, but {names[token_id]!r} and {content!r} "
                f"both have {token_id}"
            )
        flags = {name: record.get(name, bool) for name in FLAGS if name in record.value}
        tokens.append((token_id, AddedToken(content, **flags)))
    return tokens


def _from_json(name: str, value: Any, special: bool = False) -> Any:
    """The value of option `name`, made from what JSON can hold; wrong types pass through."""
    if name == "added_tokens_decoder" and isinstance(value, dict):
        # A key such as "abc" stays a str, and is refused when types are checked.
        return {
            int(key) if key.isdecimal() and len(key) <= 10 else key: token_from_json(token)
            for key, token in value.items()
        }
    if name == "additional_special_tokens":
        value = [] if value is None else value
        if isinstance(value, list):
            return [token_from_json(token, special) for token in value]
    if name == "model_max_length" and isinstance(value, float) and value.is_integer():
        return int(value)
    return token_from_json(value, special) if name in ROLES else value


def token_from_json(value: Any, special: bool = False) -> Any:
    """An AddedToken for an object with "content"; anything else as it is."""
    if not isinstance(value, dict) or "content" not in value:
        return value
    flags = {name: value[name] for name in FLAGS if name in value}
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise TypeError(f"{name} of token {value['content']!r} must be a bool, got {flag!r}")
    return AddedToken(value["content"], **(flags | {"special": True} if special else flags))


class Blame:
    """Within this context, a TypeError or ValueError becomes a ValueError that names the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (TypeError, ValueError)) and str(self.path) not in str(error):
            raise ValueError(f"{self.path}: {error}") from error
