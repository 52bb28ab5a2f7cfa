"""A reader for sorted string tables, LevelDB's files of keys and values; TensorFlow's indexes.

A footer of 48 bytes points to the index block, whose values point to the data blocks. A block has
entries, an array of restart offsets, and a trailer of compression type and checksum. An entry has
three lengths (of the part of the key that it shares with the previous key, of the rest of the key,
and of the value), the rest of the key, and the value. Only uncompressed tables are read;
TensorFlow writes no others.

Format: https://github.com/google/leveldb/blob/main/doc/table_format.md
"""

from collections.abc import Iterator

from tinybert.formats.tensorflow.crc32c import crc32c, masked

FOOTER = 48
MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
_MAX_KEY = 1024  # bytes; a small file could describe very long keys, since keys share beginnings
_TRAILER = 5  # of a block: one byte of compression type, four of checksum


def read_table(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (key, value) pairs in the order of their keys. Raises ValueError for a bad table."""
    if len(raw) < FOOTER or not raw.endswith(MAGIC):
        raise ValueError("is not a TensorFlow index, or truncated: its last bytes are wrong")
    footer = raw[-FOOTER:]
    _, after = _handle(footer, 0)  # of the metaindex, which is always empty
    index, _ = _handle(footer, after)
    last, done = None, 0
    for _, value in _block(raw, index):
        handle, _ = _handle(value, 0)
        if handle[0] < done:
            raise ValueError("bad table: its blocks overlap")
        done = sum(handle)
        for key, content in _block(raw, handle):
            if last is not None and key <= last:
                raise ValueError(f"bad table: key {key!r:.80} is not after {last!r:.80}")
            yield key, content
            last = key


def varint(raw: bytes, at: int) -> tuple[int, int]:
    """Return the number at ``at``, seven bits a byte, low bits first, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(raw):
            raise ValueError("a number is cut off")
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return value, at
    raise ValueError("a number has more than 64 bits")


def _handle(raw: bytes, at: int) -> tuple[tuple[int, int], int]:
    offset, at = varint(raw, at)
    size, at = varint(raw, at)
    return (offset, size), at


def _block(raw: bytes, handle: tuple[int, int]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the entries of one block, after its checksum is verified."""
    offset, size = handle
    end = offset + size
    if end + _TRAILER > len(raw) - FOOTER:
        raise ValueError(f"bad table: a block ends at byte {end + _TRAILER} of {len(raw)}")
    if masked(crc32c(raw[offset : end + 1])) != int.from_bytes(raw[end + 1 : end + 5], "little"):
        raise ValueError(f"the checksum of the block at byte {offset} is wrong; download it again")
    if raw[end]:
        raise ValueError("bad table: a block is compressed, which TensorFlow does not write")
    block = raw[offset:end]
    restarts = int.from_bytes(block[-4:], "little")
    end = size - 4 - 4 * restarts
    if size < 4 or end < 0:
        raise ValueError(f"bad table: a block of {size} bytes has {restarts} restarts")
    at, key = 0, b""
    while at < end:
        shared, at = varint(block, at)
        own, at = varint(block, at)
        length, at = varint(block, at)
        if shared > len(key) or shared + own > _MAX_KEY or at + own + length > end:
            raise ValueError(
                f"bad table: an entry at byte {offset + at} does not fit into its block"
            )
        key = key[:shared] + block[at : at + own]
        at += own + length
        yield key, block[at - length : at]
