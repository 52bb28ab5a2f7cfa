"""The normalizers of a tokenizer.json: each changes a text and keeps the offsets."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from tinybert.text.aligned_text import AlignedText, Span
from tinybert.text.bert_normalizer import BertNormalizer
from tinybert.text.byte_level import to_alphabet
from tinybert.text.rust_unicode import rust_unicode
from tinybert.text.unicode_forms import FORMS, normal_form, unstable
from tinybert.tokenizer_json.fields import Fields
from tinybert.tokenizer_json.patterns import read_pattern
from tinybert.tokenizer_json.precompiled import read_precompiled

Normalize = Callable[[AlignedText], None]


@dataclass(frozen=True)
class NormalizeChunks:
    """A normalizer that changes each chunk between whitespace by itself.

    text: returns the normalized text alone; see `Change`.
    chunk_pattern: matches the chunks of a text that is not normalized.
    """

    normalize: Normalize
    text: Callable[[str], str]
    chunk_pattern: re.Pattern[str]

    def __call__(self, text: AlignedText) -> None:
        self.normalize(text)


# The characters that "Nmt" drops, and those that it replaces by a space.
NMT_DROPPED = {*range(0x01, 0x09), 0x0B, *range(0x0E, 0x20), 0x7F, 0x8F, 0x9F}
NMT_SPACES = {0x09, 0x0A, 0x0C, 0x0D, 0x1680, *range(0x200B, 0x2010), 0x2028, 0x2029}
NMT_SPACES |= {0x2581, 0xFEFF, 0xFFFD}


def sequence(part: Fields) -> Normalize:
    steps = [step.build(NORMALIZERS) for step in part.parts("normalizers")]

    def normalize(text: AlignedText) -> None:
        for step in steps:
            step(text)

    return normalize


def prepend(part: Fields) -> Normalize:
    """Insert a text in front of a text that is not empty."""
    front = part.content("prepend")

    def normalize(text: AlignedText) -> None:
        if text.text:
            text.prepend(front)

    return normalize


def replace(part: Fields) -> Normalize:
    """Replace every match of a pattern by a text."""
    find, new = read_pattern(part), part.content("content")
    return lambda text: text.replace(find(text.text), new)


def form(part: Fields) -> Normalize:
    """Apply a normal form of Unicode, named by the type of the part."""
    name = part.get("type", str)

    def normalize(text: AlignedText) -> None:
        if text.text.isascii():
            return
        texts: list[str] = []
        spans: list[Span] = []
        done = 0
        for start, end in unstable(text.text, name):
            part = AlignedText(text.text[start:end], text.spans[start:end], text.start, text.limit)
            part.transform(normal_form(part.text, name))
            texts += (text.text[done:start], part.text)
            spans += text.spans[done:start] + part.spans
            done = end
        if done:
            text.set("".join([*texts, text.text[done:]]), spans + text.spans[done:])

    return normalize


def lowercase(part: Fields) -> Normalize:
    """Lower-case every character by itself."""
    lower = rust_unicode().lower
    return by_character(lambda char: lower.get(char, char))


def strip(part: Fields) -> Normalize:
    """Remove whitespace at the ends."""
    left, right = part.get("strip_left", bool), part.get("strip_right", bool)
    space = rust_unicode().whitespace

    def normalize(text: AlignedText) -> None:
        start, end = 0, len(text.text)
        while left and start < end and text.text[start] in space:
            start += 1
        while right and start < end and text.text[end - 1] in space:
            end -= 1
        text.keep(range(start, end))

    return normalize


def strip_accents(part: Fields) -> Normalize:
    """Remove marks; an earlier part must have separated accents from their letters."""
    accent = rust_unicode().accent
    return by_character(lambda char: "" if char in accent else char)


def nmt(part: Fields) -> Normalize:
    """Remove control characters, and replace characters that look like spaces by spaces."""

    def image(char: str) -> str:
        code = ord(char)
        return "" if code in NMT_DROPPED else " " if code in NMT_SPACES else char

    return by_character(image)


def bert(part: Fields) -> NormalizeChunks:
    """Return the normalizer of BERT; see `bert_normalizer.py`."""
    return of_bert(
        BertNormalizer(
            part.get("lowercase", bool),
            part.get("strip_accents", bool, None),
            part.get("handle_chinese_chars", bool),
            part.get("clean_text", bool),
        )
    )


def of_bert(normalizer: BertNormalizer) -> NormalizeChunks:
    """Return a `BertNormalizer` as a part of a pipeline."""

    def normalize(text: AlignedText) -> None:
        normalized, origins = normalizer.normalize(text.text)
        text.set(normalized, [text.spans[i] for i in origins])

    return NormalizeChunks(
        normalize, lambda text: normalizer.normalize(text)[0], normalizer.chunk_pattern
    )


def byte_level(part: Fields) -> Normalize:
    """Replace every byte by its character of the byte-level alphabet."""
    return by_character(to_alphabet)


def by_character(image: Callable[[str], str]) -> Normalize:
    """Return a normalizer that replaces each character; the new ones get its offsets."""

    def normalize(text: AlignedText) -> None:
        images = [image(char) for char in text.text]
        spans = [span for span, chars in zip(text.spans, images, strict=True) for _ in chars]
        text.set("".join(images), spans)

    return normalize


def precompiled(part: Fields) -> Normalize:
    """Apply the character table of a SentencePiece model; see `precompiled.py`."""
    table = read_precompiled(part.get("precompiled_charsmap", str, ""), part.where)

    def normalize(text: AlignedText) -> None:
        changes = table.changes(text.text, text.limit)
        if changes is not None:
            text.transform(changes)

    return normalize


NORMALIZERS: dict[str, Callable[[Fields], Normalize]] = {
    "Sequence": sequence,
    "Prepend": prepend,
    "Replace": replace,
    **dict.fromkeys(FORMS, form),
    "Lowercase": lowercase,
    "Strip": strip,
    "StripAccents": strip_accents,
    "Nmt": nmt,
    "BertNormalizer": bert,
    "ByteLevel": byte_level,
    "Precompiled": precompiled,
}
