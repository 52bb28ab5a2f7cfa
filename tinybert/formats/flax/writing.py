"""Write ``flax_model.msgpack``: maps of maps, whose leaves are arrays, in MessagePack.

Format: flax/serialization.py; what the bytes mean is explained in ``file.py`` and
``messagepack.py``. A file of transformers' Flax classes has kernels as (in, out).
"""

import os
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tinybert.atomic import atomic_write

CHUNK = 2**30  # bytes; Flax splits longer arrays
# The first byte of a short value, to which its size is added, and the sizes that fit; the bytes
# before sizes of 8, 16 and 32 bits.
_MAP = (0x80, 16, None, 0xDE, 0xDF)
_LIST = (0x90, 16, None, 0xDC, 0xDD)
_TEXT = (0xA0, 32, 0xD9, 0xDA, 0xDB)
_BYTES = (0, 0, 0xC4, 0xC5, 0xC6)
_EXTENSION = (0, 0, 0xC7, 0xC8, 0xC9)
_INTEGER = (0, 128, 0xCC, 0xCD, 0xCE)  # its value in place of a size
_FIXED_EXTENSIONS = {1: 0xD4, 2: 0xD5, 4: 0xD6, 8: 0xD7, 16: 0xD8}
_ARRAY = b"\x01"  # the number of the extension


def save_msgpack(tree: Mapping[str, Any], path: str | os.PathLike[str], chunk: int = CHUNK) -> None:
    """Save nested dicts of NumPy arrays.

    Parameters
    ----------
    chunk : the number of bytes above which an array is saved in parts.

    The file is replaced in one step. Raises TypeError for dtypes that MessagePack of Flax lacks.
    """
    with atomic_write(path) as file:
        for part in _packed(tree, chunk):
            file.write(part)


def _packed(value: Any, chunk: int) -> Iterator[bytes]:
    if isinstance(value, Mapping):
        yield _head(_MAP, len(value))
        for key, member in value.items():
            yield _text(key)
            yield from _packed(member, chunk)
    elif value is True:
        yield b"\xc3"
    elif isinstance(value, int):
        yield _head(_INTEGER, value)
    elif value.nbytes <= chunk:
        yield from _array(value)
    else:
        flat, step = value.reshape(-1), max(1, chunk // value.itemsize)
        parts = [flat[start : start + step] for start in range(0, flat.size, step)]
        members = {"__msgpack_chunked_array__": True, "shape": _numbered(value.shape)}
        yield from _packed({**members, "chunks": _numbered(parts)}, chunk)


def _numbered(members: Any) -> dict[str, Any]:
    return {str(i): member for i, member in enumerate(members)}


def _head(form: tuple[int | None, ...], size: int) -> bytes:
    """Return the bytes before a value of some size, in the shortest form."""
    fixed, limit, *wide = form
    if size < limit:  # type: ignore[operator]
        return bytes([fixed | size])  # type: ignore[operator]
    for lead, code, bits in zip(wide, "BHI", (8, 16, 32), strict=True):
        if lead is not None and size < 2**bits:
            return struct.pack(f">B{code}", lead, size)
    raise ValueError(f"a size of {size:,} does not fit into MessagePack")


def _text(text: str) -> bytes:
    data = text.encode()
    return _head(_TEXT, len(data)) + data


def _array(array: np.ndarray) -> Iterator[bytes]:
    """Return an extension that holds [shape, name of the dtype, bytes]."""
    if array.dtype.kind not in "biuf":
        raise TypeError(f"arrays of {array.dtype} cannot be saved for Flax")
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    shape = b"".join(_head(_INTEGER, size) for size in array.shape)
    begin = _head(_LIST, 3) + _head(_LIST, array.ndim) + shape + _text(array.dtype.name)
    begin += _head(_BYTES, array.nbytes)
    size = len(begin) + array.nbytes
    short = _FIXED_EXTENSIONS.get(size)
    yield (_head(_EXTENSION, size) if short is None else bytes([short])) + _ARRAY
    yield begin
    yield little.tobytes()
