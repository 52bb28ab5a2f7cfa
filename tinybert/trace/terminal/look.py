"""Lines of styled text, as wide as the terminal and with the colours that it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tinybert.columns import clip, columns_of
from tinybert.display import visible

Piece = tuple[str, str]  # a text and its style: a name in STYLES, an SGR code, or ""
Line = Sequence[Piece]

STYLES = {
    "bold": "1", "dim": "2", "cursor": "7", "forward": "1;34", "backward": "1;33", "update": "1;32",
    "negative": "34", "positive": "31", "message": "1;35",
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """What a terminal can show.

    Attributes:
        colours: 256, 16, or 0 for no escape sequences at all.
        blocks: whether it has characters beyond ASCII, such as the halves of a block.
    """

    colours: int = 256
    blocks: bool = True

    @classmethod
    def of(cls, environment: Mapping[str, str], encoding: str) -> Look:
        """Return what the variables of a terminal and the encoding of its output say."""
        try:
            "▀│▶…".encode(encoding)
            blocks = True
        except (UnicodeEncodeError, LookupError):
            blocks = False
        if environment.get("NO_COLOR"):
            return cls(0, blocks)
        many = "256" in environment.get("TERM", "") or environment.get("COLORTERM")
        return cls(256 if many else 16, blocks)

    def draw(self, line: Line, width: int) -> str:
        """Return a line of exactly `width` columns, cut or filled with spaces."""
        drawn, left = "", width
        for text, style in line:
            text = self._plain(visible(text))
            if columns_of(text) > left:
                text = clip(text, left) if self.blocks else self._plain(clip(text, left))[:left]
            left -= columns_of(text)
            code = STYLES.get(style, style)
            drawn += f"\x1b[{code}m{text}\x1b[0m" if code and text and self.colours else text
            if left <= 0:
                break
        return drawn + " " * left

    def _plain(self, text: str) -> str:
        if self.blocks:
            return text
        known = text.translate({ord(a): b for a, b in zip("│▶─▾▸·×…", "|>-v>.x~", strict=True)})
        return known.encode("ascii", "replace").decode()
