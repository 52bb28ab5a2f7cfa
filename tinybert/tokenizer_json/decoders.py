"""The decoders of a tokenizer.json: from tokens back to text.

Each step maps a list of strings to another; the last list is joined. The characters of no list may
exceed a limit, which depends on the tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from string import hexdigits

from tinybert.text.aligned_text import check_growth, growth_limit
from tinybert.text.byte_level import to_bytes
from tinybert.text.detokenize import clean_up_token
from tinybert.tokenizer_json.fields import Fields
from tinybert.tokenizer_json.patterns import read_pattern
from tinybert.tokenizer_json.pre_tokenizers import SCHEMES

Decode = Callable[[list[str], int], list[str]]  # from texts and the limit


def decode(decoder: Decode, tokens: list[str]) -> str:
    """Return the text of tokens; ValueError if it gets too long on the way (see `MAX_GROWTH`)."""
    return "".join(decoder(tokens, growth_limit(sum(map(len, tokens)) + len(tokens))))


def sequence(part: Fields) -> Decode:
    steps = [step.build(DECODERS) for step in part.parts("decoders")]

    def decode(tokens: list[str], limit: int) -> list[str]:
        for step in steps:
            tokens = step(tokens, limit)
            check_growth(sum(map(len, tokens)), limit)
        return tokens

    return decode


def byte_level(part: Fields) -> Decode:
    """Decode the bytes of all tokens; invalid UTF-8 becomes U+FFFD."""
    return lambda tokens, limit: [to_bytes(tokens).decode("utf-8", "replace")]


def word_piece(part: Fields) -> Decode:
    """Put a space before each token, but not before the first and those with the prefix."""
    prefix, cleans = part.content("prefix"), part.get("cleanup", bool)

    def decode(tokens: list[str], limit: int) -> list[str]:
        texts = []
        for i, token in enumerate(tokens):
            if i:
                begins = not token.startswith(prefix)
                token = " " + token if begins else token.removeprefix(prefix)
            texts.append(clean_up_token(token) if cleans else token)
        return texts

    return decode


def metaspace(part: Fields) -> Decode:
    """Replace every sign by a space; drop those of the first token, if signs were inserted."""
    sign = part.char("replacement")
    scheme = part.choice("prepend_scheme", SCHEMES, "always")
    drops = scheme != "never" and part.get("add_prefix_space", bool, True)

    def decode(tokens: list[str], limit: int) -> list[str]:
        return [
            token.replace(sign, "" if drops and i == 0 else " ") for i, token in enumerate(tokens)
        ]

    return decode


def byte_fallback(part: Fields) -> Decode:
    """Decode consecutive tokens <0x00> to <0xFF> as UTF-8; invalid ones become U+FFFD each."""

    def decode(tokens: list[str], limit: int) -> list[str]:
        texts: list[str] = []
        for is_bytes, run in groupby(map(_byte_or_text, tokens), lambda t: isinstance(t, int)):
            if not is_bytes:
                texts += run  # type: ignore[arg-type]
                continue
            found = bytes(run)  # type: ignore[arg-type]
            try:
                texts.append(found.decode("utf-8"))
            except UnicodeDecodeError:
                texts += ["\ufffd"] * len(found)
        return texts

    return decode


def is_byte(token: str) -> bool:
    """Return whether a token is one of <0x00> to <0xFF>."""
    return isinstance(_byte_or_text(token), int)


def _byte_or_text(token: str) -> int | str:
    digits = token[3:5].removeprefix("+")  # Rust takes a sign before one digit
    if len(token.encode("utf-8", "surrogatepass")) == 6 and token[:3] + token[5:] == "<0x>":
        is_byte = bool(digits) and all(char in hexdigits for char in digits)
        return int(digits, 16) if is_byte else token
    return token


def fuse(part: Fields) -> Decode:
    return lambda tokens, limit: ["".join(tokens)]


def strip(part: Fields) -> Decode:
    """Remove some characters at the beginning and end of every token."""
    content = part.char("content")
    start, stop = part.get("start", int), part.get("stop", int)

    def strip_one(token: str) -> str:
        left = min(start, len(token) - len(token.lstrip(content)))
        right = min(stop, len(token) - len(token.rstrip(content)), len(token) - left)
        return token[left : len(token) - right]

    return lambda tokens, limit: [strip_one(token) for token in tokens]


def replace(part: Fields) -> Decode:
    """Replace every match of a pattern by a text."""
    find, content = read_pattern(part), part.content("content")

    def replace_one(token: str, limit: int) -> str:
        matches = find(token)
        check_growth(len(matches) * len(content), limit)
        texts: list[str] = []
        done = 0
        for start, end in matches:
            texts += (token[done:start], content)
            done = end
        return "".join([*texts, token[done:]])

    def decode(tokens: list[str], limit: int) -> list[str]:
        texts: list[str] = []
        for token in tokens:
            texts.append(replace_one(token, limit))
            limit -= len(texts[-1])
        return texts

    return decode


def bpe(part: Fields) -> Decode:
    """Replace the suffix that ends a word by a space, and drop it at the end."""
    suffix = part.get("suffix", str)

    def decode(tokens: list[str], limit: int) -> list[str]:
        texts = [token.replace(suffix, " ") for token in tokens[:-1]]
        return texts + [token.replace(suffix, "") for token in tokens[-1:]]

    return decode


def ctc(part: Fields) -> Decode:
    """Keep one of repeated tokens, and drop pad tokens."""
    pad, delimiter = part.get("pad_token", str), part.get("word_delimiter_token", str)
    cleans = part.get("cleanup", bool)

    def decode(tokens: list[str], limit: int) -> list[str]:
        texts = [token.replace(pad, "") for token, _ in groupby(tokens)]
        if cleans:
            texts = [clean_up_token(text).replace(delimiter, " ") for text in texts]
        return [text for text in texts if text]

    return decode


DECODERS: dict[str, Callable[[Fields], Decode]] = {
    "Sequence": sequence,
    "ByteLevel": byte_level,
    "WordPiece": word_piece,
    "Metaspace": metaspace,
    "ByteFallback": byte_fallback,
    "Fuse": fuse,
    "Strip": strip,
    "Replace": replace,
    "BPEDecoder": bpe,
    "CTC": ctc,
}
