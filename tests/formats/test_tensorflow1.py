"""TensorFlow's checkpoints: real ones bit for bit, checksums, names, and malicious indexes."""

from __future__ import annotations

import random
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from tests.fixtures.frameworks import assert_same_bits, unpack
from tinybert.formats.tensorflow.bundle import TensorFlow1Checkpoint
from tinybert.formats.tensorflow.crc32c import crc32c, masked
from tinybert.formats.tensorflow.names import is_ignored, tf1_name, tf2_name
from tinybert.weights import CheckpointError

DATA = np.arange(1, 13, dtype=np.float32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    return unpack("tensorflow.zip", tmp_path_factory.mktemp("tensorflow"))


def load(path) -> dict[str, np.ndarray]:
    with TensorFlow1Checkpoint(path) as file:
        return dict(file)


# --- CRC-32C ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),  # this one and the next from RFC 3720, appendix B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_crc32c_of_the_standard(data, expected):
    assert crc32c(data) == expected


@pytest.mark.parametrize("length", [8191, 8192, 8193, 65_539, (1 << 22) + 8195])
def test_crc32c_in_lanes_is_that_byte_by_byte(length):
    data = np.random.default_rng(length).bytes(length)
    piecewise = 0
    for first in range(0, length, 8000):  # too short for lanes
        piecewise = crc32c(data[first : first + 8000], piecewise)
    assert crc32c(data) == piecewise
    assert crc32c(data[5:], crc32c(data[:5])) == piecewise


# --- real checkpoints -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tf1", "tf1_sharded", "tf2"])
def test_as_transformers_converts_it(name, saved):
    assert_same_bits(load(saved / name), saved / name / "expected.safetensors")


def test_the_prefix_and_the_index_name_it_as_well(saved):
    for path in ("bert_model.ckpt", "bert_model.ckpt.index"):
        with TensorFlow1Checkpoint(saved / "tf1" / path) as file:
            assert file.format == "TensorFlow checkpoint"
            assert file.info("bert.encoder.layer.0.intermediate.dense.weight").shape == (11, 8)
            assert len(file.ignored) == 2 * 46 + 1
            assert set(file.ignored) >= {"global_step", "bert/pooler/dense/kernel/adam_m"}


def test_of_several_checkpoints_in_a_folder_the_state_file_tells(saved, tmp_path):
    for name in ("a.ckpt-1", "a.ckpt-2"):
        for file in (saved / "tf1_sharded").glob("bert_model.ckpt*"):
            target = tmp_path / file.name.replace("bert_model.ckpt", name)
            target.write_bytes(file.read_bytes())
    with pytest.raises(CheckpointError, match=r"has a\.ckpt-1, a\.ckpt-2"):
        TensorFlow1Checkpoint(tmp_path)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "a.ckpt-2"\nall: "a.ckpt-1"\n')
    with TensorFlow1Checkpoint(tmp_path) as file:
        assert file.path == str(tmp_path / "a.ckpt-2.index")
    for state in ('model_checkpoint_path: "a.ckpt-3"', "nonsense", 'model_checkpoint_path: "/a"'):
        (tmp_path / "checkpoint").write_text(state)
        with pytest.raises(CheckpointError, match="must have one"):
            TensorFlow1Checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("bert/embeddings/word_embeddings", "bert.embeddings.word_embeddings.weight"),
        ("bert/embeddings/LayerNorm/gamma", "bert.embeddings.LayerNorm.weight"),
        ("bert/encoder/layer_11/attention/self/query/kernel",
         "bert.encoder.layer.11.attention.self.query.weight"),
        ("bert/pooler/dense/bias", "bert.pooler.dense.bias"),
        ("cls/predictions/output_bias", "cls.predictions.bias"),
        ("cls/seq_relationship/output_weights", "cls.seq_relationship.weight"),
        ("output_weights", "classifier.weight"),
        ("output_bias", "classifier.bias"),
        ("cls/squad/output_weights", "qa_outputs.weight"),
        ("cls/squad/output_bias", "qa_outputs.bias"),
    ],
)  # fmt: skip
def test_names_of_tensorflow_1(variable, name):
    assert tf1_name(variable) == name
    assert not is_ignored(variable)


VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def test_names_of_tensorflow_2():
    layer = "model/layer_with_weights-15"
    query = f"{layer}/_attention_layer/_query_dense/kernel{VALUE}"
    assert tf2_name(query) == "encoder.layer.11.attention.self.query.weight"
    for output in ("_attention_output_dense", "_attention_layer/_output_dense"):
        assert tf2_name(f"{layer}/{output}/bias{VALUE}") == (
            "encoder.layer.11.attention.output.dense.bias"
        )
    assert tf2_name(f"model/layer_with_weights-16/kernel{VALUE}") == "pooler.dense.weight"


@pytest.mark.parametrize(
    "name",
    ["global_step", "bert/pooler/dense/bias/adam_v", "bert/pooler/dense/kernel/BERTAdam",
     "AdamWeightDecayOptimizer/beta", "_CHECKPOINTABLE_OBJECT_GRAPH", f"save_counter{VALUE}",
     f"model/w/.OPTIMIZER_SLOT/optimizer/m{VALUE}", f"optimizer/learning_rate{VALUE}"],
)  # fmt: skip
def test_what_training_leaves_is_ignored(name):
    assert is_ignored(name)


def test_a_flipped_bit_of_any_tensor_is_found_when_it_is_read(saved, tmp_path):
    for file in (saved / "tf1").glob("bert_model*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    data = tmp_path / "bert_model.ckpt.data-00000-of-00001"
    raw = data.read_bytes()
    with TensorFlow1Checkpoint(tmp_path) as file:
        places = {name: file._named[name].pieces[0] for name in file}
    for seed, (name, piece) in enumerate(places.items()):
        noise = random.Random(seed)
        broken = bytearray(raw)
        broken[piece.begin + noise.randrange(piece.size)] ^= 1 << noise.randrange(8)
        data.write_bytes(broken)
        with TensorFlow1Checkpoint(tmp_path) as file:
            shape = file.info(name).shape
            with pytest.raises(CheckpointError, match=f"checksum of tensor '{name}' is wrong"):
                file[name]
            with pytest.raises(CheckpointError, match="checksum"):
                file.read_into(name, np.empty(shape, np.float32))
            assert all(file[other] is not None for other in file if other != name)


def test_a_missing_or_shortened_data_file_is_named(saved, tmp_path):
    for file in (saved / "tf1_sharded").glob("bert_model*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    data = tmp_path / "bert_model.ckpt.data-00001-of-00003"
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="is truncated"):
        TensorFlow1Checkpoint(tmp_path)
    data.unlink()
    with pytest.raises(CheckpointError, match="00001-of-00003 is missing"):
        TensorFlow1Checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="must have one TensorFlow checkpoint"):
        TensorFlow1Checkpoint(tmp_path.parent)
    with pytest.raises(FileNotFoundError):
        TensorFlow1Checkpoint(tmp_path / "other.ckpt")


def test_any_truncation_and_any_flipped_bit_of_the_index_is_found(saved, tmp_path):
    raw = (saved / "tf1_sharded" / "bert_model.ckpt.index").read_bytes()
    index = tmp_path / "bert_model.ckpt.index"
    for file in (saved / "tf1_sharded").glob("*.data*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for length in [*range(0, len(raw), 7), *range(len(raw) - 60, len(raw))]:
        index.write_bytes(raw[:length])
        with pytest.raises(CheckpointError):
            TensorFlow1Checkpoint(index)
    # The block of the footer that is nobody's: the metaindex, its handle and the padding.
    for seed in range(200):
        noise = random.Random(seed)
        at = noise.choice([noise.randrange(1700), len(raw) - 1 - noise.randrange(8)])
        broken = bytearray(raw)
        broken[at] ^= 1 << noise.randrange(8)
        index.write_bytes(broken)
        with pytest.raises(CheckpointError):
            TensorFlow1Checkpoint(index)


# --- hostile indexes, written by hand -----------------------------------------------------------


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def entry(shape=(3, 4), dtype=1, shard=0, offset=0, size=48, more=b"", crc=None) -> bytes:
    axes = b"".join(field(2, field(1, n)) for n in shape)
    crc = masked(crc32c(DATA.tobytes())) if crc is None else crc
    out = field(1, dtype) + field(2, axes) + field(3, shard) + field(4, offset) + field(5, size)
    return out + varint(6 << 3 | 5) + struct.pack("<I", crc) + more


HEADER = (b"", field(1, 1))


def seal(content: bytes, kind: int = 0) -> bytes:
    content += bytes([kind])
    return content + struct.pack("<I", masked(crc32c(content)))


def block(entries, kind=0) -> bytes:
    out = b"".join(
        b"\0" + varint(len(key)) + varint(len(value)) + key + value for key, value in entries
    )
    return seal(out + struct.pack("<II", 0, 1), kind)


def handle(offset: int, size: int) -> bytes:
    return varint(offset) + varint(size)


def table(*blocks: bytes, handles=None, index=None) -> bytes:
    out, places = b"", []
    for raw in blocks:
        places.append(handle(len(out), len(raw) - 5))
        out += raw
    places = handles or places
    last = block([(bytes([i]), place) for i, place in enumerate(places)])
    footer = handle(0, 0) + (index or handle(len(out), len(last) - 5))
    return out + last + footer.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")


def of(*entries, **more) -> bytes:
    return table(block([HEADER, *entries], **more))


KEY = b"a/kernel"
BIG = block([HEADER, (KEY, entry())])
REFUSED = {
    "empty": (b"", "its last bytes are wrong"),
    "no magic": (bytes(100), "its last bytes are wrong"),
    "footer alone": (bytes(40) + bytes.fromhex("57fb808b247547db"), "bad table|cut off"),
    "index block beyond": (table(BIG, index=handle(0, 10_000)), "ends at byte"),
    "index block far beyond": (table(BIG, index=handle(2**63, 2**63)), "ends at byte"),
    "more than 64 bits": (table(BIG, index=b"\xff" * 11), "more than 64 bits"),
    "endless number": (table(BIG, index=b"\xff" * 32), "more than 64 bits"),
    "data block beyond": (table(BIG, handles=[handle(5, 10_000)]), "ends at byte"),
    "block twice": (table(BIG, handles=[handle(0, len(BIG) - 5)] * 2), "blocks overlap"),
    "compressed": (of((KEY, entry()), kind=1), "is compressed"),
    "no room for restarts": (table(seal(b"abc")), "a block of 3 bytes"),
    "lying restarts": (table(seal(b"\xff" * 8)), "4294967295 restarts"),
    "sharing with no key": (table(seal(b"\x05\1\0a" + bytes(4))), "does not fit into its block"),
    "entry beyond its block": (table(seal(b"\0\x63\0a" + bytes(4))), "does not fit into its block"),
    "entry cut off": (table(seal(b"\0\x80" + bytes(4))), "cut off|does not fit"),
    "empty table": (table(), "not that of a checkpoint"),
    "no header": (table(block([(KEY, entry())])), "does not begin with a header"),
    "keys out of order": (of((b"b", entry()), (b"a", entry())), "is not after"),
    "a key twice": (of((KEY, entry()), (KEY, entry())), "is not after"),
    "a long key": (of((b"a" * 1100, entry())), "does not fit into its block"),
    "a key not UTF-8": (of((b"\xff", entry())), "utf-8"),
    "big-endian": (table(block([(b"", field(1, 1) + field(2, 1))])), "big-endian"),
    "no data files": (table(block([(b"", field(1, 0)), (KEY, entry())])), "0 data files"),
    "too many data files": (table(block([(b"", field(1, 10**6))])), "1000000 data files"),
    "data files by name": (table(block([(b"", field(1, b"x"))])), "data files"),
    "header cut off": (table(block([(b"", field(3, b"abc")[:-1])])), "cut off"),
    "file beyond": (of((KEY, entry(shard=1))), "in data file 1 of 1"),
    "file far beyond": (of((KEY, entry(shard=2**64 - 1))), "of 1"),
    "offset beyond": (of((KEY, entry(offset=4))), "is truncated"),
    "offset negative": (of((KEY, entry(offset=2**64 - 4))), "is truncated"),
    "size lies": (of((KEY, entry(size=44))), "takes 48 bytes, but 44 are stored"),
    "size beyond": (of((KEY, entry((2**40, 2**20), size=2**62))), "array can have"),
    "shape lies": (of((KEY, entry((3, 5)))), "takes 60 bytes, but 48 are stored"),
    "shape overflows": (of((KEY, entry((2**62, 4), size=0))), "array can have"),
    "shape negative": (of((KEY, entry((2**64 - 1, 4)))), "an axis without a size"),
    "axis no message": (of((KEY, field(1, 1) + field(2, field(2, 5)))), "an axis without"),
    "a hundred axes": (of((b"a/bias", entry((1,) * 100, size=4))), "100 axes"),
    "convolution": (of((KEY, entry((3, 2, 2)))), "has 3 axes"),
    "type string": (of((KEY, entry(dtype=7))), "type 7, which is not supported"),
    "type unknown": (of((KEY, entry(dtype=99))), "type 99, which is not supported"),
    "in slices": (of((KEY, entry(more=field(7, b"")))), "in slices"),
    "unknown field": (of((KEY, entry(more=field(9, 1)))), "bad entry: field 9"),
    "unknown wire type": (of((KEY, entry(more=b"\x0b"))), "wire type 3"),
    "message cut off": (of((KEY, entry()[:-1])), "cut off"),
    "field cut off": (of((KEY, varint(2 << 3 | 2) + varint(2**40))), "cut off"),
    "overlapping": (
        of(*((b"%02d" % i, entry()) for i in range(9))), "432 bytes of tensors, but has only 48"
    ),
    "two of one name": (
        of((b"a/beta", entry((12,))), (b"a/output_bias", entry((12,)))), "two variables would be"
    ),
    "objects of another model": (
        of((b"model/dense/kernel" + VALUE.encode(), entry())), "not part of a BERT encoder"
    ),
    "objects with heads": (
        of((b"a/layer_with_weights-0/embeddings" + VALUE.encode(), entry())), "not part of a BERT"
    ),
}  # fmt: skip


def write(tmp_path, index) -> Path:
    (tmp_path / "x.ckpt.data-00000-of-00001").write_bytes(DATA.tobytes())
    (tmp_path / "x.ckpt.index").write_bytes(index)
    return tmp_path


def test_the_writer_of_hostile_indexes_can_write_a_good_one(tmp_path):
    tensors = load(write(tmp_path, of((KEY, entry()), (b"b", entry((0,), size=0, crc=masked(0))))))
    np.testing.assert_array_equal(tensors["a.weight"], DATA.reshape(3, 4).T)
    assert tensors["b"].shape == (0,)
    halves = entry((2, 12), dtype=14)
    with TensorFlow1Checkpoint(write(tmp_path, of((KEY, halves)))) as file:
        assert file.info("a.weight") == ("BF16", (12, 2), 48)
        expected = (DATA.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        np.testing.assert_array_equal(file["a.weight"], expected.reshape(2, 12).T)


def test_not_a_number_is_a_number_like_any_other(tmp_path):
    raw = np.full(12, np.nan, np.float32).tobytes()
    write(tmp_path, of((KEY, entry(crc=masked(crc32c(raw))))))
    (tmp_path / "x.ckpt.data-00000-of-00001").write_bytes(raw)
    assert np.isnan(load(tmp_path)["a.weight"]).all()


@pytest.mark.parametrize("case", REFUSED)
def test_hostile_indexes(case, tmp_path):
    index, words = REFUSED[case]
    write(tmp_path, index)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=words):
        load(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5e6


def test_an_index_of_nothing_but_variables_is_cut_short(tmp_path, monkeypatch):
    write(tmp_path, of(*((b"%03d" % i, entry((0,), size=0)) for i in range(101))))
    assert len(TensorFlow1Checkpoint(tmp_path)) == 101
    monkeypatch.setattr("tinybert.formats.tensorflow.bundle._MAX_VARIABLES", 100)
    with pytest.raises(CheckpointError, match="over 100 variables"):
        load(tmp_path)
