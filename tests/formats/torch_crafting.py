"""Pickles and archives built opcode by opcode, for files that torch.save never writes."""

import os
import struct
import sys
import zipfile
import zlib
from contextlib import contextmanager

import pytest

import tinybert.formats.megatron.file  # noqa: F401  (so that no test imports it)
from tinybert.weights import CheckpointError, load_checkpoint

PROTO = b"\x80\x02"
FLAG = "TINYBERT_CANARY"  # what every payload would set in the environment, if it ran
MAGIC = 0x1950A86A20F9469CFC6C


def text(value):
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def integer(value):
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def name(module, attribute):
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def pack(*items):
    return b"(" + b"".join(items) + b"t"


def call(function, *args):
    return function + pack(*args) + b"R"


def storage(kind="FloatStorage", key="0", count=6, location="cpu", extra=()):
    head = [text("storage"), kind if isinstance(kind, bytes) else name("torch", kind)]
    numbers = [item if isinstance(item, bytes) else integer(item) for item in (count,)]
    key = key if isinstance(key, bytes) else text(key)
    return pack(*head, key, text(location), *numbers, *extra) + b"Q"


def numbers(values):
    return values if isinstance(values, bytes) else pack(*map(integer, values))


def tensor(held=None, offset=0, shape=(2, 3), strides=(3, 1), version=2, tail=None):
    args = [held or storage(), integer(offset), numbers(shape), numbers(strides)]
    if tail is None:
        tail = [b"\x89", call(name("collections", "OrderedDict"))] if version > 1 else []
    suffix = f"_v{version}" if version > 1 else ""
    return call(name("torch._utils", f"_rebuild_tensor{suffix}"), *args, *tail)


def mapping(**items):
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def program(*parts):
    return PROTO + b"".join(parts) + b"."


def zip_file(path, pickle, members=(("data/0", bytes(24)),), method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("archive/data.pkl", pickle)
        archive.writestr("archive/version", "3\n")
        for member, content in members:
            archive.writestr(f"archive/{member}", content)
    return path


def legacy_file(path, pickle, storages=(("0", 6, bytes(24)),), keys=None, magic=MAGIC):
    keys = [key for key, _, _ in storages] if keys is None else keys
    head = [integer(magic), integer(1001), mapping(little_endian=b"\x88")]
    parts = [program(part) for part in head]
    parts += [pickle, program(b"](" + b"".join(map(text, keys)) + b"e")]
    parts += [struct.pack("<q", count) + content for _, count, content in storages]
    path.write_bytes(b"".join(parts))
    return path


def archive(members, lies=None, comment=b"", prefix=b""):
    """A zip file by hand. ``members``: (name, bytes) pairs; ``lies``: by name, what its directory
    entry says instead, of ``size packed crc offset method flags name extra``."""
    out, directory = bytearray(prefix), b""
    for label, content in members:
        raw, at = label.encode(), len(out)
        says = {
            "size": len(content), "packed": len(content), "crc": zlib.crc32(content), "offset": at,
            "method": 0, "flags": 0, "name": raw, "extra": b"", **(lies or {}).get(label, {}),
        }  # fmt: skip
        out += struct.pack(
            "<4s5H3L2H", b"PK\3\4", 20, 0, says.get("local method", says["method"]), 0, 0,
            says["crc"], len(content), len(content), len(raw), 0,
        ) + raw + content  # fmt: skip
        directory += struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", 20, 20, says["flags"], says["method"], 0, 0, says["crc"],
            says["packed"], says["size"], len(says["name"]), len(says["extra"]), 0, 0, 0, 0,
            says["offset"],
        ) + says["name"] + says["extra"]  # fmt: skip
    end = struct.pack(
        "<4s4H2LH", b"PK\5\6", 0, 0, len(members), len(members), len(directory), len(out),
        len(comment),
    )  # fmt: skip
    return bytes(out) + directory + end + comment


FORMS = {"zip": zip_file, "legacy": legacy_file}


# What the interpreter reports (PEP 578) when it runs code, starts a process, imports or writes.
RUNS = {
    "exec", "compile", "import", "marshal.loads", "pickle.find_class", "code.__new__",
    "function.__new__", "os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen",
    "ctypes.dlopen", "socket.connect", "os.putenv", "os.remove", "os.rename", "shutil.rmtree",
}  # fmt: skip
_watching: list[list[str]] = []


def _report(event, args):
    if _watching and (event in RUNS or (event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR))):
        _watching[-1].append(f"{event} {args}")


sys.addaudithook(_report)


@contextmanager
def watched():
    """The list of what the interpreter reports to have run while the block runs."""
    _watching.append([])
    try:
        yield _watching[-1]
    finally:
        _watching.pop()


def refused(path, words="."):
    """The message with which a file is refused: it names the file, is not long, and nothing ran."""
    with pytest.raises(CheckpointError, match=words) as caught, watched() as seen:
        load_checkpoint(path)
    assert not seen
    assert caught.value.path == str(path)
    assert len(str(caught.value)) < 1000 + len(str(path))
    return str(caught.value)
