"""CRC-32C, the checksum of TensorFlow's checkpoints, vectorized with NumPy.

A checksum is a remainder of polynomials over GF(2), so it is linear: for a message a followed by b,
it is crc(b) combined with crc(a) advanced over as many zero bytes as b has. A long message is split
into lanes that are processed in parallel by array operations and then combined pairwise.

Source: Castagnoli et al. 1993; polynomial 0x1EDC6F41, reflected, as in RFC 3720, appendix B.4.
"""

from functools import cache

import numpy as np

_POLYNOMIAL = 0x82F63B78  # bits reversed
_MASK = 0xFFFFFFFF
_LANES = 2048
_BLOCK = 1 << 22  # bytes processed at a time


def crc32c(data: bytes | memoryview | np.ndarray, start: int = 0) -> int:
    """Return the CRC-32C of ``data``; ``start`` is the checksum of the data before it."""
    array = np.frombuffer(data, np.uint8)
    state = start ^ _MASK
    for first in range(0, array.size, _BLOCK):
        state = _advance(state, array[first : first + _BLOCK])
    return state ^ _MASK


def masked(crc: int) -> int:
    """Return a checksum as TensorFlow and LevelDB store it: masked, since files with stored
    checksums may be checksummed again."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & _MASK


def _advance(state: int, array: np.ndarray) -> int:
    words = array.size // (4 * _LANES)  # in each lane
    if words:
        body = array[: 4 * _LANES * words]
        state = _carry(state, body.size) ^ _lanes(body.view("<u4").reshape(_LANES, words))
        array = array[body.size :]
    table = _byte_tables()[0]
    for byte in array.tolist():
        state = (state >> 8) ^ int(table[(state ^ byte) & 0xFF])
    return state


def _lanes(words: np.ndarray) -> int:
    """Return the state after all bytes of (lanes, words), from state 0."""
    low, high = _half_tables()
    state = np.zeros(len(words), np.uint32)
    for column in np.ascontiguousarray(words.T):
        state ^= column
        state = low[state & 0xFFFF] ^ high[state >> 16]
    length = 4 * words.shape[1]
    while state.size > 1:
        state = _apply(_zeros(length), state[0::2]) ^ state[1::2]
        length *= 2
    return int(state[0])


def _carry(state: int, length: int) -> int:
    """Return ``state`` advanced over ``length`` zero bytes."""
    step = 1
    while length:
        if length & 1:
            state = int(_apply(_zeros(step), np.array([state], np.uint32))[0])
        length >>= 1
        step *= 2
    return state


def _apply(tables: np.ndarray, state: np.ndarray) -> np.ndarray:
    """Apply a linear map, given by its table (4, 256): the image of each value of each byte."""
    first, second, third, fourth = tables
    return (
        first[state & 0xFF]
        ^ second[(state >> 8) & 0xFF]
        ^ third[(state >> 16) & 0xFF]
        ^ fourth[state >> 24]
    )


@cache
def _byte_tables() -> np.ndarray:
    """Return (4, 256): the states after a byte that is followed by 0 to 3 zero bytes."""
    table: np.ndarray = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> 1) ^ np.where(table & 1, np.uint32(_POLYNOMIAL), np.uint32(0))
    tables = [table]
    for _ in range(3):
        tables.append((tables[-1] >> 8) ^ table[tables[-1] & 0xFF])
    return np.stack(tables)


@cache
def _half_tables() -> tuple[np.ndarray, np.ndarray]:
    """Return the states after four bytes, by their lower and by their upper half."""
    half = np.arange(1 << 16, dtype=np.uint32)
    one, two, three, four = _byte_tables()
    return four[half & 0xFF] ^ three[half >> 8], two[half & 0xFF] ^ one[half >> 8]


@cache
def _zeros(length: int) -> np.ndarray:
    """Return the table of the map that advances a state over ``length`` zero bytes."""
    state = np.arange(256, dtype=np.uint32)
    tables = np.stack([state, state << 8, state << 16, state << 24])
    if length % 2 == 0:
        half = _zeros(length // 2)
        return np.stack([_apply(half, _apply(half, table)) for table in tables])
    for _ in range(length):
        tables = (tables >> 8) ^ _byte_tables()[0][tables & 0xFF]
    return tables
