"""`AutoTokenizer`: the class of a tokenizer, chosen by the files of a folder."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from tinybert import hub
from tinybert.display import short_repr
from tinybert.tokenizers.base import Tokenizer
from tinybert.tokenizers.bert import BertTokenizer
from tinybert.tokenizers.bert_fast import BertTokenizerFast
from tinybert.tokenizers.bert_file import check_bert_parts, read_tokenizer_json
from tinybert.tokenizers.bpe_files import MERGES_FILE, VOCAB_FILE
from tinybert.tokenizers.classes import class_of_model_type
from tinybert.tokenizers.config import CONFIG_FILE, TOKENIZER_FILE, read_json
from tinybert.tokenizers.from_json import TokenizerJSON
from tinybert.tokenizers.mega import MegaTokenizer, check_roberta_parts

MODEL_CONFIG_FILE = "config.json"


class _Choice(NamedTuple):
    slow: type[Tokenizer] | None
    fast: type[Tokenizer] | None


_BERT = _Choice(BertTokenizer, BertTokenizerFast)
_MEGA = _Choice(None, MegaTokenizer)
# By tokenizer_class, without "Fast", or by model_type.
_KNOWN: dict[str, _Choice] = {
    **dict.fromkeys(("BertTokenizer", "bert", "megatron-bert"), _BERT),
    **dict.fromkeys(("RobertaTokenizer", "MegaTokenizer", "mega"), _MEGA),
}


class AutoTokenizer:
    """Loads the right class of tokenizer; it has no instances."""

    def __init__(self) -> None:
        raise TypeError("use AutoTokenizer.from_pretrained(folder_or_name)")

    @staticmethod
    def from_pretrained(
        name_or_path: str | PathLike[str], use_fast: bool = True, **options: Any
    ) -> Tokenizer:
        """Load the tokenizer of a model from its folder, or by its name (see `hub.resolve`).

        The class is the `tokenizer_class` of tokenizer_config.json, else that of the `model_type`
        of config.json. If neither is known, or the tokenizer.json has other parts than the class
        (a Unigram model in that of a BERT), it is loaded as `TokenizerJSON`. `use_fast` chooses
        between a "Fast" class and another. The options are those of the class.

        Raises FileNotFoundError if there is no such folder or model; ValueError if no file names
        the class, or a file is damaged; and the errors of the class.
        """
        where = {name: options[name] for name in ("revision", "token") if name in options}
        folder = hub.resolve(
            name_or_path, (CONFIG_FILE, MODEL_CONFIG_FILE, TOKENIZER_FILE), **where
        )
        folder = hub.resolve(folder, (CONFIG_FILE, TOKENIZER_FILE, "vocab.*"))  # of an adapter
        for file, key in ((CONFIG_FILE, "tokenizer_class"), (MODEL_CONFIG_FILE, "model_type")):
            name = read_json(folder / file).get(key)
            if name is not None:
                break
        choice = _KNOWN.get(name.removesuffix("Fast")) if isinstance(name, str) else None
        if (folder / TOKENIZER_FILE).is_file() and (choice is None or _differs(choice, folder)):
            has_slow = choice is not None and (folder / "vocab.txt").is_file()
            choice = _Choice(choice.slow if choice and has_slow else None, TokenizerJSON)
        if name is None and choice is None:
            raise ValueError(
                f"{folder}: there is no {TOKENIZER_FILE}, and neither {CONFIG_FILE} has a "
                f"tokenizer_class nor {MODEL_CONFIG_FILE} a model_type; use from_pretrained of the "
                "class itself, such as BertTokenizer"
            )
        if choice is None:
            raise ValueError(
                f"{folder / file}: no tokenizer is known for {key} {short_repr(name)}, "
                f"only for {', '.join(_KNOWN)}; and there is no {TOKENIZER_FILE}"
            )
        chosen = (choice.fast if use_fast else choice.slow) or choice.slow or choice.fast
        if chosen is TokenizerJSON and key == "model_type" and isinstance(name, str):
            options = {"tokenizer_class": class_of_model_type(name), **options}
        return chosen.from_pretrained(name_or_path, **options)  # type: ignore[union-attr]

    @staticmethod
    def register(
        name: str,
        slow_tokenizer_class: type[Tokenizer] | None = None,
        fast_tokenizer_class: type[Tokenizer] | None = None,
        exist_ok: bool = False,
    ) -> None:
        """Make `from_pretrained` choose these classes for a model_type or a tokenizer_class.

        Raises ValueError if no class is given, or `name` is known and `exist_ok` is false.
        """
        name = name.removesuffix("Fast")
        if slow_tokenizer_class is None and fast_tokenizer_class is None:
            raise ValueError("slow_tokenizer_class or fast_tokenizer_class must be given")
        if name in _KNOWN and not exist_ok:
            raise ValueError(f"name {name!r} is known already; exist_ok=True replaces it")
        _KNOWN[name] = _Choice(slow_tokenizer_class, fast_tokenizer_class)


def _differs(choice: _Choice, folder: Path) -> bool:
    """Return whether the tokenizer.json of a folder has other parts than the "Fast" class."""
    if choice not in (_BERT, _MEGA):
        return False
    if choice is _MEGA and all((folder / name).is_file() for name in (VOCAB_FILE, MERGES_FILE)):
        return False  # the file is not used
    check = check_bert_parts if choice is _BERT else check_roberta_parts
    try:
        check(read_tokenizer_json(folder / TOKENIZER_FILE))
    except ValueError:
        return True
    return False
