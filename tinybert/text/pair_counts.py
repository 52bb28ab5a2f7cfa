"""How often two symbols are neighbours in the words of a text, while pairs become one symbol.

That is what learning a vocabulary is made of (`train_wordpiece.py`, `train_bpe.py`). What symbols
are, strings or numbers, is known to the caller: they can only be compared.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Generic, TypeVar

S = TypeVar("S", bound=Any)


class PairCounts(Generic[S]):
    """The pairs of neighbours in `words`, a word being its symbols and how often it occurs.

    A merge changes only the words that hold the pair, so that those of each pair are kept. The
    heap may hold old counts of a pair besides the present one; they are passed over.
    """

    def __init__(self, words: Iterable[tuple[list[S], int]]) -> None:
        self.words: list[list[S]] = []
        self.counts: list[int] = []
        for symbols, count in words:
            self.words.append(symbols)
            self.counts.append(count)
        self.pair_counts = Counter[tuple[S, S]]()
        self.words_of: defaultdict[tuple[S, S], set[int]] = defaultdict(set)
        for i in range(len(self.words)):
            self._count(i, 1)
        self.heap = [(-count, pair) for pair, count in self.pair_counts.items()]
        heapq.heapify(self.heap)

    def _count(self, word: int, sign: int) -> list[tuple[S, S]]:
        """Add or take away the pairs of a word, which are returned."""
        pairs = list(pairwise(self.words[word]))
        count = sign * self.counts[word]
        for pair in pairs:
            self.pair_counts[pair] += count
            if sign > 0:
                self.words_of[pair].add(word)
        return pairs

    def most_frequent(self, least: int) -> tuple[S, S] | None:
        """The most frequent pair, the smallest of equally frequent ones.

        None if no pair occurs `least` times.
        """
        while self.heap:
            count, pair = self.heap[0]
            if -count < least:
                return None
            if self.pair_counts[pair] == -count:
                return pair
            heapq.heappop(self.heap)
        return None

    def merge(self, pair: tuple[S, S], merged: S) -> None:
        """Put `merged` for the pair wherever it occurs, from left to right."""
        changed: set[tuple[S, S]] = set()
        for i in self.words_of.pop(pair):
            changed.update(self._count(i, -1))
            self.words[i] = _merged(self.words[i], pair, merged)
            changed.update(self._count(i, 1))
        for other in changed:
            if count := self.pair_counts[other]:
                heapq.heappush(self.heap, (-count, other))
            else:
                del self.pair_counts[other]
                self.words_of.pop(other, None)


def _merged(word: list[S], pair: tuple[S, S], merged: S) -> list[S]:
    left, right = pair
    symbols: list[S] = []
    i = 0
    while i < len(word):
        if word[i] == left and i + 1 < len(word) and word[i + 1] == right:
            symbols.append(merged)
            i += 2
        else:
            symbols.append(word[i])
            i += 1
    return symbols
