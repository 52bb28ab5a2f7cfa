"""Streamers: text that is shown while it is generated.

`generate` calls `put` with the prompt and then with every new token, and `end` at the end.
"""

from __future__ import annotations

import queue
from typing import Any

import numpy as np

# Blocks of CJK ideographs, which are written without spaces.
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


class BaseStreamer:
    """What `generate(streamer=...)` takes."""

    def put(self, value: np.ndarray) -> None:
        """Take the ids of the prompt (1, T), and afterwards each new token (1,)."""
        raise NotImplementedError

    def end(self) -> None:
        """Take note that nothing more will come."""
        raise NotImplementedError


class TextStreamer(BaseStreamer):
    """Prints text as soon as its words are complete.

    Args:
        tokenizer: has `decode(ids, **options)`.
        skip_prompt: print only what is generated.
        **decode_kwargs: options of `decode`, such as `skip_special_tokens=True`.

    A word is complete when a space follows, for more of its pieces could come; ideographs and lines
    are complete at once. Override `on_finalized_text` to do something else than printing.
    """

    def __init__(self, tokenizer: Any, skip_prompt: bool = False, **decode_kwargs: Any) -> None:
        self.tokenizer = tokenizer
        self.skip_prompt = skip_prompt
        self.decode_kwargs = decode_kwargs
        self._start()

    def _start(self) -> None:
        self._line: list[int] = []  # ids since the last line break
        self._shown = 0  # characters of their text
        self._prompt_comes = True

    def put(self, value: Any) -> None:
        """Take ids (1, T) or (1,) and hand on the text that is complete now.

        Raises ValueError for more than one sequence.
        """
        ids = np.asarray(value)
        if ids.ndim > 1 and len(ids) != 1:
            raise ValueError(f"a TextStreamer takes one sequence, got a batch of {len(ids)}")
        is_prompt, self._prompt_comes = self._prompt_comes, False
        if is_prompt and self.skip_prompt:
            return
        self._line += ids.reshape(-1).tolist()
        text = self.tokenizer.decode(self._line, **self.decode_kwargs)
        if text.endswith("\n"):
            complete = text[self._shown :]
            self._line, self._shown = [], 0
        else:
            whole = bool(text) and any(low <= ord(text[-1]) <= high for low, high in _IDEOGRAPHS)
            complete = text[self._shown : None if whole else text.rfind(" ") + 1]
            self._shown += len(complete)
        self.on_finalized_text(complete)

    def end(self) -> None:
        """Hand on the rest; the streamer can be used again."""
        text = self.tokenizer.decode(self._line, **self.decode_kwargs) if self._line else ""
        rest = text[self._shown :]
        self._start()
        self.on_finalized_text(rest, stream_end=True)

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Print `text`, and a line break if it is the last."""
        print(text, flush=True, end="\n" if stream_end else "")


class TextIteratorStreamer(TextStreamer):
    """An iterator over the pieces of text, for a loop beside the thread that generates.

        streamer = TextIteratorStreamer(tokenizer)
        Thread(target=model.generate, kwargs={**inputs, "streamer": streamer}).start()
        for text in streamer: ...

    Args:
        timeout: seconds to wait for the next piece before `queue.Empty` is raised; None: for ever,
            also if the thread has died.
    """

    def __init__(
        self,
        tokenizer: Any,
        skip_prompt: bool = False,
        timeout: float | None = None,
        **decode_kwargs: Any,
    ) -> None:
        super().__init__(tokenizer, skip_prompt, **decode_kwargs)
        self.timeout = timeout
        self._pieces: queue.Queue[str | None] = queue.Queue()  # None: the end

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Queue the text for the reader."""
        self._pieces.put(text)
        if stream_end:
            self._pieces.put(None)

    def __iter__(self) -> TextIteratorStreamer:
        return self

    def __next__(self) -> str:
        text = self._pieces.get(timeout=self.timeout)
        if text is None:
            raise StopIteration
        return text
