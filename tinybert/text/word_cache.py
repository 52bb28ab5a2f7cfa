"""`WordCache`: a dictionary that computes the value of each word once."""

from __future__ import annotations

from collections.abc import Sized
from typing import Generic, TypeVar

MAX_CACHED_TOKENS = 300_000  # plus TOKENS_OF_WORD for each word: less than 50 MB
TOKENS_OF_WORD = 3  # the memory of a word besides its tokens, in tokens

Value = TypeVar("Value", bound=Sized)


class WordCache(dict[str, Value], Generic[Value]):
    """A dictionary from words to tokens; `compute` makes the tokens of a word that is missing.

    Its memory is bounded: words of more than `longest` characters, which rarely occur again, are
    not kept, and it is cleared when it takes as much memory as `MAX_CACHED_TOKENS` tokens.
    """

    longest = 100
    n_cached = 0  # the memory that it takes, in tokens

    def compute(self, word: str) -> Value:
        """Return the value of a word; defined by every subclass."""
        raise NotImplementedError(f"{type(self).__name__} does not define compute")

    def __missing__(self, word: str) -> Value:
        value = self.compute(word)
        if len(word) <= self.longest:
            self.n_cached += (size := len(value) + TOKENS_OF_WORD)
            if self.n_cached > MAX_CACHED_TOKENS:
                self.clear()
                self.n_cached = size
            self[word] = value
        return value
