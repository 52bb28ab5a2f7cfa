"""`WordCache`: what each word becomes, worked out once; most words were seen before."""

from __future__ import annotations

from typing import Generic, TypeVar

MAX_CACHED_WORDS = 100_000

Value = TypeVar("Value")


class WordCache(dict[str, Value], Generic[Value]):
    """A dictionary from words to what they become, which makes a missing entry with `work_out`.

    Entries are kept for words of at most `longest` characters, since longer ones hardly come again;
    when there are `MAX_CACHED_WORDS` of them all are forgotten. So its size stays bounded.
    """

    longest = 256

    def work_out(self, word: str) -> Value:
        """What a word becomes; defined by every subclass."""
        raise NotImplementedError(f"{type(self).__name__} does not define work_out")

    def __missing__(self, word: str) -> Value:
        value = self.work_out(word)
        if len(word) <= self.longest:
            if len(self) >= MAX_CACHED_WORDS:
                self.clear()
            self[word] = value
        return value
