"""Quantised weights: widened as torch widens them, or refused by the name of their method."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

import tinybert
from tests.models.oracle import TOY
from tinybert import BertConfig, BertModel
from tinybert.weights import CheckpointError, load_checkpoint, open_checkpoint, save_sharded

ROWS, COLUMNS = 6, 8
FLOAT8 = [torch.float8_e4m3fn, torch.float8_e5m2]
rng = torch.Generator().manual_seed(0)


def codes(dtype: torch.dtype, rows: int = ROWS, columns: int = COLUMNS) -> torch.Tensor:
    if dtype == torch.int8:
        return torch.randint(-128, 128, (rows, columns), generator=rng, dtype=torch.int8)
    return torch.randn(rows, columns, generator=rng).to(dtype)


def scales(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return (torch.rand(shape, generator=rng) + 0.1).to(dtype)


def write(folder: Path, tensors: dict[str, torch.Tensor], quantization: Any = None) -> None:
    safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = {} if quantization is None else {"quantization_config": quantization}
    (folder / "config.json").write_text(json.dumps(config))


def read(folder: Path, name: str = "layer.weight") -> np.ndarray:
    """The weight as every method of a reader returns it."""
    with open_checkpoint(folder) as reader:
        array = reader[name]
        out = np.empty(array.shape, np.float32)
        reader.read_into(name, out)
        assert (out == array).all()
        assert (reader.copy(name) == array).all()
        assert (reader.stored(name)[0] == array).all()
        assert reader.mapped(name) is None
        assert reader.info(name) == ("F32", array.shape, array.nbytes)
        strided = np.empty(array.shape[::-1], np.float32).T
        reader.read_into(name, strided)
        assert (strided == array).all()
        half = np.empty(array.shape, np.float16)
        reader.read_into(name, half)
        assert (half == array.astype(np.float16)).all()
        assert set(reader) == {name, "other.weight"}
        assert len(reader) == 2
        assert "layer.weight_scale" not in reader
        return array


OTHER = {"other.weight": torch.ones(2, 3)}


@pytest.mark.parametrize("dtype", [torch.int8, *FLOAT8], ids=str)
@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (ROWS,), (ROWS, 1), (ROWS, 2)], ids=str)
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_scales_of_tensors_rows_and_groups(
    dtype: torch.dtype, shape: tuple[int, ...], kind: torch.dtype, tmp_path: Path
) -> None:
    weight, scale = codes(dtype), scales(*shape, dtype=kind)
    write(tmp_path, {"layer.weight": weight, "layer.weight_scale": scale, **OTHER})
    factor = scale.float().reshape(-1, 1) if len(shape) < 2 else scale.float()
    if shape == (ROWS, 2):
        factor = factor.repeat_interleave(COLUMNS // 2, dim=1)
    expected = (weight.float() * factor).numpy()
    assert (read(tmp_path) == expected).all()


@pytest.mark.parametrize("name", ["weight_scale", "weight_scale_inv"])
@pytest.mark.parametrize("size", [(6, 8), (5, 7)], ids=str)
def test_tiles_at_the_edge_are_smaller(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    """As transformers' fp8 and DeepSeek's files have them: 2 x 3 tiles of 3 x 3 for 5 x 7."""
    rows, columns = size
    weight, scale = codes(FLOAT8[0], rows, columns), scales(2, 3)
    config = {"quant_method": "fp8", "weight_block_size": [3, 3]}
    write(tmp_path, {"layer.weight": weight, f"layer.{name}": scale, **OTHER}, config)
    factor = scale.repeat_interleave(3, 0)[:rows].repeat_interleave(3, 1)[:, :columns]
    assert (read(tmp_path) == (weight.float() * factor).numpy()).all()


def test_tiles_of_compressed_tensors(tmp_path: Path) -> None:
    weights = {"strategy": "block", "block_structure": [4, 8]}
    config = {
        "quant_method": "compressed-tensors",
        "config_groups": {"group_0": {"weights": weights}},
    }
    weight, scale = codes(FLOAT8[0]), scales(2, 1)
    write(tmp_path, {"layer.weight": weight, "layer.weight_scale": scale, **OTHER}, config)
    expected = weight.float() * scale.repeat_interleave(4, 0)[:ROWS]
    assert (read(tmp_path) == expected.numpy()).all()


@pytest.mark.parametrize("shape", [(1,), (ROWS, 1), (ROWS, 4)], ids=str)
def test_zero_points_are_subtracted(shape: tuple[int, ...], tmp_path: Path) -> None:
    weight, scale = codes(torch.int8), scales(*shape)
    zero = torch.randint(-128, 128, shape, generator=rng, dtype=torch.int8)
    tensors = {"weight": weight, "weight_scale": scale, "weight_zero_point": zero}
    write(tmp_path, {f"layer.{name}": tensor for name, tensor in tensors.items()} | OTHER)
    wide = [t.float().repeat_interleave(2 if shape[1:] == (4,) else 1, -1) for t in (zero, scale)]
    expected = (weight.float() - wide[0].reshape(-1, wide[0].shape[-1])) * wide[1]
    assert (read(tmp_path) == expected.numpy()).all()


def test_scales_of_activations_are_not_read(tmp_path: Path) -> None:
    weight, scale = codes(FLOAT8[0]), scales(1)
    tensors = {"layer.weight": weight, "layer.weight_scale": scale}
    write(tmp_path, {**tensors, "layer.input_scale": scales(1), "k_scale": scales(1), **OTHER})
    assert (read(tmp_path) == (weight.float() * scale).numpy()).all()


def test_large_matrices_are_widened_in_parts(tmp_path: Path) -> None:
    weight, scale = codes(torch.int8, 700, 900), scales(700, 1)
    write(tmp_path, {"layer.weight": weight, "layer.weight_scale": scale, **OTHER})
    assert (read(tmp_path) == (weight.float() * scale).numpy()).all()


def quantised_model(folder: Path) -> BertModel:
    """Save a BERT in int8 with one scale a row, its embeddings too; return what it stands for."""
    model = BertModel(BertConfig(**TOY)).eval()
    tensors: dict[str, np.ndarray] = {}
    for name, parameter in model.named_parameters():
        values = parameter.numpy()
        if values.ndim == 2:
            scale = np.abs(values).max(axis=1, keepdims=True) / 127 + 1e-9
            tensors[name] = np.rint(values / scale).astype(np.int8)
            tensors[f"{name}_scale"] = scale
            parameter.data[...] = tensors[name].astype(np.float32) * scale
        else:
            tensors[name] = values
    save_sharded(tensors, folder, max_shard_size=9000)
    config = model.config.to_dict() | {
        "quantization_config": {"quant_method": "compressed-tensors"}
    }
    (folder / "config.json").write_text(json.dumps(config))
    return model


@pytest.mark.parametrize("low_memory", [False, True])
def test_a_model_of_int8_is_that_of_its_numbers(low_memory: bool, tmp_path: Path) -> None:
    expected = quantised_model(tmp_path)
    model = BertModel.from_pretrained(tmp_path, low_memory=low_memory)
    ids = np.arange(1, 8)[None]
    assert (model(ids)[0].numpy() == expected(ids)[0].numpy()).all()
    model.save_pretrained(tmp_path / "again")
    saved = json.loads((tmp_path / "again" / "config.json").read_text())
    assert "quantization_config" not in saved
    assert set(load_checkpoint(tmp_path / "again")) == set(model.state_dict())


REFUSED: dict[str, tuple[dict[str, torch.Tensor], Any, str]] = {
    "gptq": (
        {"layer.qweight": torch.zeros(2, 3, dtype=torch.int32)},
        {"quant_method": "gptq", "bits": 4},
        "is quantised with gptq, which is not supported",
    ),
    "awq without a config": (
        {"layer.qweight": torch.zeros(2, 3, dtype=torch.int32)},
        None,
        "GPTQ or AWQ",
    ),
    "8 bits of bitsandbytes": (
        {"layer.weight": codes(torch.int8), "layer.SCB": scales(ROWS)},
        {"quant_method": "bitsandbytes", "load_in_8bit": True},
        "bitsandbytes",
    ),
    "the same without a config": (
        {"layer.weight": codes(torch.int8), "layer.SCB": scales(ROWS)},
        None,
        r"bitsandbytes \(8 bits\)",
    ),
    "4 bits of bitsandbytes": (
        {"layer.weight": torch.zeros(9, 1, dtype=torch.uint8), "layer.weight.absmax": scales(3)},
        None,
        r"bitsandbytes \(4 bits\)",
    ),
    "mlx": (
        {"layer.weight": torch.zeros(2, 3, dtype=torch.uint32), "layer.scales": scales(2, 3)},
        None,
        "MLX",
    ),
    "packed": (
        {"layer.weight_packed": torch.zeros(2, 3, dtype=torch.int32)},
        {"quant_method": "compressed-tensors", "format": "pack-quantized"},
        "compressed-tensors with several values in a byte",
    ),
    "another order of columns": (
        {
            "layer.weight": codes(torch.int8),
            "layer.weight_scale": scales(ROWS, 1),
            "layer.weight_g_idx": torch.zeros(8, dtype=torch.int32),
        },
        None,
        "tensors 'weight_g_idx'",
    ),
    "exponents as bytes": (
        {
            "layer.weight": codes(FLOAT8[0]),
            "layer.weight_scale": torch.zeros(ROWS, 2, dtype=torch.uint8),
        },
        None,
        "'layer.weight' is F8_E4M3 and 'layer.weight_scale' is U8",
    ),
    "numbers with a scale": (
        {"layer.weight": torch.ones(2, 3), "layer.weight_scale": scales(1)},
        None,
        "is F32 and .* is F32, which is not supported",
    ),
    "an inverse scale of integers": (
        {"layer.weight": codes(torch.int8), "layer.weight_scale_inv": scales(ROWS, 1)},
        None,
        "which is not supported",
    ),
    "a scale alone": ({"layer.weight_scale": scales(1)}, None, "but no 'layer.weight'"),
    "tiles of unknown size": (
        {"layer.weight": codes(FLOAT8[0]), "layer.weight_scale_inv": scales(2, 2)},
        {"quant_method": "fp8"},
        r"has shape \(2, 2\), .* shape \(6, 8\)",
    ),
    "tiles of another size": (
        {"layer.weight": codes(FLOAT8[0]), "layer.weight_scale_inv": scales(2, 2)},
        {"quant_method": "fp8", "weight_block_size": [2, 4]},
        r"has shape \(2, 2\)",
    ),
    "groups that do not fit": (
        {"layer.weight": codes(torch.int8), "layer.weight_scale": scales(ROWS, 3)},
        None,
        r"has shape \(6, 3\)",
    ),
    "zero points of another shape": (
        {
            "layer.weight": codes(torch.int8),
            "layer.weight_scale": scales(ROWS, 1),
            "layer.weight_zero_point": torch.zeros(1, dtype=torch.int8),
        },
        None,
        "'layer.weight_zero_point' must be int8",
    ),
}


@pytest.mark.parametrize(("tensors", "config", "message"), REFUSED.values(), ids=REFUSED)
def test_other_methods_are_refused_by_name(
    tensors: dict[str, torch.Tensor], config: Any, message: str, tmp_path: Path
) -> None:
    write(tmp_path, tensors, config)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(tmp_path)


def test_a_config_that_names_another_method_is_refused(tmp_path: Path) -> None:
    """Also where no tensor has the name of a quantised one."""
    config = BertConfig(**TOY)
    BertModel(config).save_pretrained(tmp_path)
    content = config.to_dict() | {"quantization_config": {"quant_method": "aqlm"}}
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="quantization_config: the model is quantised with aqlm"):
        BertModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32])
def test_integers_are_no_weights(dtype: Any, tmp_path: Path) -> None:
    model = BertModel(BertConfig(**TOY))
    model.save_pretrained(tmp_path)
    name = "encoder.layer.0.output.dense.weight"
    tensors = {k: np.array(v) for k, v in load_checkpoint(tmp_path).items()}
    save_sharded({**tensors, name: tensors[name].astype(dtype)}, tmp_path)
    with pytest.raises(ValueError, match=f"{name} has integers .* no weights"):
        BertModel.from_pretrained(tmp_path)


def test_float8_without_scales_is_float8(tmp_path: Path) -> None:
    weight = codes(FLOAT8[0])
    write(tmp_path, {"layer.weight": weight})
    assert (tinybert.load_checkpoint(tmp_path)["layer.weight"] == weight.float().numpy()).all()
