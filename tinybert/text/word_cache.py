"""`WordCache`: a dictionary that computes the value of each word once."""

from __future__ import annotations

from typing import Generic, TypeVar

MAX_CACHED_WORDS = 100_000

Value = TypeVar("Value")


class WordCache(dict[str, Value], Generic[Value]):
    """A dictionary from words to values; `compute` makes the value of a word that is missing.

    Its size is bounded: words of more than `longest` characters, which rarely occur again, are not
    kept, and at `MAX_CACHED_WORDS` entries it is cleared.
    """

    longest = 256

    def compute(self, word: str) -> Value:
        """Return the value of a word; defined by every subclass."""
        raise NotImplementedError(f"{type(self).__name__} does not define compute")

    def __missing__(self, word: str) -> Value:
        value = self.compute(word)
        if len(word) <= self.longest:
            if len(self) >= MAX_CACHED_WORDS:
                self.clear()
            self[word] = value
        return value
