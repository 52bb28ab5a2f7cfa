"""The tokenizer of Mega: byte-level BPE and the row layout of RoBERTa, with offsets.

It gives the results of RobertaTokenizerFast of transformers. `byte_level.py` and `bpe.py` explain
bytes and merges.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

from tinybert.text.added_token import AddedToken
from tinybert.text.bpe import BPE
from tinybert.text.byte_level import is_incomplete, kept_whole, to_bytes
from tinybert.tokenizer_json.encoding import Columns, Encoding
from tinybert.tokenizer_json.fields import Fields
from tinybert.tokenizer_json.models import Model
from tinybert.tokenizer_json.pipeline import Pipeline
from tinybert.tokenizer_json.pre_tokenizers import PRE_TOKENIZERS
from tinybert.tokenizer_json.trim_offsets import trimmed
from tinybert.tokenizer_json.vocabulary import Merges, checked_merges, checked_vocab
from tinybert.tokenizers.bert_file import check_part, read_tokenizer_json
from tinybert.tokenizers.bpe_files import (
    MERGES_FILE,
    VOCAB_FILE,
    bpe_model,
    load_bpe,
    save_bpe,
)
from tinybert.tokenizers.config import (
    BOOL,
    COMMON_OPTIONS,
    TOKENIZER_FILE,
    ErrorsName,
    OptionType,
)
from tinybert.tokenizers.fast import FastTokenizer
from tinybert.tokenizers.options import EncodeOptions

TRIMMED: Columns = {"offsets": lambda text: trimmed(text.tokens, text.offsets, True)}


class MegaTokenizer(FastTokenizer):
    """Text to byte-level BPE ids, with the characters and the word of each token.

    Arguments:
        vocab_file, merges_file: see `load_bpe`.
        tokenizer_file: a tokenizer.json of a RoBERTa, used where the two files are not given.
        errors: how `decode` treats invalid UTF-8, as in `bytes.decode`.
        bos_token, eos_token, sep_token, cls_token, unk_token, pad_token, mask_token: the special
            tokens. Whitespace before `mask_token` is part of it, unless it is given as an
            AddedToken with other flags.
        add_prefix_space: put a space before a text that has none: its first word then has the same
            tokens as in the middle of a text. `is_split_into_words` needs it.
        trim_offsets: exclude the space before a word from the offsets of its token.
        **common: the options of every `Tokenizer`.

    A row is <s> A </s>, or <s> A </s></s> B </s> for a pair; token types are all 0, and not
    returned unless requested. A byte that the vocabulary lacks becomes `unk_token`.

    Raises ValueError for a bad or missing file, TypeError for a wrong option.
    """

    saved_as = "RobertaTokenizer"
    required_roles = ("unk_token",)
    inserts_spaces = False
    vocab_files_names: ClassVar[dict[str, str]] = {
        "vocab_file": VOCAB_FILE,
        "merges_file": MERGES_FILE,
        "tokenizer_file": TOKENIZER_FILE,
    }
    option_types: ClassVar[dict[str, OptionType]] = COMMON_OPTIONS | {
        "errors": OptionType(
            "the name of an error handler, such as 'replace'", lambda e: _known(e)
        ),
        "add_prefix_space": BOOL,
        "trim_offsets": BOOL,
    }

    def __init__(
        self,
        vocab_file: str | PathLike[str] | None = None,
        merges_file: str | PathLike[str] | None = None,
        tokenizer_file: str | PathLike[str] | None = None,
        errors: str = "replace",
        bos_token: str | AddedToken | None = "<s>",
        eos_token: str | AddedToken | None = "</s>",
        sep_token: str | AddedToken | None = "</s>",
        cls_token: str | AddedToken | None = "<s>",
        unk_token: str | AddedToken = "<unk>",
        pad_token: str | AddedToken | None = "<pad>",
        mask_token: str | AddedToken | None = "<mask>",
        add_prefix_space: bool = False,
        trim_offsets: bool = True,
        model_input_names: Sequence[str] = ("input_ids", "attention_mask"),
        **common: Any,
    ) -> None:
        self.vocab, self._merges = _vocabulary(vocab_file, merges_file, tokenizer_file)
        self.errors = errors
        self.add_prefix_space = add_prefix_space
        self.trim_offsets = trim_offsets
        if isinstance(mask_token, str) and mask_token:
            mask_token = AddedToken(mask_token, lstrip=True, special=True)
        super().__init__(
            bos_token=_plain(bos_token),
            eos_token=_plain(eos_token),
            sep_token=_plain(sep_token),
            cls_token=_plain(cls_token),
            unk_token=_plain(unk_token),
            pad_token=_plain(pad_token),
            mask_token=mask_token,
            model_input_names=model_input_names,
            **common,
        )

    def _make_pipeline(self) -> Pipeline:
        # An unknown token may be missing in the file; its id follows those of the vocabulary.
        unk_token = str(self._roles["unk_token"])
        unknown = {unk_token: self._token_to_id.get(unk_token, -1)}
        self.bpe = BPE({**unknown, **self.vocab}, self._merges, unk_token=unk_token)
        part = {"type": "ByteLevel", "add_prefix_space": self.add_prefix_space}
        steps = Fields(part, "pre_tokenizer").build(PRE_TOKENIZERS)
        # Only a space that was inserted makes the trimming of a token depend on the row.
        trims = self.trim_offsets and not self.add_prefix_space
        return Pipeline(
            None, steps, Model(self.bpe.tokenize, self.vocab, None, self.bpe.ids), trims
        )

    def _encode_words(self, text: Any, sequence: int, settings: EncodeOptions) -> Encoding:
        if settings.is_split_into_words and not self.add_prefix_space:
            raise ValueError(
                "is_split_into_words=True needs a tokenizer with add_prefix_space=True"
            )
        return super()._encode_words(text, sequence, settings)

    # Rows -----------------------------------------------------------------------------------

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Return <s> A </s>, or <s> A </s></s> B </s> for a pair."""
        cls, sep = self.role_id("cls_token"), self.role_id("sep_token")
        row = [cls, *token_ids_0, sep]
        return row if token_ids_1 is None else [*row, sep, *token_ids_1, sep]

    def create_token_type_ids_from_sequences(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Return 0 for every id: this layout does not use types."""
        return [0] * len(self.build_inputs_with_special_tokens(token_ids_0, token_ids_1))

    def _with_special_tokens(
        self, first: Encoding, second: Encoding | None, settings: EncodeOptions
    ) -> Encoding:
        if self.trim_offsets and self.add_prefix_space:
            first = first.with_columns(TRIMMED)
            second = None if second is None else second.with_columns(TRIMMED)
        row = super()._with_special_tokens(first, second, settings)
        if second is not None:  # the columns of one text have type 0 already
            row.type_ids = [0] * len(row)
        return row

    # Ids to text, and files -----------------------------------------------------------------

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Decode the bytes of the tokens."""
        return to_bytes(kept_whole(tokens, self._not_in_vocab)).decode("utf-8", self.errors)

    def settled(self, ids: list[int], skip_special_tokens: bool = False) -> int:
        """Return how many of the ids have a text that further ids cannot change.

        The others are bytes of a character that is not complete.
        """
        shown = set(ids) - set(self.all_special_ids if skip_special_tokens else ())
        added = self._added_ids.keys() - self.vocab.keys()
        count = len(ids)
        while count:
            last = [self._id_to_token.get(i, "") for i in ids[:count][-8:] if i in shown]
            if not is_incomplete(to_bytes(kept_whole(last, added))):
                break
            count -= 1
        return count

    @classmethod
    def _vocabulary_files(cls, path: Path) -> dict[str, Path]:
        if path.is_file():
            return {"tokenizer_file": path}
        files = {option: path / name for option, name in cls.vocab_files_names.items()}
        complete = files["vocab_file"].is_file() and files["merges_file"].is_file()
        if not complete and not files["tokenizer_file"].is_file():
            raise ValueError(
                f"name_or_path must be a folder with {VOCAB_FILE} and {MERGES_FILE}, or "
                f"{TOKENIZER_FILE}; there is none at {str(path)!r}"
            )
        used = ("vocab_file", "merges_file") if complete else ("tokenizer_file",)
        return {option: files[option] for option in used}

    def save_vocabulary(
        self, save_directory: str | PathLike[str], filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        """Write "<prefix>-vocab.json" and "<prefix>-merges.txt" into a folder."""
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        paths = [Path(save_directory) / (prefix + name) for name in (VOCAB_FILE, MERGES_FILE)]
        save_bpe(self.vocab, self._merges, *paths)
        return tuple(map(str, paths))

    def _tokenizer_json(self) -> str:
        return json.dumps(self._as_json(), indent=2, ensure_ascii=False)

    def _as_json(self) -> dict[str, Any]:
        """Return the tokenizer.json of this tokenizer."""
        byte_level = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
        flags = {"add_prefix_space": self.add_prefix_space}
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                {"id": i, **t.as_dict()} for i, t in self.added_tokens_decoder.items()
            ],
            "normalizer": None,
            "pre_tokenizer": byte_level | flags,
            "post_processor": {
                "type": "RobertaProcessing",
                "sep": [self.sep_token, self.role_id("sep_token")],
                "cls": [self.cls_token, self.role_id("cls_token")],
                "trim_offsets": self.trim_offsets,
                **flags,
            },
            "decoder": byte_level | {"add_prefix_space": True},
            "model": bpe_model(self.vocab, self._merges),
        }


def check_roberta_parts(file: Mapping[str, Any]) -> None:
    """Raise ValueError if a part of a tokenizer.json is not as RoBERTa has it."""
    own = {"dropout": None, "byte_fallback": False, "ignore_merges": False}
    check_part(file, "model", "BPE", own, "RoBERTa")
    for name in ("continuing_subword_prefix", "end_of_word_suffix"):  # null or ""
        if file["model"].get(name):
            raise ValueError(f"model.{name} must be '', got {file['model'][name]!r:.80}")
    if file.get("normalizer") is not None:
        raise ValueError(f"normalizer must be null, got {file['normalizer']!r:.80}")
    check_part(file, "pre_tokenizer", "ByteLevel", {"use_regex": True}, "RoBERTa")
    check_part(file, "post_processor", "RobertaProcessing", {}, "RoBERTa")
    check_part(file, "decoder", "ByteLevel", {}, "RoBERTa")


def _vocabulary(
    vocab_file: str | PathLike[str] | None,
    merges_file: str | PathLike[str] | None,
    tokenizer_file: str | PathLike[str] | None,
) -> tuple[dict[str, int], Merges]:
    if vocab_file is not None and merges_file is not None:
        return load_bpe(vocab_file, merges_file)
    if tokenizer_file is None:
        raise ValueError("vocab_file and merges_file, or tokenizer_file, must be given")
    path = Path(tokenizer_file)
    file = read_tokenizer_json(path)
    with ErrorsName(path):
        check_roberta_parts(file)
        model = file["model"]
        return checked_vocab(model.get("vocab")), checked_merges(model.get("merges"))


def _plain(token: str | AddedToken | None) -> str | AddedToken | None:
    """Return a special token given as a str with the flags of RoBERTa's tokens."""
    if isinstance(token, str) and token:
        return AddedToken(token, normalized=True, special=True)
    return token


def _known(errors: Any) -> bool:
    try:
        codecs.lookup_error(errors)
    except (TypeError, LookupError):
        return False
    return True
