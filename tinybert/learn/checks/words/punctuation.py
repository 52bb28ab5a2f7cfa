"""Check of words/punctuation."""

from collections.abc import Iterator
from types import ModuleType

from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.patches import Patch

EXERCISE = Exercise(
    minutes=10,
    level=2,
    lesson=7,
    hints=(
        "Begin with a list that has one empty word, and add letters to the last word of the list.",
        "After a sign, a new word begins: append the sign, and an empty word after it.",
        "Drop the empty words at the end, all at once.",
    ),
    forbidden={
        "space_punctuation": "write it here; it is what you are building",
        "BasicTokenizer": "write it here; its last step is what you are building",
    },
    mutants=(
        Mutant(
            "categories only",
            'char in ASCII_SIGNS or unicodedata.category(char)[0] == "P"',
            'unicodedata.category(char)[0] == "P"',
            "values",
            "Unicode calls $ and + symbols (S*); BERT splits off every sign of ASCII.",
        ),
        Mutant(
            "all symbols split off",
            'unicodedata.category(char)[0] == "P"',
            'unicodedata.category(char)[0] in "PS"',
            "values",
            "€ and ° are symbols outside of ASCII, and stay in their word.",
        ),
        Mutant(
            "ASCII only",
            'char in ASCII_SIGNS or unicodedata.category(char)[0] == "P"',
            "char in ASCII_SIGNS",
            "values",
            "other languages have punctuation of their own, as « and 。: ask for the category too.",
        ),
        Mutant(
            "sign joined to the next word",
            'words += [char, ""]',
            "words.append(char)",
            "values",
            "a sign is a word alone: what follows begins a new word.",
        ),
        Mutant(
            "sign joined to the word before",
            'words += [char, ""]',
            'words[-1] += char\n            words.append("")',
            "values",
            "a sign is a word alone: the word before it ends.",
        ),
        Mutant(
            "signs dropped",
            'words += [char, ""]',
            'words.append("")',
            "values",
            "signs do not only separate words; they are words.",
        ),
        Mutant(
            "empty words",
            "[word for word in words if word]",
            "words",
            "values",
            "between a sign and a space there is no word; drop the empty ones.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Texts with one trap each."""
    split_words = student.split_words
    yield Case(split_words, ("the cat",), ["the", "cat"])
    yield Case(split_words, ("it isn't.",), ["it", "isn", "'", "t", "."])
    yield Case(split_words, ("5$ a+b",), ["5", "$", "a", "+", "b"])
    yield Case(split_words, ("5€ at 20°",), ["5€", "at", "20°"])
    yield Case(split_words, ("«¡no!»",), ["«", "¡", "no", "!", "»"])
    yield Case(split_words, ("snake_case",), ["snake", "_", "case"])
    yield Case(split_words, ("wait... what?!",), ["wait", ".", ".", ".", "what", "?", "!"])
    yield Case(split_words, ("  two  spaces ",), ["two", "spaces"], stage="edges")
    yield Case(split_words, ("-",), ["-"], stage="edges")
    yield Case(split_words, ("",), [], stage="edges")


def plug(student: ModuleType) -> tuple[Patch, ...]:
    """Let BertTokenizer split its texts with the learner's function."""

    def space_punctuation(text: str) -> str:
        return " ".join(student.split_words(text))

    return (Patch("tinybert.text.basic.space_punctuation", space_punctuation),)
