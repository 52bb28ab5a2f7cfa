"""Safetensors files of TensorFlow and Flax: read under PyTorch's names, kernels transposed.

The files are made of the real ``tf_model.h5`` and ``flax_model.msgpack`` in the fixtures, with the
names that transformers 4.57 gives them in safetensors (`strip_model_name_and_prefix` of
modeling_tf_utils.py, `flatten_dict(params, sep=".")` of modeling_flax_utils.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import msgpack
import numpy as np
import pytest
import safetensors.numpy

import tinybert
from tests.fixtures.frameworks import assert_same_bits, unpack
from tests.models.test_formats import FIXTURE
from tinybert.cli.main import main
from tinybert.weights import CheckpointError, load_checkpoint, open_checkpoint

CLASSES = (
    "BertModel",
    "BertForPreTraining",
    "BertForMaskedLM",
    "BertForSequenceClassification",
    "BertForQuestionAnswering",
)
FRAMEWORKS = pytest.mark.parametrize("framework", ["tf", "flax"])


@pytest.fixture(scope="module")
def saved(tmp_path_factory: Any) -> Path:
    folder = tmp_path_factory.mktemp("frameworks")
    for archive in ("tensorflow", "flax"):
        unpack(f"{archive}.zip", folder / archive)
    return folder


def variables(framework: str, folder: Path) -> dict[str, np.ndarray]:
    """The variables of a folder by the names that they have in safetensors."""
    found: dict[str, np.ndarray] = {}
    if framework == "tf":
        with h5py.File(folder / "tf_model.h5") as file:

            def visit(name: str, node: Any) -> None:
                if isinstance(node, h5py.Dataset):
                    found["/".join(name.split("/")[2:])] = node[...]

            file.visititems(visit)
        return found

    def walk(tree: dict[str, Any], above: tuple[str, ...]) -> None:
        for key, value in tree.items():
            if isinstance(value, dict):
                walk(value, (*above, key))
            else:
                shape, dtype, data = msgpack.unpackb(value.data)
                found[".".join((*above, key))] = np.frombuffer(data, dtype).reshape(shape)

    walk(msgpack.unpackb((folder / "flax_model.msgpack").read_bytes(), strict_map_key=False), ())
    return found


def source_of(framework: str, saved: Path, name: str) -> Path:
    return saved / {"tf": "tensorflow", "flax": "flax"}[framework] / name


def write(framework: str, saved: Path, name: str, folder: Path) -> Path:
    """Write a model folder as the framework's classes do with `safe_serialization=True`."""
    source = source_of(framework, saved, name)
    tensors = variables(framework, source)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors", {"format": framework})
    FIXTURE.save_pretrained(folder)
    return source


@FRAMEWORKS
@pytest.mark.parametrize("name", CLASSES)
def test_every_class_as_transformers_converts_it(
    framework: str, name: str, saved: Path, tmp_path: Path
) -> None:
    source = write(framework, saved, name, tmp_path)
    assert_same_bits(load_checkpoint(tmp_path), source / "expected.safetensors")


@FRAMEWORKS
def test_a_reader_reads_in_every_way(framework: str, saved: Path, tmp_path: Path) -> None:
    write(framework, saved, "BertForMaskedLM", tmp_path)
    with open_checkpoint(tmp_path) as reader:
        for name in reader:
            array, info = reader[name], reader.info(name)
            out = np.empty(info.shape, np.float32)
            reader.read_into(name, out)
            stored, widen = reader.stored(name)
            assert info.shape == array.shape == stored.shape
            assert info.nbytes == array.nbytes
            assert (out == array).all()
            assert (stored == array).all()
            assert widen is None
        assert reader.metadata == {"format": "pt"}
        assert reader.format == f"safetensors of {framework}"
        assert "bert" not in reader
        with pytest.raises(KeyError, match="has no tensor 'bert'"):
            reader["bert"]


@FRAMEWORKS
@pytest.mark.parametrize("low_memory", [False, True])
def test_a_model_is_loaded_without_a_warning(
    framework: str, low_memory: bool, saved: Path, tmp_path: Path
) -> None:
    source = write(framework, saved, "BertForSequenceClassification", tmp_path)
    model, report = tinybert.BertForSequenceClassification.from_pretrained(
        tmp_path, low_memory=low_memory, output_loading_info=True
    )
    assert (report.missing_keys, report.unexpected_keys) == ([], [])
    expected = safetensors.numpy.load_file(source / "expected.safetensors")
    for name, tensor in model.state_dict().items():
        assert (tensor.numpy() == expected[name]).all(), name


@FRAMEWORKS
def test_convert_writes_pytorch_names(
    framework: str, saved: Path, tmp_path: Path, capsys: Any
) -> None:
    source = write(framework, saved, "BertForMaskedLM", tmp_path)
    assert main(["convert", str(tmp_path), str(tmp_path / "new"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["format"] == f"safetensors of {framework}"
    theirs = safetensors.numpy.load_file(tmp_path / "new" / "model.safetensors")
    assert_same_bits(theirs, source / "expected.safetensors")


def test_shards_of_tensorflow(saved: Path, tmp_path: Path) -> None:
    """Their index has TensorFlow's names too."""
    source = write("tf", saved, "BertForMaskedLM", tmp_path)
    tensors = variables("tf", source)
    weight_map = {}
    for part in range(2):
        file = f"model-{part + 1:05}-of-00002.safetensors"
        shard = {name: tensors[name] for name in sorted(tensors)[part::2]}
        safetensors.numpy.save_file(shard, tmp_path / file, {"format": "tf"})
        weight_map |= dict.fromkeys(shard, file)
    (tmp_path / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": weight_map}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert_same_bits(load_checkpoint(tmp_path), source / "expected.safetensors")


def test_unknown_frameworks_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    safetensors.numpy.save_file({"a": np.ones(2)}, file, {"format": "paddle"})
    with pytest.raises(CheckpointError, match="weights of an unknown framework: 'paddle'"):
        open_checkpoint(tmp_path)
    for metadata in (None, {"format": "pt"}, {"format": "mlx"}, {"other": "x"}):
        safetensors.numpy.save_file({"a": np.ones(2)}, file, metadata)
        assert list(load_checkpoint(tmp_path)) == ["a"]


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"conv.kernel": np.ones((2, 2, 2))}, "kernel 'conv.kernel' has 3 axes"),
        ({"a.kernel": np.ones((2, 2)), "a.weight": np.ones(2)}, "two tensors would be 'a.weight'"),
    ],
)
def test_what_no_model_here_has(
    tensors: dict[str, np.ndarray], message: str, tmp_path: Path
) -> None:
    safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors", {"format": "flax"})
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(tmp_path)
