"""Check of bytes/merge."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.text.bpe import BPE

_CHOICE = "min(pairwise(symbols), key=lambda pair: ranks.get(pair, len(ranks)), default=None)"
_KNOWN = "[pair for pair in pairwise(symbols) if pair in ranks]"
_LOOP = """for symbol in symbols:
            if merged and (merged[-1], symbol) == best:
                merged[-1] += symbol
            else:
                merged.append(symbol)
        symbols = merged"""

EXERCISE = Exercise(
    minutes=20,
    level=3,
    lesson=12,
    hints=(
        "pairwise(symbols) yields the neighbours; a pair without a rank can get one that is higher "
        "than all others.",
        "min takes a key, and a default for a word of one symbol.",
        "Build the new list symbol by symbol: if the last one in it and the next are the pair, "
        "join them, else append. A loop ends when the best pair has no rank.",
    ),
    forbidden={
        "BPE": "write it here; it is what you are building",
        "MegaTokenizer": "write it here; its merges are what you are building",
    },
    mutants=(
        Mutant(
            "the leftmost pair first",
            _CHOICE,
            f"next(iter({_KNOWN}), None)",
            "values",
            "not the leftmost pair is merged first, but the one that was learnt first.",
        ),
        Mutant(
            "the longest token first",
            _CHOICE,
            f"max({_KNOWN}, key=lambda pair: len(pair[0] + pair[1]), default=None)",
            "values",
            "WordPiece looks for the longest token; byte pairs are merged by rank.",
        ),
        Mutant(
            "the most frequent pair of the word",
            _CHOICE,
            f"max({_KNOWN}, key=lambda pair: ([*pairwise(symbols)].count(pair), -ranks[pair]), "
            "default=None)",
            "values",
            "counts decide in learning only; here the rank does.",
        ),
        Mutant(
            "the last learnt first",
            _CHOICE,
            f"max({_KNOWN}, key=lambda pair: ranks[pair], default=None)",
            "values",
            "the lowest rank was learnt first, and comes first.",
        ),
        Mutant(
            "each rank once",
            f"while True:\n        best = {_CHOICE}",
            "last = -1\n    while True:\n        "
            f"later = [p for p in {_KNOWN} if ranks[p] > last]\n"
            "        best = min(later, key=lambda pair: ranks[pair], default=None)\n"
            "        last = ranks.get(best, last)",
            "values",
            "a merge can give a symbol whose pair has a lower rank: look at all ranks each time.",
        ),
        Mutant(
            "one merge only",
            "symbols = merged",
            "return merged",
            "values",
            "a merged symbol can be part of a further pair: repeat until none has a rank.",
        ),
        Mutant(
            "the right symbol kept",
            "merged[-1] += symbol",
            "merged[-1] += symbol\n                merged.append(symbol)",
            "values",
            "the pair becomes one symbol: its right half is not a symbol of its own any more.",
        ),
        Mutant(
            "from right to left",
            _LOOP,
            _LOOP.replace("in symbols", "in symbols[::-1]")
            .replace("(merged[-1], symbol)", "(symbol, merged[-1])")
            .replace("merged[-1] += symbol", "merged[-1] = symbol + merged[-1]")
            .replace("symbols = merged", "symbols = merged[::-1]"),
            "values",
            "of a a a, the first two are merged: go from left to right.",
        ),
        Mutant(
            "caller's list changed",
            "symbols = merged",
            "symbols[:] = merged",
            "unchanged",
            "the caller still needs the symbols as they were; build a new list.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Small tables with one trap each, then random ones, compared with the engine."""
    merge = student.merge
    lower = {("e", "r"): 0, ("l", "o"): 1, ("lo", "w"): 2}
    yield Case(merge, (list("lower"), lower), ["low", "er"])
    yield Case(merge, (list("abc"), {("a", "b"): 0, ("b", "c"): 1}), ["ab", "c"])
    yield Case(merge, (["a", "b", "cd"], {("a", "b"): 0, ("b", "cd"): 1}), ["ab", "cd"])
    yield Case(merge, (list("cabab"), {("c", "a"): 0, ("a", "b"): 1}), ["ca", "b", "ab"])
    yield Case(merge, (list("abc"), {("b", "c"): 0, ("a", "b"): 1}), ["a", "bc"])
    there = {("h", "e"): 0, ("t", "h"): 1, ("th", "e"): 2, ("he", "r"): 3}
    yield Case(merge, (list("there"), there), ["t", "her", "e"])
    yield Case(merge, (list("aaaaa"), {("a", "a"): 0}), ["aa", "aa", "a"])
    twice = {("b", "c"): 0, ("a", "b"): 1, ("ab", "c"): 2, ("abc", "d"): 3, ("a", "bc"): 4}
    yield Case(merge, (list("abcd"), twice), ["abcd"])
    rng = np.random.default_rng(0)
    for _ in range(6):
        ranks = _random_ranks(rng)
        word = [str(symbol) for symbol in rng.choice(list("abc"), 12)]
        yield Case(merge, (word, ranks), _merged(word, ranks))
    yield Case(merge, (["a"], lower), ["a"], stage="edges")
    yield Case(merge, ([], lower), [], stage="edges")
    yield Case(merge, (list("xyz"), lower), ["x", "y", "z"], stage="edges")


def _random_ranks(rng: np.random.Generator) -> dict[tuple[str, str], int]:
    """Eight merges over a, b, c, as learning could have left them."""
    symbols = list("abc")
    ranks: dict[tuple[str, str], int] = {}
    while len(ranks) < 8:
        left, right = (str(symbol) for symbol in rng.choice(symbols, 2))
        if left + right not in symbols:
            ranks[left, right] = len(ranks)
            symbols.append(left + right)
    return ranks


def _merged(word: list[str], ranks: dict[tuple[str, str], int]) -> list[str]:
    tokens = [*"abc", *(left + right for left, right in ranks)]
    model = BPE({token: i for i, token in enumerate(tokens)}, ranks)
    return [token.text for token in model.tokenize("".join(word))]
