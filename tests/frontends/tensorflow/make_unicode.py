"""Make `tinybert/frontends/tensorflow/unicode.txt`: the tables of tensorflow-text 2.15.

    pip install tensorflow-cpu==2.15.1 tensorflow-text==2.15.0
    python -m tests.frontends.tensorflow.make_unicode

Its layers have tables of three versions of Unicode. What they do with each character is observed
here; only the version of the case folding, 12.1, is known, and Perl says which characters it has.
"""

from __future__ import annotations

import os
import subprocess
import textwrap
from collections.abc import Iterable
from pathlib import Path

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "TF_USE_LEGACY_KERAS": "1"}

import tensorflow as tf
import tensorflow_text as text

TABLES = Path(__file__).parents[3] / "tinybert" / "frontends" / "tensorflow" / "unicode.txt"
CODES = [code for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF]
VOCABULARY = ["[UNK]", "a", "##a", "b", "##b"]
PERL = r'for (0..0x10FFFF) { print "$_\n" if chr($_) =~ /\p{Present_In: 12.1}/ }'
HEADER = """\
# What tensorflow-text 2.15.0 does with each character; made by make_unicode.py, do not edit.
# Runs of code points, in hexadecimal. Their meaning is explained in unicode.py.
"""


def runs(codes: Iterable[int]) -> str:
    found: list[list[int]] = []
    for code in codes:
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    spans = (f"{first:x}-{last:x}" if last > first else f"{first:x}" for first, last in found)
    return textwrap.fill(" ".join(spans), 99, break_on_hyphens=False)


def pieces(cut: text.Tokenizer) -> list[int]:
    """Return the number of pieces of "a" + c + "b" for each character c, or 0 for [UNK]."""
    rows = cut.tokenize(tf.constant([f"a{chr(code)}b" for code in CODES]))
    return [len(row) if row[0] else 0 for row in rows.merge_dims(1, -1).to_list()]


def main() -> None:
    ids = tf.range(len(VOCABULARY), dtype=tf.int64)
    initializer = tf.lookup.KeyValueTensorInitializer(VOCABULARY, ids)
    table = tf.lookup.StaticVocabularyTable(initializer, num_oov_buckets=1)
    fast = pieces(text.FastBertTokenizer(VOCABULARY))
    classic = pieces(text.BertTokenizer(table))
    characters = tf.constant([chr(code) for code in CODES])
    folded = text.case_fold_utf8(characters)
    normalizer = text.FastBertNormalizer(lower_case_nfd_strip_accents=True)
    known = {int(line) for line in subprocess.check_output(["perl", "-e", PERL]).split()}
    sections = {
        "known": [code for code in CODES if code in known],
        "ignored": [code for code, to in zip(CODES, folded.numpy(), strict=True) if not to],
        "mark": [
            code
            for code, to, image in zip(
                CODES, folded.numpy(), normalizer.normalize(folded).numpy(), strict=True
            )
            if to and not image
        ],
        "control": [
            c for c, n in zip(CODES, classic, strict=True) if n == 2 and chr(c) not in " ab"
        ],
        "space": [
            c
            for c, n, m in zip(CODES, fast, classic, strict=True)
            if n == 2 and (m != 2 or c == 32)
        ],
        "sign": [code for code, count in zip(CODES, fast, strict=True) if count == 3],
        "classic sign": [c for c, n in zip(CODES, classic, strict=True) if n == 3],
    }
    signs = {code for code in sections["sign"] if chr(code) not in "ab"}  # aab is three pieces too
    sections["classic sign"] = sorted({*sections["classic sign"]} - {97, 98} - signs)
    sections["sign"] = sorted(signs)
    lines = [line for name, codes in sections.items() for line in (f"[{name}]", runs(codes))]
    TABLES.write_text(HEADER + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
