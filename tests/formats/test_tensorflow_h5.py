"""tf_model.h5: TensorFlow's files are read bit for bit, and what it never writes is refused."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tracemalloc
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.fixtures.frameworks import assert_same_bits, unpack
from tinybert.formats.tensorflow.h5 import TensorFlowH5File, torch_name
from tinybert.weights import CheckpointError

CLASSES = (
    "BertModel",
    "BertForPreTraining",
    "BertLMHeadModel",
    "BertForMaskedLM",
    "BertForNextSentencePrediction",
    "BertForSequenceClassification",
    "BertForMultipleChoice",
    "BertForTokenClassification",
    "BertForQuestionAnswering",
)
W = np.arange(12, dtype=np.float32).reshape(3, 4)
NAME = "classifier/model/classifier/kernel:0"


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    return unpack("tensorflow.zip", tmp_path_factory.mktemp("tensorflow"))


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "tf_model.h5"


def load(path) -> dict[str, np.ndarray]:
    with TensorFlowH5File(path) as file:
        return dict(file)


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_as_transformers_converts_it(name, saved):
    assert_same_bits(load(saved / name / "tf_model.h5"), saved / name / "expected.safetensors")


def test_shards_as_transformers_converts_them(saved):
    folder = saved / "sharded"
    assert_same_bits(load(folder / "tf_model.h5.index.json"), folder / "expected.safetensors")


def test_the_tied_embeddings_are_stored_twice_and_come_once(saved):
    path = saved / "BertForMaskedLM" / "tf_model.h5"
    with h5py.File(path) as file:
        stored = []
        file.visit(lambda name: stored.append(name))
    assert sum(name.endswith("word_embeddings/weight:0") for name in stored) == 2
    with TensorFlowH5File(path) as file:
        assert [name for name in file if "word_embeddings" in name] == [
            "bert.embeddings.word_embeddings.weight"
        ]
        assert file.info("bert.embeddings.word_embeddings.weight") == ("F32", (19, 8), 19 * 8 * 4)
        assert file.info("bert.encoder.layer.1.output.dense.weight").shape == (8, 11)
        assert file.format == "TensorFlow"


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("bert/encoder/layer_._11/attention/self/query/kernel:0",
         "bert.encoder.layer.11.attention.self.query.weight"),
        ("bert/embeddings/token_type_embeddings/embeddings:0",
         "bert.embeddings.token_type_embeddings.weight"),
        ("bert/embeddings/LayerNorm/gamma:0", "bert.embeddings.LayerNorm.weight"),
        ("bert/embeddings/LayerNorm/beta:0", "bert.embeddings.LayerNorm.bias"),
        ("mlm___cls/predictions/bias:0", "cls.predictions.bias"),
        ("nsp___cls/seq_relationship/kernel:0", "cls.seq_relationship.weight"),
        ("final_logits_bias:0", "final_logits_bias"),
    ],
)  # fmt: skip
def test_names(variable, name):
    assert torch_name(variable.split("/")) == name


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", ">f8", "<i8", "u1"])
def test_every_type_of_numbers_and_byte_order(dtype, path):
    with h5py.File(path, "w") as file:
        file.create_dataset(NAME, W.shape, dtype=dtype)[...] = W
        file["top_level_model_weights/model/scale:0"] = np.asarray(3, dtype)
    tensors = load(path)
    np.testing.assert_array_equal(tensors["classifier.weight"], W.T)
    assert tensors["scale"] == 3
    assert tensors["scale"].dtype == np.dtype(dtype).newbyteorder("=")


def test_not_a_number_is_a_number_like_any_other(path):
    with h5py.File(path, "w") as file:
        file[NAME] = np.full((3, 4), np.nan, np.float32)
    assert np.isnan(load(path)["classifier.weight"]).all()


def test_opening_and_reading_do_not_hold_the_file(path):
    values = np.arange(4_000_000, dtype=np.float32).reshape(4000, 1000)
    with h5py.File(path, "w") as file:
        file[NAME] = values
    out = np.empty(values.T.shape, np.float32)
    tracemalloc.start()
    with TensorFlowH5File(path) as file:
        assert file["classifier.weight"][5, 3] == values[3, 5]
        file.read_into("classifier.weight", out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3e6
    np.testing.assert_array_equal(out, values.T)


def test_without_h5py_the_install_line(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r'pip install "tinybert\[tf\]"'):
        TensorFlowH5File(saved / "BertModel" / "tf_model.h5")


# --- what Keras does not write ----------------------------------------------------------------


def make_unwritten(file):
    file.create_dataset(NAME, (1 << 20, 1 << 20), np.float32)


def make_external(file):
    secret = Path(file.filename).with_name("secret")
    secret.write_bytes(bytes(48))
    file.create_dataset(NAME, W.shape, "<f4", external=[(str(secret), 0, 48)])


def make_virtual(file):
    layout = h5py.VirtualLayout(W.shape, np.float32)
    layout[...] = h5py.VirtualSource("other.h5", "secret", W.shape)
    file.create_virtual_dataset(NAME, layout)


def make_growing(file):
    """A virtual dataset whose shape is that of its source, which is a pipe without a writer."""
    pipe, unlimited = Path(file.filename).with_name("pipe"), slice(0, h5py.h5s.UNLIMITED)
    os.mkfifo(pipe)
    layout = h5py.VirtualLayout(W.shape, np.float32, maxshape=(None, W.shape[1]))
    source = h5py.VirtualSource(str(pipe), "secret", W.shape, maxshape=(None, W.shape[1]))
    layout[unlimited, :] = source[unlimited, :]
    file.create_virtual_dataset(NAME, layout)


def make_compact(file):
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.COMPACT)
    h5py.h5d.create(file.id, b"a", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((2,)), plist)


def make_null(file):
    file[NAME] = h5py.Empty(np.float32)


def make_circle(file):
    file["a/b/c"] = W
    file["a/b/a"] = file["a"]


def make_second_name(file):
    file["a/m/b"] = W
    file["a/m/c"] = file["a/m/b"]


def make_nested(file):
    group = file
    for _ in range(50):
        group = group.create_group("g")
    group["w"] = W


def make_references(file):
    file.create_dataset(NAME, (3,), h5py.ref_dtype)


def make_bfloat16(file):
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_fields(15, 7, 8, 0, 7)
    kind.set_size(2)
    kind.set_ebias(127)
    h5py.h5d.create(file.id, b"a", kind, h5py.h5s.create_simple((2,)))


def put(name=NAME, data=W, **more):
    return lambda file: file.create_dataset(name, data=data, **more)


def link(target):
    return lambda file: file.__setitem__(NAME, target)


REFUSED = {
    "soft link": (link(h5py.SoftLink("/etc")), "is a link, which is not supported"),
    "external link": (link(h5py.ExternalLink("other.h5", "/w")), "is a link"),
    "data elsewhere": (make_external, "has its data in another file"),
    "virtual": (make_virtual, "has its data in another file"),
    "chunked": (put(chunks=(1, 2)), "h5repack"),
    "compressed": (put(data=np.zeros((1000, 1000)), compression="gzip"), "not stored contiguously"),
    "compact": (make_compact, "not stored contiguously"),
    "never written": (make_unwritten, "takes 4398046511104 bytes, but 0 are stored"),
    "without a shape": (make_null, "not stored contiguously"),
    "a circle": (make_circle, "has another name"),
    "two names": (make_second_name, "has another name"),
    "nested deep": (make_nested, "nested over 32 deep"),
    "strings": (put(data=["a", "b"]), "type object"),
    "fixed strings": (put(data=np.array([b"a", b"b"])), "which is not supported"),
    "records": (put(data=np.zeros(3, [("a", "f4"), ("b", "f4")])), "which is not supported"),
    "references": (make_references, "which is not supported"),
    "bfloat16": (make_bfloat16, "which is not supported"),
    "a named type": (lambda file: file.__setitem__("a", np.dtype("f4")), "neither group nor array"),
    "convolution": (put(data=np.zeros((3, 4, 5), np.float32)), "has 3 axes"),
    "one name, two shapes": (
        lambda file: (put("a/m/cls/bias:0")(file), put("b/m/x___cls/bias:0", W[0])(file)),
        "'cls.bias' twice",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_keras_does_not_write_is_refused(case, path):
    make, words = REFUSED[case]
    with h5py.File(path, "w") as file:
        make(file)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=words):
        load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX systems")
def test_no_other_file_is_opened(path):
    with h5py.File(path, "w", libver="latest") as file:
        make_growing(file)
    read = f"from tinybert.weights import open_checkpoint; open_checkpoint({str(path)!r})"
    ran = subprocess.run(
        [sys.executable, "-c", f"import tinybert; {read}"], capture_output=True, timeout=60
    )
    assert b"has its data in another file" in ran.stderr


# --- broken files -----------------------------------------------------------------------------


def test_no_hdf5_at_all(path):
    path.write_bytes(b"<html>")
    with pytest.raises(CheckpointError, match=r"tf_model\.h5 is not an HDF5 file"):
        load(path)
    with pytest.raises(FileNotFoundError):
        load(path.with_name("none.h5"))
    with pytest.raises(CheckpointError, match="not a regular file"):
        load(path.parent)


def test_truncated_anywhere(saved, path):
    raw = (saved / "BertModel" / "tf_model.h5").read_bytes()
    for length in [*range(120), *range(120, len(raw), 499), len(raw) - 1]:
        path.write_bytes(raw[:length])
        with pytest.raises(CheckpointError):
            load(path)


@pytest.mark.parametrize("seed", range(40))
def test_flipped_bits_give_arrays_or_the_one_error(seed, saved, path):
    """HDF5's old structures have no checksums, so a flip may well hit nothing but a number."""
    noise = random.Random(seed)
    raw = bytearray((saved / "BertModel" / "tf_model.h5").read_bytes())
    for _ in range(noise.choice([1, 10, 100])):
        raw[noise.randrange(len(raw))] ^= 1 << noise.randrange(8)
    path.write_bytes(raw)
    tracemalloc.start()
    with suppress(CheckpointError):
        assert sum(array.nbytes for array in load(path).values()) < len(raw)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6


SHARD = "tf_model-00002-of-00004.h5"
BIAS = "m/bert/pooler/dense/bias:0"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "bad index: not JSON"),
        ("[]", "weight_map object"),
        ('{"weight_map": {}}', "weight_map object"),
        ({BIAS: "../secret.h5"}, "not a plain file name"),
        ({BIAS: "/etc/secret.h5"}, "not a plain file name"),
        ({BIAS: "a\\b.h5"}, "not a plain file name"),
        ({BIAS: "model.safetensors"}, "not a plain file name"),
        ({BIAS: 3}, "not a plain file name"),
        ({BIAS: "tf_model-00009-of-00004.h5"}, r"00009-of-00004\.h5 is missing"),
        ({"m/bert/absent": SHARD}, "lacks 'm/bert/absent', which it has according to the index"),
    ],
)
def test_indexes_that_are_wrong(content, words, saved, tmp_path):
    (tmp_path / SHARD).write_bytes((saved / "sharded" / SHARD).read_bytes())
    index = tmp_path / "tf_model.h5.index.json"
    index.write_text(content if isinstance(content, str) else json.dumps({"weight_map": content}))
    with pytest.raises(CheckpointError, match=words):
        load(index)
