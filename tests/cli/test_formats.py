"""inspect, convert and diff on every format that models were published in."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tinybert as tb
from tests.fixtures.frameworks import assert_same_bits, unpack
from tests.formats import megatron
from tinybert.weights import load_checkpoint, open_checkpoint, save_sharded
from tinybert.weights.reader import TensorReader

# Where in the folder `published` the weights are, and what `inspect` calls their format.
SOURCES = {
    "safetensors/model.safetensors": "safetensors",
    "sharded_safetensors": "sharded safetensors",
    "torch/pytorch_model.bin": "PyTorch",
    "old_torch": "PyTorch before 1.6",
    "sharded_torch": "sharded PyTorch",
    "ngc/megatron_bert.zip": "Megatron-LM",
    "megatron/model_optim_rng.pt": "Megatron-LM",
    "tensorflow/BertForPreTraining": "TensorFlow",
    "tensorflow/BertModel/tf_model.h5": "TensorFlow",
    "tensorflow/sharded": "TensorFlow",
    "tensorflow/tf1": "TensorFlow checkpoint",
    "tensorflow/tf1_sharded/bert_model.ckpt": "TensorFlow checkpoint",
    "tensorflow/tf2/bert_model.ckpt-1.index": "TensorFlow checkpoint",
    "flax/BertForMaskedLM": "Flax",
    "flax/bfloat16/flax_model.msgpack": "Flax",
}


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """A folder with a small model in every format; `expected.safetensors` is beside the weights."""
    root = tmp_path_factory.mktemp("published")
    for archive in ("tensorflow", "flax"):
        unpack(f"{archive}.zip", root / archive)
    expected = root / "flax" / "BertForPreTraining" / "expected.safetensors"
    tensors = load_file(expected)
    arrays = load_checkpoint(expected)
    for name in ("torch", "old_torch", "sharded_torch", "safetensors", "sharded_safetensors"):
        (root / name).mkdir()
        (root / name / "expected.safetensors").write_bytes(expected.read_bytes())
    torch.save(tensors, root / "torch" / "pytorch_model.bin")
    old = root / "old_torch" / "pytorch_model.bin"
    torch.save(tensors, old, _use_new_zipfile_serialization=False)
    save_sharded(arrays, root / "safetensors")
    save_sharded(arrays, root / "sharded_safetensors", 3000)
    _save_torch_shards(tensors, root / "sharded_torch")
    for folder, file in (("ngc", "megatron_bert.zip"), ("megatron", "model_optim_rng.pt")):
        (root / folder).mkdir()
        content = megatron.checkpoint(2.0, args=megatron.arguments())
        megatron.save(content, root / folder / file)
        theirs = Path(megatron.__file__).parent.parent / "fixtures" / "megatron.safetensors"
        (root / folder / "expected.safetensors").write_bytes(theirs.read_bytes())
    return root


def _save_torch_shards(tensors: dict[str, torch.Tensor], folder: Path) -> None:
    names = list(tensors)
    shards = {f"pytorch_model-0000{i}-of-00002.bin": names[i - 1 :: 2] for i in (1, 2)}
    for file, own in shards.items():
        torch.save({name: tensors[name] for name in own}, folder / file)
    weight_map = {name: file for file, own in shards.items() for name in own}
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def expected_of(source: Path) -> Path:
    return (source if source.is_dir() else source.parent) / "expected.safetensors"


@pytest.mark.parametrize("name", SOURCES)
def test_convert(tinybert, published: Path, tmp_path: Path, name: str) -> None:
    source = published / name
    ran = tinybert("convert", source, tmp_path / "folder")
    assert (ran.code, ran.err) == (0, "")
    assert f" ({SOURCES[name]}) -> " in ran.out.replace("\n", " ")
    count = len(load_checkpoint(tmp_path / "folder"))
    # Only Megatron-LM's files have the whole config of their model.
    verdict = "verified" if SOURCES[name] == "Megatron-LM" else "copied"
    assert f"\n{verdict}: {count} tensors read back, each equal to its source\n" in ran.out
    assert_same_bits(load_checkpoint(tmp_path / "folder"), expected_of(source))
    assert tinybert("diff", source, tmp_path / "folder") == (
        0,
        f"{count} tensors in both, all equal\n",
        "",
    )


@pytest.mark.parametrize("name", SOURCES)
def test_inspect_reads_no_tensor(tinybert, monkeypatch, published: Path, name: str) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a tensor was read")

    for reader in _readers(TensorReader):
        for read in ("__getitem__", "read_into", "copy"):
            monkeypatch.setattr(reader, read, refuse)
    monkeypatch.setattr("tinybert.formats.torch.tensor.LazyTensor.read", refuse)
    monkeypatch.setattr("tinybert.formats.torch.tensor.LazyTensor.read_into", refuse)
    result = json.loads(tinybert("inspect", published / name, "--json").out)
    assert result["format"] == SOURCES[name]
    expected = load_file(expected_of(published / name))
    assert {t["name"]: tuple(t["shape"]) for t in result["tensors"]} == {
        name: tuple(tensor.shape) for name, tensor in expected.items()
    }


def _readers(base: type) -> list[type]:
    return [base] + [reader for own in base.__subclasses__() for reader in _readers(own)]


@pytest.mark.parametrize("name", SOURCES)
def test_inspect_values(tinybert, published: Path, name: str) -> None:
    result = json.loads(tinybert("inspect", published / name, "--values", "--json").out)
    expected = load_file(expected_of(published / name))
    for tensor in result["tensors"]:
        theirs = expected[tensor["name"]].double()
        assert tensor["mean"] == pytest.approx(theirs.mean().item(), rel=1e-9, abs=1e-12)
        assert (tensor["min"], tensor["max"]) == (theirs.min().item(), theirs.max().item())


def test_configs_are_found(tinybert, published: Path, tmp_path: Path) -> None:
    result = json.loads(tinybert("inspect", published / "tensorflow/tf1", "--json").out)
    assert (result["config"]["model_type"], result["config_from"]) == ("bert", "bert_config.json")
    result = json.loads(tinybert("inspect", published / "ngc/megatron_bert.zip", "--json").out)
    assert (result["config"]["num_attention_heads"], result["config_from"]) == (3, "the checkpoint")
    assert result["metadata"] == {"checkpoint_version": "2.0"}
    out = tinybert("inspect", published / "ngc/megatron_bert.zip").out
    assert "config (from the checkpoint):\n  model_type " in out
    tinybert("convert", published / "ngc/megatron_bert.zip", tmp_path / "folder")
    assert isinstance(tb.AutoModel.from_pretrained(tmp_path / "folder"), tb.MegatronBertModel)


def test_formats_beside_each_other(tinybert, published: Path) -> None:
    """The same weights from two frameworks are the same; what differs is named."""
    pair = published / "torch", published / "sharded_safetensors"
    assert tinybert("diff", *pair).code == 0
    pair = published / "flax/BertForPreTraining", published / "flax/BertForMaskedLM"
    out = tinybert("diff", *pair).out
    assert "only in A (4)" in out
    assert "bert.pooler.dense.weight" in out


def test_every_reader_names_its_format(published: Path) -> None:
    for name, format in SOURCES.items():
        with open_checkpoint(published / name) as checkpoint:
            assert checkpoint.format == format


def test_a_missing_library_is_named(refused, monkeypatch, published: Path, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    for command in (
        ("inspect", published / "tensorflow/BertModel"),
        ("convert", published / "tensorflow/BertModel", tmp_path / "folder"),
        ("diff", published / "tensorflow/BertModel", published / "torch"),
    ):
        assert "pip install" in refused(*command)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [name for name in SOURCES if Path(name).suffix])
def test_a_truncated_file(refused, published: Path, tmp_path: Path, name: str) -> None:
    source = published / name
    if source.suffix == ".ckpt":
        source = source.with_suffix(".ckpt.index")
    copy = tmp_path / source.name
    copy.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    for command in (("inspect", copy), ("convert", copy, tmp_path / "folder")):
        assert source.name in refused(*command)
    assert sorted(file.name for file in tmp_path.iterdir()) == [source.name]
