"""What a streamer prints is what `decode` returns: every kind of tokenizer, text and option."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tokenizer_json.json_oracle import random_file, trained
from tests.tokenizers.corpora import CODE, DECLARATION, ENGLISH
from tests.tokenizers.oracle import random_text
from tinybert import BertTokenizer, BertTokenizerFast
from tinybert.cli.streaming import TerminalStreamer, WordWrapper
from tinybert.generation import TextStreamer, streamers
from tinybert.text.train_bpe import train_bpe
from tinybert.tokenizers import MegaTokenizer, TokenizerJSON
from tinybert.tokenizers.bpe_files import save_bpe

VOCAB = Path(__file__).parents[1] / "tokenizers" / "vocab.txt"
MARKS = (
    *("'", " '", " ' ", "n't", " n't", " 's", "'ve", " 're ", "don't", "I'm", ".", " .", " ,"),
    *(" !", " ", "  ", "\n", "\n\n", " \n ", "\t", "👍"),
    *( "👩‍👩‍👧", "e\u0301", "\u0301", "你好", "文 字", "한국"),
    *("[SEP]", "<s>", " </s> ", "x != y", "\ufffd", "ﬁ", "ж", "<0xE4>", "##s", "▁", "Ġ"),
)  # fmt: skip


def mega(folder: Path, **options: Any) -> MegaTokenizer:
    paths = folder / "vocab.json", folder / "merges.txt"
    if not paths[0].exists():
        save_bpe(*train_bpe([*ENGLISH[:500], *CODE[:500], *DECLARATION], 700), *paths)
    return MegaTokenizer(*paths, **options)


def from_json(folder: Path, value: Any, **options: Any) -> TokenizerJSON:
    path = folder / "tokenizer.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return TokenizerJSON(path, **options)


def like_llama(folder: Path) -> TokenizerJSON:
    """SentencePiece's BPE as the files of Llama 2 have it: nothing splits the text into words."""
    value = json.loads(trained("SentencePiece", "code"))
    before = [{"type": "Prepend", "prepend": "▁"}]
    before += [{"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
    value |= {"pre_tokenizer": None, "normalizer": {"type": "Sequence", "normalizers": before}}
    return from_json(folder, value)


def with_suffix(folder: Path) -> TokenizerJSON:
    """Words that end with a mark, as in the files of GPT-1."""
    letters = sorted(set("".join(MARKS) + "abcdefghijklmnopqrstuvwxyz"))
    vocab = {text: i for i, text in enumerate([*letters, *(c + "</w>" for c in letters), "<unk>"])}
    model = {"type": "BPE", "vocab": vocab, "merges": [], "unk_token": "<unk>"}
    model["end_of_word_suffix"] = "</w>"
    decoder = {"type": "BPEDecoder", "suffix": "</w>"}
    value = {"version": "1.0", "model": model, "decoder": decoder}
    value["pre_tokenizer"] = {"type": "BertPreTokenizer"}
    return from_json(folder, value, clean_up_tokenization_spaces=True)


KINDS: dict[str, Callable[[Path], Any]] = {
    "BertTokenizer": lambda folder: BertTokenizer(VOCAB),
    "BertTokenizerFast": lambda folder: BertTokenizerFast(VOCAB),
    "MegaTokenizer": mega,
    "MegaTokenizer, strict": lambda folder: mega(folder, errors="strict"),
    "MegaTokenizer, bytes as text": lambda folder: mega(folder, errors="backslashreplace"),
    "byte-level": lambda folder: from_json(folder, trained("byte-level", "code")),
    "SentencePiece": lambda folder: from_json(folder, trained("SentencePiece", "code")),
    "like Llama": like_llama,
    "Unigram": lambda folder: from_json(folder, trained("Unigram", "English")),
    "suffix": with_suffix,
}


class Recorder(TextStreamer):
    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        self.parts = [*getattr(self, "parts", []), text]


def streamed(tokenizer: Any, prompt: list[int], new: list[int], **options: Any) -> list[str]:
    """The parts that a streamer gets, the last one at the end."""
    streamer = Recorder(tokenizer, **options)
    streamer.put(np.array([prompt], int))
    for token in new:
        streamer.put(np.array([token]))
    streamer.end()
    return streamer.parts


def a_text(rng: random.Random) -> str:
    parts = [
        rng.choice(MARKS) if rng.random() < 0.6 else rng.choice((" ", "")) + random_text(rng)[:12]
        for _ in range(rng.randrange(1, 14))
    ]
    return "".join(parts)


def some_ids(tokenizer: Any, rng: random.Random) -> list[int]:
    """The ids of a text, or whatever ids: a model may generate them all."""
    if rng.random() < 0.6:
        return tokenizer(a_text(rng), verbose=False)["input_ids"]
    known = sorted(tokenizer.get_vocab().values())
    few = [*known[:20], *rng.sample(known, 10)]
    return rng.choices(rng.choice((known, few)), k=rng.randrange(1, 20))


def check(tokenizer: Any, rng: random.Random) -> None:
    prompt, new = some_ids(tokenizer, rng), some_ids(tokenizer, rng)
    decode = {
        "skip_special_tokens": rng.random() < 0.5,
        "clean_up_tokenization_spaces": rng.choice((None, True, False)),
    }
    skip_prompt = rng.random() < 0.3
    ids = new if skip_prompt else prompt + new
    try:
        expected = tokenizer.decode(ids, **decode)
    except UnicodeDecodeError:  # strict, and the ids are no text
        return
    parts = streamed(tokenizer, prompt, new, skip_prompt=skip_prompt, **decode)
    assert "".join(parts) == expected, (prompt, new, decode)


@pytest.mark.parametrize("kind", KINDS)
def test_the_parts_are_the_whole(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = KINDS[kind](tmp_path)
    rng = random.Random(kind)
    for number in range(120):
        if number == 80:  # forget the first ids often
            monkeypatch.setattr(streamers, "MAX_IDS", 12)
            monkeypatch.setattr(streamers, "CONTEXT", 8)
        check(tokenizer, rng)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_parts_are_the_whole_for_long(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = KINDS[kind](tmp_path)
    rng = random.Random(f"long {kind}")
    for number in range(1000):
        if number == 500:
            monkeypatch.setattr(streamers, "MAX_IDS", 12)
            monkeypatch.setattr(streamers, "CONTEXT", 8)
        check(tokenizer, rng)


@pytest.mark.parametrize(
    "seeds", [range(60), pytest.param(range(60, 1000), marks=pytest.mark.slow)]
)
def test_decoders_of_random_parts(seeds: range, tmp_path: Path) -> None:
    for seed in seeds:
        rng = random.Random(seed)
        tokenizer = from_json(tmp_path, random_file(rng))
        for _ in range(4):
            check(tokenizer, rng)


def test_the_text_of_the_terminal(tmp_path: Path) -> None:
    """It is the prompt with the new text of the pipeline; white space at both ends is not shown."""
    for kind, make in KINDS.items():
        tokenizer = make(tmp_path)
        rng = random.Random(0)
        for _ in range(30):
            text, new = f"The x{a_text(rng)}", some_ids(tokenizer, rng)
            prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
            parts: list[str] = []
            streamer = TerminalStreamer(tokenizer, WordWrapper(parts.append, 30), text)
            try:
                before, after = (
                    tokenizer.decode(ids, True, False) for ids in (prompt, prompt + new)
                )
            except UnicodeDecodeError:
                continue
            streamer.put(np.array([prompt]))
            for token in new:
                streamer.put(np.array([token]))
            streamer.end()
            streamer.wrapper.end()
            whole: list[str] = []
            wrapper = WordWrapper(whole.append, 30)
            found = after[len(before) :]
            wrapper.add(
                text + (tokenizer.clean_up_tokenization(found) if tokenizer.cleans_up else found)
            )
            wrapper.end()
            assert "".join(parts) == "".join(whole), (kind, prompt, new)


LINES = "if x != y:\n    don't_stop(x) # it's fine\n"


@pytest.mark.parametrize("kind", ["byte-level", "SentencePiece", "like Llama", "MegaTokenizer"])
def test_code_keeps_its_spaces(kind: str, tmp_path: Path) -> None:
    """Also where a file asks for clean-up, as that of Llama 3 does. No word waits long."""
    tokenizer = KINDS[kind](tmp_path)
    tokenizer.clean_up_tokenization_spaces = True
    ids = tokenizer(LINES * 3, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == LINES * 3
    parts = streamed(tokenizer, [], ids)
    assert "".join(parts) == LINES * 3
    # The line end of SentencePiece is a byte, which waits for what is not one.
    most = 1 if tokenizer.settled(tokenizer.convert_tokens_to_ids(["a", "<0x0A>"])) == 2 else 2
    assert max(len(part.split()) for part in parts) == most
    assert "x!= y" in tokenizer.decode(ids, clean_up_tokenization_spaces=True)  # as asked for


def test_characters_wait_only_for_what_may_change_them(tmp_path: Path) -> None:
    tokenizer = KINDS["byte-level"](tmp_path)
    ids = tokenizer.convert_tokens_to_ids([*"ab", *"ðŁĳį", "Ġ", "c", "Ġ"])  # 👍 has four bytes
    assert streamed(tokenizer, ids[:2], ids[2:]) == ["", "", "", "", "", "ab👍 ", "", "c ", ""]
    bert = KINDS["BertTokenizerFast"](tmp_path)
    ids = bert.convert_tokens_to_ids(["the", "king", "'", "s", ",", "and", "'"])
    parts = streamed(bert, [], ids, clean_up_tokenization_spaces=True)
    assert parts == ["", "", "the ", "", "", "", "king's, ", "", "and '"]


def test_a_long_stream_keeps_few_ids(tmp_path: Path) -> None:
    """The time of a step does not grow with the text."""
    tokenizer = KINDS["like Llama"](tmp_path)
    longest = 0
    decode = tokenizer.decode

    def counted(ids: list[int], *args: Any, **options: Any) -> str:
        nonlocal longest
        longest = max(longest, len(ids))
        return decode(ids, *args, **options)

    tokenizer.decode = counted
    ids = tokenizer(LINES * 100)["input_ids"]
    parts = streamed(tokenizer, ids[:1], ids[1:])
    assert len(ids) > 1500
    assert longest <= streamers.MAX_IDS + 1
    assert "".join(parts) == LINES * 100
