"""The pinned tables of characters: against the library, and against the Unicode standard."""

import random
import unicodedata
from itertools import product

import pytest
import tokenizers
from tokenizers.normalizers import BertNormalizer as Original

from tests.text import make_rust_unicode
from tinybert.text.bert_normalizer import BertNormalizer
from tinybert.text.rust_unicode import SURROGATES, decompose_hangul, rust_unicode

UNICODE = rust_unicode()


@pytest.mark.slow
def test_the_file_is_what_the_library_says():
    text = make_rust_unicode.as_text(make_rust_unicode.probe(), tokenizers.__version__)
    assert make_rust_unicode.TABLE.read_text(encoding="utf-8") == text


def test_tables_where_unicode_has_not_changed():
    """Up to U+02FF nothing is new, so that the library and Python agree."""
    for char in map(chr, range(0x300)):
        category = unicodedata.category(char)
        assert (char in UNICODE.removed) == (
            char not in "\t\n\r" and (category[0] == "C" or char == "\0")
        )
        if char not in "\x1c\x1d\x1e\x1f":  # separators that are whitespace to Python alone
            assert (char in UNICODE.whitespace) == char.isspace()
        sign = char.isascii() and char.isprintable() and not char.isalnum() and char != " "
        assert (char in UNICODE.punctuation) == (sign or category[0] == "P")
        assert UNICODE.lower.get(char, char) == char.lower()
        decomposed = unicodedata.normalize("NFD", char)
        kept = "".join(c for c in decomposed if unicodedata.category(c) != "Mn")
        assert UNICODE.without_accents(char) == kept


def test_known_differences_from_the_standard():
    assert "\U0002b81f" in UNICODE.chinese  # the last of Extension D
    assert "\U0002b820" not in UNICODE.chinese  # the slip: Extension E begins too late
    assert "\U0002b920" in UNICODE.chinese
    assert chr(SURROGATES[0]) in UNICODE.removed


def test_hangul():
    for index in range(11172):
        syllable = chr(0xAC00 + index)
        assert decompose_hangul(index) == unicodedata.normalize("NFD", syllable)
        assert UNICODE.without_accents(syllable) == decompose_hangul(index)


OPTIONS = [
    dict(
        zip(("lowercase", "strip_accents", "handle_chinese_chars", "clean_text"), row, strict=True)
    )
    for row in product((True, False), (None, True, False), (True, False), (True, False))
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: str([*options.values()]))
def test_normalize_against_the_library(options):
    """Any characters, and many combining ones, whose order decomposition may change."""
    ours, theirs = BertNormalizer(**options), Original(**options)
    rng = random.Random(3)
    combining = [*UNICODE.combining]
    special = "aé가中 A\ufa0e\u0f73\u0344\u0cc0\u302e\u302f\U0001d15e\U0001d160\U0001e029"
    for _ in range(600):
        planes = (range(0x3000), range(0xD800), range(0xE000, 0x110000))
        parts = rng.choices(combining, k=4) + rng.choices(special, k=2)
        parts += [chr(rng.choice(plane)) for plane in planes]
        rng.shuffle(parts)
        text = "".join(parts)
        normalized, origins = ours.normalize(text)
        assert normalized == theirs.normalize_str(text), ascii(text)
        assert len(origins) == len(normalized)
        assert origins == sorted(origins)


def test_origins_of_sorted_marks():
    """U+302E (class 224) sorts before U+1E000 (class 230): each gets the place it moves to."""
    assert BertNormalizer().normalize("a\U0001e000\u302eb") == ("a\u302e\U0001e000b", [0, 1, 2, 3])


def test_without_the_library_to_ask(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(ImportError, match="pip install"):
        make_rust_unicode.probe()
