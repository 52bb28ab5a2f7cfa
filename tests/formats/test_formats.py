"""Formats are recognized by the content of a file, not by its name."""

import os
import shutil
import sys

import numpy as np
import pytest
import torch

from tests.fixtures.frameworks import unpack
from tests.formats import megatron
from tinybert.weights import CheckpointError, load_checkpoint, open_checkpoint, save_file
from tinybert.weights.reader import open_file

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.int64)}


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """One file of each format, by what its reader calls it."""
    folder = tmp_path_factory.mktemp("samples")
    save_file({"a": np.ones(2)}, folder / "safetensors")
    torch.save(TENSORS, folder / "zip")
    torch.save(TENSORS, folder / "old", _use_new_zipfile_serialization=False)
    saved = megatron.checkpoint(3.0, args=megatron.arguments())
    return {
        "safetensors": folder / "safetensors",
        "PyTorch": folder / "zip",
        "PyTorch before 1.6": folder / "old",
        "Megatron-LM": megatron.save(saved, folder / "model_optim_rng.pt"),
        "Megatron-LM, zipped": megatron.save(saved, folder / "ngc.zip"),
        "Flax": unpack("flax.zip", folder) / "BertModel/flax_model.msgpack",
        "TensorFlow": unpack("tensorflow.zip", folder) / "BertModel/tf_model.h5",
        "TensorFlow checkpoint": folder / "tf1/bert_model.ckpt.index",
    }


KINDS = ["safetensors", "PyTorch", "PyTorch before 1.6", "Megatron-LM", "Megatron-LM, zipped",
         "Flax", "TensorFlow"]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["x", "model.safetensors", "a.bin", "b.h5", "c.msgpack", "d.txt"])
def test_the_content_tells_the_format(kind, name, samples, tmp_path):
    shutil.copy(samples[kind], tmp_path / name)
    with open_checkpoint(tmp_path / name) as reader, open_checkpoint(samples[kind]) as expected:
        assert reader.format == kind.split(",")[0]
        assert set(reader) == set(expected)
        name, tensor = next(iter(expected.items()))
        np.testing.assert_array_equal(reader[name], tensor)


def test_a_tensorflow_checkpoint_by_index_prefix_and_folder(samples):
    index = samples["TensorFlow checkpoint"]
    for path in (index, index.with_suffix(""), index.parent, index.parents[1] / "tf2"):
        with open_checkpoint(path) as reader:
            assert reader.format == "TensorFlow checkpoint"
            assert len(reader) > 10


@pytest.mark.parametrize("folder", ["sharded", "BertModel"])
def test_a_folder_of_tensorflow_files(folder, samples):
    root = samples["TensorFlow checkpoint"].parents[1]
    with open_checkpoint(root / folder) as reader:
        assert reader.format == "TensorFlow"


def test_of_several_files_in_a_folder_the_first_format_is_taken(samples, tmp_path):
    for kind, name in [
        ("Megatron-LM", "model_optim_rng.pt"),
        ("Flax", "flax_model.msgpack"),
        ("TensorFlow", "tf_model.h5"),
        ("PyTorch", "pytorch_model.bin"),
        ("safetensors", "model.safetensors"),
    ]:
        shutil.copy(samples[kind], tmp_path / name)
        with open_checkpoint(tmp_path) as reader:
            assert reader.format == kind


def test_a_missing_library_is_named_with_the_way_to_install_it(samples, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match="pip install"):
        load_checkpoint(samples["TensorFlow"])


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"\x93NUMPY\x01", b"PK\5\6" + bytes(18), bytes(100), b"\x81", b"\xde\0"]
)
def test_files_of_no_known_format(content, tmp_path):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(CheckpointError):
        open_file(tmp_path / "x")


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="not a regular file"):
        open_checkpoint(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        open_checkpoint(tmp_path / "none")
