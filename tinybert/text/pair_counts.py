"""Count neighbouring symbols in words while pairs are merged: the core of learning a vocabulary.

`train_wordpiece.py` and `train_bpe.py` use it. Symbols are strings or numbers; they are compared.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Generic, TypeVar

S = TypeVar("S", bound=Any)


class PairCounts(Generic[S]):
    """The pairs of neighbours in `words`, each given as (symbols, count of the word).

    A merge changes only the words that contain the pair: `words_of` stores them. The heap may hold
    old counts of a pair besides the present one; they are skipped.
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
        """Add (sign 1) or subtract (sign -1) the pairs of a word; return them."""
        pairs = list(pairwise(self.words[word]))
        count = sign * self.counts[word]
        for pair in pairs:
            self.pair_counts[pair] += count
            if sign > 0:
                self.words_of[pair].add(word)
        return pairs

    def most_frequent(self, least: int) -> tuple[S, S] | None:
        """Return the most frequent pair, and of equally frequent ones the smallest.

        Return None if no pair occurs `least` times.
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
        """Replace the pair by `merged` wherever it occurs, from left to right."""
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
