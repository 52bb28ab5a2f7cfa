"""The recipe of recipes/minitron, with a few steps of each way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recipes.minitron import experiment
from tests.training.conftest import SENTENCES
from tinybert import BertForMaskedLM


@pytest.mark.slow
def test_it_trains_and_draws_all_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "SEEDS": (0, 1), "STEPS": {"distilled": 4, "pruned": 4, "scratch": 8}, "EVALUATIONS": 2,
        "BATCH": 2, "WARMUP": 1, "CALIBRATION": 1, "MEASURED": 1,
    }.items():  # fmt: skip
        monkeypatch.setattr(experiment, name, value)
    text = tmp_path / "text"
    text.write_text("\n\n".join(f"{a}\n{b}" for a in SENTENCES for b in SENTENCES))
    experiment.main(str(text), str(text), str(tmp_path / "out"))
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (tmp_path / "out" / "minitron.png").stat().st_size > 10_000
    assert {way: len(curves) for way, curves in found["curves"].items()} == {
        "distilled": 2, "pruned": 2, "scratch": 2,
    }  # fmt: skip
    for way, (curve, other) in found["curves"].items():
        assert len(curve["loss"]) == (2 if way == "scratch" else 3)
        assert curve["tokens"] == sorted(curve["tokens"])
        assert curve["loss"] != other["loss"]
    start = found["start"]
    assert start["teacher"]["loss"] < start["pruned"]["loss"]
    model = BertForMaskedLM.from_pretrained(tmp_path / "out" / "distilled-0")
    assert model.config.hidden_size == 192
    assert not hasattr(model.config, "quantization_config")


def test_the_ratio_is_that_of_the_tokens_to_the_same_loss() -> None:
    distilled = {"tokens": [0, 100, 200], "loss": [6.0, 5.0, 4.0]}
    assert experiment.ratio({"tokens": [300, 600], "loss": [9.0, 4.5]}, distilled) == 600 / 150
    assert experiment.ratio({"tokens": [300, 600], "loss": [9.0, 6.5]}, distilled) is None
    with pytest.raises(ValueError, match="never reaches"):
        experiment.ratio({"tokens": [300, 600], "loss": [9.0, 3.5]}, distilled)
