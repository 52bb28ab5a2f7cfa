"""Check of bytes/alphabet."""

from collections.abc import Iterator
from types import ModuleType

from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.text.byte_level import BYTE_TO_CHAR, to_alphabet

EXERCISE = Exercise(
    minutes=8,
    level=2,
    lesson=11,
    hints=(
        "range(a, b) ends before b: to include 0x7E, the second number is 0x7E + 1.",
        "Put the visible bytes into one set; then a single loop over 256 bytes keeps the order.",
        "The number of a moved character is 256 plus how many were moved before it, not 256 plus "
        "the byte.",
    ),
    forbidden={
        "BYTE_TO_CHAR": "write it here; it is what you are building",
        "to_alphabet": "write it here; it is what you are building",
        "bytes_to_unicode": "write it here; it is what you are building",
    },
    mutants=(
        Mutant(
            "the space stays",
            "range(0x21, 0x7E + 1)",
            "range(0x20, 0x7E + 1)",
            "values",
            "a space cannot be seen, and separates tokens in a file: the visible bytes begin at "
            "0x21.",
        ),
        Mutant(
            "~ left out",
            "range(0x21, 0x7E + 1)",
            "range(0x21, 0x7E)",
            "values",
            "range ends before its second number, so 0x7E, ~, is missing; add 1.",
        ),
        Mutant(
            "the soft hyphen stays",
            "range(0xA1, 0xAC + 1)",
            "range(0xA1, 0xAD + 1)",
            "values",
            "0xAD is the soft hyphen, which cannot be seen: it is moved.",
        ),
        Mutant(
            "256 + byte",
            "chr(256 + moved)",
            "chr(256 + byte)",
            "values",
            "the moved characters are numbered without gaps: count them.",
        ),
        Mutant(
            "visible characters counted too",
            "            characters.append(chr(byte))",
            "            characters.append(chr(byte))\n            moved += 1",
            "values",
            "the moved characters are numbered without gaps: count only these.",
            same_as="256 + byte",
        ),
        Mutant(
            "invisible characters kept",
            "chr(256 + moved)",
            "chr(byte)",
            "values",
            "control characters and spaces are what the alphabet avoids: move them up.",
        ),
        Mutant(
            "moved characters at the end",
            "return characters",
            "return sorted(characters)",
            "values",
            "the list is ordered by byte: the character of byte b has the index b.",
        ),
        Mutant(
            "numbers that collide",
            "chr(256 + moved)",
            "chr(0xBB + moved)",
            "values",
            "0xBB to 0xFF are visible themselves; two bytes must not share a character: start at "
            "256.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Words in the alphabet first, then all of it."""
    for text in ("a~b", "a b\n", "so\xadft", "café", "東京", "\x7f"):
        yield Case(student.spell, (text,), to_alphabet(text))
    yield Case(student.alphabet, (), list(BYTE_TO_CHAR))
