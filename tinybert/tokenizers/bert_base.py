"""What both BERT tokenizers share: the vocabulary file, and [CLS] A [SEP] B [SEP].

How a text becomes words is known to `bert.py` and `bert_fast.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import ClassVar

from tinybert.text.wordpiece import WordPiece
from tinybert.tokenizers.base import Tokenizer
from tinybert.tokenizers.config import read_text, write_text


def load_vocab(vocab_file: str | PathLike[str]) -> dict[str, int]:
    """Read a vocab.txt: one token a line, its id is the number of the line, counted from 0.

    Only the line end is removed, spaces are part of a token. Of two equal lines the last counts.
    Raises ValueError, naming the file, if it is missing, empty, too large or not UTF-8.
    """
    path = Path(vocab_file)
    if not path.is_file():
        raise ValueError(f"vocab_file: there is no file {str(vocab_file)!r}")
    text = read_text(path)
    if not text:
        raise ValueError(f"{path}: the vocabulary is empty")
    return {token: token_id for token_id, token in enumerate(text.removesuffix("\n").split("\n"))}


def save_vocab(tokens: Iterable[str], vocab_file: str | PathLike[str]) -> None:
    """Write tokens, in the order of their ids, as a vocab.txt that `load_vocab` reads."""
    write_text(Path(vocab_file), "".join(token + "\n" for token in tokens))


class BertBase(Tokenizer):
    """A tokenizer with a vocab.txt and the layout of BERT (Devlin et al. 2019, figure 2)."""

    vocab_files_names: ClassVar[dict[str, str]] = {"vocab_file": "vocab.txt"}
    required_roles = ("unk_token",)  # what WordPiece makes of an unknown word

    max_input_chars_per_word = 100

    def _vocabulary_changed(self) -> None:
        super()._vocabulary_changed()
        self.wordpiece = WordPiece(self.vocab, str(self.unk_token), self.max_input_chars_per_word)

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """[CLS] A [SEP], or [CLS] A [SEP] B [SEP] for a pair."""
        cls, sep = self.role_id("cls_token"), self.role_id("sep_token")
        row = [cls, *token_ids_0, sep]
        return row if token_ids_1 is None else [*row, *token_ids_1, sep]

    def create_token_type_ids_from_sequences(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """0 for [CLS] A [SEP], 1 for B [SEP]."""
        types = [0] * (len(token_ids_0) + 2)
        return types if token_ids_1 is None else types + [1] * (len(token_ids_1) + 1)

    def save_vocabulary(
        self, save_directory: str | PathLike[str], filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        """Write "<prefix>-vocab.txt" into a folder, or to the file of that name if it is none.

        Every token gets back its id: an id that no token has (the file was read with two equal
        lines) becomes a copy of the next line, of which reading keeps the last.
        """
        path = Path(save_directory)
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        path = path / f"{prefix}vocab.txt" if path.is_dir() else path.with_name(prefix + path.name)
        lines: list[str] = []
        for token_id, token in sorted((i, token) for token, i in self.vocab.items()):
            lines += [token] * (token_id + 1 - len(lines))
        save_vocab(lines, path)
        return (str(path),)
