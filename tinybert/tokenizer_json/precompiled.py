"""The character table of a SentencePiece model: which texts are replaced, and by what.

It is a trie over bytes, stored as the double array of Aoe (1989) in one array, and the texts that
its leaves point to. SentencePiece makes it.
"""

from __future__ import annotations

import base64
import binascii
from functools import cache
from typing import Any

import numpy as np

from tinybert.text.aligned_text import check_growth
from tinybert.tokenizer_json.fields import MAX_CONTENT

LONGEST_TEXT = 4 * MAX_CONTENT  # bytes of a replacement
LONGEST_GRAPHEME = 5  # bytes; longer ones are looked up by character

Change = tuple[str, int]  # see AlignedText.transform


class Precompiled:
    """A table with `units`, the trie, and `texts`, the replacements with a zero byte after each."""

    def __init__(self, units: np.ndarray, texts: bytes) -> None:
        self.units = units.tolist()
        self.texts = texts

    def find(self, text: str) -> str | None:
        """Return the replacement of the shortest prefix of a text in the table, or None."""
        units, node = self.units, 0
        try:
            node ^= _offset(units[node])
            for byte in text.encode("utf-8", "surrogatepass"):
                if byte == 0:
                    return None
                node ^= byte
                unit = units[node]
                if unit & 0x800000FF != byte:
                    return None
                node ^= _offset(unit)
                if unit >> 8 & 1:
                    start = units[node] & 0x7FFFFFFF
                    return self._text(start)
        except IndexError as error:
            raise ValueError("precompiled_charsmap is damaged: a node points outside") from error
        return None

    def _text(self, start: int) -> str:
        found = self.texts[start : start + LONGEST_TEXT + 1].partition(b"\0")[0]
        if len(found) > LONGEST_TEXT:
            raise ValueError(f"precompiled_charsmap: a text has more than {LONGEST_TEXT} bytes")
        return found.decode("utf-8")

    def changes(self, text: str, limit: int) -> list[Change] | None:
        """Return the normalized text as changes, or None if nothing is replaced.

        Raises ValueError if it would have more than `limit` characters.

        A short grapheme (what a reader sees as one character) is first looked up as a whole.
        """
        changes: list[Change] = []
        modified = False
        for grapheme in _graphemes().findall(text):
            short = len(grapheme.encode("utf-8", "surrogatepass")) <= LONGEST_GRAPHEME
            whole = self.find(grapheme) if short else None
            for part in [grapheme] if whole is not None else grapheme:
                found = self.find(part) if whole is None else whole
                if found is None:
                    changes.append((part, 0))
                else:
                    modified = True
                    _replace(changes, part, found)
            check_growth(len(changes), limit)
        return changes if modified else None


def _replace(changes: list[Change], old: str, new: str) -> None:
    """Add the change from `old` to `new`, whose characters are paired one by one."""
    more = len(new) - len(old)
    changes += [(char, int(i >= len(old))) for i, char in enumerate(new)]
    if more < 0 and changes:
        char, change = changes[-1]
        changes[-1] = char, change + more


def _offset(unit: int) -> int:
    return (unit >> 10) << ((unit & 0x200) >> 6)


@cache
def _graphemes() -> Any:
    """Return the pattern of a grapheme."""
    import regex

    return regex.compile(r"\X")


def read_precompiled(charsmap: str, where: str) -> Precompiled:
    """Return a table from its base64; ValueError, naming the path in the file, if damaged."""
    try:
        blob = base64.b64decode(charsmap, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{where}.precompiled_charsmap is not base64 ({error})") from error
    size = int.from_bytes(blob[:4], "little")
    if len(blob) < 8 or size < 4 or 4 + size > len(blob):
        raise ValueError(f"{where}.precompiled_charsmap is damaged: {len(blob)} bytes")
    return Precompiled(np.frombuffer(blob, "<u4", size // 4, 4), blob[4 + size // 4 * 4 :])
