"""Basic tokenization against transformers, for whole texts and for every character."""

import unicodedata

import pytest
from transformers.models.bert.tokenization_bert import BasicTokenizer as Original

from tests.tokenizers.oracle import random_texts
from tinybert.text import basic
from tinybert.text.basic import BasicTokenizer

OPTIONS = [
    {},
    {"do_lower_case": False},
    {"strip_accents": False},
    {"do_lower_case": False, "strip_accents": True},
    {"tokenize_chinese_chars": False, "never_split": ["[MASK]", "É", "don't", "ΟΔΟΣ"]},
    {"never_split": ["[MASK]", "É", "don't", *(f"[unused{i}]" for i in range(30))]},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: str(options)[:60])
def test_words_equal_transformers(options):
    ours, theirs = BasicTokenizer(**options), Original(**options)
    for text in random_texts(1500, seed=1):
        assert ours.tokenize(text) == theirs.tokenize(text), repr(text)


@pytest.mark.parametrize(
    ("first", "last"),
    [(0, 0x10000), pytest.param(0x10000, 0x110000, marks=pytest.mark.slow)],
    ids=["BMP", "other planes"],
)
@pytest.mark.parametrize("lower", [True, False])
def test_every_character_equals_transformers(first, last, lower):
    ours, theirs = BasicTokenizer(lower), Original(lower)
    for start in range(first, last, 0x1000):
        text = "\n".join(f"{c:x} a{chr(c)}b" for c in range(start, start + 0x1000))
        assert ours.tokenize(text) == theirs.tokenize(text)


def test_no_rule_looks_across_a_space():
    # The whole text is finished at once, which is right only if words do not touch one another.
    for options in OPTIONS[:4]:
        tokenizer = BasicTokenizer(**options)
        for text in random_texts(500, seed=2):
            whole = tokenizer.tokenize(text)
            words = tokenizer.space(basic.clean_text(text)).split()
            words = [w for word in words for w in tokenizer.simplify(word).split()]
            assert whole == [w for word in words for w in basic.space_punctuation(word).split()]


def test_tables_hold_the_rules():
    # The tables are filled in while texts are read; what is in them must be what the rules say.
    for code in range(0x3000):
        char = chr(code)
        category = unicodedata.category(char)
        dropped = category[0] == "C" and char not in "\t\n\r"
        space = category == "Zs" or char in "\t\n\r"
        assert basic.clean_text(char) == ("" if dropped else " " if space else char)
        spaced = f" {char} " if basic.is_punctuation(char) else char
        assert basic.space_punctuation(char) == spaced
    assert basic.clean_text("\x00a\ufffdb") == "ab"


def test_full_tables_still_answer(monkeypatch):
    monkeypatch.setattr(basic, "MAX_CACHED_CHARACTERS", 3)
    table = basic.CharTable(str.upper)
    assert "abcdef".translate(table) == "ABCDEF"
    assert len(table) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, Café!", ["hello", ",", "cafe", "!"]),
        ("zero\u200bwidth soft\u00adhyphen", ["zerowidth", "softhyphen"]),
        ("漢字かな々〇", ["漢", "字", "かな々〇"]),
        ("\U0002b84ax", ["\U0002b84a", "x"]),  # Extension E begins at U+2B820
        ("£5.00 = 5°C", ["£5", ".", "00", "=", "5°c"]),
        ("バ", ["ハ"]),
        ("İstanbul ﬁ ß", ["istanbul", "ﬁ", "ß"]),
    ],
)
def test_examples_of_the_rules(text, words):
    assert BasicTokenizer().tokenize(text) == words
