"""The pre-tokenizers of a tokenizer.json: each is a list of steps, see `segments.py`."""

from __future__ import annotations

import re
from collections.abc import Callable

from tinybert.text.aligned_text import AlignedText, Span
from tinybert.text.byte_level import split_pattern, to_alphabet
from tinybert.text.rust_unicode import rust_unicode
from tinybert.tokenizer_json.fields import Fields
from tinybert.tokenizer_json.patterns import (
    BEHAVIORS,
    FindAll,
    cut,
    find_chars,
    find_text,
    read_pattern,
)
from tinybert.tokenizer_json.segments import Change, Cut, Prefix, Step

SCHEMES = ("first", "never", "always")


def splitter(find: FindAll, behavior: str, invert: bool = False) -> list[Step]:
    """Return the step that cuts a word at the matches of a pattern; see `cut`."""

    def spans(text: str) -> list[Span]:
        return [span for span in cut(text, find(text), behavior, invert) if span[0] < span[1]]

    def words(text: str) -> list[str]:
        return [text[start:end] for start, end in spans(text)]

    return [Cut(words, lambda text: [start for start, _ in spans(text)])]


def _words_of(pattern: str) -> Cut:
    """Return the step whose words are the matches of a pattern: they contain no whitespace."""
    words = re.compile(pattern)

    def starts(text: str) -> list[int]:
        return [match.start() for match in words.finditer(text)]

    return Cut(words.findall, starts, at_whitespace=True)


def sequence(part: Fields) -> list[Step]:
    parts = [step.build(PRE_TOKENIZERS) for step in part.parts("pretokenizers")]
    return [step for steps in parts for step in steps]


def byte_level(part: Fields) -> list[Step]:
    """Cut words as GPT-2 does, then replace each byte by its character; see `byte_level.py`."""
    steps: list[Step] = [Change(_to_alphabet, to_alphabet)]
    if part.get("use_regex", bool, True):
        steps.insert(0, Cut(lambda text: split_pattern(text).findall(text)))
    if part.get("add_prefix_space", bool):
        steps.insert(0, Prefix(lambda text, _: text if text.startswith(" ") else " " + text))
    return steps


def _to_alphabet(word: AlignedText) -> None:
    spans = word.spans
    if not word.text.isascii():
        sizes = [len(to_alphabet(char)) for char in word.text]
        spans = [span for span, size in zip(spans, sizes, strict=True) for _ in range(size)]
    word.set(to_alphabet(word.text), spans)


def metaspace(part: Fields) -> list[Step]:
    """Replace spaces by a sign, insert one in front, and perhaps cut before each sign."""
    sign = part.char("replacement")
    scheme = part.choice("prepend_scheme", SCHEMES, "always")
    if part.get("add_prefix_space", bool, True) is False:
        scheme = "never"

    def prefixed(text: str, start: int) -> str:
        text = text.replace(" ", sign)
        inserts = scheme == "always" or (scheme == "first" and start == 0)
        return sign + text if inserts and not text.startswith(sign) else text

    steps: list[Step] = [Prefix(prefixed, uses_start=scheme == "first")]
    if part.get("split", bool, True):
        words = re.compile("S[^S]*|[^S]+".replace("S", re.escape(sign)))
        steps.append(Cut(words.findall))
    return steps


def split(part: Fields) -> list[Step]:
    """Cut at the matches of a pattern."""
    behavior = part.choice("behavior", BEHAVIORS)
    return splitter(read_pattern(part), behavior, part.get("invert", bool, False))


def char_delimiter(part: Fields) -> list[Step]:
    return splitter(find_text(part.char("delimiter")), "Removed")


def digits(part: Fields) -> list[Step]:
    """Make each digit, or each number, a word."""
    alone = part.get("individual_digits", bool)
    return splitter(find_chars(rust_unicode().digit), "Isolated" if alone else "Contiguous")


def punctuation(part: Fields) -> list[Step]:
    behavior = part.choice("behavior", BEHAVIORS, "Isolated")
    return splitter(find_chars(rust_unicode().punctuation), behavior)


def whitespace_split(part: Fields) -> list[Step]:
    return [_words_of(f"[^{rust_unicode().whitespace.pattern()}]+")]


def whitespace(part: Fields) -> list[Step]:
    """Make words of consecutive letters, digits and marks, and of consecutive other signs."""
    word, space = rust_unicode().word, rust_unicode().whitespace

    def kind(char: str) -> int:
        return 0 if char in word else 1 if char not in space else 2

    def find(text: str) -> list[tuple[int, int]]:
        spans: list[tuple[int, int]] = []
        last = 2
        for i, char in enumerate(text):
            now = kind(char)
            if now != 2 and now == last:
                spans[-1] = (spans[-1][0], i + 1)
            elif now != 2:
                spans.append((i, i + 1))
            last = now
        return spans

    return splitter(find, "Removed", invert=True)


def bert(part: Fields) -> list[Step]:
    """Cut at whitespace, and make each punctuation character a word."""
    space, signs = rust_unicode().whitespace.pattern(), rust_unicode().punctuation.pattern()
    return [_words_of(f"[{signs}]|[^{space}{signs}]+")]


def fixed_length(part: Fields) -> list[Step]:
    length = part.get("length", int, 5)
    if length < 1:
        raise ValueError(f"{part.where}.length must be at least 1, got {length}")

    def find(text: str) -> list[tuple[int, int]]:
        return [(i, min(i + length, len(text))) for i in range(0, len(text), length)]

    return splitter(find, "Isolated")


PRE_TOKENIZERS: dict[str, Callable[[Fields], list[Step]]] = {
    "Sequence": sequence,
    "ByteLevel": byte_level,
    "Metaspace": metaspace,
    "Split": split,
    "CharDelimiterSplit": char_delimiter,
    "Digits": digits,
    "Punctuation": punctuation,
    "Whitespace": whitespace,
    "WhitespaceSplit": whitespace_split,
    "BertPreTokenizer": bert,
    "FixedLength": fixed_length,
}
