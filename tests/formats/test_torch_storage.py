"""Tensors that do not fit their storage, storages that contradict the pickle, old files."""

import pickle
import struct

import numpy as np
import pytest
import torch

from tests.formats.torch_crafting import (
    PROTO,
    call,
    integer,
    legacy_file,
    mapping,
    name,
    numbers,
    pack,
    program,
    refused,
    storage,
    tensor,
    text,
)
from tinybert.formats.torch.file import TorchFile
from tinybert.weights import CheckpointError, load_checkpoint

pytestmark = pytest.mark.usefixtures("canary")


HONEST = mapping(a=tensor())


def test_the_assembler_is_honest(form, write):
    held = storage(extra=[b"N"] if form == "legacy" else [])
    path = write(program(mapping(a=tensor(held))))
    assert torch.load(path, weights_only=True)["a"].shape == (2, 3)
    assert load_checkpoint(path)["a"].shape == (2, 3)


A = 2**31  # a size whose square overflows
BAD_TENSORS = {
    "shape beyond": tensor(shape=(2, 4), strides=(4, 1)),
    "stride beyond": tensor(strides=(4, 1)),
    "offset beyond": tensor(offset=1),
    "offset far beyond": tensor(offset=2**62),
    "huge offset": tensor(offset=2**100),
    "negative offset": tensor(offset=-1),
    "negative size": tensor(shape=(-2, -3)),
    "one negative size": tensor(shape=(2, -3)),
    "negative stride": tensor(offset=5, strides=(-3, -1)),
    "empty beyond": tensor(offset=7, shape=(0,), strides=(1,)),
    "overflowing product": tensor(shape=(A, A, A), strides=(1, 1, 1)),
    "product that wraps to 6": tensor(shape=(2**63 + 3, 2), strides=(1, 1)),
    "repeated endlessly": tensor(shape=(2**40,), strides=(0,)),
    "repeated in two ways": tensor(shape=(A, A), strides=(0, 0)),
    "empty with endless sizes": tensor(shape=(0, 2**62), strides=(1, 1)),
    "stride that wraps": tensor(shape=(2,), strides=(2**64,)),
    "huge stride of a size of one, beyond": tensor(offset=6, shape=(1,), strides=(2**90,)),
    "fewer strides": tensor(strides=(1,)),
    "more strides": tensor(shape=(6,)),
    "a thousand axes": tensor(shape=(1,) * 1000, strides=(1,) * 1000),
    "shape as text": tensor(shape=text("ab")),
    "shape as a list": tensor(shape=b"](K\2K\3e"),
    "shape of text": tensor(shape=pack(text("2"), text("3"))),
    "shape of floats": tensor(shape=pack(b"G" + struct.pack(">d", 2.0), b"K\3")),
    "shape of booleans": tensor(shape=pack(b"\x88", b"\x88"), strides=(1, 1)),
    "shape of nothing": tensor(shape=b"N"),
    "strides of tensors": tensor(strides=tensor()),
    "not a storage": tensor(held=b"N"),
    "storage as text": tensor(held=text("0")),
    "storage as a tensor": tensor(held=tensor()),
    "too few arguments": call(name("torch._utils", "_rebuild_tensor_v2"), storage(), integer(0)),
    "no arguments": call(name("torch._utils", "_rebuild_tensor_v2")),
    "too many arguments": tensor(tail=[b"N"] * 6),
    "metadata": tensor(tail=[b"\x89", b"}", mapping(conj=b"\x88")]),
    "v3 without a type": tensor(storage("UntypedStorage", count=24), version=3, tail=[b"N", b"N"]),
    "v3 of no type": tensor(
        storage("UntypedStorage", count=24), version=3, tail=[b"N", b"}", text("float32")]
    ),
    "v3 of a function": tensor(
        storage("UntypedStorage", count=24), version=3, tail=[b"N", b"}", name("torch", "Size")]
    ),
    "v3 of complex": tensor(
        storage("UntypedStorage", count=24),
        version=3,
        tail=[b"N", b"}", name("torch", "complex64")],
    ),
    "v3 in a typed storage": tensor(version=3, tail=[b"N", b"}", name("torch", "float32")]),
    "v3 of a part of a number": tensor(
        storage("UntypedStorage", count=23), version=3, tail=[b"N", b"}", name("torch", "float32")]
    ),
    "v2 in bytes without a type": tensor(storage("UntypedStorage", count=24)),
    "old form with six": tensor(version=1, tail=[b"N", b"N"]),
}  # fmt: skip


@pytest.mark.parametrize("lie", BAD_TENSORS)
def test_tensors_that_do_not_fit_their_storage(lie, write):
    refused(write(program(mapping(a=BAD_TENSORS[lie]))))


BAD_STORAGES = {
    "count too large": storage(count=7),
    "count too small": storage(count=5),
    "endless count": storage(count=2**61),
    "overflowing count": storage(count=2**62 + 6),
    "huge count": storage(count=2**120),
    "negative count": storage(count=-6),
    "count as text": storage(count=text("6")),
    "count of nothing": storage(count=b"N"),
    "a wider type": storage("DoubleStorage"),
    "a narrower type": storage("HalfStorage"),
    "a quantised type": storage("QInt8Storage"),
    "a type that is a function": storage(name("torch._utils", "_rebuild_tensor")),
    "a type as text": storage(text("FloatStorage")),
    "a type that is a type of number": storage(name("torch", "float32")),
    "another key": storage(key="1"),
    "a path": storage(key="../0"),
    "a path from the root": storage(key="/data/0"),
    "a path that ends here": storage(key="../data/0"),
    "a folder": storage(key="0/"),
    "no key": storage(key=""),
    "a negative key": storage(key="-0"),
    "a key in other digits": storage(key="٠"),
    "a superscript": storage(key="⁰"),
    "a zero byte": storage(key="0\0"),
    "a key as number": storage(key=b"K\0"),
    "a key as list": storage(key=b"]"),
    "a key as bytes": storage(key=b"C\x010"),
    "no tag": pack(text("tensor"), name("torch", "FloatStorage"), text("0"), text("cpu"), b"K\6")
    + b"Q",
    "a module": pack(text("module"), text("x"), text("y"), text("z"), b"N") + b"Q",
    "an empty reference": b")Q",
    "a reference by name": text("0") + b"Q",
    "a reference by number": b"K\0Q",
    "four parts": pack(text("storage"), name("torch", "FloatStorage"), text("0"), b"N") + b"Q",
    "seven parts": storage(extra=[b"N", b"N"]),
    "a view that is no view": storage(extra=[text("x")]),
    "a view of two": storage(extra=[pack(text("1"), b"K\0")]),
    "a view beyond": storage(extra=[pack(text("1"), b"K\1", b"K\6")]),
    "a view from before": storage(extra=[pack(text("1"), integer(-1), b"K\6")]),
    "an endless view": storage(extra=[pack(text("1"), b"K\0", integer(2**62))]),
    "a view of text": storage(extra=[pack(text("1"), text("0"), text("6"))]),
    "a view too short": storage(extra=[pack(text("1"), b"K\1", b"K\5")]),
}  # fmt: skip


@pytest.mark.parametrize("lie", BAD_STORAGES)
def test_storages_that_lie(lie, write):
    refused(write(program(mapping(a=tensor(BAD_STORAGES[lie])))))


@pytest.mark.parametrize(
    "second",
    [
        storage("IntStorage"),
        storage("HalfStorage", count=12),
        storage(count=3),
        storage(count=2**40),
    ],
)
def test_a_storage_has_one_type_and_one_size(second, write):
    code = mapping(a=tensor(), b=tensor(second, shape=(2,), strides=(1,)))
    refused(write(program(code)), "given two types or sizes")


# What only old files have; the expected values are torch's own.


def values(count, dtype=np.float32):
    return np.arange(1, count + 1, dtype=dtype)


@pytest.mark.parametrize("window", [(2, 4, (2, 2), (2, 1), 0), (1, 5, (2,), (3,), 1)])
def test_views_of_storages_before_pytorch_0_4(window, tmp_path):
    start, count, shape, strides, offset = window
    view = storage(extra=[pack(text("99"), integer(start), integer(count))])
    code = mapping(a=tensor(view, offset, shape, strides), b=tensor(storage(extra=[b"N"])))
    path = legacy_file(tmp_path / "x.pt", program(code), [("0", 6, values(6).tobytes())])
    theirs = torch.load(path, weights_only=True)
    ours = load_checkpoint(path)
    for key, tensor_ in theirs.items():
        np.testing.assert_array_equal(ours[key], tensor_.numpy())


def test_what_python_2_wrote(tmp_path):
    def short(value):
        return b"U" + bytes([len(value)]) + value.encode()

    held = short("storage") + name("torch", "HalfStorage") + short("0") + short("cuda:0")
    held = b"(" + held + integer(6) + b"NtQ"
    first = b"](" + short("a") + tensor(held, version=1) + b"e"
    second = b"](" + short("b") + tensor(held, 4, (2,), (1,)) + b"e"
    code = call(name("collections", "OrderedDict"), b"](" + first + second + b"e")
    content = values(6, np.float16).tobytes()
    path = legacy_file(tmp_path / "x.pt", program(code), [("0", 6, content)])
    theirs = torch.load(path, map_location="cpu", weights_only=False)
    ours = load_checkpoint(path)
    assert list(ours) == list(theirs) == ["a", "b"]
    for key in ours:
        np.testing.assert_array_equal(ours[key], theirs[key].numpy())


LEGACY_LIES = {
    "another magic number": {"magic": 0x1950A86A20F9469CFC6D},
    "no keys": {"keys": []},
    "another key": {"keys": ["1"]},
    "a key twice": {"keys": ["0", "0"]},
    "a key too many": {"keys": ["0", "1"]},
    "another count": {"storages": [("0", 5, bytes(24))]},
    "a negative count": {"storages": [("0", -6, bytes(24))]},
    "too few bytes": {"storages": [("0", 6, bytes(23))]},
    "too many bytes": {"storages": [("0", 6, bytes(25))]},
}


@pytest.mark.parametrize("lie", LEGACY_LIES)
def test_old_files_that_lie(lie, tmp_path):
    refused(legacy_file(tmp_path / "x.pt", program(HONEST), **LEGACY_LIES[lie]))


@pytest.mark.parametrize("keys", [b"N", b")", b"]K\0a", b"}", text("0")])
def test_old_files_with_a_strange_list_of_storages(keys, tmp_path):
    path = legacy_file(tmp_path / "x.pt", program(HONEST))
    listed = program(b"](" + text("0") + b"e")
    assert listed in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(listed, program(keys)))
    refused(path, "list of storages")


def test_old_files_of_an_unknown_version(tmp_path):
    path = legacy_file(tmp_path / "x.pt", program(HONEST))
    path.write_bytes(path.read_bytes().replace(program(integer(1001)), program(integer(1002))))
    refused(path, "an unknown version")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!doctype html>", "web page"),
        (b"", "is empty"),
        (bytes(257) + b"ustar\x0000" + bytes(1000), "tar archive"),
        (PROTO + b"N.", "not one that torch.save wrote"),
        (b"GGUF" + bytes(30), "GGUF"),
    ],
)
def test_files_of_other_kinds_are_named(content, words, tmp_path):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=words):
        TorchFile(path)
    refused(path)


def test_the_numbers_helper_writes_what_torch_writes(tmp_path):
    assert pickle.loads(program(numbers((1, 2**40, -1)))) == (1, 2**40, -1)
