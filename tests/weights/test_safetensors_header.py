"""Malformed safetensors files: verdicts of the reference library, clear words, bounded memory."""

import json
import random
import tracemalloc

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from tinybert.weights import CheckpointError, SafetensorsFile, load_file


def assemble(header, data=b"", length=None):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(raw) if length is None else length).to_bytes(8, "little") + raw + data


def entry(dtype="F32", shape=(1,), offsets=(0, 4), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


def with_field(field):
    """A file of one float32 whose entry carries ``field`` as well, verbatim."""
    raw = '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],%s}}'
    return assemble((raw % field).encode(), bytes(4))


def spelled(shape="[1]", offsets="[0,4]"):
    raw = f'{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}'
    return assemble(raw.encode(), bytes(4))


def nested(depth):
    return with_field('"x":' + "[" * depth + "]" * depth)


ONE = {"a": entry()}
REFUSED = {
    "empty file": b"",
    "seven bytes": b"1234567",
    "header too long": assemble(ONE, bytes(4), length=2**63),
    "header over the cap": assemble(ONE, bytes(4), length=100_000_001),
    "header longer than the file": assemble(ONE, bytes(4), length=99_000_000),
    "truncated": assemble(ONE, bytes(3)),
    "trailing": assemble(ONE, bytes(5)),
    "hole": assemble({"a": entry(), "b": entry(offsets=(8, 12))}, bytes(12)),
    "hole at the start": assemble({"a": entry(offsets=(4, 8))}, bytes(8)),
    "overlap": assemble({"a": entry(), "b": entry(offsets=(2, 6))}, bytes(6)),
    "same place": assemble({"a": entry(), "b": entry()}, bytes(4)),
    "begin after end": assemble({"a": entry(offsets=(4, 0))}, bytes(4)),
    "negative offset": assemble({"a": entry(offsets=(-4, 0))}, bytes(4)),
    "negative shape": assemble({"a": entry(shape=(-1,))}, bytes(4)),
    "two negatives": assemble({"a": entry(shape=(-1, -1))}, bytes(4)),
    "overflow": assemble({"a": entry(shape=(2**62, 4))}, bytes(4)),
    "overflow of bytes": assemble({"a": entry(shape=(2**62,), offsets=(0, 0))}),
    "overflow before a zero": assemble({"a": entry(shape=(2**63, 4, 0), offsets=(0, 0))}),
    "beyond 64 bits": spelled(shape=f"[{2**64}]"),
    "wrong shape": assemble({"a": entry(shape=(2,))}, bytes(4)),
    "unknown dtype": assemble({"a": entry("F31")}, bytes(4)),
    "dtype no string": assemble({"a": entry(4)}, bytes(4)),
    "half a byte": assemble({"a": entry("F4", offsets=(0, 1))}, bytes(1)),
    "three offsets": assemble({"a": entry(offsets=(0, 4, 4))}, bytes(4)),
    "no dtype": assemble({"a": {"shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
    "entry null": assemble({"a": None}),
    "entry number": assemble({"a": 3}),
    "a list": assemble(b"[]"),
    "a string": assemble(b'"a"'),
    "nothing": assemble(b""),
    "bad JSON": assemble(b'{"a":'),
    "two values": assemble(b"{}{}"),
    "NUL padding": assemble(b"{}\0\0"),
    "form feed": assemble(b"\x0c{}"),
    "byte order mark": assemble(b"\xef\xbb\xbf{}"),
    "not UTF-8": assemble(b'{"\xff":{}}'),
    "control character": assemble(b'{"a\n":{}}'),
    "half a surrogate pair": with_field('"x":"\\ud800"'),
    "NaN": with_field('"x":NaN'),
    "Infinity": with_field('"x":-Infinity'),
    "number out of range": with_field('"x":1e999'),
    "long number out of range": with_field('"x":' + "9" * 5000),
    "float shape": spelled(shape="[1.0]"),
    "float offset": spelled(offsets="[0,4e0]"),
    "bool shape": spelled(shape="[true]"),
    "minus zero": spelled(offsets="[-0,4]"),
    "string shape": spelled(shape='["1"]'),
    "dtype twice": with_field('"dtype":"F32"'),
    "metadata number": assemble({"__metadata__": {"a": 1}}),
    "metadata null": assemble({"__metadata__": {"a": None}}),
    "metadata list": assemble({"__metadata__": []}),
    "metadata twice": assemble(b'{"__metadata__":{},"__metadata__":{}}'),
    "name twice": assemble(
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        b'"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
        bytes(8),
    ),
    "nested 126": nested(126),
    "nested 100000": nested(100_000),
    "nested 100000, open": assemble(b"[" * 100_000),
    "nested objects": assemble(b'{"a":' * 100_000),
}
ACCEPTED = {
    "nothing in it": assemble(b"{}"),
    "metadata only": assemble({"__metadata__": {"format": "pt"}}),
    "metadata absent": assemble({"__metadata__": None}),
    "zero-size": assemble({"a": entry(shape=(0, 3), offsets=(0, 0))}),
    "zero-size among others": assemble(
        {"b": entry(), "a": entry(shape=(0,), offsets=(4, 4)), "c": entry(offsets=(4, 8))}, bytes(8)
    ),
    "scalar": assemble({"a": entry(shape=())}, b"1234"),
    "leading spaces": assemble(b" \n\t\r" + json.dumps(ONE).encode(), b"1234"),
    "trailing spaces": assemble(json.dumps(ONE).encode() + b"   ", b"1234"),
    "extra field": with_field('"x":{"y":[1,-2.5e3,null,"\\ud83d\\ude00"]}'),
    "long number": with_field('"x":' + "9" * 300),
    "any order": assemble(
        {"z": entry(offsets=(4, 8)), "__metadata__": {"k": "v"}, "a": entry()}, b"12345678"
    ),
    "bool byte 2": assemble({"a": entry("BOOL", (2,), (0, 2))}, b"\x02\x00"),
    "empty name": assemble({"": entry()}, b"1234"),
    "escaped name": assemble({"é\U0001f600\x00": entry()}, b"1234"),
    "misaligned": assemble({"a": entry("U8", (1,), (0, 1)), "b": entry(offsets=(1, 5))}, b"12345"),
    "nested 125": nested(125),
}


def reference(raw):
    """The tensors as the reference library reads them, or None where it refuses."""
    try:
        return dict(safetensors.deserialize(raw))
    except safetensors.SafetensorError:
        return None


def check_agreement(path, raw, theirs):
    """Our reader has names, formats, shapes and bytes of the reference."""
    with SafetensorsFile(path) as file:
        assert set(file) == set(theirs)
        for name, expected in theirs.items():
            info = file.info(name)
            assert (info.dtype, list(info.shape)) == (expected["dtype"], expected["shape"])
            out = np.empty(info.nbytes, np.uint8)
            file._read(file._header.begin[name], out)
            assert out.tobytes() == bytes(expected["data"])


@pytest.mark.parametrize("case", REFUSED)
def test_refused_as_by_the_reference(case, tmp_path):
    assert reference(REFUSED[case]) is None
    path = tmp_path / "w.safetensors"
    path.write_bytes(REFUSED[case])
    with pytest.raises(CheckpointError) as caught:
        load_file(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert len(caught.value.fault) < 400


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted_as_by_the_reference(case, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(ACCEPTED[case])
    check_agreement(path, ACCEPTED[case], reference(ACCEPTED[case]))
    theirs = safetensors.numpy.load_file(path)
    ours = load_file(path)
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array)


def test_metadata_and_header_order_are_kept(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(ACCEPTED["any order"])
    with SafetensorsFile(path) as file:
        assert list(file.keys()) == ["z", "a"]
        assert file.metadata == {"k": "v"}


@pytest.mark.parametrize("key", ["a", "__metadata__"])
def test_a_repeated_key_is_refused_even_where_it_would_fit(key, tmp_path):
    value = (
        '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' if key == "a" else '{"k":"v","k":"w"}'
    )
    raw = f'{{"{key}":{value}' + (f',"{key}":{value}}}' if key == "a" else "}")
    path = tmp_path / "w.safetensors"
    path.write_bytes(assemble(raw.encode()))
    with pytest.raises(CheckpointError, match="given twice"):
        load_file(path)


@pytest.mark.parametrize("shape", [[1] * 100, [0, 2**63], [0, 2**40, 2**40]])
def test_a_shape_that_numpy_cannot_hold_is_a_checkpoint_error(shape, tmp_path):
    size = 0 if 0 in shape else 4
    path = tmp_path / "w.safetensors"
    path.write_bytes(assemble({"a": entry(shape=shape, offsets=(0, size))}, bytes(size)))
    with pytest.raises(CheckpointError, match="'a'"):
        load_file(path)


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "web page"),
        (b"<html>", "web page"),
        (b"PK\x03\x04\x00\x00\x08\x08" + bytes(64), "zip"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "pickle"),
        (b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00", "pickle"),
        (b"\x89HDF\r\n\x1a\n" + bytes(64), "HDF5"),
        (b"GGUF\x03\x00\x00\x00" + bytes(64), "GGUF"),
        (b'{"error": "not found"}', "JSON"),
        (b"{}", "JSON"),
        (b"", "empty"),
        (assemble({"a": entry(shape=(1000,), offsets=(0, 4000))}, bytes(100)), "truncated"),
        (assemble({"x" * 640: entry()}, bytes(4))[:300], "truncated"),
    ],
)
def test_the_message_says_what_the_file_is(first, words, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(first)
    with pytest.raises(CheckpointError, match=words):
        load_file(path)


def peak_of(path):
    tracemalloc.start()
    try:
        load_file(path)
        fault = None
    except CheckpointError as error:
        fault = error
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak, fault


@pytest.mark.parametrize(
    "raw",
    [
        assemble(ONE, bytes(1000), length=99_000_000),
        assemble({"a": entry(shape=(2**40,), offsets=(0, 2**42))}, bytes(1000)),
        assemble({"a": entry("BF16", (2**40,), (0, 2**41))}, bytes(1000)),
        assemble({"a": entry("F8_E4M3", (2**40,), (0, 2**40))}, bytes(1000)),
    ],
)
def test_a_lying_file_allocates_nothing(raw, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(raw)
    load_file_once_for_its_caches(tmp_path)
    peak, fault = peak_of(path)
    assert fault is not None
    assert peak < 64_000


def load_file_once_for_its_caches(folder):
    path = folder / "honest.safetensors"
    path.write_bytes(ACCEPTED["any order"])
    load_file(path)


def honest_file(rng):
    """A small file with a few formats, padding and metadata, as bytes."""
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for i in range(rng.randint(1, 5)):
        dtype, size = rng.choice([("F32", 4), ("F16", 2), ("I64", 8), ("U8", 1), ("BF16", 2)])
        shape = [rng.randint(0, 3) for _ in range(rng.randint(0, 3))]
        count = int(np.prod(shape)) * size
        header[f"layer.{i}.weight"] = entry(dtype, shape, (len(data), len(data) + count))
        data += rng.randbytes(count)
    raw = json.dumps(header).encode()
    return assemble(raw + b" " * (-len(raw) % 8), data)


def flip(rng, raw):
    i = rng.randrange(len(raw))
    return raw[:i] + bytes([raw[i] ^ 1 << rng.randrange(8)]) + raw[i + 1 :]


def splice(rng, raw):
    i, j, k = (rng.randrange(len(raw) + 1) for _ in range(3))
    return raw[:i] + raw[min(j, k) : max(j, k)] + raw[i + rng.randint(0, 20) :]


def truncate(rng, raw):
    return raw[: rng.randrange(len(raw))]


def lie(rng, raw):
    n = int.from_bytes(raw[:8], "little")
    claim = rng.choice([n + rng.randint(-9, 9), rng.randrange(2**27), rng.randrange(2**64)])
    return max(claim, 0).to_bytes(8, "little") + raw[8:]


def edit(rng, raw):
    """Change one thing in the header's JSON and put the file together again, its length right."""
    n = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + n])
    name = rng.choice([key for key in header if key != "__metadata__"])
    number = rng.choice([-1, 0, 1, 7, 2**31, 2**40, 2**63, 2**64, 1.0, True, None, "1", 10**400])
    field = rng.choice(["shape", "data_offsets", "dtype", "extra", "depth", "twice", "metadata"])
    if field in ("shape", "data_offsets"):
        values = header[name][field]
        i = rng.randint(0, len(values))
        values[i : i + 1] = [number]  # one replaced, or one more
    elif field == "dtype":
        header[name]["dtype"] = rng.choice(["F64", "f32", "F4", "", "BOOL", "C64", "F8_E8M0", 5])
    elif field == "extra":
        header[name][rng.choice(["x", "shape ", "DTYPE"])] = number
    elif field == "metadata":
        header["__metadata__"] = rng.choice([number, {"a": number}, [], {"a": "b"}])
    text = json.dumps(header)
    if field == "depth":
        depth = rng.choice([10, 124, 125, 126, 500, 20_000])
        text = text[:-2] + ',"d":' + "[" * depth + "]" * depth + "}}"
    elif field == "twice":
        key, _, rest = text[1:].partition(":")
        text = f"{{{key}:{rng.choice(['{}', 'null', '1'])},{key}:{rest}"
    return assemble(text.encode(), raw[8 + n :])


@pytest.mark.parametrize("mutate", [flip, splice, truncate, lie, edit])
def test_corrupted_files_are_refused_or_read_as_the_reference_reads_them(mutate, tmp_path):
    rng = random.Random(mutate.__name__)
    path = tmp_path / "w.safetensors"
    load_file_once_for_its_caches(tmp_path)
    refused = 0
    for _ in range(200):
        raw = mutate(rng, honest_file(rng))
        if mutate in (flip, splice):
            raw = mutate(rng, raw) if rng.random() < 0.3 else raw
        path.write_bytes(raw)
        theirs = reference(raw)
        peak, fault = peak_of(path)
        assert peak < 4 * len(raw) + 64_000, raw  # the header is held as bytes, text and objects
        refused += fault is not None
        if theirs is None:
            assert fault is not None, raw
        elif fault is None:
            check_agreement(path, raw, theirs)
        else:
            # The only stricter verdicts: repeated keys, packed formats, shapes beyond NumPy.
            assert any(w in str(fault) for w in ("given twice", "not supported", "dimension")), raw
    assert refused > 20
