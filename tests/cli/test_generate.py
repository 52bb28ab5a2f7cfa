"""`tinybert generate`: what is said of each new token, against transformers; pictures of the
attention; and text that comes word by word in a terminal, a real one (a pseudo-terminal).
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import regex
import torch
import transformers

from tests.models.oracle import draw_weights
from tests.pipelines.twins import SIZES, VOCAB, Make, model_folder  # noqa: F401 (a fixture)
from tinybert import BertTokenizerFast, MegaConfig, MegaForCausalLM, NemotronConfig
from tinybert import NemotronForCausalLM as Nemotron
from tinybert.backend import manual_seed
from tinybert.cli import generate
from tinybert.cli.text2text import load_generator
from tinybert.cli.token_probabilities import (
    attention_weights,
    generation_steps,
    label,
    new_token_ids,
)
from tinybert.generation import sentence_end
from tinybert.pipelines import pipeline

TEXT = "King George of England"
NEMOTRON = {
    "vocab_size": SIZES["vocab_size"],
    "hidden_size": 12,
    "intermediate_size": 10,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 1_000_000,
    "eos_token_id": None,
    "initializer_range": 1.0,
}
MEGA = {
    "vocab_size": SIZES["vocab_size"],
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "is_decoder": True,
    "bidirectional": False,
    "shared_representation_size": 6,
    "intermediate_size": 10,
    "nffn_hidden_size": 12,
    "ema_projection_size": 4,
    "max_positions": 64,
    "eos_token_id": None,
}


@pytest.fixture(scope="module")
def folder(model_folder: Make) -> Path:  # noqa: F811
    return model_folder("BertLMHeadModel", 1, is_decoder=True, eos_token_id=None)


@pytest.fixture(scope="module")
def twin(folder: Path) -> Any:
    model = transformers.BertLMHeadModel.from_pretrained(folder, attn_implementation="eager")
    return model.eval()


@pytest.fixture(scope="module")
def nemotron(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that can go on for hours."""
    manual_seed(3)
    folder = tmp_path_factory.mktemp("nemotron")
    Nemotron(NemotronConfig(**NEMOTRON)).save_pretrained(folder)
    BertTokenizerFast(vocab_file=str(VOCAB)).save_pretrained(folder)
    return folder


@pytest.fixture
def ask(tinybert, folder: Path):
    """Run the command with the model, or another."""
    return lambda *words, model=folder: tinybert("generate", *words, "--model", model)


def as_json(ran: Any) -> list[dict[str, Any]]:
    assert (ran.code, ran.err) == (0, "")
    return json.loads(ran.out)["results"]


# --- what is said of each token -------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        ["--greedy"],
        ["--seed", 5, "--temperature", 3, "--top-k", 40],
        ["--seed", 5, "--count", 2, "--temperature", 3],
        ["--beams", 3, "--count", 2],
        ["--beams", 4],
    ],
)
def test_probabilities_are_those_of_the_model(ask, twin, options: list[Any]) -> None:
    """Also where the draw was at a temperature, and where a beam took over from another."""
    words = [*options, "--max-new-tokens", 7, "--top", 3, "--json"]
    tokenizer = BertTokenizerFast(vocab_file=str(VOCAB))
    prompt = tokenizer(TEXT)["input_ids"][:-1]
    (result,) = as_json(ask(TEXT, *words))
    assert result["prompt"] == TEXT
    assert len(result["texts"]) == (2 if "--count" in options else 1)
    for found in result["texts"]:
        ids = found["ids"]
        assert len(ids) == 7
        assert found["tokens"] == tokenizer.convert_ids_to_tokens(ids)
        assert found["text"].startswith(TEXT)
        with torch.no_grad():
            logits = twin(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
        expected = logits.double().softmax(-1).numpy()
        np.testing.assert_allclose(found["probabilities"], expected[range(7), ids], atol=1e-6)
        for row, chosen, others in zip(expected, ids, found["alternatives"], strict=True):
            order = [int(k) for k in np.argsort(-row) if k != chosen][:3]
            assert [other["id"] for other in others] == order
            assert [other["token"] for other in others] == tokenizer.convert_ids_to_tokens(order)
            np.testing.assert_allclose([o["probability"] for o in others], row[order], atol=1e-6)


def test_json_without_top(ask) -> None:
    results = as_json(ask("It was", "The end", "--greedy", "--max-new-tokens", 2, "--json"))
    assert [result["prompt"] for result in results] == ["It was", "The end"]
    for result in results:
        assert list(result["texts"][0]) == ["text", "ids", "tokens", "probabilities"]


def test_the_table(ask) -> None:
    words = [TEXT, "--greedy", "--max-new-tokens", 5]
    ((found,),) = [result["texts"] for result in as_json(ask(*words, "--top", 9, "--json"))]
    text, table = ask(*words, "--top", 9).out.split("\n\n")
    assert text == ask(*words).out.rstrip("\n")
    heads, *lines = table.splitlines()
    assert heads.split() == ["token", "prob", "alternatives"]
    assert max(map(len, lines)) <= 80
    rows = [line.split() for line in lines if not line.startswith(" ")]
    shown = [f"{probability:.4f}" for probability in found["probabilities"]]
    assert [row[:2] for row in rows] == [list(p) for p in zip(found["tokens"], shown, strict=True)]
    others = [f"{o['token']} {o['probability']:.2f}" for s in found["alternatives"] for o in s]
    beside = " ".join(line[table.index("alternatives") - table.index("token") :] for line in lines)
    assert beside.split() == " ".join(others).split()
    several = ask("a", "b", "--count", 2, "--top", 2, "--seed", 1, "--max-new-tokens", 2).out
    assert several.count("alternatives") == 4


def test_the_token_that_ends_a_text_is_its_last(tinybert, model_folder: Make) -> None:  # noqa: F811
    """Behind it there is padding, where other texts go on."""
    free = as_json(
        tinybert(
            *("generate", TEXT, "--seed", 5, "--count", 3, "--max-new-tokens", 8, "--json"),
            *("--model", model_folder("BertLMHeadModel", 1, is_decoder=True, eos_token_id=None)),
        )
    )[0]["texts"]
    end = free[0]["ids"][3]
    ended = model_folder("BertLMHeadModel", 1, is_decoder=True, eos_token_id=end)
    for options in (["--seed", 5, "--count", 3], ["--beams", 3, "--count", 3]):
        words = [TEXT, *options, "--max-new-tokens", 8, "--json"]
        found = as_json(tinybert("generate", *words, "--model", ended))[0]["texts"]
        if "--seed" in options:
            assert found[0]["ids"] == free[0]["ids"][:4]
        for one in found:
            assert end not in one["ids"][:-1]
            assert len(one["ids"]) == len(one["probabilities"])
            assert one["ids"][-1] == end or len(one["ids"]) == 8


def test_a_text_can_end_with_a_sentence(ask, refused, folder, model_folder, monkeypatch) -> None:  # noqa: F811
    """At the first end after --max-new-tokens; or the model asks for it, and has its own number."""
    own = model_folder("BertLMHeadModel", 7, is_decoder=True, eos_token_id=2)
    options = (TEXT, "--seed", 5, "--temperature", 3, "--json")
    words = as_json(ask(*options, "--max-new-tokens", 30, model=own))[0]["texts"][0]["tokens"]
    last = next(word for word in words[8:] if word.isalpha())
    monkeypatch.setattr(sentence_end, "END", regex.compile(rf"\b{last}$"))
    expected = words[: words.index(last, 3) + 1]

    def tokens(*more: Any) -> list[str]:
        return as_json(ask(*options, *more, model=own))[0]["texts"][0]["tokens"]

    assert tokens("--max-new-tokens", 4, "--whole-sentences") == expected
    assert tokens("--max-new-tokens", 4) == words[:4]
    path = own / "generation_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"whole_sentences": True}))
    monkeypatch.setattr(generate, "NEW_TOKENS", 4)
    assert tokens() == expected
    assert tokens("--max-new-tokens", 4) == words[:4]
    message = refused("generate", TEXT, "--model", folder, "--whole-sentences")
    assert "needs a model with an eos_token_id" in message
    message = refused("generate", TEXT, "--model", own, "--whole-sentences", "--max-new-tokens", 0)
    assert "--max-new-tokens must be an integer >= 1, got 0" in message


def test_labels_are_readable() -> None:
    """Bytes are letters, spaces stay visible, and a part of a letter is what it is called."""
    tokens = {0: "ĠcafÃ©", 1: "Ġ", 2: "Ċ", 3: "Ã", 4: "##ing", 5: "▁so"}
    texts = {0: " café", 1: " ", 2: "\n", 3: "\ufffd", 4: "##ing", 5: "so", 6: ""}

    class Few:
        def convert_ids_to_tokens(self, i: int) -> str | None:
            return tokens.get(i)

        def decode(self, ids: list[int], **options: Any) -> str:
            return texts[ids[0]]

    assert [label(Few(), i) for i in range(7)] == ["Ġcafé", "Ġ", "Ċ", "Ã", "##ing", "▁so", "<6>"]


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--count", 0], "--count must be an integer >= 1, got 0"),
        (["--beams", 0], "--beams must be an integer >= 1, got 0"),
        (["--beams", 2, "--count", 3], "--count must be at most --beams 2, got 3"),
        (["--max-new-tokens", 0], "--max-new-tokens must be an integer >= 1, got 0"),
        (["--seed", -1], "--seed must be an integer >= 0, got -1"),
        (["--top-p", 2], "--top-p must be a number from 0 to 1, got 2.0"),
        (
            ["--temperature", 0],
            "--temperature must be a float > 0 (--greedy always takes the most likely token), "
            "got 0.0",
        ),
    ],
)
def test_errors_call_options_as_they_were_typed(
    refused, folder: Path, words: list[Any], message: str
) -> None:
    error = refused("generate", TEXT, "--model", folder, *words)
    assert error == f"tinybert generate: {message}\n"


def test_a_tokenizer_of_another_model(refused, tmp_path: Path) -> None:
    Nemotron(NemotronConfig(**{**NEMOTRON, "vocab_size": 50})).save_pretrained(tmp_path)
    BertTokenizerFast(vocab_file=str(VOCAB)).save_pretrained(tmp_path)
    error = refused("generate", TEXT, "--model", tmp_path)
    assert "input_ids must be from 0 to 49, got " in error
    assert error.endswith(
        ": the tokenizer has more tokens than the model; use the model's own tokenizer\n"
    )


# --- an encoder-decoder ---------------------------------------------------------------------------


def test_an_encoder_decoder_rewrites(tinybert, tmp_path: Path, monkeypatch) -> None:
    """What is shown is the new text, and where in the text read the model looked."""
    drawn: list[list[str]] = []
    two = [transformers.BertConfig(**SIZES) for _ in range(2)]
    ids = {"decoder_start_token_id": 2, "pad_token_id": 0, "eos_token_id": None}
    config = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(*two, **ids)
    twin = transformers.EncoderDecoderModel(config).eval()
    twin.set_attn_implementation("eager")
    draw_weights(twin, 5)
    twin.save_pretrained(tmp_path)
    tokenizer = BertTokenizerFast(vocab_file=str(VOCAB))
    tokenizer.save_pretrained(tmp_path)
    read = torch.tensor([tokenizer(TEXT)["input_ids"]])
    out = twin.generate(
        read, attention_mask=torch.ones_like(read), max_new_tokens=6, do_sample=False,
        return_dict_in_generate=True, output_attentions=True, eos_token_id=None,
    )  # fmt: skip
    words = ["generate", TEXT, "--greedy", "--max-new-tokens", 6, "--model", tmp_path]
    ((found,),) = [result["texts"] for result in as_json(tinybert(*words, "--json"))]
    assert found["ids"] == out.sequences[0, 1:].tolist()
    text = tokenizer.decode(found["ids"], skip_special_tokens=True)
    assert found["text"] == tokenizer.clean_up_tokenization(text)
    assert " ".join(tinybert(*words).out.split()) == found["text"]
    monkeypatch.setattr(generate, "save_attention", lambda *given: drawn.append(given[3]))
    assert tinybert(*words, "--plot", tmp_path / "attention.png").code == 0
    assert drawn == [tokenizer.convert_ids_to_tokens(read[0].tolist())]
    writer = load_generator(argparse.Namespace(model=str(tmp_path), device=None))
    details = {f"output_{name}": True for name in ("logits", "attentions")}
    ours = writer.generate(
        TEXT, do_sample=False, max_new_tokens=6, return_dict_in_generate=True, **details
    )
    expected = [step[-1][0].mean(0)[-1].numpy() for step in out.cross_attentions]
    weights = attention_weights(ours.output, 0, 6, writer.model.config)
    np.testing.assert_allclose(weights, expected, atol=1e-6)


# --- the picture of the attention -----------------------------------------------------------------


@pytest.mark.parametrize("beams", [1, 3])
def test_attention_is_that_of_the_model(folder: Path, twin, beams: int) -> None:
    writer = pipeline("text-generation", folder)
    details = {f"output_{name}": True for name in ("logits", "attentions")}
    found = writer.generate(
        TEXT, do_sample=False, num_beams=beams, max_new_tokens=6, return_dict_in_generate=True,
        **details,
    )  # fmt: skip
    ids, prompt = found.output.sequences.numpy()[0].tolist(), len(found.prompt)
    assert new_token_ids(found.output, 0, []) == ids[prompt:]
    weights = attention_weights(found.output, 0, 6, writer.model.config)
    with torch.no_grad():
        layers = twin(torch.tensor([ids]), output_attentions=True).attentions
    expected = layers[-1][0].mean(0)[prompt - 1 : -1, :-1].numpy()
    assert weights.shape == expected.shape
    assert (np.isnan(weights) == np.triu(np.ones(expected.shape, bool), prompt)).all()
    np.testing.assert_allclose(np.nan_to_num(weights), expected, atol=1e-6)


@pytest.mark.parametrize("chunk", [None, 4])
def test_attention_of_a_mega(chunk: int | None) -> None:
    """In chunks too, of which a token sees its own alone."""
    manual_seed(1)
    model = MegaForCausalLM(MegaConfig(**MEGA, use_chunking=bool(chunk), chunk_size=chunk or -1))
    ids = np.array([[4, 9, 2, 7, 5, 3]])
    details = {f"output_{name}": True for name in ("logits", "attentions")}
    output = model.eval().generate(
        ids, max_new_tokens=7, return_dict_in_generate=True, do_sample=False, **details
    )
    weights = attention_weights(output, 0, 7, model.config)
    assert (
        len(
            generation_steps(output, 0, new_token_ids(output, 0, []), BertTokenizerFast(str(VOCAB)))
        )
        == 7
    )
    whole = model(output.sequences[:, :12], output_attentions=True).attentions[-1].numpy()[0]
    for row, read in enumerate(range(6, 13)):
        at, query = divmod(read - 1, chunk or 12)
        expected = np.full(12, np.nan)
        expected[:read] = 0
        expected[read - query - 1 : read] = whole[at, query, : query + 1]
        np.testing.assert_allclose(weights[row], expected, atol=1e-6)


def test_the_picture(ask, refused, tmp_path: Path, folder: Path) -> None:
    from matplotlib import image

    path = tmp_path / "attention.png"
    ran = ask("It costs $5 and $6.", "--beams", 2, "--max-new-tokens", 12, "--plot", path)
    assert (ran.code, ran.err) == (0, f"chart: {path}\n")
    assert ran.out.startswith("It costs $5 and $6.")
    pixels = image.imread(path)[:, :, :3]
    assert 300 < min(pixels.shape[:2]) <= max(pixels.shape[:2]) < 1500
    coloured = pixels.max(axis=2) - pixels.min(axis=2) > 0.02
    assert 0.2 < coloured.mean() < 0.8
    long = ["--max-new-tokens", 150, "--plot", path, "--model", folder]
    assert "at most 160 tokens, got 162" in refused("generate", "a " * 10, *long)
    for words in (["a", "b"], ["a", "--count", "2"]):
        error = refused("generate", *words, "--plot", path, "--model", folder)
        assert "--plot draws a single generated text, got 2" in error
    assert "must end in .png" in refused("generate", "a", "--plot", "x.gif", "--model", folder)
    error = refused("generate", "a", "--top", 0, "--model", folder)
    assert "--top must be an integer >= 1, got 0" in error


# --- in a terminal --------------------------------------------------------------------------------

HANG = 900  # seconds without a sign of life: no machine is so busy, the program hangs
# `python -m tinybert`; Ctrl-C works even where a shell ran the tests in the background, which makes
# them and their children ignore it.
PROGRAM = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("tinybert", run_name="__main__", alter_sys=True)
"""


class Terminal:
    """`tinybert generate` with a pseudo-terminal as its standard output, 40 columns wide."""

    def __init__(self, *words: object) -> None:
        pty = pytest.importorskip("pty", reason="pseudo-terminals are of POSIX")
        self.screen, shown = pty.openpty()
        command = [sys.executable, "-c", PROGRAM, "generate", *map(str, words)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=shown, stderr=subprocess.PIPE,
            env={**os.environ, "COLUMNS": "40"}, start_new_session=True,
        )  # fmt: skip
        os.close(shown)

    def read(self, enough: int) -> str:
        """What is shown, until there are `enough` characters or the program has ended."""
        found = b""
        while len(found) < enough:
            assert select.select([self.screen], [], [], HANG)[0], f"nothing more after {found!r}"
            try:
                part = os.read(self.screen, 1024)
            except OSError:  # Linux, when the program has ended
                break
            if not part:
                break
            found += part
        return found.decode().replace("\r\n", "\n")

    def end(self) -> tuple[int, str]:
        """The exit code, and what was on standard error."""
        _, error = self.process.communicate(timeout=HANG)
        return self.process.returncode, error.decode()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()
        os.close(self.screen)


def test_a_terminal_shows_what_a_pipe_gets(tinybert, nemotron: Path, monkeypatch) -> None:
    words = [TEXT, "It was", "--seed", 3, "--max-new-tokens", 40, "--top", 2, "--model", nemotron]
    with Terminal(*words) as terminal:
        shown = terminal.read(100_000)
        assert terminal.end() == (0, "")
    monkeypatch.setattr("tinybert.cli.generate.terminal_width", lambda: 40)
    assert shown == tinybert("generate", *words).out


def test_text_comes_while_it_is_written_and_can_be_stopped(nemotron: Path) -> None:
    """Hours before the end there is text; after Ctrl-C the line is ended, and the exit code 130."""
    words = [TEXT, "--seed", 3, "--max-new-tokens", 900_000, "--model", nemotron]
    with Terminal(*words) as terminal:
        shown = terminal.read(300)
        terminal.process.send_signal(signal.SIGINT)
        shown += terminal.read(10**9)
        assert terminal.end() == (130, "interrupted\n")
    assert shown.startswith(TEXT)
    assert shown.endswith("\n")
    assert not shown.endswith("\n\n")
    assert len(shown.splitlines()) > 5
    assert max(map(len, shown.splitlines())) <= 40


@pytest.mark.parametrize("words", [["--no-stream"], ["--json"], ["--beams", "2"], ["--count", "2"]])
def test_what_does_not_stream(ask, monkeypatch, words: list[str]) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(generate.sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(generate, "TerminalStreamer", lambda *given: asked.append(given))
    assert ask("It was", "--seed", 1, "--max-new-tokens", 3, *words).code == 0
    assert not asked
    assert ask("It was", "--seed", 1, "--max-new-tokens", 3).code == 0
    assert asked
