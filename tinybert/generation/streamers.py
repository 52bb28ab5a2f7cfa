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
# All characters that `clean_up_tokenization` replaces, but those that end such a replacement.
_IN_CLEAN_UP = " 'nvr"
MAX_IDS = 512  # ids whose text is decoded at each step; of more, half are forgotten
CONTEXT = 32  # characters at the beginning of a text that may depend on what is before it


def _is_ideograph(char: str) -> bool:
    return char != "" and any(low <= ord(char) <= high for low, high in _IDEOGRAPHS)


class BaseStreamer:
    """The base class of streamers, for `generate(streamer=...)`."""

    def put(self, value: np.ndarray) -> None:
        """Receive the ids of the prompt (1, T), then each new token (1,)."""
        raise NotImplementedError

    def end(self) -> None:
        """Receive the end of the generation."""
        raise NotImplementedError


def settled_text(tokenizer: Any, ids: list[int], **decode_kwargs: Any) -> str:
    """Return the beginning of `tokenizer.decode(ids, **decode_kwargs)` that further ids cannot
    change.

    Not settled are characters whose bytes are not complete, what the method `settled` of the
    tokenizer leaves out, and with clean-up a space before what may become punctuation.
    """
    if hasattr(tokenizer, "settled"):
        ids = ids[: tokenizer.settled(ids, decode_kwargs.get("skip_special_tokens", False))]
    text = tokenizer.decode(ids, **decode_kwargs).rstrip("\ufffd")
    cleans_up = decode_kwargs.get("clean_up_tokenization_spaces")
    if cleans_up is None:
        setting = getattr(tokenizer, "clean_up_tokenization_spaces", False)
        cleans_up = getattr(tokenizer, "cleans_up", setting)
    return settled_clean_up(text) if cleans_up else text


def settled_clean_up(text: str) -> str:
    """Return the beginning of a cleaned text that clean-up of a longer text cannot change."""
    space = text.find(" ", len(text.rstrip(_IN_CLEAN_UP)))
    return text if space < 0 else text[:space]


class TextStreamer(BaseStreamer):
    """Prints generated text word by word.

    Args:
        tokenizer: has `decode(ids, **options)`.
        skip_prompt: do not print the prompt.
        **decode_kwargs: options of `decode`, such as `skip_special_tokens=True`.

    A word is printed when a space follows it, because further tokens could continue it. Ideographs
    and line breaks are printed at once. All parts together are what `decode` returns for all ids,
    or with `skip_prompt` for the new ones. Override `on_finalized_text` to do something other than
    print.
    """

    def __init__(self, tokenizer: Any, skip_prompt: bool = False, **decode_kwargs: Any) -> None:
        self.tokenizer = tokenizer
        self.skip_prompt = skip_prompt
        self.decode_kwargs = decode_kwargs
        self._start()

    def _start(self) -> None:
        self._ids: list[int] = []
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
        self._ids += ids.reshape(-1).tolist()
        text = settled_text(self.tokenizer, self._ids, **self.decode_kwargs)
        at_once = text.endswith("\n") or _is_ideograph(text[-1:])
        complete = text[self._printed : None if at_once else text.rfind(" ") + 1]
        self._printed += len(complete)
        if len(self._ids) > MAX_IDS:
            self._forget_first_ids()
        self.on_finalized_text(complete)

    def _forget_first_ids(self) -> None:
        """Keep the last ids only, so that the time of a step does not grow with the text.

        Only the first characters of a text depend on what is before it.
        """
        kept = self._ids[-MAX_IDS // 2 :]
        try:
            text, end = (self._decoded(ids) for ids in (self._ids, kept))
        except UnicodeDecodeError:  # a MegaTokenizer with errors="strict", within a character
            return
        forgotten = len(text) - len(end)
        first = CONTEXT + forgotten
        if self._printed >= first and text[first:] == end[CONTEXT:]:
            self._ids, self._printed = kept, self._printed - forgotten

    def _decoded(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, **self.decode_kwargs)) if ids else ""

    def end(self) -> None:
        """Pass the rest of the text on; afterwards the streamer can be used again."""
        rest = self._decoded(self._ids)[self._printed :]
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
