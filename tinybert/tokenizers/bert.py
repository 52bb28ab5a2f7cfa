"""BERT's tokenizer, step by step: basic tokenization, WordPiece, and [CLS] A [SEP] B [SEP].

`BertTokenizer` gives the ids of the pure-Python BertTokenizer of transformers. It does not know
which characters of the text a token comes from; `BertTokenizerFast` does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

from tinybert.doctor import warn_if_truncated
from tinybert.text.added_token import AddedToken
from tinybert.text.basic import BasicTokenizer
from tinybert.text.wordpiece import WordPiece
from tinybert.tokenizers.base import Tokenizer
from tinybert.tokenizers.bert_file import vocab_in_folder
from tinybert.tokenizers.config import (
    BOOL,
    BOOL_OR_NONE,
    COMMON_OPTIONS,
    STRINGS_OR_NONE,
    OptionType,
    read_text,
)
from tinybert.tokenizers.explain import Explanation, explain
from tinybert.tokenizers.saving import write_text


def load_vocab(vocab_file: str | PathLike[str]) -> dict[str, int]:
    """Read a vocab.txt: one token on each line, its id is the line number, counted from 0.

    Only the line end is removed; spaces are part of a token. Of two equal lines the last counts.
    If there is no such file, the vocabulary is that of the tokenizer.json in the same folder.
    Raises ValueError, naming the file, if both are missing, or it is empty, too large or not UTF-8.
    """
    path = Path(vocab_file)
    if not path.is_file():
        return vocab_in_folder(path)
    text = read_text(path)
    if not text.strip():
        raise ValueError(f"{path}: the vocabulary is empty")
    tokens = text.removesuffix("\n").split("\n")
    if not text.endswith("\n"):
        warn_if_truncated(path, len(tokens))
    return {token: token_id for token_id, token in enumerate(tokens)}


def save_vocab(tokens: Iterable[str], vocab_file: str | PathLike[str]) -> None:
    """Write tokens, in the order of their ids, as a vocab.txt that `load_vocab` reads."""
    write_text(Path(vocab_file), "".join(token + "\n" for token in tokens))


class BertBase(Tokenizer):
    """A tokenizer with a vocab.txt and the row layout of BERT (Devlin et al. 2019, figure 2)."""

    vocab_files_names: ClassVar[dict[str, str]] = {"vocab_file": "vocab.txt"}
    required_roles = ("unk_token",)  # the token of an unknown word in WordPiece
    max_input_chars_per_word = 100

    def _vocabulary_changed(self) -> None:
        super()._vocabulary_changed()
        unk_token = str(self._roles["unk_token"])
        self.wordpiece = WordPiece(self.vocab, unk_token, self.max_input_chars_per_word)

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Return [CLS] A [SEP], or [CLS] A [SEP] B [SEP] for a pair."""
        cls, sep = self.role_id("cls_token"), self.role_id("sep_token")
        row = [cls, *token_ids_0, sep]
        return row if token_ids_1 is None else [*row, *token_ids_1, sep]

    def create_token_type_ids_from_sequences(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Return 0 for [CLS] A [SEP], and 1 for B [SEP]."""
        types = [0] * (len(token_ids_0) + 2)
        return types if token_ids_1 is None else types + [1] * (len(token_ids_1) + 1)

    def save_vocabulary(
        self, save_directory: str | PathLike[str], filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        """Write "<prefix>-vocab.txt" into a folder, or `save_directory` as a file if it is none.

        Every token keeps its id. An id without a token (the file had two equal lines) becomes a
        copy of the next line; reading keeps the last of equal lines.
        """
        path = Path(save_directory)
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        path = path / f"{prefix}vocab.txt" if path.is_dir() else path.with_name(prefix + path.name)
        lines: list[str] = []
        for token_id, token in sorted((i, token) for token, i in self.vocab.items()):
            lines += [token] * (token_id + 1 - len(lines))
        save_vocab(lines, path)
        return (str(path),)


class BertTokenizer(BertBase):
    """Text to WordPiece ids, as BERT was trained (Devlin et al. 2019, arXiv:1810.04805).

    Arguments:
        vocab_file: one token on each line; see `load_vocab`.
        do_lower_case: lower-case the text (uncased models).
        do_basic_tokenize: if false, the text is only split at spaces before WordPiece.
        never_split: words that basic tokenization does not change.
        unk_token, sep_token, pad_token, cls_token, mask_token: the special tokens. Those that the
            vocabulary lacks are appended to it, in this order, with ids from `vocab_size` up; the
            embedding of a model needs rows for them. unk_token must not be None.
        tokenize_chinese_chars: make each Chinese character a word (unsuitable for Japanese).
        strip_accents: remove accents; None means "if do_lower_case".
        clean_up_tokenization_spaces: the default of `decode`.
        **common: the options of every `Tokenizer`.

    Some faults of the original are corrected: a max_length below the number of special tokens, and
    a text too short for "only_first" or "only_second", are a ValueError instead of an over-long
    row; "longest_first" may leave only special tokens; padding="max_length" also pads an empty
    row; rows of different lengths never become an array of objects.

    Raises ValueError for a bad vocabulary file or no unk_token, TypeError for a wrong option.
    """

    option_types: ClassVar[dict[str, OptionType]] = COMMON_OPTIONS | {
        "do_lower_case": BOOL,
        "do_basic_tokenize": BOOL,
        "never_split": STRINGS_OR_NONE,
        "tokenize_chinese_chars": BOOL,
        "strip_accents": BOOL_OR_NONE,
    }

    def __init__(
        self,
        vocab_file: str | PathLike[str],
        do_lower_case: bool = True,
        do_basic_tokenize: bool = True,
        never_split: Collection[str] | None = None,
        unk_token: str | AddedToken = "[UNK]",
        sep_token: str | AddedToken | None = "[SEP]",
        pad_token: str | AddedToken | None = "[PAD]",
        cls_token: str | AddedToken | None = "[CLS]",
        mask_token: str | AddedToken | None = "[MASK]",
        tokenize_chinese_chars: bool = True,
        strip_accents: bool | None = None,
        clean_up_tokenization_spaces: bool = True,
        **common: Any,
    ) -> None:
        self.vocab = load_vocab(vocab_file)
        self.ids_to_tokens = {token_id: token for token, token_id in self.vocab.items()}
        self.do_lower_case = do_lower_case
        self.do_basic_tokenize = do_basic_tokenize
        self.never_split = sorted(never_split) if isinstance(never_split, set) else never_split
        self.tokenize_chinese_chars = tokenize_chinese_chars
        self.strip_accents = strip_accents
        self.lowercases_text = do_lower_case and do_basic_tokenize
        super().__init__(
            unk_token=unk_token,
            sep_token=sep_token,
            pad_token=pad_token,
            cls_token=cls_token,
            mask_token=mask_token,
            clean_up_tokenization_spaces=clean_up_tokenization_spaces,
            **common,
        )
        self.basic_tokenizer = BasicTokenizer(
            do_lower_case, never_split or (), tokenize_chinese_chars, strip_accents
        )

    def _tokenize(self, text: str) -> list[str]:
        words = self._words(text)
        if not self.never_split:
            return self.wordpiece.tokenize(words)
        return [token for word in words for token in self._tokens_of(word)]

    def _words(self, text: str) -> list[str]:
        if not self.do_basic_tokenize:
            return text.split()
        return self.basic_tokenizer.tokenize(text, self._never_split)

    def _tokens_of(self, word: str) -> list[str]:
        if self.do_basic_tokenize and word in self.basic_tokenizer.never_split:
            return [word]
        return self.wordpiece[word]

    def explain(self, text: str) -> list[Explanation]:
        """Return the steps from a text to its tokens, for each added token and each part between.

        The fields of an `Explanation` are the steps, in order.
        """
        return explain(self, text)

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Join tokens with spaces, but a token that begins with "##" directly."""
        return " ".join(tokens).replace(" ##", "").strip()
