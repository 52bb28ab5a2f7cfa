"""Streamers: show text while it is generated.

`generate` calls `put` with the prompt, then `put` with every new token, and finally `end`.
"""

from __future__ import annotations

import queue
from typing import Any

import numpy as np

# Unicode blocks of CJK ideographs, which are written without spaces.
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


class BaseStreamer:
    """The base class of streamers, for `generate(streamer=...)`."""

    def put(self, value: np.ndarray) -> None:
        """Receive the ids of the prompt (1, T), then each new token (1,)."""
        raise NotImplementedError

    def end(self) -> None:
        """Receive the end of the generation."""
        raise NotImplementedError


class TextStreamer(BaseStreamer):
    """Prints generated text word by word.

    Args:
        tokenizer: has `decode(ids, **options)`.
        skip_prompt: do not print the prompt.
        **decode_kwargs: options of `decode`, such as `skip_special_tokens=True`.

    A word is printed when a space follows it, because further tokens could continue it. Ideographs
    and line breaks are printed at once. Override `on_finalized_text` to do something other than
    print.
    """

    def __init__(self, tokenizer: Any, skip_prompt: bool = False, **decode_kwargs: Any) -> None:
        self.tokenizer = tokenizer
        self.skip_prompt = skip_prompt
        self.decode_kwargs = decode_kwargs
        self._start()

    def _start(self) -> None:
        self._line: list[int] = []  # ids since the last line break
        self._printed = 0  # characters of their text
        self._prompt_is_next = True

    def put(self, value: Any) -> None:
        """Receive ids (1, T) or (1,), and pass complete words to `on_finalized_text`.

        Raises ValueError for more than one sequence.
        """
        ids = np.asarray(value)
        if ids.ndim > 1 and len(ids) != 1:
            raise ValueError(f"a TextStreamer needs a batch of one sequence, got {len(ids)}")
        is_prompt, self._prompt_is_next = self._prompt_is_next, False
        if is_prompt and self.skip_prompt:
            return
        self._line += ids.reshape(-1).tolist()
        text = self.tokenizer.decode(self._line, **self.decode_kwargs)
        if text.endswith("\n"):
            complete = text[self._printed :]
            self._line, self._printed = [], 0
        else:
            is_cjk = bool(text) and any(low <= ord(text[-1]) <= high for low, high in _IDEOGRAPHS)
            complete = text[self._printed : None if is_cjk else text.rfind(" ") + 1]
            self._printed += len(complete)
        self.on_finalized_text(complete)

    def end(self) -> None:
        """Pass the rest of the text on; afterwards the streamer can be used again."""
        text = self.tokenizer.decode(self._line, **self.decode_kwargs) if self._line else ""
        rest = text[self._printed :]
        self._start()
        self.on_finalized_text(rest, stream_end=True)

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Print `text`, with a line break at the end of the stream."""
        print(text, flush=True, end="\n" if stream_end else "")


class TextIteratorStreamer(TextStreamer):
    """An iterator over generated text, for use while another thread generates.

        streamer = TextIteratorStreamer(tokenizer)
        Thread(target=model.generate, kwargs={**inputs, "streamer": streamer}).start()
        for text in streamer: ...

    Args:
        timeout: seconds to wait for text before `queue.Empty` is raised; None waits forever, even
            if the thread has ended with an error.
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
        self._texts: queue.Queue[str | None] = queue.Queue()  # None: end of the stream

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Put the text into the queue of the iterator."""
        self._texts.put(text)
        if stream_end:
            self._texts.put(None)

    def __iter__(self) -> TextIteratorStreamer:
        return self

    def __next__(self) -> str:
        text = self._texts.get(timeout=self.timeout)
        if text is None:
            raise StopIteration
        return text
