"""Check of words/longest."""

from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.patches import Patch

_NOTHING_FITS = 'if end == start:\n            return ["[UNK]"]'

EXERCISE = Exercise(
    minutes=15,
    level=2,
    lesson=8,
    hints=(
        "Two loops: the outer one moves a start through the word, the inner one an end, which "
        "begins at the end of the word and moves left.",
        'The tokens to look up are "##" and a part of the word, but without "##" at start 0.',
        "If the end has moved down to the start, nothing fits; else the end is the next start.",
    ),
    forbidden={
        "WordPiece": "write it here; it is what you are building",
        "BertTokenizer": "write it here; its last step is what you are building",
    },
    mutants=(
        Mutant(
            "the shortest token",
            "end = len(word)\n        while end > start and prefix + word[start:end] not in vocab:"
            "\n            end -= 1\n        if end == start:",
            "end = start + 1\n        while end <= len(word) and prefix + word[start:end] not in "
            "vocab:\n            end += 1\n        if end > len(word):",
            "values",
            "begin with the longest part of the word and make it shorter, not the other way round.",
        ),
        Mutant(
            "no ##",
            '"##" if start else ""',
            '""',
            "values",
            'inside of a word, tokens are looked up and written with "##" in front.',
        ),
        Mutant(
            "## in front of the first token too",
            '"##" if start else ""',
            '"##"',
            "values",
            'the first token of a word has no "##".',
        ),
        Mutant(
            "## only in the lookup",
            "tokens.append(prefix + word[start:end])",
            "tokens.append(word[start:end])",
            "values",
            'the "##" belongs to the token, not only to the lookup.',
        ),
        Mutant(
            "[UNK] for the rest only",
            _NOTHING_FITS,
            _NOTHING_FITS.replace('["[UNK]"]', '[*tokens, "[UNK]"]'),
            "values",
            "if one part fails, the whole word is one [UNK].",
        ),
        Mutant(
            "[UNK] for one character",
            _NOTHING_FITS,
            'if end == start:\n            tokens.append("[UNK]")\n            start += 1\n'
            "            continue",
            "values",
            "if one part fails, the whole word is one [UNK].",
        ),
        Mutant(
            "limit of 200 characters",
            "len(word) > 100",
            "len(word) > 200",
            "edges",
            "a word of more than 100 characters is [UNK]; only the first code of BERT had 200.",
        ),
        Mutant(
            "100 characters are too many",
            "len(word) > 100",
            "len(word) >= 100",
            "edges",
            "more than 100: a word of exactly 100 characters is cut as others are.",
        ),
        Mutant(
            "goes on where nothing fits",
            _NOTHING_FITS,
            "if end == start:\n            continue",
            "ends",
            "where nothing fits, the start stays the same, and so does the next turn of the loop.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Words and small vocabularies with one trap each."""
    wordpiece = student.wordpiece
    vocab = ("un", "##aff", "##able", "##a", "a", "able", "the")
    yield Case(wordpiece, ("the", vocab), ["the"])
    banana = ("ba", "##na", "##n", "##a")
    yield Case(wordpiece, ("banana", banana), ["ba", "##na", "##na"])
    yield Case(wordpiece, ("unable", vocab), ["un", "##able"])
    yield Case(wordpiece, ("unaffable", vocab), ["un", "##aff", "##able"])
    yield Case(wordpiece, ("able", vocab), ["able"])
    yield Case(wordpiece, ("unaffected", vocab), ["[UNK]"])
    yield Case(wordpiece, ("zoo", vocab), ["[UNK]"])
    greedy = ("a", "ab", "##bc", "##b")
    yield Case(wordpiece, ("abc", greedy), ["[UNK]"])
    yield Case(wordpiece, ("", vocab), [], stage="edges")
    yield Case(wordpiece, ("a" * 100, ("a", "##a")), ["a"] + ["##a"] * 99, stage="edges")
    yield Case(wordpiece, ("a" * 101, ("a", "##a")), ["[UNK]"], stage="edges")


def plug(student: ModuleType) -> tuple[Patch, ...]:
    """Let BertTokenizer cut its words with the learner's function."""

    # Not `segment`, whose results a tokenizer keeps for words that it has met before.
    def tokenize(self: Any, words: Iterable[str]) -> list[str]:
        return [token for word in words for token in student.wordpiece(word, self.vocab)]

    return (Patch("tinybert.text.wordpiece.WordPiece.tokenize", tokenize),)
