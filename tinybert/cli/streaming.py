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
from tinybert.generation.streamers import BaseStreamer, settled_clean_up, settled_text

WIDE = r"\p{ea=W}\p{ea=F}"  # wide characters such as ideographs: each is a word
WORDS = regex.compile(rf"\s+|[{WIDE}]|[^\s{WIDE}]+")
ENDS = regex.compile(rf"(?=\s)|(?<=\n)|(?<=[{WIDE}])")  # positions where a word ends

DECODE = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}


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
        tokenizer: the tokenizer of the model.
        wrapper: writes the words.
        prompt: the text to show before the new text; "" for none.

    The text is that of the text-generation pipeline: the decoded new tokens, cleaned up if the
    tokenizer does that.
    """

    def __init__(self, tokenizer: Any, wrapper: WordWrapper, prompt: str) -> None:
        self.tokenizer, self.wrapper, self.prompt = tokenizer, wrapper, prompt
        self._ids: list[int] = []
        self._prompt_is_next = True
        self._prompt_length = 0  # characters of the decoded prompt
        self._shown = 0  # characters that were passed to the wrapper

    def put(self, value: np.ndarray) -> None:
        """Receive the ids of the prompt (1, T), then each new token (1,)."""
        self._ids += np.asarray(value).reshape(-1).tolist()
        if self._prompt_is_next:
            self._prompt_is_next = False
            self._prompt_length = len(self.tokenizer.decode(self._ids, **DECODE))
            # The first new token can continue the last word of the prompt.
            self._show(self.prompt[: len(self.prompt) - len(self.prompt.split(" ")[-1])])
            return
        text = settled_text(self.tokenizer, self._ids, **DECODE)[self._prompt_length :]
        if self.tokenizer.cleans_up:
            text = settled_clean_up(self.tokenizer.clean_up_tokenization(text))
        ends = [match.start() for match in ENDS.finditer(text)]
        if ends:
            self._show(self.prompt + text[: ends[-1]])

    def end(self) -> None:
        """Show the rest of the text."""
        text = self.tokenizer.decode(self._ids, **DECODE)[self._prompt_length :]
        if self.tokenizer.cleans_up:
            text = self.tokenizer.clean_up_tokenization(text)
        self._show(self.prompt + text)

    def _show(self, text: str) -> None:
        self.wrapper.add(text[self._shown :])
        self._shown = max(self._shown, len(text))
