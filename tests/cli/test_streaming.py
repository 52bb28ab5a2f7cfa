"""Streamed text: wrapped as Python's textwrap does, and equal to the complete text."""

from __future__ import annotations

import random
import textwrap
from pathlib import Path

import numpy as np
import pytest

from tinybert import BertTokenizerFast
from tinybert.cli.streaming import TerminalStreamer, WordWrapper
from tinybert.cli.terminal import columns_of

VOCAB = Path(__file__).parents[1] / "tokenizers" / "vocab.txt"
WORDS = ["a", "it", "went", "home", "quickly", "unbelievable", "and", "(so)", "they", "said"]


def wrapped(*parts: str, width: int = 20) -> str:
    written: list[str] = []
    wrapper = WordWrapper(written.append, width)
    for part in parts:
        wrapper.add(part)
    wrapper.end()
    return "".join(written)


@pytest.mark.parametrize("width", [12, 20, 33])
def test_lines_break_where_textwrap_breaks_them(width: int) -> None:
    draw = random.Random(width)
    for _ in range(50):
        lines = [" ".join(draw.choices(WORDS, k=draw.randint(1, 30))) for _ in range(3)]
        expected = "\n".join(textwrap.fill(line, width) for line in lines)
        assert wrapped("\n".join(lines), width=width) == expected + "\n"


def test_parts_and_special_places() -> None:
    assert wrapped("one", " two", " three four five six") == "one two three four\nfive six\n"
    assert wrapped("  \n a \n\n  b  ", "\n\n") == "a\n\n  b\n"
    assert wrapped("x" * 45) == "x" * 20 + "\n" + "x" * 20 + "\n" + "x" * 5 + "\n"
    assert wrapped("a \x1b[2J b\tc") == "a \\u001b[2J b c\n"
    assert wrapped("") == wrapped(" \n") == ""
    wide = wrapped("你好" * 13 + " ok", width=20).splitlines()
    assert [columns_of(line) for line in wide] == [20, 20, 15]


def test_a_stream_shows_what_the_whole_is() -> None:
    """Whatever tokens come: contractions, marks that take their space away, pieces, ideographs."""
    tokenizer = BertTokenizerFast(vocab_file=str(VOCAB))
    hard = ["'", ".", ",", "?", "!", "n", "t", "s", "m", "re", "##n", "##s", "[SEP]", "[UNK]"]
    hard = tokenizer.convert_tokens_to_ids(hard) + tokenizer("你 好")["input_ids"][1:-1]
    draw = random.Random(0)
    shown_early = 0
    for _ in range(150):
        prompt = tokenizer("The king didn't")["input_ids"][:-1]
        new = [draw.choice([*hard, draw.randrange(5, len(tokenizer))]) for _ in range(25)]
        parts: list[str] = []
        streamer = TerminalStreamer(tokenizer, WordWrapper(parts.append, 40), "The king didn't")
        streamer.put(np.array([prompt]))
        for token in new:
            streamer.put(np.array([token]))
        shown_early += len("".join(parts))
        streamer.end()
        streamer.wrapper.end()
        raw = [
            tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            for ids in (prompt, prompt + new)
        ]
        text = "The king didn't" + tokenizer.clean_up_tokenization(raw[1][len(raw[0]) :])
        assert "".join(parts) == wrapped(text, width=40)
    assert shown_early > 150 * 40  # most of it before the end
