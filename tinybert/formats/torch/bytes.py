"""Byte ranges of a file: mapped as arrays without a copy, or copied in chunks.

A range for which the file has a CRC-32 is checked against it before its first byte is returned.
"""

import mmap
import os
import threading
import weakref
import zlib
from collections.abc import Iterator
from typing import IO, Protocol

import numpy as np

from tinybert.files import open_regular
from tinybert.weights.errors import CheckpointError

CHUNK = 1 << 20  # bytes read at a time


class FileBytes:
    """A regular file, opened for reading by position from any thread.

    ``file`` is used instead of opening ``path``, for a temporary file without a name. For a file
    ``name`` that is stored uncompressed in an archive, only its ``size`` bytes from ``begin`` are
    accessible. Raises CheckpointError unless it is a regular file, OSError if it cannot be opened.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        file: IO[bytes] | None = None,
        *,
        begin: int = 0,
        size: int | None = None,
        name: str | None = None,
    ) -> None:
        self.path = os.fspath(path)
        if file is None:
            file = open_regular(self.path, CheckpointError)
        self._file = file
        self._lock = threading.Lock()
        self._map: mmap.mmap | None = None
        self._begin = begin
        whole = os.fstat(file.fileno()).st_size
        self.size = whole if size is None else size
        if name is not None:
            self.path = f"{self.path}/{name}"
        if not 0 <= begin <= begin + self.size <= whole:
            file.close()
            raise CheckpointError(self.path, "is truncated: the archive ends before this file")

    def close(self) -> None:
        """Close the file. Arrays that were returned stay valid."""
        self._file.close()
        self._map = None

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def mapping(self) -> mmap.mmap:
        """Return a memory map of the whole file. An empty file cannot be mapped."""
        with self._lock:
            if self._map is None:
                self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
            if len(self._map) < self._begin + self.size:
                raise CheckpointError(self.path, "was truncated after it was opened")
            return self._map

    def view(self, begin: int, end: int) -> np.ndarray:
        """Return bytes ``begin`` to ``end``, read-only and mapped."""
        if begin == end:
            return np.empty(0, np.uint8)
        return np.frombuffer(self.mapping(), np.uint8, end - begin, self._begin + begin)

    def read_into(self, begin: int, out: np.ndarray) -> None:
        """Fill the uint8 array ``out`` with the bytes starting at ``begin``."""
        with self._lock:
            self._file.seek(self._begin + begin)
            done = 0
            while done < out.size:
                count = self._file.readinto(out.data[done:])  # type: ignore[attr-defined]
                if not count:
                    raise CheckpointError(self.path, "was truncated after it was opened")
                done += count

    def read(self, begin: int, count: int) -> bytes:
        """Return ``count`` bytes starting at ``begin``; the caller checks that they exist."""
        out = np.empty(count, np.uint8)
        self.read_into(begin, out)
        return out.tobytes()


class Source(Protocol):
    """The bytes of one storage."""

    size: int

    def view(self, begin: int, end: int) -> np.ndarray:
        """Return bytes ``begin`` to ``end``, read-only, without a copy if possible."""

    def read_into(self, begin: int, out: np.ndarray) -> None:
        """Fill the uint8 array ``out`` with the bytes starting at ``begin``."""

    def parts(self) -> Iterator[bytes]:
        """Yield all bytes in order, in parts of at most ``CHUNK``."""

    def held(self) -> object:
        """Return an object that keeps unpacked bytes in memory, for repeated reading."""


class Stretch:
    """Bytes that the file stores uncompressed. ``crc`` is their CRC-32, None if there is none;
    ``name`` is their name in errors."""

    def __init__(
        self, file: FileBytes, begin: int, size: int, crc: int | None = None, name: str = ""
    ) -> None:
        self.size = size
        self._file, self._begin, self._crc, self._name = file, begin, crc, name

    def view(self, begin: int, end: int) -> np.ndarray:
        """Return bytes ``begin`` to ``end``, mapped."""
        self._verify()
        return self._file.view(self._begin + begin, self._begin + end)

    def read_into(self, begin: int, out: np.ndarray) -> None:
        """Fill the uint8 array ``out`` with the bytes starting at ``begin``."""
        if self._crc is None or out.size < self.size:
            self._verify()
            self._file.read_into(self._begin + begin, out)
        else:  # the whole range: it is checked as it is read
            self._file.read_into(self._begin, out)
            self._compare(zlib.crc32(out.data))

    def parts(self) -> Iterator[bytes]:
        """Yield all bytes in order, in parts of at most ``CHUNK``."""
        self._verify()
        for at in range(0, self.size, CHUNK):
            yield self._file.read(self._begin + at, min(CHUNK, self.size - at))

    def held(self) -> object:
        """Return None: no byte is packed."""
        return None

    def _verify(self) -> None:
        if self._crc is None:
            return
        crc, buffer = 0, np.empty(min(CHUNK, self.size), np.uint8)
        for at in range(0, self.size, CHUNK):
            part = buffer[: self.size - at]
            self._file.read_into(self._begin + at, part)
            crc = zlib.crc32(part.data, crc)
        self._compare(crc)

    def _compare(self, crc: int) -> None:
        if self._crc is not None:
            check_crc(self._file.path, self._name, crc, self._crc)
        self._crc = None  # checked only once


class Deflated:
    """Bytes that the file stores compressed (raw DEFLATE, RFC 1951), unpacked when they are read.

    Never more than ``size`` bytes are unpacked, even if the stream has more. The unpacked bytes
    live as long as an array needs them.
    """

    def __init__(
        self, file: FileBytes, span: tuple[int, int], size: int, crc: int | None, name: str
    ) -> None:
        self.size = size
        self._file, self._span, self._crc, self._name = file, span, crc, name
        self._unpacked: weakref.ref[np.ndarray] | None = None

    def view(self, begin: int, end: int) -> np.ndarray:
        """Return bytes ``begin`` to ``end`` of the unpacked range."""
        return self.held()[begin:end]

    def held(self) -> np.ndarray:
        """Return all unpacked bytes."""
        whole = self._unpacked() if self._unpacked else None
        if whole is None:
            whole = np.empty(self.size, np.uint8)
            done = 0
            for part in self.parts():
                whole[done : done + len(part)] = np.frombuffer(part, np.uint8)
                done += len(part)
            whole.flags.writeable = False
            self._unpacked = weakref.ref(whole)
        return whole

    def read_into(self, begin: int, out: np.ndarray) -> None:
        """Fill the uint8 array ``out`` with the unpacked bytes starting at ``begin``."""
        out[:] = self.view(begin, begin + out.size)

    def parts(self) -> Iterator[bytes]:
        """Yield all unpacked bytes in parts of at most ``CHUNK``; then verify the checksum."""
        stream, crc, left = zlib.decompressobj(-zlib.MAX_WBITS), 0, self.size
        begin, end = self._span
        try:
            for at in range(begin, end, CHUNK):
                packed = self._file.read(at, min(CHUNK, end - at))
                while not stream.eof:
                    part = stream.decompress(packed, CHUNK)
                    packed = stream.unconsumed_tail
                    if not part and not packed:
                        break
                    crc, left = zlib.crc32(part, crc), left - len(part)
                    if left < 0:
                        raise zlib.error("more than was declared")
                    yield part
        except zlib.error as error:
            fault = f"is damaged: {self._name} does not unpack ({error})"
            raise CheckpointError(self._file.path, fault) from None
        if left or not stream.eof:
            fault = f"is damaged: {self._name} does not unpack to the {self.size} bytes declared"
            raise CheckpointError(self._file.path, fault)
        if self._crc is not None:
            check_crc(self._file.path, self._name, crc, self._crc)


def check_crc(path: str, name: str, found: int, expected: int) -> None:
    """Raise CheckpointError if two checksums differ."""
    if found != expected:
        raise CheckpointError(
            path,
            f"is damaged: the checksum of {name} is wrong; download it again",
        )
