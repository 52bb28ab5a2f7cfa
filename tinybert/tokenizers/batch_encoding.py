"""What a tokenizer returns: a dictionary of lists or arrays, ready to be given to a model.

The tensor library is not known here: `register_tensor_type` lets it add its own kind of tensor.
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinybert.tokenizer_json.encoding import CharSpan, Encoding, TokenSpan

_TENSOR_TYPES: dict[str, Callable[[np.ndarray], Any]] = {"np": lambda array: array}


def register_tensor_type(name: str, convert: Callable[[np.ndarray], Any]) -> None:
    """Make `return_tensors=name` give `convert(array)` for each int64 array.

    The ground floor must not import the floors above it, so the package that owns a kind of
    tensor says here, once and when it is imported, how one is made: `tinybert` does it for "tb".
    """
    _TENSOR_TYPES[name] = convert


def check_tensor_type(name: str | None) -> None:
    """Raise ValueError unless `name` is None or a registered kind of tensor."""
    if name is not None and name not in _TENSOR_TYPES:
        allowed = ", ".join(map(repr, _TENSOR_TYPES))
        raise ValueError(f"return_tensors must be None or one of {allowed}, got {name!r}")


def as_py_list(value: Any) -> Any:
    """Arrays and tensors of any library as nested lists of Python numbers."""
    return value.tolist() if hasattr(value, "tolist") else value


class BatchEncoding(UserDict):
    """A dictionary (`input_ids`, `token_type_ids`, `attention_mask`, ...) with attribute access.

    `encoding["input_ids"]`, `encoding.input_ids` and `model(**encoding)` all work. A value is a
    list for one text, a list of lists for a batch, or a tensor of shape (B, T).

    What a "Fast" tokenizer returns also has `encodings`, one `Encoding` a row, and answers
    questions about the places of tokens, words and characters. Places are counted from 0, words
    and characters within their text: `sequence_index` 0 is the first text of a pair, 1 the second.
    Each question may be asked as method(place), about row 0, or as method(row, place); without
    such a token, word or character the answer is None. Where there are no `encodings`, it is a
    ValueError.

    encoding[i] is row i of `encodings`; encoding[start:end], where there are none, a dict of those
    rows of each value.
    """

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        encodings: list[Encoding] | None = None,
        tensor_type: str | None = None,
        prepend_batch_axis: bool = False,
    ) -> None:
        super().__init__(data if data is not None else {})
        self.encodings = encodings
        self.convert_to_tensors(tensor_type, prepend_batch_axis)

    @property
    def is_fast(self) -> bool:
        """Whether this comes from a "Fast" tokenizer."""
        return self.encodings is not None

    @property
    def n_sequences(self) -> int | None:
        """How many texts the first row is made of, 1 or 2; None if that is not known."""
        return self.encodings[0].n_sequences if self.encodings else None

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return self.data[key]
        if self.encodings is not None:
            return self.encodings[key]
        if isinstance(key, slice):
            return {name: value[key] for name, value in self.data.items()}
        raise KeyError(f"a key must be a str, or a slice where there are no rows, got {key!r}")

    def _row(self, batch_index: int) -> Encoding:
        if self.encodings is None:
            raise ValueError("only what a 'Fast' tokenizer returns knows words and characters")
        return self.encodings[batch_index]

    def _place(self, first: int, second: int | None) -> tuple[Encoding, int]:
        """The row and the place in it, from one argument or two."""
        return (self._row(0), first) if second is None else (self._row(first), second)

    def tokens(self, batch_index: int = 0) -> list[str]:
        """The tokens of a row."""
        return self._row(batch_index).tokens

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """The word of each token of a row, None for special tokens that were added."""
        return self._row(batch_index).word_ids

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """The text, 0 or 1, of each token of a row, None for special tokens that were added."""
        return self._row(batch_index).sequence_ids

    def token_to_sequence(
        self, batch_or_token_index: int, token_index: int | None = None
    ) -> int | None:
        """The text, 0 or 1, of a token."""
        row, token = self._place(batch_or_token_index, token_index)
        return row.token_to_sequence(token)

    def token_to_word(
        self, batch_or_token_index: int, token_index: int | None = None
    ) -> int | None:
        """The word of a token."""
        row, token = self._place(batch_or_token_index, token_index)
        return row.token_to_word(token)

    def token_to_chars(
        self, batch_or_token_index: int, token_index: int | None = None
    ) -> CharSpan | None:
        """The characters of a token."""
        row, token = self._place(batch_or_token_index, token_index)
        return row.token_to_chars(token)

    def word_to_tokens(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> TokenSpan | None:
        """The tokens of a word."""
        row, word = self._place(batch_or_word_index, word_index)
        return row.word_to_tokens(word, sequence_index)

    def word_to_chars(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> CharSpan | None:
        """The characters of a word."""
        row, word = self._place(batch_or_word_index, word_index)
        return row.word_to_chars(word, sequence_index)

    def char_to_token(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The token that covers a character; None for one between words."""
        row, char = self._place(batch_or_char_index, char_index)
        return row.char_to_token(char, sequence_index)

    def char_to_word(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The word that covers a character; None for one between words."""
        row, char = self._place(batch_or_char_index, char_index)
        return row.char_to_word(char, sequence_index)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["data"][name]  # `data` itself is absent while unpickling
        except KeyError:
            raise AttributeError(f"BatchEncoding has no attribute or key {name!r}") from None

    def convert_to_tensors(
        self, tensor_type: str | None = None, prepend_batch_axis: bool = False
    ) -> BatchEncoding:
        """Turn every value into an int64 array or registered tensor, in place; returns self.

        Raises ValueError if rows differ in length, which `padding=True` cures.
        """
        check_tensor_type(tensor_type)
        if tensor_type is None:
            return self
        for key, value in self.data.items():
            try:
                array = np.asarray([value] if prepend_batch_axis else value, dtype=np.int64)
            except ValueError as error:
                raise ValueError(
                    f"{key}: rows of different lengths cannot become one tensor; "
                    "use padding=True and truncation=True, or return_tensors=None"
                ) from error
            self.data[key] = _TENSOR_TYPES[tensor_type](array)
        return self

    def to(self, device: Any) -> BatchEncoding:
        """Move every value that has a `to` method to `device`, in place; returns self."""
        for key, value in self.data.items():
            if hasattr(value, "to"):
                self.data[key] = value.to(device)
        return self
