"""`tinybert plot`: kernels of a model, and the cost of length."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

import tinybert as tb
from tests.models.mega_oracle import mega_config
from tinybert.bench import sequence_length as lengths
from tinybert.bench.sequence_length import Cost
from tinybert.cli import plot
from tinybert.cli.plot import _memory, _two_sided


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tb.MegaForMaskedLM(mega_config()).save_pretrained(tmp_path / "mega")
    return tmp_path / "mega"


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_kernels_of_a_model(tinybert: Any, folder: Path, tmp_path: Path, ending: str) -> None:
    picture = tmp_path / f"kernels.{ending}"
    ran = tinybert("plot", "ema", folder, "--steps", 20, "--output", picture)
    assert (ran.code, ran.err) == (0, "")
    assert [line.split()[:2] for line in ran.out.splitlines()[1:5]] == [
        ["0", "back"], ["0", "ahead"], ["1", "back"], ["1", "ahead"],
    ]  # fmt: skip
    assert "of 20 lags" in ran.out
    assert picture.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml")
    shown = json.loads(tinybert("plot", "ema", folder, "--steps", 20, "--json").out)
    assert shown["steps"] == 20
    gate = tb.MegaModel.from_pretrained(folder).layers[1].mega_layer.ema_gate
    reach = _memory(gate.kernel(20).numpy()[12:])
    assert shown["layers"][1]["ahead"]["longest"] == reach.max()


def test_a_random_model_is_said_to_be_random(
    tinybert: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path
) -> None:
    monkeypatch.setattr(plot, "MegaConfig", mega_config)
    picture = tmp_path / "kernels.svg"
    ran = tinybert("plot", "ema", "--steps", 20, "--output", picture, "--json")
    assert ran.err == "a new model with random weights; give MODEL to see a trained one\n"
    assert json.loads(ran.out)["model"] is None
    assert json.loads(tinybert("plot", "ema", folder, "--json").out)["model"] == str(folder)
    titles = []
    monkeypatch.setattr(Figure, "suptitle", lambda self, text, **options: titles.append(text))
    for words in ([], [folder]):
        tinybert("plot", "ema", *words, "--steps", 20, "--output", picture)
    assert titles == [ran.err.strip(), ""]


def test_a_decoder_looks_back_alone(tinybert: Any, tmp_path: Path) -> None:
    config = mega_config(is_decoder=True, bidirectional=False, truncation=7)
    tb.MegaForCausalLM(config).save_pretrained(tmp_path)
    shown = json.loads(
        tinybert("plot", "ema", tmp_path, "--json", "--output", tmp_path / "k.pdf").out
    )
    assert shown["steps"] == 7
    assert [list(layer) for layer in shown["layers"]] == [["back"], ["back"]]
    assert (tmp_path / "k.pdf").read_bytes().startswith(b"%PDF")


def test_nine_tenths_of_a_kernel() -> None:
    kernel = np.array([[1.0, 0, 0], [0.5, -0.5, 0], [0.8, 0.1, 0.1], [0, 0, -1]])
    assert _memory(kernel).tolist() == [1, 2, 2, 3]


def test_both_directions_in_one_row() -> None:
    kernel = np.array([[1.0, 2, 3], [10.0, 20, 30]])  # back, ahead, of one feature
    assert _two_sided(kernel, 1).tolist() == [[30, 20, 11, 2, 3]]
    assert _two_sided(kernel, 2).tolist() == kernel.tolist()


def test_costs_and_exponents() -> None:
    cost = Cost([1024, 2048, 4096, 8192], [9.0, 1, 4, 16], [9.0, 1, 2, 4])
    assert cost.exponents() == pytest.approx((2, 1))
    assert all(map(math.isnan, Cost([1024, 2048], [1, 2], [1, 2]).exponents()))


def test_what_length_costs(tinybert: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lengths, "_pass_cost", lambda side, n, chunk, device: (n / 1e4, n / chunk))
    picture = tmp_path / "length.png"
    call = ("plot", "length", "--lengths", 16, 32, 64, "--chunk", 16)
    ran = tinybert(*call, "--output", picture)
    assert ran.code == 0
    assert ran.err.splitlines()[0] == "full attention, 16 tokens ..."
    rows = [line.split() for line in ran.out.splitlines()]
    assert [row[0] for row in rows[1:5]] == ["16", "32", "64", "fit"]
    assert all(float(number) > 0 for number in rows[3])
    assert picture.read_bytes().startswith(b"\x89PNG")
    shown = json.loads(tinybert(*call, "--json").out)
    assert list(shown) == ["full attention", "mega", "mega in chunks"]
    assert shown["mega"]["lengths"] == [16, 32, 64]
    assert shown["mega"]["time_exponent"] is None


def test_a_side_stops_where_it_would_take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"full attention": 2, "mega": 2, "mega in chunks": 1}
    monkeypatch.setattr(
        lengths, "_pass_cost", lambda side, n, chunk, device: ((n / 1000) ** seconds[side], n)
    )
    costs = lengths.measure((1000, 2000, 4000, 8000), limit=10)
    assert [len(cost.lengths) for cost in costs.values()] == [2, 2, 4]


@pytest.mark.parametrize("side", lengths.MODELS)
def test_a_pass_is_measured(side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lengths, "BUDGET", 0.0)
    seconds, megabytes = lengths._pass_cost(side, 32, 16, "cpu")
    assert seconds > 0
    assert 0.1 < megabytes < 10


def test_memory_in_chunks_grows_linearly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes do not depend on how busy the machine is; for time there is `tinybert plot length`."""
    monkeypatch.setattr(lengths, "BUDGET", 0.0)
    small, large = (lengths._pass_cost("mega in chunks", n, 64, "cpu")[1] for n in (2048, 8192))
    assert 0.9 < math.log(large / small, 4) < 1.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("length", "mega"), "plot length does not use MODEL"),
        (("length", "--lengths", "100", "200"), "<= --chunk 128 or a multiple of it, got 200"),
        (("length", "--lengths", "0"), "an integer >= 1"),
        (("ema", "--steps", "0"), "--steps must be an integer >= 1, got 0"),
        (("ema", "--output", "kernels.txt"), "--output must end in .png"),
        (("heads",), "invalid choice: 'heads'"),
    ],
)
def test_what_is_refused(refused: Any, arguments: tuple[str, ...], message: str) -> None:
    assert message in refused("plot", *arguments)
