"""Makes `rust_unicode.txt`: what the Rust library `tokenizers` knows of each character.

    python -m tests.text.make_rust_unicode

The library carries the tables of several versions of Unicode, each compiled into it. None of them
can be read, so each is found out by asking the library about every code point, one at a time.
Not needed at run time; it needs `pip install tokenizers`.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import tinybert.text

TABLE = Path(tinybert.text.__file__).with_name("rust_unicode.txt")
CODES = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
HANGUL = range(0xAC00, 0xD7A4)  # decomposed by a formula, see rust_unicode.py
HEADER = """\
# What tokenizers {version} does with each character; made by make_rust_unicode.py, do not edit.
# Runs of code points, in hexadecimal: "first-last", or "first-last:image", where the image is that
# of the first and grows by one with each step; a "+" stands between the characters of an image.
"""


def probe() -> dict[str, list[str]]:
    """The tables, by name, each as the texts of its runs."""
    try:
        from tokenizers import normalizers, pre_tokenizers  # type: ignore[import-untyped]
    except ImportError as error:
        raise ImportError('the library to ask is missing: pip install "tokenizers"') from error
    off = {"clean_text": False, "handle_chinese_chars": False}
    off |= {"strip_accents": False, "lowercase": False}

    def image(**on: bool) -> Callable[[str], str]:
        return normalizers.BertNormalizer(**(off | on)).normalize_str

    clean, spaced = image(clean_text=True), image(handle_chinese_chars=True)
    strip, lower = image(strip_accents=True), image(lowercase=True)
    words = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    parts = {code: len(words(f"a{chr(code)}b")) for code in CODES}  # 2: a space, 3: a sign
    stripped = {code: strip(chr(code)) for code in CODES}
    lowered = {code: lower(chr(code)) for code in CODES}
    tables = {
        "removed": runs(code for code in CODES if not clean(chr(code))),
        "whitespace": runs(code for code in CODES if parts[code] == 2),
        "chinese": runs(code for code in CODES if spaced(chr(code)) != chr(code)),
        "mark": runs(code for code in CODES if not stripped[code]),
        "punctuation": runs(code for code in CODES if parts[code] == 3),
        "word": runs(code for code, inside in in_words() if inside),
        "stripped": runs_of_images(
            (c, out) for c, out in stripped.items() if out and out != chr(c) and c not in HANGUL
        ),
        "lower": runs_of_images((c, out) for c, out in lowered.items() if out != chr(c)),
        **of_other_parts(),
    }
    order = combining_classes(normalizers.NFD().normalize_str)
    for value in sorted(set(order.values())):
        tables[f"combining {value}"] = runs(c for c in CODES if order.get(c) == value)
    return tables


def of_other_parts() -> dict[str, list[str]]:
    """The tables that BERT does not need, but other tokenizers do."""
    from tokenizers import Regex, normalizers, pre_tokenizers

    def alone(part: Any) -> list[str]:
        """The characters that a splitting part cuts out of a text."""
        split = part.pre_tokenize_str
        return runs(code for code in CODES if len(split(f"\1{chr(code)}\1")) == 3)

    drop, decompose = normalizers.StripAccents().normalize_str, normalizers.NFKD().normalize_str
    return {
        "letter": alone(pre_tokenizers.Split(Regex(r"\p{L}"), "isolated")),
        "number": alone(pre_tokenizers.Split(Regex(r"\p{N}"), "isolated")),
        "digit": alone(pre_tokenizers.Digits(individual_digits=True)),
        "accent": runs(code for code in CODES if not drop(chr(code))),
        "decomposable": runs(
            code for code in CODES if code not in HANGUL and decompose(chr(code)) != chr(code)
        ),
    }


def in_words() -> Iterable[tuple[int, bool]]:
    """For each code point whether it continues a word: then no `single_word` token ends there."""
    from tokenizers import AddedToken, Tokenizer, models

    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.add_tokens([AddedToken("<>", single_word=True, normalized=False)])
    (token_id,) = tokenizer.encode("<>").ids
    for code in CODES:
        yield code, token_id not in tokenizer.encode("<>" + chr(code)).ids


def combining_classes(decompose: Callable[[str], str]) -> dict[int, int]:
    """The canonical combining class of each character that NFD moves.

    Classes never change once given, so those of Python are right; but a character that the
    library does not know yet is not moved by it. One that is moves before U+0345 (class 240,
    the highest), and U+0345 itself behind U+0334 (class 1). Of what a character falls apart
    into, the first counts.
    """
    moved = {}
    for code in CODES:
        char = decompose(chr(code))[0]
        value = unicodedata.combining(char)
        if value >= 240:
            moves = decompose(char + "\u0334")[0] == "\u0334"
        else:
            moves = decompose("\u0345" + char)[-1] == "\u0345"
        if moves:
            moved[code] = value
    return moved


def runs(codes: Iterable[int]) -> list[str]:
    """Rising code points as the texts of their runs."""
    found: list[list[int]] = []
    for code in codes:
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return [_span(first, last) for first, last in found]


def runs_of_images(images: Iterable[tuple[int, str]]) -> list[str]:
    """Code points and what becomes of them, as the texts of runs with rising images."""
    found: list[list[Any]] = []
    for code, image in images:
        run = found[-1] if found else None
        if run and image == chr(ord(run[2][0]) + code - run[0]) and run[1] == code - 1:
            run[1] = code
        else:
            found.append([code, code, image])
    return [
        f"{_span(first, last)}:{'+'.join(f'{ord(char):x}' for char in image)}"
        for first, last, image in found
    ]


def _span(first: int, last: int) -> str:
    return f"{first:x}" if first == last else f"{first:x}-{last:x}"


def as_text(tables: dict[str, list[str]], version: str) -> str:
    """The tables as the file holds them."""
    sections = (f"[{name}]\n{textwrap.fill(' '.join(found), 99)}" for name, found in tables.items())
    return HEADER.format(version=version) + "\n".join(sections) + "\n"


if __name__ == "__main__":
    import tokenizers

    TABLE.write_text(as_text(probe(), tokenizers.__version__), encoding="utf-8")
