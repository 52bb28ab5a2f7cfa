"""The options that a tokenizer is built from: their types, and the files that hold them.

Files are not trusted: size, encoding and every type are checked. A fault is a ValueError that names
the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tinybert.checks import is_integer
from tinybert.doctor import diagnose_json, diagnose_text, diagnose_tokenizer
from tinybert.files import check_nesting, read_regular
from tinybert.text.added_token import AddedToken
from tinybert.tokenizer_json.added_tokens import FLAGS
from tinybert.tokenizer_json.fields import MAX_ID
from tinybert.tokenizers.added_tokens import ROLES
from tinybert.tokenizers.newer_files import NAMED, with_extra_tokens

CONFIG_FILE = "tokenizer_config.json"
TOKENIZER_FILE = "tokenizer.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"
ADDED_TOKENS_FILE = "added_tokens.json"
OLDER_FILES = (SPECIAL_TOKENS_FILE, ADDED_TOKENS_FILE, TOKENIZER_FILE)  # see `older_files.py`
TEMPLATE_FILE = "chat_template.jinja"
MORE_TEMPLATES = "additional_chat_templates"  # a folder with NAME.jinja
MAX_FILE_BYTES = 100 * 2**20

Template = str | dict[str, str] | None  # of a chat; several by name

# Types of options --------------------------------------------------------------------------------


class OptionType(NamedTuple):
    """The type of an option, in words and as a test."""

    text: str
    accepts: Callable[[Any], bool]


def _is_str(value: Any) -> bool:
    return isinstance(value, str)


def _is_token(value: Any) -> bool:
    return isinstance(value, (str, AddedToken)) and bool(str(value))


def _is_length(value: Any) -> bool:
    return value is None or (is_integer(value) and value > 0)


def _list_of(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, (list, tuple)) and all(map(test, value))


def _is_added_tokens_decoder(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        is_integer(key) and 0 <= key <= MAX_ID and isinstance(token, AddedToken)
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
COMMON_OPTIONS: dict[str, OptionType] = {
    **dict.fromkeys(ROLES, TOKEN),
    "additional_special_tokens": OptionType("a list of str and AddedToken", _list_of(_is_token)),
    "added_tokens_decoder": OptionType("a dict from id to AddedToken", _is_added_tokens_decoder),
    "model_max_length": OptionType("an integer >= 1 or None", _is_length),
    "padding_side": SIDE,
    "truncation_side": SIDE,
    "model_input_names": OptionType(
        "a list of str with 'input_ids'", lambda v: _list_of(_is_str)(v) and "input_ids" in v
    ),
    "clean_up_tokenization_spaces": BOOL,
    "split_special_tokens": BOOL,
}


def check_options(options: Mapping[str, Any], types: Mapping[str, OptionType]) -> None:
    """Raise TypeError for the first option that is unknown or has a wrong type."""
    for name, value in options.items():
        if name not in types:
            raise TypeError(
                f"unknown tokenizer option {name!r:.80}; the options are {', '.join(types)}"
            )
        if not types[name].accepts(value):
            raise TypeError(f"{name} must be {types[name].text}, got {value!r:.80}")


# Reading files -----------------------------------------------------------------------------------


class ErrorsName:
    """Within this context, a TypeError or ValueError becomes a ValueError that names the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (TypeError, ValueError)) and str(self.path) not in str(error):
            raise ValueError(f"{self.path}: {error}") from error


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file of at most `MAX_FILE_BYTES`, with \\n at line ends.

    Raises ValueError, naming the file, if it is empty, or another kind of file (see `doctor.py`).
    """
    raw = read_regular(path, MAX_FILE_BYTES)
    try:
        text = raw.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        cut = "it is truncated in a character; " if "end of data" in error.reason else ""
        described = diagnose_text(path) or f"not a UTF-8 text ({cut}{error})"
        raise ValueError(f"{path}: {described}") from error
    # Vocabularies usually begin with [PAD], merges with #version: these need no second look.
    if text[:1] not in ("[", "#") and (found := diagnose_text(path)):
        raise ValueError(f"{path}: {found}")
    return text


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file, or {} if there is no such file."""
    if not path.exists():
        return {}
    text = read_text(path)
    try:
        value = json.loads(text)
        check_nesting(value)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {diagnose_json(path, error)}") from error
    if not isinstance(value, dict):
        kind = f"must hold a JSON object, not a {type(value).__name__}"
        fault = diagnose_tokenizer(value) or kind
        raise ValueError(f"{path}: {fault}")
    return value


def read_config(folder: Path, types: Mapping[str, OptionType]) -> dict[str, Any]:
    """Return the options in the tokenizer_config.json of a folder; {} if there is no such file.

    Keys that are not options (class names, templates for chats) are ignored.
    """
    path = folder / CONFIG_FILE
    config = read_json(path)
    with ErrorsName(path):
        if config.get("extra_special_tokens") or config.get(NAMED):
            config = with_extra_tokens(config)
        if "max_len" in config:  # the old name
            config = {"model_max_length": config["max_len"], **config}
        # Null is false to transformers where a flag is expected.
        config = {k: False if v is None and types.get(k) is BOOL else v for k, v in config.items()}
        options = {name: from_json(name, config[name]) for name in types if name in config}
        check_options(options, types)
    return options


def from_json(name: str, value: Any, special: bool = False) -> Any:
    """Return the value of option `name` for a value from JSON; wrong types are left as they are."""
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
    """Return an AddedToken for an object with "content", and any other value as it is."""
    if not isinstance(value, dict) or "content" not in value:
        return value
    flags = {name: value[name] for name in FLAGS if name in value}
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise TypeError(
                f"{name} of token {value['content']!r:.80} must be a bool, got {flag!r:.80}"
            )
    return AddedToken(value["content"], **(flags | {"special": True} if special else flags))


def read_chat_template(folder: Path) -> Template:
    """Return the chat template of a folder, or several by name; None if it has none.

    A template is in chat_template.jinja, more are in additional_chat_templates. Older folders have
    them in tokenizer_config.json: "chat_template" is a str, or a list of {"name", "template"}.
    Raises ValueError, naming the file, for anything else.
    """
    files = {"default": folder / TEMPLATE_FILE}
    files |= {path.stem: path for path in sorted((folder / MORE_TEMPLATES).glob("*.jinja"))}
    found = {name: read_text(path) for name, path in files.items() if path.is_file()}
    if found:
        return found["default"] if list(found) == ["default"] else found
    path = folder / CONFIG_FILE
    with ErrorsName(path):
        template = read_json(path).get("chat_template")
        if isinstance(template, list) and all(isinstance(entry, dict) for entry in template):
            template = {str(entry.get("name")): entry.get("template") for entry in template}
        texts = template.values() if isinstance(template, dict) else [template]
        if template is not None and not all(isinstance(text, str) for text in texts):
            raise ValueError("chat_template must be a str, or a list of names and templates")
        return template
