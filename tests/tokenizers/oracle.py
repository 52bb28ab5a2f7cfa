"""What the tests of the tokenizers share: vocabulary, random texts and calls, the originals."""

from __future__ import annotations

import functools
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from transformers import BertTokenizer as Original
from transformers import BertTokenizerFast as OriginalFast

from tinybert.tokenizers import BertTokenizer, BertTokenizerFast

transformers.logging.set_verbosity(transformers.logging.CRITICAL)  # it logs what it cannot do

VOCAB = Path(__file__).with_name("vocab.txt")

# The ways to build a tokenizer that change how text is cut.
SETTINGS: dict[str, dict[str, Any]] = {
    "uncased": {},
    "cased": {"do_lower_case": False},
    "uncased, accents kept": {"strip_accents": False},
    "uncased, accents stripped": {"strip_accents": True},
    "cased, accents stripped": {"do_lower_case": False, "strip_accents": True},
    "Chinese in words": {"tokenize_chinese_chars": False},
    "words never split": {"never_split": ["don't", "hello", "U.S.", "É"]},
    "no basic tokenization": {"do_basic_tokenize": False},
    "special tokens as text": {"split_special_tokens": True},
}

SNIPPETS = (
    # special tokens: as they are, in another case, damaged
    *(
        "[MASK]",
        "[SEP]",
        "[CLS]",
        "[UNK]",
        "[PAD]",
        "[mask]",
        "[Mask]",
        "[MASK",
        "MASK]",
        "[[SEP]]",
    ),
    # English, contractions, numbers
    *(
        "the",
        "The",
        "THE",
        "hello",
        "Hello",
        "don't",
        "U.S.",
        "unaffable",
        "running",
        "3.14",
        "##ing",
    ),
    # accents, composed and not; letters whose lower case is special
    *("é", "É", "e\u0301", "caf\u00e9", "cafe\u0301", "Å", "\u212b", "İ", "ı", "ß", "ẞ", "ﬁ", "ǅ"),
    *("Σ", "ΟΔΟΣ", "ΑΣ ", "Kantō lǜshi", "\u0301", "\u0345", "\u1e9b\u0323"),
    # other scripts: CJK inside and outside the ranges, kana, Hangul in two forms, Thai, Hebrew
    *(
        "中",
        "文字",
        "\u3007",
        "々",
        "\U00020000",
        "\U0002b84a",
        "\U00030000",
        "\ufa0e",
        "バ",
        "は\u3099",
    ),
    *("한글", "\u1112\u1161\u11ab", "ไทย", "שָׁלוֹם", "हिन्दी", "العربية"),
    # emoji, joined and coloured
    *("🙂", "💩💩", "👩\u200d👩\u200d👧", "👍🏽", "❤\ufe0f"),
    # whitespace of every kind, and what only looks like it
    *(" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u2003", "\u3000", "\u1680", "\u2028", "\u2029"),
    *("\x0b", "\x0c", "\x1c", "\x85", "\u200b", "\ufeff", "\u180e"),
    # controls, replacement, private use, unassigned, noncharacters, soft hyphen, direction marks
    *("\x00", "\x7f", "\ufffd", "\ue000", "\U000e0001", "\uffff", "\u0378", "\u00ad", "\u202e"),
    # punctuation, and signs that are none
    *("'", "`", "$", "+<^|~>", "…", "—", "«", "¿", "°", "™", "€", "、", "。", "…"),
    # long words
    *("x" * 99, "x" * 100, "x" * 101, "a" * 250),
)


def random_text(rng: random.Random) -> str:
    """A text of snippets, characters that the vocabulary knows, and any characters at all."""
    parts = []
    for _ in range(rng.randrange(1, 16)):
        kind = rng.random()
        if kind < 0.45:
            parts.append(rng.choice(SNIPPETS))
        elif kind < 0.6:
            parts.append("".join(rng.choices(known_characters(), k=rng.randrange(1, 6))))
        elif kind < 0.75:
            parts.append(rng.choice(known_words()))
        elif kind < 0.9:
            parts.append("".join(chr(rng.randrange(32, 0x3000)) for _ in range(4)))
        else:
            parts.append(chr(rng.choice((rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)))))
        if rng.random() < 0.4:
            parts.append(" ")
    return "".join(parts)


def random_texts(count: int, seed: int = 0) -> list[str]:
    """`count` random texts, the same for the same seed."""
    rng = random.Random(seed)
    return [random_text(rng) for _ in range(count)]


@functools.cache
def known_words() -> list[str]:
    """The words of the vocabulary."""
    tokens = VOCAB.read_text(encoding="utf-8").split("\n")
    return [token for token in tokens if token.isalpha() and len(token) > 1]


@functools.cache
def known_characters() -> list[str]:
    """The characters that the vocabulary holds alone."""
    return [token for token in VOCAB.read_text(encoding="utf-8").split("\n") if len(token) == 1]


def both(vocab: Path = VOCAB, **options: Any) -> tuple[Original, BertTokenizer]:
    """The tokenizer of transformers and ours, from the same vocabulary and options."""
    return Original(str(vocab), **options), BertTokenizer(vocab, **options)


def both_fast(vocab: Path = VOCAB, **options: Any) -> tuple[OriginalFast, BertTokenizerFast]:
    """The same for the fast classes."""
    return OriginalFast(str(vocab), **options), BertTokenizerFast(vocab, **options)


# Calls ------------------------------------------------------------------------------------


def call(tokenizer, arguments):
    """The result of a call as a dict, or the error it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that max_length is ignored
        try:
            return dict(tokenizer(**arguments))
        except (ValueError, TypeError) as error:
            return error


def same(ours, theirs):
    """Equal keys, in the same order, and equal values of the same types."""
    return list(ours) == list(theirs) and all(
        np.array_equal(ours[key], value) and ours[key].dtype == value.dtype
        if isinstance(value, np.ndarray)
        else ours[key] == value
        for key, value in theirs.items()
    )
