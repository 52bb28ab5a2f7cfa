"""Check of words/accents."""

from collections.abc import Iterator
from types import ModuleType

from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.patches import Patch

EXERCISE = Exercise(
    minutes=6,
    level=1,
    lesson=7,
    hints=(
        "After NFD an accent is a character of its own, which a loop can leave out.",
        "Two function calls make the first two steps; the third is a join over a filtered text.",
        "Compare the whole category with Mn, not its first letter alone.",
    ),
    forbidden={
        "strip_accents": "write it here; it is half of what you are building",
        "BasicTokenizer": "write it here; its method simplify is what you are building",
    },
    mutants=(
        Mutant(
            "composed again",
            '"".join(char for char in decomposed if unicodedata.category(char) != "Mn")',
            'unicodedata.normalize("NFC", "".join(char for char in decomposed '
            'if unicodedata.category(char) != "Mn"))',
            "edges",
            "the result stays in NFD: the vocabulary of BERT has the letters of Korean one by one.",
        ),
        Mutant(
            "case kept",
            "text.lower()",
            "text",
            "values",
            "an uncased vocabulary has no capitals: begin with lower case.",
        ),
        Mutant(
            "not decomposed",
            'unicodedata.normalize("NFD", text.lower())',
            "text.lower()",
            "values",
            "é is one character until NFD takes it apart; before that there is no mark to drop.",
        ),
        Mutant(
            "NFC",
            '"NFD"',
            '"NFC"',
            "values",
            "NFC composes e and its mark to é, so no mark is left to drop; use NFD.",
        ),
        Mutant(
            "NFKD",
            '"NFD"',
            '"NFKD"',
            "values",
            "NFKD also turns ² into 2 and the ligature ﬁ into fi; use NFD.",
        ),
        Mutant(
            "ASCII only",
            'char for char in decomposed if unicodedata.category(char) != "Mn"',
            "char for char in decomposed if char.isascii()",
            "values",
            "letters of other alphabets are not accents; drop the marks only.",
        ),
        Mutant(
            "casefold",
            "text.lower()",
            "text.casefold()",
            "values",
            "casefold turns ß into ss; lower keeps it.",
        ),
        Mutant(
            "all marks dropped",
            'unicodedata.category(char) != "Mn"',
            'unicodedata.category(char)[0] != "M"',
            "edges",
            "marks of category Mc, as the vowel signs of Hindi, stay.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Words with one trap each."""
    simplify = student.simplify
    yield Case(simplify, ("The Cat",), "the cat")
    yield Case(simplify, ("e\u0301galite\u0301",), "egalite")
    yield Case(simplify, ("Él, naïve Åse",), "el, naive ase")
    yield Case(simplify, ("5 m², ﬁre",), "5 m², ﬁre")
    yield Case(simplify, ("Straße",), "straße")
    yield Case(simplify, ("ŁÓDŹ 東京 Ж",), "łodz 東京 ж")
    yield Case(simplify, ("İstanbul, Việt",), "istanbul, viet", stage="edges")
    yield Case(simplify, ("हिन्दी",), "हिनदी", stage="edges")
    yield Case(
        simplify,
        ("한",),
        "\u1112\u1161\u11ab",
        stage="edges",
        what="simplify(text='한'): NFD makes three letters of this syllable, U+1112 U+1161 U+11AB",
    )
    yield Case(simplify, ("",), "", stage="edges")


def plug(student: ModuleType) -> tuple[Patch, ...]:
    """Let BertTokenizer simplify its texts with the learner's function."""

    def simplify(tokenizer: object, text: str) -> str:
        return student.simplify(text)

    return (Patch("tinybert.text.basic.BasicTokenizer.simplify", simplify),)
