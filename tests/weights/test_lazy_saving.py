"""A lazy reader as what is saved: formats are kept, and one tensor is in memory at a time."""

import weakref

import numpy as np
import pytest
import safetensors.torch
import torch

from tinybert.weights import SafetensorsFile, open_checkpoint, save_file, save_sharded
from tinybert.weights.sharded import Selection

DTYPES = {
    "half": torch.float16,
    "brain": torch.bfloat16,
    "single": torch.float32,
    "eight": torch.float8_e5m2,
    "ids": torch.int32,
    "mask": torch.bool,
}
TENSORS = {name: (torch.arange(15).reshape(3, 5) - 7).to(t) for name, t in DTYPES.items()}


class Counting(Selection):
    """Fresh arrays, and how many of them were alive at the most."""

    alive = most = reads = 0

    def __getitem__(self, name):
        array = super().__getitem__(name).copy()
        self.reads += 1
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(array, self._gone)
        return array

    def _gone(self):
        self.alive -= 1


@pytest.fixture
def source(tmp_path):
    safetensors.torch.save_file(TENSORS, tmp_path / "source.safetensors")
    with SafetensorsFile(tmp_path / "source.safetensors") as file:
        yield Counting(file, TENSORS)


@pytest.mark.parametrize("limit", [40, "1GB"])
def test_formats_are_kept_but_for_eight_bit_floats(source, tmp_path, limit):
    save_sharded(source, tmp_path / "new", limit)
    assert (source.reads, source.most) == (len(TENSORS), 1)
    with open_checkpoint(tmp_path / "new") as saved:
        found = {name: saved.info(name).dtype for name in saved}
    formats = {"half": "F16", "brain": "BF16", "single": "F32", "eight": "F32", "ids": "I32"}
    assert found == {**formats, "mask": "BOOL"}
    for file in (tmp_path / "new").glob("*.safetensors"):
        for name, tensor in safetensors.torch.load_file(file).items():
            torch.testing.assert_close(tensor, TENSORS[name].to(tensor.dtype), rtol=0, atol=0)


def test_floats_are_cast_on_request_and_nothing_else(source, tmp_path):
    save_file(source, tmp_path / "new", dtype="bfloat16")
    loaded = safetensors.torch.load_file(tmp_path / "new")
    for name, tensor in TENSORS.items():
        wanted = torch.bfloat16 if tensor.is_floating_point() else tensor.dtype
        torch.testing.assert_close(loaded[name], tensor.to(wanted), rtol=0, atol=0)


def test_a_copy_is_fresh_and_writable(source):
    for name, tensor in TENSORS.items():
        array = source.copy(name)
        assert array.flags.writeable
        np.testing.assert_array_equal(array, source[name])
        assert array.shape == tuple(tensor.shape)


def test_a_selection_has_its_names_alone(source):
    some = Selection(source, ["ids", "half"])
    assert list(some) == ["ids", "half"]
    assert (len(some), "single" in some) == (2, False)
    assert some.info("ids") == source.info("ids")
    out = np.empty((3, 5), np.float32)
    some.read_into("half", out)
    np.testing.assert_array_equal(out, TENSORS["half"].float().numpy())
    some.close()
    assert some["ids"].sum() == 0
    for read in (some.info, some.__getitem__, lambda name: some.read_into(name, out)):
        with pytest.raises(KeyError, match="no tensor 'single'"):
            read("single")
