"""Streamers print what transformers' streamers print, in the same parts."""

from __future__ import annotations

import queue
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from tests.generation.oracle import twins
from tinybert.generation import BaseStreamer, TextIteratorStreamer, TextStreamer

PIECES = ["a", "b", " ", "c", "\n", "你", "好", " d", "e ", "[P]", "𠀀", ".", "z"]


class Tokenizer:
    """Tokens are written as they are; the last of the special ones can be skipped."""

    def decode(self, ids: list[int], skip_special_tokens: bool = False, **options: Any) -> str:
        pieces = [PIECES[i % len(PIECES)] for i in ids]
        return "".join(p for p in pieces if not (skip_special_tokens and p == "[P]"))


class Ours(TextStreamer):
    pieces: list[tuple[str, bool]]

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        self.pieces.append((text, stream_end))


class Theirs(transformers.TextStreamer):
    pieces: list[tuple[str, bool]]

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        self.pieces.append((text, stream_end))


@pytest.mark.parametrize("skip_prompt", [True, False])
@pytest.mark.parametrize("skip_special_tokens", [True, False])
def test_random_tokens_in_the_same_pieces(skip_prompt: bool, skip_special_tokens: bool) -> None:
    rng = np.random.default_rng(0)
    options = {"skip_prompt": skip_prompt, "skip_special_tokens": skip_special_tokens}
    streamers = Ours(Tokenizer(), **options), Theirs(Tokenizer(), **options)
    for _ in range(40):  # again and again with the same streamers
        prompt, new = rng.integers(0, 13, (1, 4)), rng.integers(0, 13, rng.integers(1, 12))
        for streamer, convert in zip(streamers, (np.asarray, torch.as_tensor), strict=True):
            streamer.pieces = []
            streamer.put(convert(prompt))
            for token in new:
                streamer.put(convert([token]))
            streamer.end()
        assert streamers[0].pieces == streamers[1].pieces


def test_printed(capsys: pytest.CaptureFixture[str]) -> None:
    ours, theirs = twins(0)
    ids = np.array([[3, 4, 5]])
    out = ours.generate(ids, max_new_tokens=10, streamer=TextStreamer(Tokenizer()))
    printed = capsys.readouterr().out
    theirs.generate(
        torch.from_numpy(ids), max_new_tokens=10, attention_mask=torch.ones(1, 3),
        streamer=transformers.TextStreamer(Tokenizer()), pad_token_id=0,
    )  # fmt: skip
    assert printed == capsys.readouterr().out == Tokenizer().decode(out.tolist()[0]) + "\n"


def test_an_iterator_beside_the_thread_that_generates() -> None:
    model, _ = twins(0)
    streamer = TextIteratorStreamer(Tokenizer(), skip_prompt=True, timeout=900.0)  # if it hangs
    ids = [[3, 4, 5]]
    options = {"max_new_tokens": 8, "streamer": streamer}
    thread = Thread(target=model.generate, args=(ids,), kwargs=options)
    thread.start()
    text = "".join(streamer)
    thread.join()
    expected = model.generate(ids, max_new_tokens=8).tolist()[0][3:]
    assert text == Tokenizer().decode(expected)


def test_an_iterator_gives_up_after_its_timeout() -> None:
    with pytest.raises(queue.Empty):
        next(TextIteratorStreamer(Tokenizer(), timeout=0.01))


class Collector(BaseStreamer):
    def __init__(self) -> None:
        self.got: list[Any] = []

    def put(self, value: np.ndarray) -> None:
        self.got.append(value)

    def end(self) -> None:
        self.got.append("end")


def test_a_streamer_gets_host_arrays_of_every_row(device: str) -> None:
    model = twins(0)[0].to(device)
    collector = Collector()
    out = model.generate([[3, 4], [5, 6]], max_new_tokens=3, streamer=collector)
    assert collector.got[-1] == "end"
    prompt, *new = collector.got[:-1]
    assert all(isinstance(array, np.ndarray) for array in (prompt, *new))
    assert np.concatenate([prompt, np.stack(new, axis=1)], axis=1).tolist() == out.tolist()


def test_what_cannot_be_streamed_is_refused() -> None:
    model, _ = twins(0)
    with pytest.raises(ValueError, match="a streamer needs num_beams=1, got 2"):
        model.generate([[3]], num_beams=2, streamer=TextStreamer(Tokenizer()))
    with pytest.raises(ValueError, match="a batch of one sequence, got 2"):
        model.generate([[3], [4]], streamer=TextStreamer(Tokenizer()))
