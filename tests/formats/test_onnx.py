"""Weights in ONNX files, as torch exports them and onnxruntime quantises them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import safetensors.numpy
from onnx import TensorProto, helper, numpy_helper

import tinybert
from tests.export.onnx_oracle import small_model
from tests.fixtures.frameworks import assert_same_bits, unpack
from tinybert.cli.main import main
from tinybert.formats.onnx.file import OnnxFile
from tinybert.weights import CheckpointError

CLASSES = ("BertModel", "BertForMaskedLM", "BertForSequenceClassification")
TIED = {
    "bert.embeddings.word_embeddings.weight": "cls.predictions.decoder.weight",
    "cls.predictions.bias": "cls.predictions.decoder.bias",
}
SCALE = np.float32(0.5)


@pytest.fixture(scope="module")
def models(tmp_path_factory: Any) -> Path:
    """A folder for each class, with the files that `make_onnx.py` wrote."""
    return unpack("onnx.zip", tmp_path_factory.mktemp("onnx"))


@pytest.mark.parametrize(
    ("name", "file"),
    [
        *((name, "model.onnx") for name in (*CLASSES, "Encoder")),
        *((name, "model_dynamo.onnx") for name in ("BertModel", "BertForMaskedLM", "Encoder")),
    ],
)
def test_weights_are_those_of_the_exported_model(name: str, file: str, models: Path) -> None:
    found = tinybert.load_onnx(models / name / file)
    expected = safetensors.numpy.load_file(models / name / "expected.safetensors")
    if name == "Encoder":  # no output of this graph needs the pooler
        expected = {key: a for key, a in expected.items() if not key.startswith("pooler.")}
    if name == "BertForMaskedLM":  # each of two tied weights has one of their names, or both
        for one, other in TIED.items():
            found.setdefault(one, found.get(other))
            expected[other] = found[other] = expected[one]
    assert set(found) == set(expected)
    for key, array in expected.items():
        assert found[key].dtype == array.dtype, key
        assert np.array_equal(found[key], array), key


@pytest.mark.parametrize("file", ["model_quantized.onnx", "model_columns.onnx"])
@pytest.mark.parametrize("name", CLASSES)
def test_dynamic_int8(name: str, file: str, models: Path) -> None:
    found = tinybert.load_onnx(models / name / file)
    expected = safetensors.numpy.load_file(models / name / "expected.safetensors")
    assert found.keys() - TIED.values() == expected.keys()
    rounded = 0
    for key, array in expected.items():
        assert found[key].shape == array.shape, key
        assert found[key].dtype == np.float32
        spread = max(0.0, array.max()) - min(0.0, array.min())
        step = max(spread / 255, np.abs(array).max() / 127)
        error = np.abs(found[key] - array).max()
        assert error <= 0.51 * step, key
        rounded += bool(error)
    assert rounded > 12  # the matrices


@pytest.mark.parametrize("name", CLASSES)
def test_a_folder_with_an_onnx_file_is_a_model(name: str, models: Path, tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    shutil.copy(models / name / "config.json", tmp_path)
    shutil.copy(models / name / "model.onnx", tmp_path / "onnx")
    model, report = getattr(tinybert, name).from_pretrained(tmp_path, output_loading_info=True)
    assert not report.missing_keys
    assert not report.unexpected_keys
    expected = safetensors.numpy.load_file(models / name / "expected.safetensors")
    assert all((model.state_dict()[key].numpy() == array).all() for key, array in expected.items())


@pytest.mark.parametrize("file", ["model.onnx", "model_columns.onnx"])
def test_convert(file: str, models: Path, tmp_path: Path, capsys: Any) -> None:
    source = tmp_path / "source"
    (source / "onnx").mkdir(parents=True)
    shutil.copy(models / "BertModel" / "config.json", source)
    shutil.copy(models / "BertModel" / file, source / "onnx")
    assert main(["convert", str(source / "onnx" / file), str(tmp_path / "target")]) == 0
    assert "all weights of BertModel were found" in capsys.readouterr().out
    model = tinybert.BertModel.from_pretrained(tmp_path / "target")
    weights = tinybert.load_onnx(models / "BertModel" / file)
    if file == "model.onnx":
        assert_same_bits(weights, models / "BertModel" / "expected.safetensors")
    for name, array in weights.items():
        assert np.array_equal(model.state_dict()[name].numpy(), array), name


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "BertForMaskedLM",
        *(
            pytest.param(n, marks=pytest.mark.slow)
            for n in ("MegaForMaskedLM", "NemotronForCausalLM")
        ),
    ],
)
def test_our_own_files(name: str, external: bool, tmp_path: Path) -> None:
    model = small_model(name)
    tinybert.export_onnx(model, tmp_path / "model.onnx", external_data=external)
    found = tinybert.load_onnx(tmp_path / "model.onnx")
    parameters = dict(model.named_parameters())
    assert set(found) == set(parameters)
    for key, parameter in parameters.items():
        assert np.array_equal(found[key], parameter.numpy()), key


# --- malformed and hostile files ------------------------------------------------------------------


def linear(**options: Any) -> Any:
    """A file with one product."""
    weight = options.get("weight", numpy_helper.from_array(np.ones((2, 3), "f"), "onnx::MatMul_1"))
    name = options.get("name", "/encoder/dense/MatMul")
    nodes = [helper.make_node(options.get("kind", "MatMul"), ["x", weight.name], ["y"], name=name)]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], [weight, *options.get("more", ())])
    return helper.make_model(graph, ir_version=8)


def external(**given: str) -> Any:
    tensor = TensorProto(name="onnx::MatMul_1", data_type=TensorProto.FLOAT, dims=(2, 3))
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "data", "offset": "0", "length": "24", **given}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def quantised(*dims: int, **given: Any) -> dict[str, Any]:
    integers = numpy_helper.from_array(np.ones((2, 3), np.int8), "onnx::MatMul_1_quantized")
    scale = numpy_helper.from_array(np.full(dims, SCALE), "onnx::MatMul_1_scale")
    return {"weight": integers, "more": [scale], "kind": "MatMulInteger", **given}


def test_one_product(tmp_path: Path) -> None:
    file = tmp_path / "one.onnx"
    onnx.save(linear(), file)
    assert tinybert.load_onnx(file)["encoder.dense.weight"].shape == (3, 2)
    onnx.save(linear(**quantised(3)), file)
    assert np.array_equal(tinybert.load_onnx(file)["encoder.dense.weight"], np.full((3, 2), SCALE))


def test_data_in_another_file(tmp_path: Path) -> None:
    onnx.save(linear(weight=external(offset="4")), tmp_path / "one.onnx")
    (tmp_path / "data").write_bytes(np.arange(7, dtype="f").tobytes())
    found = tinybert.load_onnx(tmp_path / "one.onnx")["encoder.dense.weight"]
    assert np.array_equal(found, np.arange(1, 7, dtype="f").reshape(2, 3).T)


def negative() -> Any:
    return TensorProto(name="onnx::MatMul_1", data_type=TensorProto.FLOAT, dims=(-2, 3))


def short() -> Any:
    return TensorProto(
        name="onnx::MatMul_1",
        data_type=TensorProto.FLOAT,
        dims=(1 << 40, 1 << 40),
        raw_data=b"1234",
    )


def strange() -> Any:
    return TensorProto(name="onnx::MatMul_1", data_type=TensorProto.FLOAT8E4M3FN, dims=(2, 3))


BROKEN: dict[str, tuple[Callable[[], Any], str]] = {
    "above": (lambda: linear(weight=external(location="../data")), "not the plain name of a file"),
    "absolute": (lambda: linear(weight=external(location="/etc/passwd")), "not the plain name"),
    "drive": (lambda: linear(weight=external(location="C:data")), "not the plain name"),
    "empty": (lambda: linear(weight=external(location="")), "not the plain name"),
    "missing": (lambda: linear(weight=external(location="nothing")), "cannot be read"),
    "beyond": (lambda: linear(weight=external(offset="8")), "24 from byte 8 of data, which has 28"),
    "length": (lambda: linear(weight=external(length="20")), "needs 24 bytes; 20 from byte 0"),
    "text": (lambda: linear(weight=external(offset="-4")), "offset and length must be numbers"),
    "huge": (lambda: linear(weight=external(offset="9" * 30)), "must be numbers"),
    "negative": (lambda: linear(weight=negative()), "negative size"),
    "short": (lambda: linear(weight=short()), "the file has 4"),
    "dtype": (lambda: linear(weight=strange()), "dtype 17, which is not supported"),
    "unnamed": (lambda: linear(name="MatMul_1"), "no name for the matrix 'onnx::MatMul_1'"),
    "no scale": (lambda: linear(**quantised(3, more=[])), "without a scale"),
    "joined": (lambda: linear(kind="Attention"), "joins several matrices"),
}


@pytest.mark.parametrize(("make", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_files(make: Callable[[], Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(bytes(28))
    (tmp_path / "one.onnx").write_bytes(make().SerializeToString())
    with pytest.raises(CheckpointError, match=message):
        tinybert.load_onnx(tmp_path / "one.onnx")


def test_scales_of_another_shape(tmp_path: Path) -> None:
    onnx.save(linear(**quantised(2)), tmp_path / "one.onnx")
    with pytest.raises(CheckpointError, match="has scales of shape"):
        tinybert.load_onnx(tmp_path / "one.onnx")


@pytest.mark.parametrize("content", [b"", b"\x08\x08:\xff\xff\xff\xff\x0f", b"\x08\x08\x12\x01x"])
def test_files_that_are_not_onnx(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "one.onnx").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"not a complete ONNX file|no graph"):
        OnnxFile(tmp_path / "one.onnx")


@pytest.mark.parametrize("content", [bytes(64), bytes(range(7, 71)), b"\x93" * 40])
def test_a_damaged_file_is_called_onnx(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "one.onnx").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"is not a complete ONNX file .*; download it again"):
        tinybert.weights.open_checkpoint(tmp_path / "one.onnx")


def test_another_file_with_the_name_of_an_onnx_file(tmp_path: Path) -> None:
    tinybert.weights.save_file({"a": np.ones(2)}, tmp_path / "one.onnx")
    assert list(tinybert.weights.open_checkpoint(tmp_path / "one.onnx")) == ["a"]
    for content, what in (
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        (b"<!DOCTYPE html>", "is a web page"),
        (b"", "is empty"),
    ):
        (tmp_path / "one.onnx").write_bytes(content)
        with pytest.raises(CheckpointError, match=what):
            tinybert.weights.open_checkpoint(tmp_path / "one.onnx")


@pytest.mark.parametrize("content", [b"\x08", b"\x08\x08", b"\x08\x08\xff"])
def test_a_few_bytes_are_no_weights(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "one.onnx").write_bytes(content)
    with pytest.raises(CheckpointError):
        tinybert.weights.open_checkpoint(tmp_path / "one.onnx")


def test_a_truncated_file(models: Path, tmp_path: Path) -> None:
    content = (models / "BertModel" / "model.onnx").read_bytes()
    for size in range(3, len(content), len(content) // 40):
        (tmp_path / "one.onnx").write_bytes(content[:size])
        with pytest.raises(CheckpointError):
            OnnxFile(tmp_path / "one.onnx")
