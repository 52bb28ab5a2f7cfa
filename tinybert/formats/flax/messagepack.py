"""A reader for MessagePack, a binary form of JSON, that does not copy long byte strings.

Byte strings and extensions, which hold the weights of a Flax file, are returned as positions in the
file; all other values as Python objects. A length that exceeds the remaining bytes is an error, and
the number of values is limited.

Format: https://github.com/msgpack/msgpack/blob/master/spec.md
"""

import struct
from typing import Any, NamedTuple

MAX_DEPTH = 64
MAX_VALUES = 1_000_000  # a value of one byte takes about a hundred bytes in Python
_SCALARS = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b",
    0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}  # fmt: skip
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
# Leading byte -> size of the length field. (Short values have the length in the leading byte.)
_BYTES = {0xC4: 1, 0xC5: 2, 0xC6: 4}
_EXTENSIONS = {0xC7: 1, 0xC8: 2, 0xC9: 4}
_FIXED_EXTENSIONS = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
_STRINGS = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_ARRAYS = {0xDC: 2, 0xDD: 4}
_MAPS = {0xDE: 2, 0xDF: 4}


class BytePosition(NamedTuple):
    """The position of bytes in the file; ``kind`` is an extension's number, None for bytes."""

    begin: int
    end: int
    kind: int | None


def parse(buffer: Any, begin: int, end: int) -> Any:
    """Return the one value in ``buffer[begin:end]``.

    Parameters
    ----------
    buffer : bytes, or a memory map, whose slices are bytes.

    Raises ValueError for malformed data, for bytes after the value, for nesting over ``MAX_DEPTH``,
    for more than ``MAX_VALUES`` values, and for maps whose keys are not distinct strings.
    """
    reader = _Reader(buffer, begin, end)
    value = reader.value(0)
    if reader.at != end:
        raise ValueError(f"{end - reader.at} bytes are left over after the MessagePack value")
    return value


class _Reader:
    def __init__(self, buffer: Any, begin: int, end: int) -> None:
        self.buffer, self.at, self.end = buffer, begin, end
        self.count = 0

    def value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise ValueError(f"MessagePack nested over {MAX_DEPTH} deep")
        self.count += 1
        if self.count > MAX_VALUES:
            raise ValueError(f"has over {MAX_VALUES} MessagePack values")
        head = self.take(1)[0]
        if head < 0x80:
            return head
        if head < 0x90:
            return self.map(head & 0x0F, depth)
        if head < 0xA0:
            return self.array(head & 0x0F, depth)
        if head < 0xC0:
            return self.string(head & 0x1F)
        if head >= 0xE0:
            return head - 0x100
        return self.longer(head, depth)

    def longer(self, head: int, depth: int) -> Any:
        """Return a value whose leading byte holds only its type."""
        if head in _CONSTANTS:
            return _CONSTANTS[head]
        if head in _SCALARS:
            code = _SCALARS[head]
            return struct.unpack(code, self.take(struct.calcsize(code)))[0]
        if head in _MAPS:
            return self.map(self.number(_MAPS[head]), depth)
        if head in _ARRAYS:
            return self.array(self.number(_ARRAYS[head]), depth)
        if head in _STRINGS:
            return self.string(self.number(_STRINGS[head]))
        if head in _BYTES:
            return self.skip(self.number(_BYTES[head]), None)
        if head in _FIXED_EXTENSIONS:
            return self.skip(_FIXED_EXTENSIONS[head], self.take(1)[0])
        if head in _EXTENSIONS:
            size = self.number(_EXTENSIONS[head])
            return self.skip(size, self.take(1)[0])
        raise ValueError(f"byte {head:#x} at {self.at - 1} does not begin a MessagePack value")

    def map(self, count: int, depth: int) -> dict[str, Any]:
        self.need(2 * count)
        members: dict[str, Any] = {}
        for _ in range(count):
            key = self.value(depth + 1)
            if not isinstance(key, str) or key in members:
                raise ValueError(f"a key is {key!r:.80}: it must be a string that occurs once")
            members[key] = self.value(depth + 1)
        return members

    def array(self, count: int, depth: int) -> list[Any]:
        self.need(count)
        return [self.value(depth + 1) for _ in range(count)]

    def string(self, size: int) -> str:
        return self.take(size).decode("utf-8")

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def skip(self, size: int, kind: int | None) -> BytePosition:
        self.need(size)
        self.at += size
        return BytePosition(self.at - size, self.at, kind)

    def take(self, size: int) -> bytes:
        self.need(size)
        self.at += size
        return bytes(self.buffer[self.at - size : self.at])

    def need(self, size: int) -> None:
        if size > self.end - self.at:
            raise ValueError(f"is truncated: {size} bytes are needed at {self.at} of {self.end}")
