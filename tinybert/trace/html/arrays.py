"""The arrays of a page: deflated, in base64, and small enough for one file.

A page keeps at most `LIMIT` bytes of numbers. If they fit, every number is exact. If not, arrays
with more than `SMALL` numbers are rounded to float16, after division by a power of two that makes
the largest a little less than 2^15. This keeps 11 bits of each number, and fewer of those that are
less than 2^-28 of the largest. Arrays with numbers of a mask, such as -3e38, stay exact. If that
does not fit either, the largest arrays become thumbnails, which are rounded. Parameters and their
gradients with more than `SMALL` numbers are always thumbnails.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinybert.trace.values import MASKED, Value, thumbnail

LIMIT = 11_000_000  # bytes before deflation; in base64 they are a third more
SMALL = 4096  # numbers
LARGEST = 262_144  # numbers; an array with more is a thumbnail


class Arrays:
    """The arrays of some values, each distinct one stored once as a block of text.

    Attributes:
        blocks: the blocks, by number.
        exact: whether no array is rounded.
        reduced: the number of thumbnails other than those of parameters and their gradients.
    """

    def __init__(self, values: Iterable[Value], parameters: set[int]) -> None:
        """
        Args:
            values: all values of the page.
            parameters: the ids of those that are parameters, or gradients of parameters.
        """
        self.blocks: list[str] = []
        self._numbers: dict[bytes, int] = {}
        self._thumbnails: dict[int, np.ndarray] = {}  # by the id of an array
        whole: dict[int, np.ndarray] = {}
        for value in values:
            array = value.array
            if array is None:
                continue
            small = SMALL if id(value) in parameters else LARGEST
            if array.size > small:
                self._thumbnails.setdefault(id(array), thumbnail(array))
            else:
                whole[id(array)] = array
        self.reduced = sum(
            id(v.array) in self._thumbnails for v in values if id(v) not in parameters
        )
        for key in self._thumbnails:
            whole.pop(key, None)
        thumbnails = sum(2 * array.size for array in self._thumbnails.values())
        self.exact = thumbnails + sum(array.nbytes for array in whole.values()) <= LIMIT
        if not self.exact:
            self._reduce(whole, thumbnails)

    def _reduce(self, whole: dict[int, np.ndarray], total: int) -> None:
        """Make thumbnails of the largest arrays until all fit beside `total` bytes."""
        sizes = {
            key: 2 * array.size if array.size > SMALL and can_be_rounded(array) else array.nbytes
            for key, array in whole.items()
        }
        total += sum(sizes.values())
        for key in sorted(sizes, key=lambda key: -sizes[key]):
            if total <= LIMIT:
                break
            small = thumbnail(whole[key])
            if 2 * small.size < sizes[key]:
                total += 2 * small.size - sizes[key]
                self._thumbnails[key] = small
                self.reduced += 1

    def add(self, value: Value) -> dict[str, Any]:
        """Store the array of a value; return the fields by which the page finds it.

        block: its number. form: f2, f4, f8 or i4. exponent: the numbers of the block times
        2^exponent are those of the array. stored: the shape of a thumbnail. No field without
        an array.
        """
        small = value.thumbnail
        if value.array is not None:
            small = self._thumbnails.get(id(value.array))
        array = value.array if small is None else small
        if array is None:
            return {}
        form, exponent, raw = pack(
            array, small is not None or (not self.exact and array.size > SMALL)
        )
        key = form.encode() + raw
        if key not in self._numbers:
            self._numbers[key] = len(self.blocks)
            self.blocks.append(deflate(raw))
        fields: dict[str, Any] = {"block": self._numbers[key], "form": form}
        if exponent:
            fields["exponent"] = exponent
        if small is not None:
            fields["stored"] = small.shape
        return fields


def pack(array: np.ndarray, rounded: bool) -> tuple[str, int, bytes]:
    """Return the form of an array, the exponent of its numbers, and their bytes, little endian."""
    if array.dtype.kind in "biu" and np.all(np.abs(array.astype(np.float64)) < 2**31):
        return "i4", 0, array.astype("<i4").tobytes()
    if array.dtype.kind == "c":
        array = np.abs(array)
    if not rounded or not can_be_rounded(array):
        form = "f4" if array.dtype.itemsize <= 4 else "f8"
        return form, 0, array.astype(f"<{form}").tobytes()
    peak = _peak(array)
    exponent = int(np.frexp(peak)[1]) - 15 if peak else 0
    return "f2", exponent, np.ldexp(array.astype(np.float64), -exponent).astype("<f2").tobytes()


def can_be_rounded(array: np.ndarray) -> bool:
    """Return whether an array has no numbers of a mask, which are too far from the others."""
    return _peak(array) < MASKED


def _peak(array: np.ndarray) -> float:
    """Return the largest finite magnitude."""
    return float(np.abs(array[np.isfinite(array)]).max(initial=0))


def deflate(raw: bytes) -> str:
    """Return bytes as base64 of a raw deflate stream, which a browser inflates by itself."""
    compressor = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return base64.b64encode(compressor.compress(raw) + compressor.flush()).decode()
