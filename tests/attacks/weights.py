"""Hostile files of weights: archives, pickles, tables, trees, and options in YAML."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tests.attacks.harness import Attack, Read
from tinybert.formats.nemo.yaml_options import read_options
from tinybert.weights import load_checkpoint

Content = Callable[[int], bytes]


def attacks(file: str, contents: dict[str, Content], size: int) -> Iterator[Attack]:
    """The attacks of one file with each content."""
    for name, content in contents.items():

        def make(n: int, folder: Path, content: Content = content) -> Read:
            path = folder / file
            path.write_bytes(content(n))
            return lambda: load_checkpoint(path)

        named = file.removesuffix(".index")
        yield Attack(f"{file}: {name}", make, size if content(1000) != content(2000) else 0, named)


# --- pickles and their archives ------------------------------------------------------------------

GLOBAL = b"ctorch._utils\n_rebuild_tensor_v2\n"


def number(value: int) -> bytes:
    """LONG4, an integer of any size."""
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8b" + len(raw).to_bytes(4, "little") + raw


PICKLES: dict[str, Content] = {
    "deep lists": lambda n: b"]" * n + b"a" * (n - 1),
    "deep tuples": lambda n: b")" + b"\x85" * n,
    "deep dicts": lambda n: b"}" + b"K\1" * n,
    "many marks": lambda n: b"(" * n,
    "many values": lambda n: b"(" + b"K\1" * n + b"l",
    "many in a dict": lambda n: (
        b"}(" + b"".join(b"J%sK\1" % struct.pack("<i", i) for i in range(n)) + b"u"
    ),
    "keys of one hash": lambda n: (
        b"}(" + b"".join(number(i * (2**61 - 1)) + b"K\1" for i in range(1, n)) + b"u"
    ),
    "long integer": lambda n: b"\x8b" + struct.pack("<i", n) + b"\x7f" * n,
    "long integer as text": lambda n: b"I" + b"9" * n + b"\n",
    "long integer as text, L": lambda n: b"L" + b"9" * n + b"L\n",
    "long float": lambda n: b"F" + b"9" * n + b"\n",
    "long text": lambda n: b"X" + struct.pack("<I", n) + b"x" * n,
    "text beyond the end": lambda n: b"X" + struct.pack("<I", 2**32 - 1) + b"x",
    "bytes beyond the end": lambda n: b"\x8e" + struct.pack("<Q", 2**63) + b"x",
    "escapes": lambda n: b"V" + b"\\u0041" * n + b"\n",
    "long line": lambda n: b"c" + b"x" * n + b"\n" + b"y" * n + b"\n",
    "memo of doubles": lambda n: (
        b"]q\0" + b"".join(b"(h%ch%clq%c" % (i, i, i + 1) for i in range(99))
    ),
    "memo of large index": lambda n: b"]r\xff\xff\xff\xff",
    "many memos": lambda n: b"]" + b"\x94" * n,
    "itself": lambda n: b"]q\0h\0a",
    "itself in a tuple": lambda n: b"]q\0(h\0ta",
    "many calls": lambda n: (GLOBAL + b")R0") * (n // 50) + b"N",
    "many names": lambda n: GLOBAL * (n // 30) + b"N",
    "a call with many arguments": lambda n: GLOBAL + b"(" + b"K\1" * n + b"tR",
    "call of a call": lambda n: GLOBAL + b")R" + b")R" * n,
    "dict as key": lambda n: b"}}K\1s",
    "frames": lambda n: b"\x95\0\0\0\0\0\0\0\0" * (n // 9) + b"N",
    "protocols": lambda n: b"\x80\2" * n + b"N",
    "no stop": lambda n: b"N" * n,
    "nothing": lambda n: b"",
}


def pickled(body: bytes) -> bytes:
    return b"\x80\2" + body + b"."


def torch_zip(body: bytes) -> bytes:
    """PyTorch's archive with a pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", body)
        archive.writestr("a/version", b"3")
    return file.getvalue()


def archive(write: Callable[[zipfile.ZipFile, int], None]) -> Content:
    def content(n: int) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as opened:
            write(opened, n)
        return file.getvalue()

    return content


def many_members(opened: zipfile.ZipFile, n: int) -> None:
    for i in range(n // 50):
        opened.writestr(f"a/data/{i}", b"")


def deflated(name: str) -> Callable[[zipfile.ZipFile, int], None]:
    return lambda opened, n: opened.writestr(
        zipfile.ZipInfo(name), b"\0" * 1000 * n, compress_type=zipfile.ZIP_DEFLATED
    )


def changed(content: bytes, old: bytes, new: bytes) -> Content:
    return lambda n: content.replace(old, new)


PLAIN = torch_zip(pickled(b"}"))
ZIPS: dict[str, Content] = {
    "many members": archive(many_members),
    "one name": lambda n: PLAIN + PLAIN,
    "a bomb": archive(deflated("a/data.pkl")),
    "a bomb of version": archive(deflated("a/version")),
    "a bomb of bytes": archive(deflated("a/data/0")),
    "long names": archive(lambda opened, n: opened.writestr("a" * min(n, 60_000), b"")),
    "long comment": archive(lambda opened, n: setattr(opened, "comment", b"x" * min(n, 65_535))),
    "no directory": lambda n: PLAIN[:60],
    "many ends": lambda n: b"PK\3\4" + b"PK\5\6" * n,
    "count of members": changed(PLAIN, b"\2\0\2\0", b"\xff\xff\xff\xff"),
    "sizes": changed(PLAIN, struct.pack("<I", 4), b"\xff\xff\xff\xff"),
    "paths": archive(lambda opened, n: opened.writestr("../../data.pkl", pickled(b"}"))),
    "no pickle": archive(lambda opened, n: opened.writestr("a/x", b"")),
    "zeros": lambda n: b"PK\3\4" + b"\0" * n,
}


def pickles() -> Iterator[Attack]:
    """Pickles, alone and in PyTorch's archive, and the archive itself."""
    bare = {name: lambda n, c=content: pickled(c(n)) for name, content in PICKLES.items()}
    zipped = {
        name: lambda n, c=content: torch_zip(pickled(c(n))) for name, content in PICKLES.items()
    }
    yield from attacks("old.bin", bare, 20_000)
    yield from attacks("pytorch_model.bin", zipped, 20_000)
    yield from attacks("archive.pt", ZIPS, 5_000)


# --- MessagePack ----------------------------------------------------------------------------------


def array(shape: list[int], dtype: bytes = b"float32", data: bytes = b"") -> bytes:
    """Flax's extension for an array."""
    sizes = b"".join(b"\xcf" + struct.pack(">Q", size) for size in shape)
    body = b"\x93\xdc" + struct.pack(">H", len(shape)) + sizes + bytes([0xA0 + len(dtype)]) + dtype
    body += b"\xc6" + struct.pack(">I", len(data)) + data
    return b"\xc9" + struct.pack(">I", len(body)) + b"\1" + body


MESSAGES: dict[str, Content] = {
    "deep maps": lambda n: b"\x81\xa1a" * n + b"\xc0",
    "deep arrays": lambda n: b"\x81\xa1a" + b"\x91" * n + b"\xc0",
    "wide map": lambda n: (
        b"\xdf" + struct.pack(">I", n) + b"".join(b"\xa8%08d\x80" % i for i in range(n))
    ),
    "arrays": lambda n: (
        b"\xdf"
        + struct.pack(">I", n)
        + b"".join(b"\xa8%08d" % i + array([1], data=b"\0\0\0\0") for i in range(n))
    ),
    "wide array": lambda n: b"\x81\xa1a\xdd" + struct.pack(">I", n) + b"\xc0" * n,
    "count of a map": lambda n: b"\xdf\xff\xff\xff\xff\xa1a\xc0",
    "count of an array": lambda n: b"\x81\xa1a\xdd\xff\xff\xff\xff\xc0",
    "length of a text": lambda n: b"\x81\xdb\xff\xff\xff\xffa",
    "length of bytes": lambda n: b"\x81\xa1a\xc6\xff\xff\xff\xffa",
    "one key": lambda n: b"\xde\xff\xff" + b"\xa1a\xc0" * 65535,
    "long key": lambda n: b"\x81\xdb" + struct.pack(">I", n) + b"k" * n + b"\xc0",
    "numbers as keys": lambda n: (
        b"\xdf"
        + struct.pack(">I", n)
        + b"".join(b"\xcf" + struct.pack(">Q", i * (2**61 - 1) % 2**64) + b"\xc0" for i in range(n))
    ),
    "shape": lambda n: b"\x81\xa1a" + array([2**63, 2**63]),
    "shape of zeros": lambda n: b"\x81\xa1a" + array([0, 2**63, 2**63]),
    "long shape": lambda n: b"\x81\xa1a" + array([1] * min(n, 60_000), data=b"\0\0\0\0"),
    "dtype": lambda n: b"\x81\xa1a" + array([1], b"object", b"\0" * 8),
    "extension": lambda n: b"\x81\xa1a\xc9" + struct.pack(">I", n) + b"\1" + b"\x91" * n,
    "chunks": lambda n: (
        b"\x81\xa1a\x83\xd9\x19__msgpack_chunked_array__\xc3\xa5shape\x80\xa6chunks\x80"
    ),
    "nothing": lambda n: b"\x81",
    "no UTF-8": lambda n: b"\x81\xa1\xff\xc0",
}


def messages() -> Iterator[Attack]:
    """Flax's files."""
    yield from attacks("flax_model.msgpack", MESSAGES, 5_000)


# --- HDF5 -----------------------------------------------------------------------------------------


def hdf5(write: Callable[..., None], **options: object) -> Content:
    def content(n: int) -> bytes:
        import h5py

        file = io.BytesIO()
        with h5py.File(file, "w", **options) as opened:
            write(opened, n, h5py)
        return file.getvalue()

    return content


def deep_groups(file: object, n: int, h5py: object) -> None:
    for _ in range(n // 10):
        file = file.create_group("a")  # type: ignore[attr-defined]


def many_groups(file: object, n: int, h5py: object) -> None:
    for i in range(n):
        file.create_group(f"g{i}")  # type: ignore[attr-defined]


def many_arrays(file: object, n: int, h5py: object) -> None:
    for i in range(n):
        file[f"a/b/c{i}/bias:0"] = np.zeros(1, np.float32)  # type: ignore[index]


def links(file: object, n: int, h5py: object) -> None:
    group = file.create_group("a")  # type: ignore[attr-defined]
    for i in range(n):
        file[f"b{i}"] = group  # type: ignore[index]


def huge(file: object, n: int, h5py: object) -> None:
    file.create_dataset("a/b/c/bias:0", (1 << 40,), np.float32)  # type: ignore[attr-defined]


def chunked(file: object, n: int, h5py: object) -> None:
    file.create_dataset("a/b/c/bias:0", (1 << 40,), np.float32, chunks=(1 << 20,))  # type: ignore[attr-defined]


def attributes(file: object, n: int, h5py: object) -> None:
    for i in range(n):
        file.attrs[f"a{i}"] = "x" * 100  # type: ignore[attr-defined]


def long_name(file: object, n: int, h5py: object) -> None:
    file["x" * min(n * 10, 60_000)] = np.zeros(1, np.float32)  # type: ignore[index]


def broken(position: int) -> Content:
    def content(n: int) -> bytes:
        raw = bytearray(hdf5(many_arrays)(20))
        raw[position : position + 8] = b"\xff" * 8
        return bytes(raw)

    return content


TREES: dict[str, Content] = {
    "deep groups": hdf5(deep_groups),
    "many groups": hdf5(many_groups),
    "many arrays": hdf5(many_arrays),
    "many links": hdf5(links),
    "huge array": hdf5(huge),
    "huge chunked array": hdf5(chunked),
    "many attributes": hdf5(attributes),
    "long name": hdf5(long_name),
    "signature alone": lambda n: b"\x89HDF\r\n\x1a\n",
    "zeros": lambda n: b"\x89HDF\r\n\x1a\n" + b"\0" * n,
    **{f"broken at {i}": broken(i) for i in (*range(8, 96, 8), 800, 1600, 3200)},
}


def trees() -> Iterator[Attack]:
    """TensorFlow's HDF5 files."""
    yield from attacks("tf_model.h5", TREES, 1_000)


# --- TensorFlow's tables --------------------------------------------------------------------------


def varint(value: int) -> bytes:
    raw = b""
    while value >= 0x80:
        raw += bytes([value & 0x7F | 0x80])
        value >>= 7
    return raw + bytes([value])


def block(entries: list[tuple[int, bytes, bytes]], restarts: int = 0) -> bytes:
    """A block of a table with its trailer: (characters shared with the last key, key, value)."""
    from tinybert.formats.tensorflow.crc32c import crc32c, masked

    raw = b"".join(
        varint(shared) + varint(len(key)) + varint(len(value)) + key + value
        for shared, key, value in entries
    )
    raw += struct.pack("<I", restarts) + b"\0"
    return raw + struct.pack("<I", masked(crc32c(raw)))


def table(entries: Callable[[int], list[tuple[int, bytes, bytes]]]) -> Content:
    """A table with one block."""

    def content(n: int) -> bytes:
        data = block(entries(n))
        index = block([(0, b"z", varint(0) + varint(len(data) - 5))])
        footer = varint(0) * 2 + varint(len(data)) + varint(len(index) - 5)
        return data + index + footer.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")

    return content


HEADER = (0, b"", b"\x08\x01")
TABLES: dict[str, Content] = {
    "many variables": table(lambda n: [HEADER, *((0, b"%09d" % i, b"\x08\x01") for i in range(n))]),
    "shared keys": table(lambda n: [HEADER, *((min(i, 900), b"a", b"\x08\x01") for i in range(n))]),
    "long key": table(lambda n: [HEADER, (0, b"k" * 10 * n, b"\x08\x01")]),
    "long value": table(
        lambda n: [HEADER, (0, b"bert", b"\x12" + varint(n) + b"\x12\0" * (n // 2))]
    ),
    "many axes": table(lambda n: [HEADER, (0, b"bert", b"\x12\2\x12\0" * n)]),
    "many fields": table(lambda n: [HEADER, (0, b"bert", b"\x08\x01" * n)]),
    "many shards": table(lambda n: [(0, b"", b"\x08" + varint(2**40))]),
    "no entries": table(lambda n: []),
    "bad varint": table(lambda n: [HEADER, (0, b"bert", b"\x08" + b"\xff" * n)]),
    "magic alone": lambda n: b"\0" * 40 + bytes.fromhex("57fb808b247547db"),
    "handles": lambda n: b"\xff" * 40 + bytes.fromhex("57fb808b247547db"),
    "zeros": lambda n: b"\0" * n + bytes.fromhex("57fb808b247547db"),
}


def tables() -> Iterator[Attack]:
    """TensorFlow's indexes."""
    yield from attacks("model.ckpt.index", TABLES, 5_000)


# --- NeMo's archives and options ------------------------------------------------------------------


def tar(write: Callable[[tarfile.TarFile, int], None], form: int = tarfile.GNU_FORMAT) -> Content:
    def content(n: int) -> bytes:
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=form) as opened:
            write(opened, n)
        return file.getvalue()

    return content


def member(opened: tarfile.TarFile, name: str, raw: bytes = b"", **fields: object) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(raw)
    for key, value in fields.items():
        setattr(info, key, value)
    opened.addfile(info, io.BytesIO(raw))


def header(kind: bytes, size: int, name: bytes = b"x") -> bytes:
    """A tar header, also of kinds and sizes that no program writes."""
    raw = bytearray(512)
    raw[: len(name)] = name
    raw[100:108], raw[108:116], raw[116:124] = b"0000644\0", b"0000000\0", b"0000000\0"
    raw[124:136] = (
        b"%011o\0" % size if size >= 0 else b"\xff" * 4 + size.to_bytes(8, "big", signed=True)
    )
    raw[136:148], raw[156:157], raw[257:265] = b"0" * 11 + b"\0", kind, b"ustar  \0"
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw)


TARS: dict[str, Content] = {
    "many members": tar(lambda opened, n: [member(opened, f"a{i}") for i in range(n // 10)]),
    "long names": tar(lambda opened, n: member(opened, "a" * 10 * n)),
    "long pax names": tar(lambda opened, n: member(opened, "a" * 10 * n), tarfile.PAX_FORMAT),
    "pax headers": tar(
        lambda opened, n: member(opened, "a", pax_headers={f"k{i}": "v" for i in range(n)}),
        tarfile.PAX_FORMAT,
    ),
    "chain of long names": lambda n: header(b"L", 0) * n,
    "chain of long links": lambda n: header(b"K", 512).ljust(1024, b"a") * n,
    "chain of pax headers": lambda n: header(b"x", 0) * n,
    "chain of global headers": lambda n: header(b"g", 0) * n,
    "negative sizes": lambda n: header(b"0", -512) * 4,
    "negative sizes of names": lambda n: header(b"L", -512) * 4,
    "huge sizes": lambda n: header(b"0", 8**11 - 1) + b"\0" * 1024,
    "sparse": lambda n: header(b"S", 0) * n,
    "links to themselves": tar(
        lambda opened, n: member(opened, "model_config.yaml", type=tarfile.SYMTYPE, linkname="a")
    ),
    "devices": tar(lambda opened, n: member(opened, "model_weights.ckpt", type=tarfile.CHRTYPE)),
    "a pickle": tar(
        lambda opened, n: [
            member(opened, "model_weights.ckpt", pickled(b"]" * n)),
            member(opened, "model_config.yaml", b"a: 1"),
        ]
    ),
    "many ranks": tar(
        lambda opened, n: [
            member(opened, "model_config.yaml", b"a: 1"),
            *(
                member(opened, f"mp_rank_{i:02d}/model_weights.ckpt", torch_zip(pickled(b"}")))
                for i in range(n // 10)
            ),
        ]
    ),
    "zeros": lambda n: header(b"0", 0) + b"\0" * 100 * n,
    "unknown kinds": lambda n: header(b"?", 0) * n,
}
YAMLS: dict[str, Callable[[int], str]] = {
    "deep lists": lambda n: "a: " + "[" * n,
    "deep maps": lambda n: "a: " + "{a: " * n,
    "deep blocks": lambda n: "".join(" " * i + "b:\n" for i in range(min(n, 300))),
    "complex keys": lambda n: "? " * n,
    "dashes": lambda n: "- " * n,
    "a bomb": lambda n: "a: &a [x, x]\n" + "".join(f"b{i}: &b{i} [*a, *a]\n" for i in range(99)),
    "a bomb in values": lambda n: (
        "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))
    ),
    "itself": lambda n: "a: &a [*a]",
    "merges": lambda n: "a: &a {x: 1}\nb: " + "{<<: *a, " * 50 + "}" * 50,
    "base of 60": lambda n: "a: " + "1:" * n + "1",
    "base of 60, fractions": lambda n: "a: " + "1:" * n + "1.5",
    "long integer": lambda n: "a: " + "9" * n,
    "long hexadecimal": lambda n: "a: 0x" + "f" * n,
    "long float": lambda n: "a: 1." + "9" * n,
    "infinite": lambda n: "a: .inf\nb: .nan\nc: -.inf",
    "underscores": lambda n: "a: 1" + "_" * n,
    "dates": lambda n: "a: 9999-99-99",
    "binary": lambda n: "a: !!binary " + "A" * n,
    "objects": lambda n: "a: !!python/object/apply:os.system ['id']",
    "sets": lambda n: "a: !!set {" + "b, " * n + "}",
    "many keys": lambda n: "".join(f"a{i}: 1\n" for i in range(n)),
    "keys of one hash": lambda n: "".join(f"{i * (2**61 - 1)}: 1\n" for i in range(n // 4)),
    "long lines": lambda n: "a: " + "x " * n,
    "quotes": lambda n: 'a: "' + "\\x41" * n + '"',
    "folded": lambda n: "a: >\n" + "  x\n\n" * n,
    "anchors": lambda n: "a: [" + "&a x, " * n + "]",
    "directives": lambda n: "%TAG ! tag:x\n" * n + "--- {}",
    "documents": lambda n: "---\n" * n,
    "comments": lambda n: "# x\n" * n,
    "tabs": lambda n: "a:\t" * n,
    "controls": lambda n: "a: \x1b",
    "colons": lambda n: ":" * n,
    "questions": lambda n: "?" * n,
    "commas": lambda n: "a: [" + "," * n,
}


def nemo() -> Iterator[Attack]:
    """NeMo's archives and options."""
    yield from attacks("model.nemo", TARS, 2_000)
    for name, text in YAMLS.items():

        def make(n: int, folder: Path, text: Callable[[int], str] = text) -> Read:
            value = text(n)
            return lambda: read_options(value)

        yield Attack(f"options: {name}", make, 5_000 if text(1000) != text(2000) else 0)
