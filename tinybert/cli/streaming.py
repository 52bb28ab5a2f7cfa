"""Text that appears while it is generated: in whole words, in lines that fit the terminal.

What is shown bit by bit is what would be shown at the end, break for break.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import regex

from tinybert.cli.terminal import columns_of
from tinybert.generation.streamers import BaseStreamer

WIDE = r"\p{ea=W}\p{ea=F}"  # ideographs, say, which are written without spaces: words of their own
WORDS = regex.compile(rf"\s+|[{WIDE}]|[^\s{WIDE}]+")
# Where a text can be cut so that its parts, cleaned up alone, are what the whole is, cleaned up
# (see `clean_up_tokenization`): where no space that is removed is near, and no word is unfinished.
BORDERS = regex.compile(rf"(?<! ')(?= (?:[^ .?!,'n]|n[^']))|(?<=\n)|(?<=[{WIDE}])")


class Flow:
    """Writes words in lines of at most `width` columns; line breaks of the text stay.

    White space before the first word and after the last is not written, control characters are
    written as ?. Every `add` ends a word.
    """

    def __init__(self, write: Callable[[str], Any], width: int) -> None:
        self.write, self.width = write, width
        self.column = 0
        self._gap: str | None = None  # white space that waits for a word; None: none has come

    def add(self, text: str) -> None:
        """Write a part of the text."""
        for word in WORDS.findall(text):
            if not word.isspace():
                self._place(word)
            elif self._gap is not None:
                self._gap += word

    def end(self) -> None:
        """End the line, if one was begun; the next text starts anew."""
        if self.column:
            self.write("\n")
        self.column, self._gap = 0, None

    def _place(self, word: str) -> None:
        waiting, self._gap = self._gap or "", ""
        breaks, gap = waiting.count("\n"), " " * len(waiting.rpartition("\n")[2])
        if breaks:
            self.column = 0
        elif self.column and self.column + len(gap) + columns_of(word) > self.width:
            breaks, gap, self.column = 1, "", 0
        shown = "".join("?" if c < " " or c == "\x7f" else c for c in word)
        pieces = [shown[i : i + self.width] for i in range(0, len(shown), self.width)]
        before = self.column + len(gap) if len(pieces) == 1 else 0
        # First the column, then one write: `end` is right wherever Ctrl-C comes between.
        self.column = before + columns_of(pieces[-1])
        self.write("\n" * breaks + gap + "\n".join(pieces))


class FlowStreamer(BaseStreamer):
    """Hands the text of a generation to a `Flow` as soon as nothing that comes can change it.

    Args:
        tokenizer: has `decode` and `clean_up_tokenization`.
        flow: where the words go.
        prompt: what is shown before the new text; "" for nothing.

    The text is that of the text-generation pipeline: what was decoded, without the prompt's part,
    cleaned up.
    """

    def __init__(self, tokenizer: Any, flow: Flow, prompt: str) -> None:
        self.tokenizer, self.flow, self.prompt = tokenizer, flow, prompt
        self._ids: list[int] | None = None
        self._before = 0  # characters of what the prompt's ids stand for
        self._shown = 0  # characters of the prompt and the new text that the flow has

    def put(self, value: np.ndarray) -> None:
        """Take the ids of the prompt (1, T), then each new token (1,)."""
        new = np.asarray(value).reshape(-1).tolist()
        if self._ids is None:
            self._ids = new
            self._before = len(self._decoded())
            # The last word of the prompt may go on.
            self._show(self.prompt[: len(self.prompt) - len(self.prompt.split(" ")[-1])])
            return
        self._ids += new
        text = self._decoded()[self._before :]
        borders = [match.start() for match in BORDERS.finditer(text)]
        if borders:
            self._show(self.prompt + self.tokenizer.clean_up_tokenization(text[: borders[-1]]))

    def end(self) -> None:
        """Show the rest."""
        text = self._decoded()[self._before :]
        self._show(self.prompt + self.tokenizer.clean_up_tokenization(text))

    def _decoded(self) -> str:
        return self.tokenizer.decode(
            self._ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )

    def _show(self, text: str) -> None:
        self.flow.add(text[self._shown :])
        self._shown = max(self._shown, len(text))
