"""Weights rounded to int8 with a scale for each row."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import tinybert
from tests.training.conftest import bert_config
from tinybert.cli.main import main
from tinybert.weights import CheckpointError, load_checkpoint, open_checkpoint, save_file
from tinybert.weights.int8 import Int8Rows

rng = np.random.default_rng(0)


def rounded(folder: Path, **tensors: np.ndarray) -> dict[str, np.ndarray]:
    path = folder / "weights.safetensors"
    save_file({name.replace("__", "."): value for name, value in tensors.items()}, path)
    with open_checkpoint(path) as reader:
        return dict(Int8Rows(reader))


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_codes_are_the_nearest(dtype: str, tmp_path: Path) -> None:
    weight = (rng.standard_normal((5, 7)) * 10.0 ** np.arange(-2, 3)[:, None]).astype(dtype)
    found = rounded(tmp_path, a__weight=weight)
    codes, scale = found["a.weight"], found["a.weight_scale"]
    assert codes.dtype == np.int8
    assert scale.dtype == np.float32
    assert scale.shape == (5, 1)
    assert (np.abs(codes).max(axis=1) == 127).all()
    wide = codes.astype(np.float64) * scale
    assert (np.abs(wide - weight) <= 0.5 * scale * (1 + 1e-5)).all()


def test_rows_of_zeros_and_of_tiny_numbers(tmp_path: Path) -> None:
    weight = np.array([[0, 0], [1e-45, 0], [3e-38, -3e-38]], np.float32)
    found = rounded(tmp_path, a__weight=weight)
    wide = found["a.weight"] * found["a.weight_scale"]
    assert np.isfinite(wide).all()
    assert np.abs(wide - weight).max() < 1e-38


def test_fewer_codes(tmp_path: Path) -> None:
    weight = rng.standard_normal((5, 7)).astype(np.float32)
    save_file({"a.weight": weight}, tmp_path / "w")
    with open_checkpoint(tmp_path / "w") as reader:
        found = Int8Rows(reader, 31)
        assert (np.abs(found["a.weight"]).max(axis=1) == 31).all()
        wide = found["a.weight"] * found["a.weight_scale"]
        assert (np.abs(wide - weight) <= 0.5001 * found["a.weight_scale"]).all()
        for largest in (0, 128, 3.5):
            with pytest.raises(ValueError, match="largest must be an integer"):
                Int8Rows(reader, largest)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_scale_for_infinite_values(value: float, tmp_path: Path) -> None:
    weight = np.array([[1, value]], np.float32)
    with pytest.raises(CheckpointError, match=r"'a\.weight' has infinite or NaN values"):
        rounded(tmp_path, a__weight=weight)


def test_what_is_no_matrix_of_floats_stays(tmp_path: Path) -> None:
    others = {
        "a__bias": rng.standard_normal(3), "norm__weight": np.ones(3), "table": np.ones((2, 2)),
        "b__weight": np.ones((2, 2), np.int64), "c__weight": np.ones((0, 2)),
        "d__weight": np.ones((2, 2, 2)),
    }  # fmt: skip
    found = rounded(tmp_path, **others)
    assert set(found) == {name.replace("__", ".") for name in others}
    for name, value in others.items():
        assert (found[name.replace("__", ".")] == value).all()


@pytest.mark.parametrize("size", ["5GB", "1KB"])
def test_convert_and_load(size: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tinybert.manual_seed(0):
        model = tinybert.BertForMaskedLM(bert_config(50)).eval()
    model.save_pretrained(tmp_path / "model")
    flags = ["--dtype", "int8", "--max-shard-size", size]
    assert main(["convert", str(tmp_path / "model"), str(tmp_path / "int8"), *flags]) == 0
    assert "verified" in capsys.readouterr().out
    config = json.loads((tmp_path / "int8/config.json").read_text())
    assert config["quantization_config"]["format"] == "int-quantized"
    assert config.get("torch_dtype", "float32") == "float32"

    loaded = tinybert.BertForMaskedLM.from_pretrained(tmp_path / "int8")
    before, after = model.state_dict(), loaded.state_dict()
    for name in before:
        largest = np.abs(before[name].numpy()).max(axis=-1, keepdims=True)
        error = np.abs(before[name].numpy() - after[name].numpy())
        assert (error <= largest / 253).all(), name
    ids = rng.integers(0, 50, (2, 9))
    assert np.allclose(model(ids).logits.numpy(), loaded(ids).logits.numpy(), atol=0.02)

    # Rounding what is rounded already changes nothing.
    again = ["convert", str(tmp_path / "int8"), str(tmp_path / "again"), "--dtype", "int8"]
    assert main(again) == 0
    first, second = load_checkpoint(tmp_path / "int8"), load_checkpoint(tmp_path / "again")
    assert all(np.allclose(first[name], second[name], rtol=1e-6, atol=0) for name in first)
