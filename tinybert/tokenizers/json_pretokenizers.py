"""The pre-tokenizers of a tokenizer.json: they cut texts into words, and may change them."""

from __future__ import annotations

from collections.abc import Callable

from tinybert.tokenizers.aligned_text import AlignedText
from tinybert.tokenizers.byte_level import split_pattern, to_alphabet
from tinybert.tokenizers.json_fields import Fields
from tinybert.tokenizers.json_patterns import (
    BEHAVIORS,
    FindAll,
    cut,
    find_chars,
    find_text,
    read_pattern,
)
from tinybert.tokenizers.rust_unicode import rust_unicode

Words = list[AlignedText]
PreTokenize = Callable[[Words], Words]

SCHEMES = ("first", "never", "always")


def splitter(find: FindAll, behavior: str, invert: bool = False) -> PreTokenize:
    """What cuts every word at the matches of a pattern; see `cut`."""

    def split(words: Words) -> Words:
        return [
            word.part(start, end)
            for word in words
            for start, end in cut(word.text, find(word.text), behavior, invert)
            if start < end
        ]

    return split


def sequence(part: Fields) -> PreTokenize:
    steps = [step.build(PRE_TOKENIZERS) for step in part.parts("pretokenizers")]

    def pretokenize(words: Words) -> Words:
        for step in steps:
            words = keeping_tokens(step, words)
        return words

    return pretokenize


def keeping_tokens(step: PreTokenize, words: Words) -> Words:
    """What `step` makes of the words that are no tokens yet; the others stay."""
    if all(word.tokens is None for word in words):
        return step(words)
    done: Words = []
    for word in words:
        done += [word] if word.tokens is not None else step([word])
    return done


def byte_level(part: Fields) -> PreTokenize:
    """Words as GPT-2 cuts them, then every byte as its character; see `byte_level.py`."""
    adds_space = part.get("add_prefix_space", bool)
    uses_pattern = part.get("use_regex", bool, True)

    def pretokenize(words: Words) -> Words:
        done: Words = []
        for word in words:
            if adds_space and not word.text.startswith(" "):
                word.prepend(" ")
            if uses_pattern:
                matches = split_pattern(word.text).finditer(word.text)
                done += [word.part(*match.span()) for match in matches]
            else:
                done.append(word)
        for word in done:
            sizes = None if word.text.isascii() else [len(to_alphabet(char)) for char in word.text]
            word.text = to_alphabet(word.text)
            if sizes is not None:
                pairs = zip(word.spans, sizes, strict=True)
                word.spans = [span for span, size in pairs for _ in range(size)]
        return done

    return pretokenize


def metaspace(part: Fields) -> PreTokenize:
    """Every space as a sign, with one more in front; then perhaps a word for each sign."""
    sign = part.char("replacement")
    scheme = part.choice("prepend_scheme", SCHEMES, "always")
    if part.get("add_prefix_space", bool, True) is False:
        scheme = "never"
    split = splitter(find_text(sign), "MergedWithNext") if part.get("split", bool, True) else None

    def pretokenize(words: Words) -> Words:
        for word in words:
            word.text = word.text.replace(" ", sign)
            wanted = scheme == "always" or (scheme == "first" and word.start == 0)
            if wanted and not word.text.startswith(sign):
                word.prepend(sign)
        return split(words) if split else words

    return pretokenize


def split(part: Fields) -> PreTokenize:
    """Cut at a pattern."""
    behavior = part.choice("behavior", BEHAVIORS)
    return splitter(read_pattern(part), behavior, part.get("invert", bool, False))


def char_delimiter(part: Fields) -> PreTokenize:
    return splitter(find_text(part.char("delimiter")), "Removed")


def digits(part: Fields) -> PreTokenize:
    """Digits stand alone, or numbers do."""
    alone = part.get("individual_digits", bool)
    return splitter(
        find_chars(rust_unicode().digit.__contains__), "Isolated" if alone else "Contiguous"
    )


def punctuation(part: Fields) -> PreTokenize:
    behavior = part.choice("behavior", BEHAVIORS, "Isolated")
    return splitter(find_chars(rust_unicode().punctuation.__contains__), behavior)


def whitespace_split(part: Fields) -> PreTokenize:
    return splitter(find_chars(rust_unicode().whitespace.__contains__), "Removed")


def whitespace(part: Fields) -> PreTokenize:
    """Letters, digits and marks in a row are a word, and so are other signs in a row."""
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


def bert(part: Fields) -> PreTokenize:
    """White space is left out, every punctuation character stands alone."""
    spaces = whitespace_split(part)
    signs = splitter(find_chars(rust_unicode().punctuation.__contains__), "Isolated")
    return lambda words: signs(spaces(words))


def fixed_length(part: Fields) -> PreTokenize:
    length = part.get("length", int, 5)
    if length < 1:
        raise ValueError(f"{part.where}.length must be at least 1, got {length}")

    def find(text: str) -> list[tuple[int, int]]:
        return [(i, min(i + length, len(text))) for i in range(0, len(text), length)]

    return splitter(find, "Isolated")


PRE_TOKENIZERS: dict[str, Callable[[Fields], PreTokenize]] = {
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
