"""Check of bytes/offsets."""

from collections.abc import Iterator
from types import ModuleType

from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.text.aligned_text import char_spans

_OWNER = '[i for i, char in enumerate(text) for _ in char.encode("utf-8")]'
_SPAN = "(owner[byte], owner[byte + size - 1] + 1)"

EXERCISE = Exercise(
    minutes=12,
    level=2,
    lesson=13,
    hints=(
        'char.encode("utf-8") gives the bytes of one character; how often should its index be in a '
        "list that has an entry for each byte?",
        "The last byte of a token is its first byte plus its size minus 1.",
        "Look up the characters of the first and the last byte; end is exclusive.",
    ),
    forbidden={
        "char_spans": "write it here; it is what you are building",
        "MegaTokenizer": "write it here; its offsets are what you are building",
    },
    mutants=(
        Mutant(
            "bytes instead of characters",
            _SPAN,
            "(byte, byte + size)",
            "values",
            "é has two bytes, but it is one character of the text.",
        ),
        Mutant(
            "end inclusive",
            "owner[byte + size - 1] + 1",
            "owner[byte + size - 1]",
            "values",
            "text[start:end] does not include end: add 1 to the index of the last character.",
        ),
        Mutant(
            "an emoji counts two",
            _OWNER,
            '[len(text[:i].encode("utf-16-le")) // 2 for i, char in enumerate(text) for _ in '
            'char.encode("utf-8")]',
            "values",
            "in UTF-16, as in JavaScript, an emoji has the length 2; in Python it is 1 character.",
        ),
        Mutant(
            "end before the next token's character",
            "owner[byte + size - 1] + 1",
            "[*owner, len(text)][byte + size]",
            "values",
            "a token that ends inside of a character gets all of it, though the next one begins "
            "there too.",
        ),
        Mutant(
            "start after a character that was begun",
            "(owner[byte],",
            "(owner[byte] + (byte > 0 and owner[byte - 1] == owner[byte]),",
            "values",
            "a token that begins inside of a character gets all of it, as the one before does.",
        ),
        Mutant(
            "space left out",
            "(owner[byte],",
            '(owner[byte] + (text[owner[byte]] == " "),',
            "values",
            "the space before a word belongs to its token here.",
        ),
        Mutant(
            "characters cut by size",
            _SPAN,
            "(owner[byte], owner[byte] + size)",
            "values",
            "size counts bytes; look up the character of the last byte instead.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Texts whose characters have one to four bytes."""
    offsets = student.offsets
    yield Case(offsets, ("ab cd", [1, 2, 2]), [(0, 1), (1, 3), (3, 5)])
    yield Case(offsets, ("né so", [2, 1, 2, 1]), [(0, 2), (1, 2), (2, 4), (4, 5)])
    yield Case(offsets, ("a東京", [2, 2, 3]), [(0, 2), (1, 2), (2, 3)])
    for text, sizes in (
        ("é東", [2, 3]),
        ("a🙂b🙂!", [1, 4, 1, 2, 3]),
        ("Él gana 5€, 東京 🙂", [1, 1, 2, 5, 1, 2, 1, 1, 4, 3, 2, 3]),
    ):
        yield Case(offsets, (text, sizes), [tuple(span) for span in char_spans(text, sizes)])
    yield Case(offsets, ("🙂", [1, 1, 1, 1]), [(0, 1)] * 4, stage="edges")
    yield Case(offsets, ("e\u0301", [1, 2]), [(0, 1), (1, 2)], stage="edges")
    yield Case(offsets, ("", []), [], stage="edges")
