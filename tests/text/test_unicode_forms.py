"""Normal forms by segments, against the library and against the whole text at once."""

import itertools
import random
import unicodedata

import pytest
from tokenizers import normalizers

from tinybert.text.aligned_text import AlignedText
from tinybert.text.rust_unicode import rust_unicode
from tinybert.text.unicode_forms import FORMS, normal_form, unstable
from tinybert.tokenizer_json.fields import Fields
from tinybert.tokenizer_json.normalizers import NORMALIZERS

RUNS = rust_unicode().decomposable.runs
DECOMPOSABLE = [chr(i) for first, last in RUNS for i in range(first, last + 1)]
COMBINING = list(rust_unicode().combining)
PARTS = sorted({part for char in DECOMPOSABLE for part in unicodedata.normalize("NFKD", char)})
JAMO = [
    chr(i)
    for first, n in ((0x1100, 20), (0x1160, 24), (0x11A7, 30))
    for i in range(first, first + n)
]
SYLLABLES = [chr(0xAC00 + i) for i in range(0, 11172, 27)]
POOLS = (DECOMPOSABLE, COMBINING, COMBINING, PARTS, JAMO, SYLLABLES, "ab é文\n\U0001f600")


def check(form, text):
    """Characters and places are those that the whole text at once has."""
    spans = [(i + 5, i + 6) for i in range(len(text))]
    found, whole = AlignedText(text, spans, 3, 10**6), AlignedText(text, spans, 3, 10**6)
    NORMALIZERS[form](Fields({"type": form}, "normalizer"))(found)
    whole.transform(normal_form(text, form))
    assert (found.text, found.spans) == (whole.text, whole.spans), ascii(text)
    return found.text


@pytest.mark.parametrize("form", FORMS)
def test_any_characters(form):
    library = getattr(normalizers, form)()
    rng = random.Random(form)
    for _ in range(2500):
        text = "".join(rng.choice(rng.choice(POOLS)) for _ in range(rng.randrange(1, 9)))
        assert check(form, text) == library.normalize_str(text), ascii(text)


@pytest.mark.parametrize("form", FORMS)
def test_all_that_decomposes_and_what_it_is_made_of(form):
    """Alone; taken apart, with something between the parts or not; beside a mark."""
    for char in DECOMPOSABLE:
        for text in (char, *(unicodedata.normalize(f"NF{kind}D", char) for kind in ("", "K"))):
            check(form, "é" + text + "é")
            check(form, "é" + "b".join(text) + text + "\u0323")
    for first, second in itertools.product(JAMO, JAMO):
        check(form, first + second + "\u11a8é")


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_common_texts_have_nothing_unstable(form):
    for text in (
        "Würde, naïve",
        "Все люди",
        "Όλοι",
        "人人生而自由,",
        "すべてが",
        "모든 인간은",
        "🙂é",
    ):
        assert list(unstable(unicodedata.normalize("NFC", text), form)) == []
    assert list(unstable("aé\u0301b e\u0323", form)) == [(1, 3), (5, 7)]
