"""Streaming to a terminal: print generated text word by word, wrapped to the terminal's width.

The streamed output is identical to the output of the complete text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import regex

from tinybert.cli.terminal import columns_of
from tinybert.display import visible
from tinybert.generation.streamers import BaseStreamer

WIDE = r"\p{ea=W}\p{ea=F}"  # wide characters such as ideographs: each is a word
WORDS = regex.compile(rf"\s+|[{WIDE}]|[^\s{WIDE}]+")
# Positions where a text can be split: a word ends, and `clean_up_tokenization` removes no space
# there, so that it gives the same for the parts as for the whole text.
BOUNDARIES = regex.compile(rf"(?<! ')(?= (?:[^ .?!,'n]|n[^']))|(?<=\n)|(?<=[{WIDE}])")


class WordWrapper:
    """Writes words in lines of at most `width` columns; line breaks in the text are kept.

    Leading and trailing whitespace is not written; control characters are escaped. Every call
    of `add` ends a word.
    """

    def __init__(self, write: Callable[[str], Any], width: int) -> None:
        self.write, self.width = write, width
        self.column = 0
        self._space: str | None = None  # whitespace before the next word; None at the beginning

    def add(self, text: str) -> None:
        """Write a part of the text."""
        for word in WORDS.findall(text):
            if not word.isspace():
                self._write_word(word)
            elif self._space is not None:
                self._space += word

    def end(self) -> None:
        """End the current line, and start again for the next text."""
        if self.column:
            self.write("\n")
        self.column, self._space = 0, None

    def _write_word(self, word: str) -> None:
        whitespace, self._space = self._space or "", ""
        line_breaks, space = whitespace.count("\n"), " " * len(whitespace.rpartition("\n")[2])
        if line_breaks:
            self.column = 0
        elif self.column and self.column + len(space) + columns_of(word) > self.width:
            line_breaks, space, self.column = 1, "", 0
        shown = visible(word)
        lines = [shown[i : i + self.width] for i in range(0, len(shown), self.width)]
        start = self.column + len(space) if len(lines) == 1 else 0
        # Set the column before the single write: then `end` is correct after Ctrl-C in between.
        self.column = start + columns_of(lines[-1])
        self.write("\n" * line_breaks + space + "\n".join(lines))


class TerminalStreamer(BaseStreamer):
    """Passes generated text to a `WordWrapper` as soon as later tokens cannot change it.

    Args:
        tokenizer: has `decode` and `clean_up_tokenization`.
        wrapper: writes the words.
        prompt: the text to show before the new text; "" for none.

    The text is that of the text-generation pipeline: the decoded new tokens, cleaned up.
    """

    def __init__(self, tokenizer: Any, wrapper: WordWrapper, prompt: str) -> None:
        self.tokenizer, self.wrapper, self.prompt = tokenizer, wrapper, prompt
        self._ids: list[int] | None = None
        self._prompt_length = 0  # characters of the decoded prompt
        self._shown = 0  # characters that were passed to the wrapper

    def put(self, value: np.ndarray) -> None:
        """Receive the ids of the prompt (1, T), then each new token (1,)."""
        new = np.asarray(value).reshape(-1).tolist()
        if self._ids is None:
            self._ids = new
            self._prompt_length = len(self._decoded())
            # The first new token can continue the last word of the prompt.
            self._show(self.prompt[: len(self.prompt) - len(self.prompt.split(" ")[-1])])
            return
        self._ids += new
        text = self._decoded()[self._prompt_length :]
        boundaries = [match.start() for match in BOUNDARIES.finditer(text)]
        if boundaries:
            complete = text[: boundaries[-1]]
            self._show(self.prompt + self.tokenizer.clean_up_tokenization(complete))

    def end(self) -> None:
        """Show the rest of the text."""
        text = self._decoded()[self._prompt_length :]
        self._show(self.prompt + self.tokenizer.clean_up_tokenization(text))

    def _decoded(self) -> str:
        return self.tokenizer.decode(
            self._ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )

    def _show(self, text: str) -> None:
        self.wrapper.add(text[self._shown :])
        self._shown = max(self._shown, len(text))
