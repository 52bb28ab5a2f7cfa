"""Reading and writing the tokenizer.json of a BERT.

The file can describe any tokenizer as a chain of parts. `BertTokenizerFast` accepts only the parts
of BERT; a file with other parts is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinybert.doctor import diagnose_tokenizer
from tinybert.text.added_token import AddedToken
from tinybert.text.bert_normalizer import BertNormalizer
from tinybert.tokenizer_json.added_tokens import read_added_tokens
from tinybert.tokenizer_json.vocabulary import checked_vocab
from tinybert.tokenizers.config import (
    COMMON_OPTIONS,
    TOKENIZER_FILE,
    ErrorsName,
    check_options,
    read_json,
)

PREFIX = "##"


@dataclass(frozen=True)
class BertFile:
    """The content of a tokenizer.json that the arguments of the tokenizer do not replace.

    sides: "padding_side" and "truncation_side", if the file has them.
    unk_token, cls_token, sep_token: their contents; None if the file does not name them.
    clean_text: whether the normalizer drops control characters.
    cleans_up: whether the decoder removes the space before English punctuation.
    """

    vocab: dict[str, int]
    added_tokens: dict[int, AddedToken] = field(default_factory=dict)
    sides: dict[str, str] = field(default_factory=dict)
    unk_token: str | None = None
    cls_token: str | None = None
    sep_token: str | None = None
    max_input_chars_per_word: int = 100
    clean_text: bool = True
    cleans_up: bool = True
    path: Path | None = None

    def check_special_tokens(self, **roles: str | AddedToken | None) -> None:
        """Raise ValueError if a role is given to another token than in the file."""
        for role, token in roles.items():
            if getattr(self, role) != (None if token is None else str(token)):
                raise ValueError(
                    f"{self.path}: {role} is {getattr(self, role)!r} in this file, "
                    f"but {role}={token!r} was given"
                )

    def as_json(
        self,
        unk_token: str,
        special: Mapping[str, int],
        added_tokens: Mapping[int, AddedToken],
        normalizer: BertNormalizer,
        strip_accents: bool | None,
    ) -> str:
        """Return the text of the file; `special` maps the tokens [CLS] and [SEP] to their ids."""
        cls, sep = special
        value = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [{"id": i, **t.as_dict()} for i, t in added_tokens.items()],
            "normalizer": {
                "type": "BertNormalizer",
                "clean_text": normalizer.clean_text,
                "handle_chinese_chars": normalizer.handle_chinese_chars,
                "strip_accents": strip_accents,
                "lowercase": normalizer.lowercase,
            },
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {
                "type": "TemplateProcessing",
                **_template(cls, sep),
                "special_tokens": {
                    token: {"id": token, "ids": [token_id], "tokens": [token]}
                    for token, token_id in special.items()
                },
            },
            "decoder": {"type": "WordPiece", "prefix": PREFIX, "cleanup": self.cleans_up},
            "model": {
                "type": "WordPiece",
                "unk_token": unk_token,
                "continuing_subword_prefix": PREFIX,
                "max_input_chars_per_word": self.max_input_chars_per_word,
                "vocab": dict(sorted(self.vocab.items(), key=lambda item: item[1])),
            },
        }
        return json.dumps(value, indent=2, ensure_ascii=False)


def read_tokenizer_json(path: Path) -> dict[str, Any]:
    """Return the object in a tokenizer.json.

    Raises ValueError, naming the file, if it is missing, damaged, or a file of another library.
    """
    if not path.is_file():
        raise ValueError(f"tokenizer_file: there is no file {str(path)!r}")
    file = read_json(path)
    if fault := diagnose_tokenizer(file):
        raise ValueError(f"{path}: {fault}")
    return file


def read_bert_file(path: Path) -> BertFile:
    """Read a tokenizer.json.

    Raises ValueError, naming the file, if it is missing, damaged, or not that of a BERT.
    """
    file = read_tokenizer_json(path)
    with ErrorsName(path):
        cls_token, sep_token = check_bert_parts(file)
        model, normalizer, decoder = file["model"], file["normalizer"], file["decoder"]
        vocab = checked_vocab(model.get("vocab"), "model.vocab")
        longest = model.get("max_input_chars_per_word", 100)
        unk_token = model.get("unk_token")
        if not isinstance(unk_token, str):
            raise ValueError(f"model.unk_token {unk_token!r} must be a str")
        if unk_token not in vocab:
            raise ValueError(f"model.unk_token {unk_token!r} is not in model.vocab")
        if type(longest) is not int or longest < 1:
            raise ValueError(
                f"model.max_input_chars_per_word must be an integer >= 1, got {longest!r}"
            )
        flags = normalizer.get("clean_text", True), decoder.get("cleanup", True)
        if not all(isinstance(flag, bool) for flag in flags):
            raise ValueError("normalizer.clean_text and decoder.cleanup must be true or false")
        return BertFile(
            vocab,
            dict(read_added_tokens(file)),
            read_sides(file),
            unk_token,
            cls_token,
            sep_token,
            longest,
            *flags,
            path,
        )


def vocab_in_folder(vocab_file: Path) -> dict[str, int]:
    """Return the vocabulary of a folder without vocab.txt, as transformers 5 writes it."""
    path = vocab_file.with_name(TOKENIZER_FILE)
    if not path.is_file():
        raise ValueError(f"vocab_file: there is no file {str(vocab_file)!r}")
    return read_bert_file(path).vocab


def check_bert_parts(file: Mapping[str, Any]) -> tuple[str, str]:
    """Return the tokens that are used as [CLS] and [SEP]; ValueError if a part is not of a BERT."""
    check_part(file, "model", "WordPiece", {"continuing_subword_prefix": PREFIX}, "BERT")
    check_part(file, "normalizer", "BertNormalizer", {}, "BERT")
    check_part(file, "pre_tokenizer", "BertPreTokenizer", {}, "BERT")
    check_part(file, "decoder", "WordPiece", {"prefix": PREFIX}, "BERT")
    return _layout(file.get("post_processor"))


def check_part(
    file: Mapping[str, Any], name: str, kind: str, demands: Mapping[str, Any], family: str
) -> None:
    """Raise ValueError unless the part `name` of the file has this type and these values.

    family: the tokenizer that has such a part, for the message.
    """
    part = file.get(name)
    if not isinstance(part, dict) or part.get("type", kind) != kind:
        found = part.get("type") if isinstance(part, dict) else part
        raise ValueError(f"{name} must be a {kind}, as {family} has it; got {found!r:.80}")
    for key, value in demands.items():
        if part.get(key, value) != value:
            raise ValueError(f"{name}.{key} must be {value!r}, got {part[key]!r:.80}")


def read_sides(file: Mapping[str, Any]) -> dict[str, str]:
    """Return the sides of padding and truncation that the file stores."""
    sides = {}
    for name in ("padding", "truncation"):
        part = file.get(name)
        if isinstance(part, dict) and isinstance(part.get("direction"), str):
            sides[f"{name}_side"] = part["direction"].lower()
    check_options(sides, COMMON_OPTIONS)
    return sides


def _layout(part: Any) -> tuple[str, str]:
    """Return the tokens that are used as [CLS] and [SEP]."""
    kind = part.get("type") if isinstance(part, dict) else None
    try:
        if kind == "BertProcessing":
            return part["cls"][0], part["sep"][0]
        if kind == "TemplateProcessing":
            cls, _, sep = (item.get("SpecialToken", {}).get("id") for item in part["single"])
            if {name: part[name] for name in ("single", "pair")} == _template(cls, sep):
                return cls, sep
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"post_processor is damaged: {error!r}") from error
    raise ValueError("post_processor must make [CLS] A [SEP] B [SEP], as BERT has it")


def _template(cls: str, sep: str) -> dict[str, list[dict[str, Any]]]:
    """Return [CLS] A [SEP] and [CLS] A [SEP] B [SEP] with their types, as in the file."""

    def special(token: str, type_id: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": token, "type_id": type_id}}

    def text(name: str, type_id: int) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": type_id}}

    single = [special(cls, 0), text("A", 0), special(sep, 0)]
    return {"single": single, "pair": [*single, text("B", 1), special(sep, 1)]}
