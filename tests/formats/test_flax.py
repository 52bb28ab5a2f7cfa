"""flax_model.msgpack: what Flax wrote, bit for bit; MessagePack as its library reads it."""

from __future__ import annotations

import random
import tracemalloc
from contextlib import suppress
from pathlib import Path

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fixtures.frameworks import assert_same_bits, unpack
from tinybert.formats.flax.file import FlaxFile
from tinybert.formats.flax.messagepack import BytePosition, parse
from tinybert.weights import CheckpointError

FOLDERS = (
    "BertModel",
    "BertForPreTraining",
    "BertLMHeadModel",
    "BertForMaskedLM",
    "BertForNextSentencePrediction",
    "BertForSequenceClassification",
    "BertForMultipleChoice",
    "BertForTokenClassification",
    "BertForQuestionAnswering",
    "bfloat16",
    "float16",
    "chunked",
)
W = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    return unpack("flax.zip", tmp_path_factory.mktemp("flax"))


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "flax_model.msgpack"


def load(path) -> dict[str, np.ndarray]:
    with FlaxFile(path) as file:
        return dict(file)


def array(values=W, shape=None, dtype=None, kind=1) -> msgpack.ExtType:
    """As flax/serialization.py packs an array."""
    shape = values.shape if shape is None else shape
    content = (shape, dtype or values.dtype.name, values.tobytes())
    return msgpack.ExtType(kind, msgpack.packb(content, use_bin_type=True))


def chunked(shape, chunks) -> dict:
    return {"__msgpack_chunked_array__": True, "shape": shape, "chunks": chunks}


def write(path, tree):
    path.write_bytes(tree if isinstance(tree, bytes) else msgpack.packb(tree))


# --- real files -------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_class_and_dtype_as_transformers_converts_it(folder, saved):
    folder = saved / folder
    assert_same_bits(load(folder / "flax_model.msgpack"), folder / "expected.safetensors")


def test_what_info_says(saved):
    with FlaxFile(saved / "bfloat16" / "flax_model.msgpack") as file:
        assert file.info("bert.encoder.layer.1.intermediate.dense.weight") == ("BF16", (11, 8), 176)
        assert file["bert.encoder.layer.1.intermediate.dense.weight"].dtype == np.float32
        assert file.format == "Flax"


@pytest.mark.parametrize(
    "dtype", ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u1", "c8", "?"]
)
def test_every_dtype(dtype, path):
    values = np.arange(12).reshape(3, 4).astype(dtype)
    scalar = np.ones((), dtype)
    write(path, {"params": {"a": {"kernel": array(values), "b": array(scalar, kind=3)}}})
    tensors = load(path)
    assert tensors["a.weight"].dtype == dtype
    np.testing.assert_array_equal(tensors["a.weight"], values.T)
    assert tensors["a.b"] == scalar


def test_not_a_number_is_a_number_like_any_other(path):
    write(path, {"a": {"kernel": array(np.full((3, 4), np.nan, np.float32))}})
    assert np.isnan(load(path)["a.weight"]).all()


def test_opening_and_reading_do_not_hold_the_file(path):
    values = np.arange(4_000_000, dtype=np.float32).reshape(4000, 1000)
    write(path, {"a": {"kernel": array(values), "bias": array(values)}})
    out = np.empty(values.T.shape, np.float32)
    tracemalloc.start()
    with FlaxFile(path) as file:
        file.read_into("a.weight", out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3e6
    np.testing.assert_array_equal(out, values.T)


# --- MessagePack ------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, width=32)
    | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(), inner, max_size=20),
)


@settings(max_examples=60, deadline=None)
@given(VALUES, st.booleans())
def test_values_are_those_of_the_msgpack_library(value, single):
    raw = msgpack.packb(value, use_single_float=single)
    theirs = msgpack.unpackb(raw, strict_map_key=True)
    assert parse(raw, 0, len(raw)) == theirs
    with pytest.raises(ValueError, match="truncated"):
        parse(raw, 0, len(raw) - 1)
    with pytest.raises(ValueError, match="1 bytes are left over"):
        parse(raw + b"\0", 0, len(raw) + 1)


@pytest.mark.parametrize("size", [0, 1, 2, 4, 5, 8, 16, 17, 255, 256, 65_535, 65_536])
def test_long_values_of_every_size_stay_where_they_are(size):
    body = bytes(range(256)) * (size // 256 + 1)
    for value, kind in ((body[:size], None), (msgpack.ExtType(7, body[:size]), 7)):
        raw = msgpack.packb([value])
        ((begin, end, found),) = parse(raw, 0, len(raw))
        assert (raw[begin:end], found) == (body[:size], kind)
    text = "é" * size
    raw = msgpack.packb([text] * 17)
    assert parse(raw, 0, len(raw)) == [text] * 17
    assert isinstance(parse(b"\xc4\0", 0, 2), BytePosition)


# --- broken and hostile files -----------------------------------------------------------------


def nested(depth: int, begin: bytes) -> bytes:
    return begin * depth + b"\xc0"


GOOD = {"a": {"kernel": array(), "bias": array(W[0])}}
REFUSED = {
    "empty": (b"", "is empty"),
    "a web page": (b"<html>", "left over"),
    "a number": (b"\x07", "does not contain a map"),
    "a list": ([array()], "does not contain a map"),
    "left over": (msgpack.packb(GOOD) + b"\0", "1 bytes are left over"),
    "no value": (b"\xc1", "0xc1 at 0 does not begin"),
    "map of 4 billion": (b"\xdf" + b"\xff" * 4 + bytes(99), "truncated: 8589934590 bytes"),
    "list of 4 billion": (b"\xdd" + b"\xff" * 4 + bytes(99), "truncated: 4294967295 bytes"),
    "text of 4 billion": (b"\xdb" + b"\xff" * 4 + bytes(99), "truncated: 4294967295 bytes"),
    "bytes of 4 billion": (b"\xc6" + b"\xff" * 4 + bytes(99), "truncated: 4294967295 bytes"),
    "extension of 4 billion": (b"\xc9" + b"\xff" * 4 + bytes(99), "truncated: 4294967295 bytes"),
    "lists in lists": (nested(200_000, b"\x91"), "nested over 64 deep"),
    "maps in maps": (nested(200_000, b"\x81\xa1a"), "nested over 64 deep"),
    "maps as keys": (nested(200_000, b"\x81"), "nested over 64 deep"),
    "key no text": ({3: array()}, "a key is 3"),
    "a key twice": (b"\x82" + 2 * (b"\xa1a" + msgpack.packb(array())), "a key is 'a'"),
    "key not UTF-8": (b"\x81\xa1\xff\xc0", "utf-8"),
    "leaf nothing": ({"a": None}, "leaf 'a': is not an array: None"),
    "leaf a number": ({"a": {"b": 3}}, "leaf 'a/b': is not an array: 3"),
    "leaf a list": ({"a": [array()]}, "is not an array"),
    "leaf bytes": ({"a": b"1234"}, "is not an array"),
    "complex": ({"a": msgpack.ExtType(2, msgpack.packb((1.0, 2.0)))}, "is not an array"),
    "other extension": ({"a": array(kind=9)}, "is not an array"),
    "array empty": ({"a": msgpack.ExtType(1, b"")}, "truncated"),
    "array no triple": ({"a": msgpack.ExtType(1, msgpack.packb([[1], "float32"]))}, "must be"),
    "array with more": ({"a": msgpack.ExtType(1, array().data + b"\0")}, "left over"),
    "array bomb": ({"a": msgpack.ExtType(1, nested(9999, b"\x91"))}, "nested over"),
    "data no bytes": ({"a": msgpack.ExtType(1, msgpack.packb([[1], "float32", "text"]))}, "bytes"),
    "shape lies": ({"a": array(shape=(3, 5))}, "takes 60 bytes, but 48 are stored"),
    "shape of petabytes": ({"a": array(shape=(2**40, 2**10))}, "but 48 are stored"),
    "shape overflows": ({"a": array(shape=(2**63, 4))}, "no array can have"),
    "shape negative": ({"a": array(shape=(-3, -4))}, "must be a list of sizes"),
    "shape of floats": ({"a": array(shape=(3.0, 4))}, "must be a list of sizes"),
    "shape of flags": ({"a": array(shape=(True, 12))}, "must be a list of sizes"),
    "shape a number": ({"a": array(shape=12)}, "must be a list of sizes"),
    "a hundred axes": ({"a": array(W[0, :1], shape=(1,) * 100)}, "100 axes"),
    "convolution": ({"a": {"kernel": array(shape=(3, 2, 2))}}, "has 3 axes"),
    "dtype unknown": ({"a": array(dtype="object")}, "dtype 'object' is not supported"),
    "dtype a number": ({"a": array(dtype=3)}, "dtype 3 is not supported"),
    "two of one name": ({"a": {"scale": array(), "weight": array()}}, "two arrays would be"),
    "names that meet": ({"a.b": array(), "a": {"b": array()}}, "two arrays would be 'a.b'"),
    "chunks absent": ({"a": {"__msgpack_chunked_array__": True}}, "must number"),
    "no chunks": ({"a": chunked({"0": 0}, {})}, "a shape and chunks"),
    "chunks too few": ({"a": chunked({"0": 24}, {"0": array()})}, "takes 96 bytes, but 48"),
    "chunks misnumbered": ({"a": chunked({"0": 12}, {"1": array()})}, "must number"),
    "chunks of two dtypes": (
        {"a": chunked({"0": 24}, {"0": array(), "1": array(W.view(np.int32))})}, "differ in dtype"
    ),
    "chunk no array": ({"a": chunked({"0": 12}, {"0": 1})}, "is not an array"),
    "chunked shape": ({"a": chunked({"0": -12}, {"0": array()})}, "a shape and chunks"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_hostile_files(case, path):
    tree, words = REFUSED[case]
    write(path, tree)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=words):
        load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6


def test_a_file_of_nothing_but_values_is_cut_short(path, monkeypatch):
    monkeypatch.setattr("tinybert.formats.flax.messagepack.MAX_VALUES", 100)
    write(path, {"a": [None] * 100})
    with pytest.raises(CheckpointError, match="has over 100 MessagePack values"):
        load(path)


def test_truncated_anywhere(saved, path):
    real = (saved / "BertModel" / "flax_model.msgpack").read_bytes()
    small = msgpack.packb(GOOD)
    cut = [small[:length] for length in range(len(small))]
    for raw in [*cut, *(real[:length] for length in range(0, len(real), 61))]:
        path.write_bytes(raw)
        with pytest.raises(CheckpointError):
            load(path)


@pytest.mark.parametrize("seed", range(60))
def test_flipped_bits_give_arrays_or_the_one_error(seed, saved, path):
    """The format has no checksums, so a flip may well hit nothing but a number."""
    noise = random.Random(seed)
    raw = bytearray((saved / "chunked" / "flax_model.msgpack").read_bytes())
    for _ in range(noise.choice([1, 10, 100])):
        raw[noise.randrange(len(raw))] ^= 1 << noise.randrange(8)
    path.write_bytes(raw)
    with suppress(CheckpointError):
        assert sum(tensor.nbytes for tensor in load(path).values()) <= 2 * len(raw)


def test_no_regular_file(tmp_path):
    with pytest.raises(CheckpointError, match="not a regular file"):
        load(tmp_path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.msgpack")
