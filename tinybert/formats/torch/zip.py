"""A reader for the zip archives of PyTorch 1.6 and later: the directory and the members.

A zip file is read from its end: the last record (``PK\\5\\6``) says where the directory is, which
has an entry (``PK\\1\\2``: name, sizes, CRC-32, offset) for each member; at that offset there are a
short header (``PK\\3\\4``) and the member's bytes. Under one top folder of any name torch.save puts
``data.pkl`` (the pickle), ``data/0``, ``data/1`` ... (the storages, not compressed) and
``byteorder``. Names of members are compared, never used as paths.

Format: PKWARE's APPNOTE.TXT, sections 4.3 and 4.5.3 (ZIP64, for more than 4 GB).
"""

import struct
from itertools import pairwise
from typing import Any, NamedTuple

from tinybert.formats.torch.bytes import Deflated, FileBytes, Source, Stretch
from tinybert.formats.torch.names import TorchNames
from tinybert.formats.torch.pickle import MAX_PICKLE, unpickle
from tinybert.weights.errors import CheckpointError

_END = struct.Struct("<4s4H2LH")  # PK\5\6, disks, entries here and in all, size, offset, comment
_END64 = struct.Struct("<4sQ2H2L4Q")  # PK\6\6, its size, versions, disks, entries, size, offset
_LOCATOR = struct.Struct("<4sLQL")  # PK\6\7, disk, offset of PK\6\6, disks
_ENTRY = struct.Struct("<4s6H3L5H2L")  # PK\1\2 ...
_LOCAL = struct.Struct("<4s5H3L2H")  # PK\3\4 ...
_MAX_MEMBERS = 100_000
_LARGEST_RATIO = 1032  # of DEFLATE: 258 bytes for two bits
_UNPACKED = 4  # compressed members may declare this many times the file's size, and ...
_UNPACKED_FREE = 16 << 20  # ... this many bytes on top, for zeros


class Member(NamedTuple):
    """A file in the archive: the position of its bytes, and their size when unpacked."""

    begin: int
    packed: int
    size: int
    crc: int
    deflated: bool


class ZipArchive:
    """The checked directory of a zip file. ``members`` maps names to `Member`.

    Raises CheckpointError for directories that are truncated or have wrong offsets or sizes,
    members that overlap, names given twice, encryption, compression other than DEFLATE, and
    compressed members that would unpack to far more than the file.
    """

    def __init__(self, file: FileBytes) -> None:
        self.file = file
        try:
            self.members = _read_directory(file)
        except ValueError as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(file.path, str(error)) from None

    def source(self, name: str) -> Source:
        """Return the bytes of a member, which are checked when they are read."""
        member = self.members[name]
        crc = member.crc or None  # 0: torch.save was told to compute none
        if member.deflated:
            span = member.begin, member.begin + member.packed
            return Deflated(self.file, span, member.size, crc, name)
        return Stretch(self.file, member.begin, member.size, crc, name)

    def content(self, name: str, limit: int) -> bytes:
        """Return the whole content of a member of at most ``limit`` bytes."""
        source = self.source(name)
        if source.size > limit:
            raise CheckpointError(
                self.file.path, f"{name} has {source.size} bytes, more than the {limit} allowed"
            )
        return source.view(0, source.size).tobytes()


def read_zip(archive: ZipArchive) -> Any:
    """Return the object that torch.save wrote, with a ``LazyTensor`` for each tensor."""
    roots = [
        name.removesuffix("/data.pkl") for name in archive.members if name.endswith("/data.pkl")
    ]
    if len(roots) != 1 or "/" in roots[0]:
        raise ValueError("is a zip archive, but not one that torch.save wrote: no data.pkl in it")
    root = roots[0]
    if f"{root}/constants.pkl" in archive.members:
        raise ValueError("is a TorchScript program, not weights: save its state_dict() instead")
    pickle = archive.content(f"{root}/data.pkl", MAX_PICKLE)
    names = TorchNames()
    value, end = unpickle(pickle, 0, names)
    if end != len(pickle):
        raise ValueError(f"bad pickle: {len(pickle) - end} bytes after its end")
    swapped = False
    if f"{root}/byteorder" in archive.members:
        order = archive.content(f"{root}/byteorder", 16)
        if order not in (b"little", b"big"):
            raise ValueError(f"its byteorder is {order!r}, not little or big")
        swapped = order == b"big"
    for key, storage in names.storages.items():
        name = f"{root}/data/{key}"
        if name not in archive.members:
            raise ValueError(f"is damaged: storage {name} is missing")
        source = archive.source(name)
        if source.size != storage.nbytes:
            raise ValueError(
                f"storage {name} has {source.size} bytes, but {storage.nbytes} by the pickle"
            )
        storage.source, storage.swapped = source, swapped
    return value


def _read_directory(file: FileBytes) -> dict[str, Member]:
    count, size, begin = _find_directory(file)
    raw = file.read(begin, size)
    members: dict[str, Member] = {}
    spans, at = [], 0
    for _ in range(count):
        name, member, offset, at = _read_entry(raw, at)
        member = _locate(file, name, member, offset, begin)
        if name in members:
            raise ValueError(f"bad zip archive: two members are called {name!r:.80}")
        members[name] = member
        spans.append((offset, member.begin + member.packed))
    if at != size:
        raise ValueError("bad zip archive: its directory does not have the size that its end gives")
    spans.sort()
    if any(first[1] > second[0] for first, second in pairwise(spans)):
        raise ValueError("bad zip archive: members overlap")
    unpacked = sum(member.size for member in members.values() if member.deflated)
    if unpacked > _UNPACKED * file.size + _UNPACKED_FREE:
        raise ValueError(f"bad zip archive: {file.size} bytes that would unpack to {unpacked}")
    return members


def _find_directory(file: FileBytes) -> tuple[int, int, int]:
    """Return the number of entries, the size and the first byte of the directory."""
    tail_begin = max(0, file.size - _END.size - 0xFFFF)
    tail = file.read(tail_begin, file.size - tail_begin)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + _END.size > len(tail):
        raise ValueError("is a truncated zip archive: its end is missing; download it again")
    _, disk, first_disk, here, count, size, begin, comment = _END.unpack_from(tail, at)
    if at + _END.size + comment != len(tail):
        raise ValueError("is a damaged zip archive: its end is wrong; download it again")
    end = tail_begin + at
    if 0xFFFF in (here, count) or 0xFFFFFFFF in (size, begin):
        end = max(end - _LOCATOR.size, 0)
        magic, _, place, _ = _LOCATOR.unpack(file.read(end, _LOCATOR.size))
        if magic != b"PK\6\7" or place + _END64.size > end:
            raise ValueError("bad zip archive: its ZIP64 end is missing")
        magic, _, _, _, disk, first_disk, here, count, size, begin = _END64.unpack(
            file.read(place, _END64.size)
        )
        end = place
        if magic != b"PK\6\6":
            raise ValueError("bad zip archive: its ZIP64 end is missing")
    if disk or first_disk or here != count:
        raise ValueError("bad zip archive: it is one part of several")
    if count > _MAX_MEMBERS or begin + size > end or size < count * _ENTRY.size:
        raise ValueError("bad zip archive: its end gives a wrong position of the directory")
    if size > count * (_ENTRY.size + 1024):
        raise ValueError("bad zip archive: the entries of its directory are too long")
    return count, size, begin


def _read_entry(raw: bytes, at: int) -> tuple[str, Member, int, int]:
    """Return name, member (``begin`` unknown), offset of the local header, end of the entry."""
    if at + _ENTRY.size > len(raw):
        raise ValueError("bad zip archive: its directory is truncated")
    fields = _ENTRY.unpack_from(raw, at)
    magic, _, _, flags, method, _, _, crc, packed, size, name_len, extra_len, note_len = fields[:13]
    offset = fields[16]
    at += _ENTRY.size
    end = at + name_len + extra_len + note_len
    if magic != b"PK\1\2" or end > len(raw):
        raise ValueError("bad zip archive: its directory is damaged")
    try:
        name = raw[at : at + name_len].decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("bad zip archive: a name that is not UTF-8") from None
    extra = raw[at + name_len : at + name_len + extra_len]
    size, packed, offset = _widen_sizes(extra, [size, packed, offset])
    if flags & 0x2041:  # any of the three kinds of encryption
        raise ValueError(f"bad zip archive: {name!r:.80} is encrypted")
    if method not in (0, 8):
        raise ValueError(f"bad zip archive: {name!r:.80} is compressed by method {method}")
    if size > (packed * _LARGEST_RATIO if method else packed) or (method == 0 and packed != size):
        raise ValueError(f"bad zip archive: {name!r:.80} has impossible sizes")
    return name, Member(0, packed, size, crc, method == 8), offset, end


def _widen_sizes(extra: bytes, numbers: list[int]) -> list[int]:
    """Return sizes and offset; those whose 32 bits are all ones are taken from the ZIP64 field."""
    at = 0
    while 0xFFFFFFFF in numbers:
        if at + 4 > len(extra):
            raise ValueError("bad zip archive: a ZIP64 size is missing")
        tag, length = struct.unpack_from("<2H", extra, at)
        at += 4
        if tag == 1:
            for i, number in enumerate(numbers):
                if number == 0xFFFFFFFF:
                    if length < 8 or at + 8 > len(extra):
                        raise ValueError("bad zip archive: a ZIP64 size is missing")
                    numbers[i] = struct.unpack_from("<Q", extra, at)[0]
                    at, length = at + 8, length - 8
            break
        at += length
    return numbers


def _locate(file: FileBytes, name: str, member: Member, offset: int, limit: int) -> Member:
    """Return the member with its first byte; the local header must have the same name, method."""
    if offset + _LOCAL.size > limit:
        raise ValueError(f"bad zip archive: {name!r:.80} is beyond the directory")
    fields = _LOCAL.unpack(file.read(offset, _LOCAL.size))
    magic, method, name_len, extra_len = fields[0], fields[3], fields[9], fields[10]
    begin = offset + _LOCAL.size + name_len + extra_len
    if magic != b"PK\3\4" or begin + member.packed > limit:
        raise ValueError(f"bad zip archive: {name!r:.80} is not where the directory says")
    here = file.read(offset + _LOCAL.size, name_len)
    if here != name.encode() or method != 8 * member.deflated:
        raise ValueError(f"bad zip archive: {name!r:.80} has another name in its local header")
    return member._replace(begin=begin)
