"""Check of words/learn."""

from collections.abc import Iterator
from types import ModuleType

from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.tokenizers import train_wordpiece

_CHOICE = "min(pairs, key=lambda pair: (-pairs[pair], pair))"

EXERCISE = Exercise(
    minutes=25,
    level=3,
    lesson=9,
    hints=(
        "pairwise(symbols) yields the pairs of one word. Add the count of the word for each.",
        "A key of two parts decides ties: the count with a minus sign, then the pair itself; min "
        "takes the smallest.",
        "A slice of two symbols can be replaced by a list of one; the list is shorter then, and an "
        "index that goes on from left to right cannot use a symbol twice.",
    ),
    forbidden={
        "train_wordpiece": "write it here; it is what you are building",
        "PairCounts": "write it here; counting pairs is what you are building",
    },
    mutants=(
        Mutant(
            "each word counted once",
            "pairs[pair] += counts[word]",
            "pairs[pair] += 1",
            "values",
            "a pair counts as often as its word occurs in the texts.",
        ),
        Mutant(
            "each pair once a word",
            "for pair in pairwise(symbols):",
            "for pair in set(pairwise(symbols)):",
            "values",
            "a pair that a word has twice counts twice.",
        ),
        Mutant(
            "the largest of equally frequent pairs",
            _CHOICE,
            "max(pairs, key=lambda pair: (pairs[pair], pair))",
            "values",
            "max of (count, pair) takes the largest pair; use min with a negative count.",
        ),
        Mutant(
            "the first of equally frequent pairs",
            _CHOICE,
            "max(pairs, key=lambda pair: pairs[pair])",
            "values",
            "then the order of the words decides; of equally frequent pairs take the smallest.",
        ),
        Mutant(
            "## inside of a token",
            'best[1].removeprefix("##")',
            "best[1]",
            "values",
            'the second part loses its "##": ##u and ##g become ##ug.',
        ),
        Mutant(
            "## lost",
            'best[0] + best[1].removeprefix("##")',
            '(best[0] + best[1]).replace("##", "")',
            "values",
            'a token inside of a word keeps the "##" of its first part.',
        ),
        Mutant(
            "replaced once a word",
            "symbols[i : i + 2] = [token]",
            "symbols[i : i + 2] = [token]\n                    break",
            "values",
            "a word can have the pair several times; all of them become the token.",
        ),
        Mutant(
            "pairs that occur once left out",
            "if not pairs:",
            "if max(pairs.values(), default=0) < 2:",
            "edges",
            "learning ends when no pair is left, not when none occurs twice.",
        ),
        Mutant(
            "no end",
            "if not pairs:\n            break\n        ",
            "",
            "edges",
            "when every word is one token there is no pair to choose: leave the loop.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the engine's trainer, which counts only what a merge has changed."""
    learn = student.learn
    yield Case(learn, ({"hug": 10, "hugs": 5, "pug": 5}, 3), ["##ug", "hug", "hugs"])
    counts = {"newest": 6, "low": 5, "widest": 3, "lower": 2}
    for merges in (1, 9):
        yield Case(learn, (counts, merges), _learnt(counts, merges))
    for counts in ({"banana": 3, "bandana": 2, "cabana": 1}, {"zaba": 2, "abc": 4, "babab": 1}):
        yield Case(learn, (counts, 5), _learnt(counts, 5))
    yield Case(learn, ({"hug": 2}, 0), [], stage="edges")
    yield Case(learn, ({"hug": 1, "a": 3}, 5), ["##ug", "hug"], stage="edges")
    yield Case(learn, ({}, 2), [], stage="edges")


def _learnt(counts: dict[str, int], merges: int) -> list[str]:
    """The tokens of the engine's vocabulary that are longer than one character."""
    texts = [word for word, count in counts.items() for _ in range(count)]
    characters = {char for word in counts for char in word}
    size = 2 * len(characters) + merges  # each has a token with "##" and one without
    return train_wordpiece(texts, size, min_frequency=1, special_tokens=())[-merges:]
