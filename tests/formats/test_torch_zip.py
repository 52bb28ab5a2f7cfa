"""Malicious zip archives, and valid ones with flipped bits or missing bytes."""

import io
import random
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
import torch

from tests.formats.torch_crafting import (
    archive,
    mapping,
    program,
    refused,
    storage,
    tensor,
    text,
    zip_file,
)
from tinybert.formats.torch.file import TorchFile, read_torch
from tinybert.weights import CheckpointError, load_checkpoint

pytestmark = pytest.mark.usefixtures("canary")

VALUES = np.arange(6, dtype=np.float32)
PICKLE, DATA = "archive/data.pkl", "archive/data/0"
MEMBERS = {PICKLE: program(mapping(a=tensor())), DATA: VALUES.tobytes()}
LARGE = 0xFFFFFFFF


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pytorch_model.bin"


def test_the_archive_by_hand_is_honest(path):
    path.write_bytes(archive(MEMBERS.items(), comment=b"made by hand"))
    assert zipfile.ZipFile(path).testzip() is None
    np.testing.assert_array_equal(load_checkpoint(path)["a"].ravel(), VALUES)


def test_the_large_form_of_an_entry(path):
    """ZIP64: sizes and offset of 64 bits behind the entry, as in archives over 4 GB."""
    at = archive(MEMBERS.items()).index(b"PK\3\4", 4)
    extra = struct.pack("<2H3Q", 1, 24, 24, 24, at)
    other = struct.pack("<2H4s", 7, 4, b"what")
    for field in (extra, other + extra):
        lies = {DATA: {"size": LARGE, "packed": LARGE, "offset": LARGE, "extra": field}}
        path.write_bytes(archive(MEMBERS.items(), lies))
        np.testing.assert_array_equal(load_checkpoint(path)["a"].ravel(), VALUES)
        for cut in range(len(other) + 1, len(field)):
            lies[DATA]["extra"] = field[:cut]
            path.write_bytes(archive(MEMBERS.items(), lies))
            if field[:cut] != extra:
                refused(path, "a ZIP64 size is missing|beyond the directory|impossible sizes")


LIES = {
    "a size too large": {"size": 25},
    "two sizes": {"packed": 23},
    "sizes too small": {"size": 20, "packed": 20},
    "sizes too large": {"size": 28, "packed": 28},
    "endless sizes": {"size": 2**31, "packed": 2**31},
    "largest sizes": {"size": LARGE, "packed": LARGE},
    "a wrong checksum": {"crc": 1},
    "an offset beyond": {"offset": 10_000},
    "the largest offset": {"offset": LARGE},
    "an offset into another": {"offset": 1},
    "the place of another": {"offset": 0},
    "another name": {"name": b"archive/data/1"},
    "a name that climbs": {"name": b"archive/data/../data/0"},
    "a name from the root": {"name": b"/etc/passwd"},
    "a name with a zero": {"name": b"archive/data/0\0"},
    "a name in Latin-1": {"name": b"archive/data/\xe9"},
    "the name of the pickle": {"name": PICKLE.encode()},
    "no name": {"name": b""},
    "encrypted": {"flags": 1},
    "strongly encrypted": {"flags": 0x40},
    "with a hidden directory": {"flags": 0x2000},
    "bzip2": {"method": 12},
    "lzma": {"method": 14},
    "deflated, it says": {"method": 8, "local method": 0},
    "stored, it says": {"method": 0, "local method": 8},
    "deflated, but no such stream": {"method": 8},
    "a large form that is missing": {"size": LARGE, "packed": LARGE, "extra": b"\1\0\0\0"},
    "an endless large size": {
        "size": LARGE, "packed": LARGE, "extra": struct.pack("<2H2Q", 1, 16, 2**63, 2**63),
    },
    "a large offset beyond": {"offset": LARGE, "extra": struct.pack("<2HQ", 1, 8, 2**64 - 1)},
    "extra that does not end": {"size": LARGE, "extra": struct.pack("<2H", 9, 65535)},
}  # fmt: skip


@pytest.mark.parametrize("member", [PICKLE, DATA])
@pytest.mark.parametrize("lie", LIES)
def test_directories_that_lie(lie, member, path):
    if member == PICKLE and lie in ("the place of another", "the name of the pickle"):
        return  # which is its own
    path.write_bytes(archive(MEMBERS.items(), {member: LIES[lie]}))
    refused(path)


def test_members_that_overlap(path):
    """One stretch of the file as two members: how a small archive is made to unpack to much."""
    inner = archive([("archive/data/1", VALUES.tobytes())])
    hidden = inner[: inner.index(b"PK\1\2")]
    members = {**MEMBERS, DATA: hidden, "archive/data/1": b""}
    whole = archive(members.items())
    lies = {
        "archive/data/1": {
            "offset": whole.index(hidden), "size": 24, "packed": 24,
            "crc": zlib.crc32(VALUES.tobytes()),
        },
    }  # fmt: skip
    path.write_bytes(archive(members.items(), lies))
    refused(path, "members overlap")


def test_a_name_given_twice(path):
    path.write_bytes(archive([*MEMBERS.items(), (DATA, bytes(24))]))
    refused(path, "two members are called 'archive/data/0'")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.pop(PICKLE), "no data.pkl"),
        (lambda m: m.pop(DATA), "storage archive/data/0 is missing"),
        (lambda m: m.update({"other/data.pkl": m[PICKLE]}), "no data.pkl"),
        (lambda m: m.update({"a/b/data.pkl": m.pop(PICKLE)}), "no data.pkl"),
        (lambda m: m.update({"archive/constants.pkl": b""}), "TorchScript"),
        (lambda m: m.update({"archive/byteorder": b"middle"}), "byteorder is b'middle'"),
        (lambda m: m.update({"archive/byteorder": bytes(17)}), "more than the 16 allowed"),
        (lambda m: m.update({PICKLE: m[PICKLE] + b"."}), "1 bytes after its end"),
        (lambda m: m.update({PICKLE: b""}), "truncated"),
        (lambda m: m.update({DATA: bytes(20)}), "has 20 bytes, but 24 by the pickle"),
        (lambda m: m.update({DATA: bytes(28)}), "has 28 bytes, but 24 by the pickle"),
    ],
)
def test_archives_of_something_else(change, words, path):
    members = dict(MEMBERS)
    change(members)
    path.write_bytes(archive(members.items()))
    refused(path, words)


@pytest.mark.parametrize("at", range(22))
@pytest.mark.parametrize("value", [0, 1, 0x7F, 0xFF])
def test_every_byte_of_the_end(at, value, path):
    raw = bytearray(archive(MEMBERS.items()))
    honest, raw[at - 22] = raw[at - 22], value
    path.write_bytes(raw)
    if value != honest and at not in (6, 7):  # which name the disk, as another byte does
        refused(path)


def test_an_archive_behind_other_bytes_is_refused(path):
    whole = archive(MEMBERS.items())
    path.write_bytes(b"PK\3\4" + bytes(60) + whole)
    refused(path)
    path.write_bytes(whole + b"\n")
    refused(path, "its end is wrong")
    path.write_bytes(whole + whole[:40])
    refused(path)


def large_end(**lies):
    """The honest archive with the end of the large form, or one that lies."""
    whole = archive(MEMBERS.items())
    begin = whole.index(b"PK\1\2")
    says = {
        "magic": b"PK\6\6", "count": 2, "here": 2, "size": len(whole) - 22 - begin, "begin": begin,
        "place": len(whole) - 22, "locator": b"PK\6\7", **lies,
    }  # fmt: skip
    end = struct.pack(
        "<4sQ2H2L4Q", says["magic"], 44, 45, 45, 0, 0, says["here"], says["count"], says["size"],
        says["begin"],
    )  # fmt: skip
    locator = struct.pack("<4sLQL", says["locator"], 0, says["place"], 1)
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, LARGE, LARGE, 0)
    return whole[:-22] + end + locator + tail


def test_the_large_form_of_the_end(path):
    path.write_bytes(large_end())
    np.testing.assert_array_equal(load_checkpoint(path)["a"].ravel(), VALUES)


@pytest.mark.parametrize(
    "lie",
    [
        {"magic": b"PK\6\7"},
        {"locator": b"PK\6\6"},
        {"place": 2**63},
        {"place": 2**64 - 1},
        {"place": 0},
        {"count": 3, "here": 3},
        {"count": 2**63, "here": 2**63},
        {"here": 1},
        {"count": 1, "here": 1},
        {"size": 2**64 - 1},
        {"size": 0},
        {"begin": 2**64 - 1},
        {"begin": 0},
    ],
)
def test_the_large_end_that_lies(lie, path):
    path.write_bytes(large_end(**lie))
    refused(path)


def test_a_crowd_of_members_is_refused_unread(path):
    raw = bytearray(archive(MEMBERS.items()))
    begin = raw.index(b"PK\1\2")
    entries = 60_000
    directory = raw[begin:-22] + bytes(46 * entries)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, entries, entries, len(directory), begin, 0)
    path.write_bytes(raw[:begin] + directory + end)
    tracemalloc.start()
    refused(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * path.stat().st_size


def deflated(path, values, declared=None):
    """A file with one compressed storage, whose directory may declare another size."""
    code = program(mapping(a=tensor(storage(count=values.size), 0, (values.size,), (1,))))
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    raw = packer.compress(values.tobytes()) + packer.flush()
    size = values.nbytes if declared is None else declared
    lies = {DATA: {"method": 8, "size": size, "crc": zlib.crc32(values.tobytes())}}
    path.write_bytes(archive([(PICKLE, code), (DATA, raw)], lies))
    return len(raw)


def test_a_zip_bomb_is_not_unpacked(path):
    values = np.zeros(25_000_000, np.float32)
    assert deflated(path, values) < 110_000
    del values
    tracemalloc.start()
    refused(path, "that would unpack to 100000")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("declared", [24, 3_999_996, 4_000_004, 0])
def test_a_compressed_member_of_another_size(declared, path):
    deflated(path, np.zeros(1_000_000, np.float32), declared)
    tracemalloc.start()
    refused(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6_000_000


def test_a_compressed_member_that_stops_short_or_goes_on(path):
    """The stream unpacks to 4,000,000 bytes; pickle and directory agree on another number."""
    for count in (999_999, 1_000_001):
        code = program(mapping(a=tensor(storage(count=count), 0, (count,), (1,))))
        raw = zlib.compress(bytes(4_000_000))[2:-4]
        lies = {DATA: {"method": 8, "size": 4 * count, "crc": 0}}
        path.write_bytes(archive([(PICKLE, code), (DATA, raw)], lies))
        refused(path, "does not unpack")


def test_a_compressed_pickle_over_the_bound(path):
    raw = zlib.compress(bytes(65 << 20), 9)[2:-4]
    lies = {PICKLE: {"method": 8, "size": 65 << 20}}
    path.write_bytes(archive([(PICKLE, raw), (DATA, random.Random(0).randbytes(13 << 20))], lies))
    tracemalloc.start()
    refused(path, "data.pkl has 68157440 bytes, more than the 67108864 allowed")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_zip_in_a_zip_in_a_zip(tmp_path):
    """Only one wrapping is taken off."""
    torch.save({"a": torch.ones(2)}, tmp_path / "x")
    content = (tmp_path / "x").read_bytes()
    name = "release/mp_rank_00/model_optim_rng.pt"
    for depth in range(1, 4):
        content = archive([(name, content)])
        (tmp_path / "x").write_bytes(content)
        if depth == 1:
            assert set(read_torch(tmp_path / "x")) == {"a"}
        else:
            with pytest.raises(CheckpointError, match=r"no data\.pkl"):
                read_torch(tmp_path / "x")


def test_damaged_values_are_found_when_they_are_read(path):
    zip_file(path, program(mapping(a=tensor())), [("data/0", VALUES.tobytes())])
    raw = bytearray(path.read_bytes())
    raw[raw.index(VALUES.tobytes()) + 9] ^= 4
    path.write_bytes(raw)
    with TorchFile(path) as file:
        assert file.info("a").shape == (2, 3)
        for read in (lambda: file["a"], lambda: file.read_into("a", np.empty((2, 3)))):
            with pytest.raises(CheckpointError, match="is damaged: the checksum of archive/data/0"):
                read()


def honest_files():
    """Small files of every kind that the reader takes, as bytes by name."""
    torch.manual_seed(0)
    weight = torch.randn(5, 3)
    tensors = {
        "w": weight, "tied": weight, "turned": weight.T, "row": weight[2], "b": weight.bfloat16(),
        "h": torch.nn.Parameter(weight.half()), "i": torch.arange(4), "?": torch.ones(3) > 0,
        "none": torch.empty(0, 2), "f8": torch.ones(3).to(torch.float8_e4m3fn), "epoch": 3,
    }  # fmt: skip
    files = {}
    for name, options in {
        "zip": {}, "zip 4": {"pickle_protocol": 4},
        "legacy": {"_use_new_zipfile_serialization": False},
        "legacy 5": {"_use_new_zipfile_serialization": False, "pickle_protocol": 5},
    }.items():  # fmt: skip
        buffer = io.BytesIO()
        torch.save(tensors, buffer, **options)
        files[name] = buffer.getvalue()
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(files["zip"])) as old,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for member in old.namelist():
            new.writestr(member, old.read(member))
    return files | {"deflated": packed.getvalue()}


HONEST = honest_files()


def outcome(path):
    """The tensors, or None for a CheckpointError; any other exception passes on."""
    try:
        return {name: (a.dtype, a.shape, a.tobytes()) for name, a in load_checkpoint(path).items()}
    except CheckpointError:
        return None


@pytest.mark.parametrize("form", HONEST)
def test_the_beginnings_of_a_file_are_refused(form, path):
    whole = HONEST[form]
    for end in [*range(0, len(whole), 17), *range(len(whole) - 60, len(whole))]:
        path.write_bytes(whole[:end])
        assert outcome(path) is None


def damage(raw, rng):
    raw = bytearray(raw)
    kind = rng.randrange(5)
    for _ in range(rng.choice([1, 1, 2, 5])):
        at = rng.randrange(len(raw))
        if kind == 0:
            raw[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            raw[at] = rng.randrange(256)
        elif kind == 2:
            del raw[at : at + rng.choice([1, 2, 8, 40])]
        elif kind == 3:
            raw[at:at] = rng.randbytes(rng.choice([1, 2, 8]))
        else:
            other = rng.randrange(len(raw))
            raw[at : at + 8] = raw[other : other + 8]
    return bytes(raw)


def damage_often(form, path, seeds):
    path.write_bytes(HONEST[form])
    honest = outcome(path)
    assert honest is not None
    peak = 0
    tracemalloc.start()
    for seed in seeds:
        path.write_bytes(damage(HONEST[form], random.Random(seed)))
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        found = outcome(path)
        peak = max(peak, tracemalloc.get_traced_memory()[1] - before)
        if found is not None and not form.startswith("legacy"):  # which has no checksums
            assert found == honest, seed
    tracemalloc.stop()
    assert peak < 4 * len(HONEST[form]) + 600_000


@pytest.mark.parametrize("form", HONEST)
def test_damaged_files_load_the_same_or_are_refused(form, path):
    damage_often(form, path, range(120))


@pytest.mark.slow
@pytest.mark.parametrize("form", HONEST)
def test_files_damaged_many_thousand_times(form, path):
    damage_often(form, path, range(120, 5_000))


@pytest.mark.parametrize("seed", range(20))
def test_random_programs(seed, path):
    """Opcodes at random, which pass no checksum by luck: the machine itself must hold."""
    rng = random.Random(seed)
    parts = [
        bytes([opcode]) for opcode in range(256) if bytes([opcode]) not in b"X\x8dBT\x8ecg"
    ] + [text("a"), b"K\1", b"h\0", b"q\0", tensor(), storage(), mapping(a=tensor())] * 12
    for _ in range(60):
        zip_file(path, program(*rng.choices(parts, k=rng.randrange(1, 60))))
        outcome(path)
