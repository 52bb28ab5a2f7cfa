"""What a decoder of a tokenizer.json does to text that is generated token by token.

Most decoders only append text for a further token. The others, and what they may still change:

    ByteFallback    a run of bytes at the end: a further byte can make it invalid, or a character
    BPEDecoder      the last token: a further token puts a space after it
    after Fuse      Replace, Strip at the end and clean-up see the whole text
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tinybert.tokenizer_json.decoders import is_byte


def steps(decoder: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the decoders of a Sequence, nested ones included, or else the decoder itself."""
    if decoder["type"] != "Sequence":
        yield decoder
        return
    for step in decoder["decoders"]:
        yield from steps(step)


def inserts_spaces(decoder: Mapping[str, Any] | None) -> bool:
    """Return whether the decoder puts spaces between tokens; without it, they all get spaces.

    Other decoders return the spaces that the text had, also those before punctuation.
    """
    kinds = [] if decoder is None else [step["type"] for step in steps(decoder)]
    return decoder is None or "WordPiece" in kinds or "BPEDecoder" in kinds


def settled_tokens(decoder: Mapping[str, Any] | None, tokens: Sequence[str]) -> int:
    """Return how many of the tokens have a text that further tokens cannot change.

    A character of which some bytes are missing does not count: its text is U+FFFD.
    """
    settled, fused = len(tokens), False
    for step in () if decoder is None else steps(decoder):
        kind = step["type"]
        if fused and not _appends(step):
            return 0
        if kind == "ByteFallback" and not fused:
            settled = min(settled, _before_bytes(tokens))
        elif kind == "BPEDecoder":
            suffix = step["suffix"]
            if any(suffix in token[: -len(suffix)] for token in tokens):
                return 0  # its other places change too when the token is no longer the last
        fused = fused or kind in ("Fuse", "ByteLevel")
    return settled


def _appends(step: Mapping[str, Any]) -> bool:
    """Return whether the step, called with the whole text, returns the beginning for it."""
    kind = step["type"]
    if kind == "Strip":
        return step["stop"] == 0
    if kind == "Replace":
        return len(step["pattern"].get("String", "")) == 1
    if kind in ("WordPiece", "CTC"):
        return kind == "WordPiece" and not step["cleanup"]
    return kind in ("Fuse", "Metaspace")


def _before_bytes(tokens: Sequence[str]) -> int:
    """Return the number of tokens before the run of bytes at the end; "" is part of a run."""
    settled = end = len(tokens)
    while end and (not tokens[end - 1] or is_byte(tokens[end - 1])):
        end -= 1
        if tokens[end]:
            settled = end
    return settled
