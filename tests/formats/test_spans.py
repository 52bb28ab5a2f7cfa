"""Tensors stored as raw bytes: views and copies, transposed, in pieces, in every dtype."""

import os
import threading
import tracemalloc

import numpy as np
import pytest

from tinybert.files import open_regular
from tinybert.formats.spans import Piece, Span, SpanReader
from tinybert.weights import CheckpointError

W = np.arange(1, 34, dtype=np.float32).reshape(3, 11)


def reader_of(tmp_path, raws, spans):
    files = []
    for i, raw in enumerate(raws):
        path = tmp_path / f"{i}.raw"
        path.write_bytes(raw)
        files.append(open_regular(path, CheckpointError))
    return SpanReader("some file", files, spans)


def whole(array, dtype="F32", **more):
    return Span(dtype, array.shape, (Piece(0, more.pop("begin", 0), array.nbytes),), **more)


def cases():
    half = (W.view("<u4") >> 16).astype("<u2")  # bfloat16: whole numbers this small lose nothing
    raw = W.tobytes()
    cut = (Piece(1, 0, 6), Piece(0, 0, 1), Piece(0, 1, 0), Piece(1, 6, len(raw) - 7))
    yield "as it is", [raw], whole(W), W
    yield "transposed", [raw], whole(W, transposed=True), W.T
    yield "misaligned", [b"x" + raw], whole(W, begin=1), W
    yield "misaligned, transposed", [b"x" + raw], whole(W, begin=1, transposed=True), W.T
    yield "big-endian", [W.astype(">f4").tobytes()], whole(W, big_endian=True), W
    yield "bfloat16, transposed", [half.tobytes()], whole(half, "BF16", transposed=True), W.T
    yield "in pieces", [raw[6:7], raw[:6] + raw[7:]], Span("F32", W.shape, cut), W
    yield (
        "in pieces, transposed",
        [raw[6:7], raw[:6] + raw[7:]],
        Span("F32", W.shape, cut, True),
        W.T,
    )
    yield "scalar", [raw[:4]], Span("F32", (), (Piece(0, 0, 4),)), np.float32(1)
    yield "empty", [raw], Span("F32", (3, 0), (Piece(0, 0, 0),), True), W[:0].T.reshape(0, 3)
    yield "long", [raw * 9000], Span("F32", (9000, 33), (Piece(0, 0, 9000 * 132),)), None


@pytest.mark.parametrize(
    ("raws", "span", "values"), [c[1:] for c in cases()], ids=[c[0] for c in cases()]
)
def test_arrays_and_read_into_in_every_layout_and_dtype(raws, span, values, tmp_path):
    if values is None:
        values = np.tile(W.reshape(-1), (9000, 1))
    with reader_of(tmp_path, raws, {"a": span}) as reader:
        assert reader.info("a").shape == np.shape(values)
        assert reader.info("a").nbytes == span.nbytes
        array = reader["a"]
        assert array.dtype == np.float32
        assert array.flags.aligned
        assert not array.flags.writeable
        for dtype in (np.float32, np.float64, ">f4"):
            shape = np.shape(values)
            outs = [np.empty(shape, dtype), np.empty(shape, dtype, "F")]
            outs.append(np.full((2, *shape, 2), -1, dtype)[1, ..., 0])
            for out in outs:
                reader.read_into("a", out)
                np.testing.assert_array_equal(out, values)
    np.testing.assert_array_equal(array, values)  # outlives the reader


def test_views_cost_no_memory_and_reading_costs_little(tmp_path):
    big = np.arange(4_000_000, dtype=np.float32).reshape(2000, 2000)
    with reader_of(tmp_path, [big.tobytes()], {"a": whole(big, transposed=True)}) as reader:
        out = np.empty(big.T.shape, np.float32)
        tracemalloc.start()
        assert reader["a"][3, 2] == big[2, 3]
        reader.read_into("a", out)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 3e6
    np.testing.assert_array_equal(out, big.T)


def test_wrong_arguments_are_named(tmp_path):
    frozen = np.empty(W.shape, np.float32)
    frozen.flags.writeable = False
    with reader_of(tmp_path, [W.tobytes()], {"a": whole(W, transposed=True)}) as reader:
        with pytest.raises(ValueError, match=r"'a' has shape \(11, 3\), out has \(3, 11\)"):
            reader.read_into("a", np.empty((3, 11), np.float32))
        with pytest.raises(TypeError, match="'a' is F32, which does not cast to int64"):
            reader.read_into("a", np.empty((11, 3), np.int64))
        with pytest.raises(ValueError, match="read-only"):
            reader.read_into("a", frozen.T)
        with pytest.raises(KeyError, match="some file has no tensor 'c'"):
            reader.info("c")
        assert "c" not in reader
        assert len(reader) == 1


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (Span("F32", (34,), (Piece(0, 0, 136),)), "ends at byte 136 of a file of 132"),
        (Span("F32", (1,), (Piece(0, -4, 4),)), "truncated"),
        (Span("F32", (1,), (Piece(0, 2**64, 4),)), "truncated"),
        (Span("F32", (2,), (Piece(0, 0, 4),)), "takes 8 bytes, but 4 are stored"),
        (Span("F32", (2**40,), (Piece(0, 0, 4),)), "are stored"),
        (Span("F32", (2**63, 2**63), (Piece(0, 0, 4),)), "no array can have"),
        (Span("F32", (2**62, 0), (Piece(0, 0, 0),)), "no array can have"),
        (Span("F32", (1,) * 33, (Piece(0, 0, 4),)), "33 axes"),
    ],
)
def test_spans_that_the_file_does_not_bear_out(span, words, tmp_path):
    with pytest.raises(CheckpointError, match=words):
        reader_of(tmp_path, [W.tobytes()], {"a": span})


def test_overlapping_tensors_cannot_claim_more_than_there_is(tmp_path):
    with pytest.raises(CheckpointError, match="264 bytes of tensors, but has only 132"):
        reader_of(tmp_path, [W.tobytes()], {"a": whole(W), "b": whole(W)})


def test_a_file_truncated_after_opening_is_reported(tmp_path):
    with reader_of(tmp_path, [W.tobytes()], {"a": whole(W), "b": whole(W[:0])}) as reader:
        os.truncate(tmp_path / "0.raw", 100)
        with pytest.raises(CheckpointError, match="truncated after it was opened"):
            reader["a"]
        with pytest.raises(CheckpointError, match="truncated after it was opened"):
            reader.read_into("a", np.empty_like(W))


def test_threads_share_a_reader(tmp_path):
    arrays = {i: np.full(50_000, i, np.float32) for i in range(6)}
    spans = {str(i): Span("F32", (50_000,), (Piece(i, 0, 200_000),)) for i in arrays}
    wrong = []

    def read(name):
        out = np.empty(50_000, np.float64)
        for _ in range(10):
            reader.read_into(name, out)
            wrong.extend(out[out != int(name)])

    with reader_of(tmp_path, [a.tobytes() for a in arrays.values()], spans) as reader:
        threads = [threading.Thread(target=read, args=(name,)) for name in spans]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_no_regular_file(tmp_path):
    with pytest.raises(CheckpointError, match="not a regular file"):
        open_regular(tmp_path, CheckpointError)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")
