"""Reading and writing safetensors files: layouts, laziness, memory, atomic replacement."""

import errno
import gc
import json
import os
import stat
import threading
import tracemalloc

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from tinybert import nn
from tinybert.weights import (
    CheckpointError,
    SafetensorsFile,
    atomic_write,
    load_file,
    save_file,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "w.safetensors"


W = np.arange(2 * 3 * 11, dtype=np.float32).reshape(2, 3, 11)
LAYOUTS = {
    "transposed": W.T,
    "strided": W[:, :, ::2],
    "reversed": W[::-1, :, ::-1],
    "Fortran": np.asfortranarray(W),
    "permuted": W.transpose(1, 0, 2),
    "broadcast": np.broadcast_to(W[0, 0], (5, 11)),
    "big-endian": W.astype(">f4"),
    "big-endian, strided": W.astype(">f4")[:, ::2],
    "misaligned": np.frombuffer(b"x" + W.tobytes(), np.uint8)[1:].view(np.float32),
    "scalar": np.array(3.5, np.float32),
    "empty": W[:, :0],
    "long": np.arange(600_000, dtype=np.float32)[::-1],  # more than one chunk
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_memory_layout_is_saved_right(layout, path):
    array = LAYOUTS[layout]
    save_file({"a": array}, path)
    for loaded in (load_file(path)["a"], safetensors.numpy.load_file(path)["a"]):
        assert loaded.dtype == np.float32
        assert loaded.shape == array.shape
        np.testing.assert_array_equal(loaded, array)


def test_a_state_dict_and_numpy_scalars_are_saved(path):
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(np.int64(2)))
    scalars = {"step": np.int64(7), "loss": np.float32(0.25), "done": np.bool_(True)}
    save_file({**model.state_dict(), **scalars}, path)
    found = safetensors.numpy.load_file(path)
    assert {name: (found[name].shape, found[name].item()) for name in scalars} == {
        name: ((), value.item()) for name, value in scalars.items()
    }
    assert all(found[name].dtype == value.dtype for name, value in scalars.items())
    other = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    loaded = load_file(path)
    other.load_state_dict({name: loaded[name] for name in model.state_dict()})
    for name, tensor in model.state_dict().items():
        assert (other.state_dict()[name].numpy() == tensor.numpy()).all()
        assert (found[name] == tensor.numpy()).all()
    save_file(model.state_dict(), path, dtype="bfloat16")
    with SafetensorsFile(path) as file:
        assert {file.info(name).dtype for name in file} == {"BF16"}


@pytest.mark.parametrize("kind", ["pt" + "x" * more for more in range(8)])
def test_header_keeps_the_callers_order_and_every_tensor_is_aligned(kind, path):
    tensors = {
        "flag": np.array([True]),
        "small": np.arange(3, dtype=np.float16),
        "wide": np.arange(5, dtype=np.float64),
        "é": np.arange(3, dtype=np.int32),
    }
    save_file(tensors, path, {"format": kind})
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    assert length % 8 == 0
    header = json.loads(raw[8 : 8 + length])
    assert list(header) == ["__metadata__", *tensors]
    for name, array in tensors.items():
        assert header[name]["data_offsets"][0] % array.itemsize == 0
    with SafetensorsFile(path) as file:
        assert list(file) == list(tensors)
        assert file.metadata == {"format": kind}
        for name in tensors:
            assert file[name].flags.aligned
            np.testing.assert_array_equal(file[name], tensors[name])
    with safetensors.safe_open(path, "np") as theirs:
        assert theirs.metadata() == {"format": kind}
    save_file({}, path)
    assert load_file(path) == {}


@pytest.mark.parametrize(
    ("tensors", "metadata", "error", "words"),
    [
        ({3: W}, None, TypeError, "tensor names must be str, got 3"),
        ({"__metadata__": W}, None, ValueError, "__metadata__"),
        ({"a": [1.0]}, None, TypeError, "'a' must be a NumPy array, got list"),
        ({"a": W}, {"step": 3}, TypeError, "'step': 3"),
        ({"a": W}, {3: "step"}, TypeError, "3: 'step'"),
    ],
)
def test_wrong_arguments_are_named_and_write_nothing(tensors, metadata, error, words, path):
    with pytest.raises(error, match=words):
        save_file(tensors, path, metadata)
    with pytest.raises(ValueError, match=r"float16.*'float99'"):
        save_file({"a": W}, path, dtype="float99")
    assert list(path.parent.iterdir()) == []


def test_arrays_are_read_only_views_that_outlive_the_file_object(path):
    save_file({"a": W, "b": W[0]}, path)
    loaded = load_file(path, ["b"])
    assert list(loaded) == ["b"]
    gc.collect()
    np.testing.assert_array_equal(loaded["b"], W[0])
    with pytest.raises(ValueError, match="read-only"):
        loaded["b"][0, 0] = 1
    with pytest.raises(KeyError, match="no tensor 'c'"):
        load_file(path, ["c"])


def test_loading_maps_and_does_not_copy(path):
    save_file({"a": np.zeros(4_000_000, np.float32)}, path)
    tracemalloc.start()
    loaded = load_file(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert loaded["a"].nbytes == 16_000_000
    assert peak < 100_000


def test_misaligned_tensors_come_aligned(path):
    header = {
        "a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
        "b": {"dtype": "F32", "shape": [2, 33], "data_offsets": [1, 265]},
    }
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + b"x" + W.tobytes())
    loaded = load_file(path)["b"]
    assert loaded.flags.aligned
    assert not loaded.flags.writeable
    np.testing.assert_array_equal(loaded, W.reshape(2, 33))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ">f4"])
@pytest.mark.parametrize("stored", ["F32", "BF16", "F16"])
def test_read_into_fills_any_layout_and_dtype(dtype, stored, path):
    save_file({"a": W}, path, dtype=stored)
    backing = np.full((22, 6, 2), -1, dtype)
    outs = {
        "contiguous": np.empty(W.shape, dtype),
        "Fortran": np.empty(W.shape, dtype, order="F"),
        "strided": backing.T[:, ::2, ::-2],
    }
    with SafetensorsFile(path) as file:
        for out in outs.values():
            file.read_into("a", out)
            np.testing.assert_array_equal(out, W)
    assert (backing[0::2] == -1).all()  # what lies between the strides is left alone
    assert (backing[:, 1::2] == -1).all()


def test_read_into_more_than_one_chunk_without_holding_the_tensor(path):
    values = np.arange(4_004_000, dtype=np.float32).reshape(4004, 1000) % 256
    for stored, order, bound in [("F32", "C", 20_000), ("BF16", "C", 6e6), ("F32", "F", 6e6)]:
        save_file({"a": values}, path, dtype=stored)
        out = np.empty(values.shape, np.float32, order)
        with SafetensorsFile(path) as file:
            tracemalloc.start()
            file.read_into("a", out)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        np.testing.assert_array_equal(out, values)
        assert peak < bound


def test_read_into_names_what_does_not_fit(path):
    save_file({"a": W, "c": W.astype(np.complex64)}, path)
    frozen = np.empty(W.shape, np.float32)
    frozen.flags.writeable = False
    with SafetensorsFile(path) as file:
        with pytest.raises(ValueError, match=r"'a' has shape \(2, 3, 11\), out has \(2, 33\)"):
            file.read_into("a", np.empty((2, 33), np.float32))
        with pytest.raises(TypeError, match="'a' is F32, which does not cast to int64"):
            file.read_into("a", np.empty(W.shape, np.int64))
        with pytest.raises(TypeError, match="C64"):
            file.read_into("c", np.empty(W.shape, np.float32))
        with pytest.raises(ValueError, match="read-only"):
            file.read_into("a", frozen)


def test_the_reader_is_a_mapping_that_does_not_load_to_answer(path):
    save_file({"a": W, "b": W[0]}, path)
    with SafetensorsFile(path) as file:
        assert len(file) == 2
        assert "a" in file
        assert "c" not in file
        assert file == file
        assert {file: 1}[file] == 1
        assert [(name, array.shape) for name, array in file.items()] == [
            ("a", (2, 3, 11)),
            ("b", (3, 11)),
        ]
        with pytest.raises(KeyError, match=r"w\.safetensors has no tensor 'c'"):
            file.info("c")


def test_saving_over_a_file_in_use_keeps_its_readers_right(path):
    save_file({"a": W}, path)
    mapped = load_file(path)
    with SafetensorsFile(path) as file:
        save_file({"a": mapped["a"], "b": -mapped["a"]}, path)
        np.testing.assert_array_equal(mapped["a"], W)
        out = np.empty_like(W)
        file.read_into("a", out)
        np.testing.assert_array_equal(out, W)
        np.testing.assert_array_equal(file["a"], W)
        save_file(file, path)  # a lazy reader is a source like any other
    assert list(load_file(path)) == ["a"]


def test_a_file_truncated_after_opening_is_reported(path):
    save_file({"a": W}, path)
    with SafetensorsFile(path) as file:
        os.truncate(path, path.stat().st_size - 8)
        with pytest.raises(CheckpointError, match="truncated after it was opened"):
            file["a"]
        with pytest.raises(CheckpointError, match="truncated after it was opened"):
            file.read_into("a", np.empty_like(W))


def test_threads_share_a_reader(path):
    tensors = {str(i): np.full(50_000, i, np.float32) for i in range(8)}
    save_file(tensors, path)
    wrong = []

    def read(name):
        out = np.empty(50_000, np.float64)
        for _ in range(10):
            file.read_into(name, out)
            if not (out == int(name)).all():
                wrong.append(name)

    with SafetensorsFile(path) as file:
        threads = [threading.Thread(target=read, args=(name,)) for name in tensors]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_no_regular_file(tmp_path):
    with pytest.raises(CheckpointError, match="not a regular file"):
        load_file(tmp_path)
    with pytest.raises(FileNotFoundError):
        load_file(tmp_path / "none.safetensors")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(CheckpointError, match="not a regular file"):
            load_file(tmp_path / "pipe")


class Bomb(dict):
    """A mapping whose second tensor cannot be had: the save dies half way."""

    def __init__(self, error):
        super().__init__(a=W, b=W)
        self.error, self.asked = error, 0

    def __getitem__(self, name):
        if name == "b":
            raise self.error
        return super().__getitem__(name)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_save_leaves_the_old_file_and_nothing_else(error, path):
    save_file({"old": W}, path)
    with pytest.raises(error):
        save_file(Bomb(error), path)
    assert list(load_file(path)) == ["old"]
    assert list(path.parent.iterdir()) == [path]


def test_a_failing_rename_leaves_the_old_file_and_nothing_else(path, monkeypatch):
    save_file({"old": W}, path)

    def refuse(source, target):
        raise PermissionError("in use")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError):
        save_file({"new": W}, path)
    assert list(load_file(path)) == ["old"]
    assert list(path.parent.iterdir()) == [path]


def test_atomic_write_is_seen_only_when_done(tmp_path):
    target = tmp_path / "config.json"
    with atomic_write(target, "w") as file:
        file.write("é\n")
        assert not target.exists()
    assert target.read_bytes() == "é\n".encode()
    with pytest.raises(ValueError, match="'a'"), atomic_write(target, "a"):
        pass


@pytest.mark.skipif(os.name != "posix", reason="permission bits and links of POSIX")
def test_a_full_disk_is_an_error_that_names_the_file(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(OSError, match="No space left") as caught, atomic_write(target):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(target)
    assert target.read_text() == "old"


def test_atomic_write_keeps_permissions_and_follows_links(tmp_path):
    target, link = tmp_path / "real", tmp_path / "link"
    old = os.umask(0o027)
    try:
        with atomic_write(target) as file:
            file.write(b"1")
    finally:
        os.umask(old)
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    target.chmod(0o604)
    link.symlink_to(target)
    with atomic_write(link) as file:
        file.write(b"2")
    assert link.is_symlink()
    assert target.read_bytes() == b"2"
    assert stat.S_IMODE(target.stat().st_mode) == 0o604
