"""Check of words/clean."""

from collections.abc import Iterator
from types import ModuleType

from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.patches import Patch

EXERCISE = Exercise(
    minutes=8,
    level=1,
    lesson=7,
    hints=(
        "Ask for the spaces first: then a tab is dealt with before its category can drop it.",
        "The first letter of the category is enough for the second rule.",
        "Collect the characters in a list, a space for each kind of space, and join them.",
    ),
    forbidden={"clean_text": "write it here; the engine's function is what you are building"},
    mutants=(
        Mutant(
            "only Cc and Cf dropped",
            'category[0] != "C"',
            'category not in ("Cc", "Cf")',
            "edges",
            "characters for private use (Co) or not assigned (Cn) are dropped too.",
        ),
        Mutant(
            "tabs and line ends dropped",
            'char in "\\t\\n\\r" or category == "Zs"',
            'category == "Zs"',
            "values",
            "a tab has category Cc; it separates words, so it becomes a space.",
        ),
        Mutant(
            "other spaces kept as they are",
            'category == "Zs"',
            'char == " "',
            "values",
            "a no-break space separates words too: every character of category Zs becomes a space.",
        ),
        Mutant(
            "U+FFFD kept",
            'category[0] != "C" and char != "\\ufffd"',
            'category[0] != "C"',
            "values",
            "the replacement character has category So, so it needs a rule of its own.",
        ),
        Mutant(
            "format characters kept",
            'category[0] != "C"',
            'category != "Cc"',
            "values",
            "soft hyphens and zero-width spaces have category Cf; drop all categories with C.",
        ),
        Mutant(
            "a space for what is dropped",
            "kept.append(char)",
            'kept.append(char)\n        else:\n            kept.append(" ")',
            "values",
            "a soft hyphen is inside a word; with a space in its place, the word is split.",
        ),
        Mutant(
            "str.isspace instead of Zs",
            'category == "Zs"',
            "char.isspace()",
            "edges",
            "isspace is true for a vertical tab or U+2028 as well, which are not of category Zs.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Texts with one trap each, then all of them together."""
    clean_text = student.clean_text
    yield Case(clean_text, ("Naïve cafés: 5€, 東京 🙂!",), "Naïve cafés: 5€, 東京 🙂!")
    yield Case(clean_text, ("one\ttwo\nthree\r\nfour",), "one two three  four")
    yield Case(clean_text, ("5\u00a0kg\u2003of\u3000rice",), "5 kg of rice")
    yield Case(clean_text, ("no\x00 bell\x07",), "no bell")
    yield Case(clean_text, ("so\u00adft zero\u200bwidth\ufeff",), "soft zerowidth")
    yield Case(clean_text, ("a lone \ufffd",), "a lone ")
    yield Case(clean_text, ("",), "", stage="edges")
    yield Case(
        clean_text, ("private\ue000 or not assigned\u0378",), "private or not assigned", {}, "edges"
    )
    yield Case(
        clean_text,
        ("form\x0cfeed and line\u2028separator",),
        "formfeed and line\u2028separator",
        {},
        "edges",
    )


def plug(student: ModuleType) -> tuple[Patch, ...]:
    """Let BertTokenizer clean its texts with the learner's function."""
    return (Patch("tinybert.text.basic.clean_text", student.clean_text),)
