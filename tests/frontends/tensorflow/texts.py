"""The texts and calls on which TFBertTokenizer is compared with TensorFlow.

`make_tokenizer_golden.py` runs them with TensorFlow, `test_tokenizer.py` with tinybert. A call gets
`tokenizer(lower, fast=True, **options)`.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

LETTERS = (
    "abcdefghijklmnopqrstuvwxyzABCIß0123456789éàæøœсимαβγσςωабвأ日本語漢한국어1ᄒ\u1161\u11ab्कि"
)
_TOKENS = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##s", "##sat", "hel", "##lo"),
    *("ss", "##ss", "ae", "##fi", "fi", "un", "##aff", "##able", "...", "café", "cafe", "##é"),
    *(sign for sign in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~«»—…¿。、「」“”"),
    *LETTERS,
    *(f"##{letter}" for letter in LETTERS),
]
VOCABULARY = list(dict.fromkeys(_TOKENS))
KINDS = [(True, True), (False, True), (True, False), (False, False)]  # lower, fast
BLOCK = 256

SENTENCES = [
    "Hello, the cats sat! unaffable (cafe) café CAFÉ cafe\u0301",
    "",
    "   \t\n ",
    "STRASSE Straße ẞ ﬁ ﬀ ﬃ ½ ① ㎏ ａｂｃ Ａ１ ｶﾞ",
    "İstanbul ısıI ΑΣ ς σΣς Ωω Æøœ ǅ ŉ",
    "a\u00adb soft\u200dhyphen zero\u200bwidth \ufeffbom a\u2060b a\u061cb a\u0600b",
    "a\x00b a\x01b a\x7fb a\x85b a\u00a0b a\u1680b a\u2003b a\u2028b a\u2029b a\u3000b",
    "日本語 漢字a한국어b \u1112\u1161\u11ab 각 \ufa6eb a\U0002f800b a\U00020000b",
    "«quoted» “curly” — dash… wait... ¿que? 。、「」 a\u061db a\u2e52b",
    "e\u0301\u0323 e\u0323\u0301 q\u0307\u0323 \u0915\u094d\u0937\u093f \u0627\u0654",
    "[CLS] [MASK] [unused1] ##s a##b [SEP]",
    "\ufffd a\ufffdb a\ue000b a\U000e0001b \U0001f600 a\U0001f468\u200d\U0001f469b",
    "Ꭰ ꭰ ᏸ Ɡ \u2c2f \ua7c0 \u0345 ᾳ ᾼ ΐ ﷺ ﬅ",
    "\u1fbf0 \U0001fbf0 \U00010570 \U00011938 \u0ece \u17b4a\u115fb\u3164c",
    "#hash @user a_b c++ $5 5€ 50% x^2 `code` ~a |b|",
    "é" * 50 + " " + "é" * 51,
    "a" * 100 + " " + "a" * 101,
    "é" * 33 + "日" + "é" * 50,
    "ss" * 50 + "ß" * 50 + " " + "ß" * 51,
    "\u0301 \u0301a a\u0301\u0301 \u20dd",
]
BYTES = [
    b"caf\xc3\xa9",
    b"a\xffb",
    b"\xe3\x81 cat",
    b"a\xf0\x9f\x98b",
    b"\xed\xa0\x80a",
    b"a\xc0\x80b",
]


def code_points(step: int = 1) -> list[int]:
    """Return all code points but the surrogates."""
    return [code for code in range(0, 0x110000, step) if not 0xD800 <= code <= 0xDFFF]


def between(codes: Sequence[int]) -> list[str]:
    return [f"a{chr(code)}b" for code in codes]


def checksums(results: Sequence[str]) -> np.ndarray:
    """Return a checksum of the results of each block of code points."""
    blocks = (results[start : start + BLOCK] for start in range(0, len(results), BLOCK))
    return np.array([zlib.crc32("\n".join(block).encode()) for block in blocks], np.uint32)


Call = Callable[[Callable[..., Any]], dict[str, Any]]
CALLS: dict[str, Call] = {}


def call(name: str, *args: Any, made: dict[str, Any] | None = None, **options: Any) -> None:
    made = {"lower": True, **(made or {})}
    CALLS[name] = lambda tokenizer: tokenizer(**made)(*args, **options)


for _lower, _fast in KINDS:
    _made = {"lower": _lower, "fast": _fast}
    call(f"sentences {_lower} {_fast}", SENTENCES, made=_made)
    call(f"bytes {_lower} {_fast}", np.array(BYTES, object), made=_made)
PAIRS = [["the cat", "a b c"], ["", "hel"], ["a", ""]]
FIRST, SECOND = [first for first, _ in PAIRS], [second for _, second in PAIRS]
call("one", ["the cat"])
call("one text of the classic layer", "the cat", made={"fast": False})
call("rows of pairs", PAIRS)
call("pairs", FIRST, SECOND)
call("cut", ["a b c d e f", "a"], max_length=5)
call("not cut", ["a b c d e f", "a"], max_length=5, truncation=False)
call("padded", ["a b c", "a"], padding="max_length", max_length=7)
call("padded and cut", ["a b c d e f", "a"], padding="max_length", max_length=5, truncation=False)
call("multiple", ["a b c d e f", "a"], pad_to_multiple_of=5)
call("multiple of the constructor", ["a b c", "a"], made={"pad_to_multiple_of": 4})
call("ignored multiple", ["a", "b c"], padding="max_length", max_length=7, pad_to_multiple_of=4)
call("ids alone", ["a b"], return_token_type_ids=False, return_attention_mask=False)
call("ids alone, constructor", ["a b"], made={"return_token_type_ids": False})
call("other ids", ["a b c", "a"], made={"cls_token_id": 0, "sep_token_id": 9, "pad_token_id": 3})
call("length of the constructor", ["a b c d", "a"], made={"max_length": 4})
call("pairs padded", FIRST, SECOND, padding="max_length", made={"max_length": 6})
call("rows of pairs, longer", PAIRS, padding="max_length", max_length=12, made={"max_length": 6})
call("options", ["cats unaffable"], made={"max_bytes_per_word": 4, "unknown_token": "[MASK]"})


def _trimmed(budget: int) -> Call:
    def run(tokenizer: Callable[..., Any]) -> dict[str, Any]:
        """Return the types of all pairs of 0 to 8 words: they show how many are left of each."""
        lengths = list(itertools.product(range(9), repeat=2))
        first, second = (["a " * pair[i] for pair in lengths] for i in (0, 1))
        output = tokenizer(True, max_length=budget + 3, padding="max_length")(first, second)
        return {name: np.asarray(value, np.int8) for name, value in output.items()}

    return run


for _budget in range(12):
    CALLS[f"trimmed to {_budget}"] = _trimmed(_budget)
