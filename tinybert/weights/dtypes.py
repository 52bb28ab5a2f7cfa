"""The number formats of a safetensors file: names, sizes, and conversion to and from NumPy.

Twelve formats are NumPy's own. BF16 and the 8-bit floats have no NumPy type; each of their values
is also a float32, so they are *widened* to float32 without loss. The 4- and 6-bit formats pack
several values into a byte: files with them are checked like any other, but their values are not
decoded.

Sources: OCP 8-bit Floating Point Specification 1.0 (E5M2, E4M3) and Microscaling Formats 1.0
(E8M0); Noune et al. 2022, arXiv:2206.02915 (the FNUZ variants).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


def _to_bfloat16(values: np.ndarray) -> np.ndarray:
    """Return the upper halves of float32 ``values``, rounded to nearest even, as uint16."""
    bits = values.astype(np.float32, copy=False).view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    # Rounding could turn a NaN into infinity: keep its upper half and make it a quiet NaN.
    return np.where(np.isnan(values), (bits >> 16) | 0x40, rounded).astype("<u2")


def _from_bfloat16(codes: np.ndarray) -> np.ndarray:
    return np.left_shift(codes, 16, dtype=np.uint32).view(np.float32)  # one pass over memory


def _float8(
    exponent_bits: int, bias: int, nan: Sequence[int], infinity: Sequence[int] = ()
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a decoder for an 8-bit float: sign, then ``exponent_bits``, then the mantissa.

    (-1)^s · 2^(e - bias) · (1 + m / 2^M), and for e = 0 the subnormal (-1)^s · 2^(1 - bias) · m /
    2^M, with M mantissa bits; the codes in ``nan`` and ``infinity`` are exceptions.
    """
    mantissa_bits = 7 - exponent_bits
    code = np.arange(256)
    exponent = (code >> mantissa_bits) & (2**exponent_bits - 1)
    fraction = (code & (2**mantissa_bits - 1)) / 2**mantissa_bits
    magnitude = np.where(
        exponent == 0,
        np.ldexp(fraction, 1 - bias),
        np.ldexp(1 + fraction, exponent - bias),
    )
    magnitude[list(infinity)] = np.inf
    magnitude[list(nan)] = np.nan
    table = np.where(code < 128, magnitude, -magnitude).astype(np.float32)
    return lambda codes: table[codes]


def _exponent8() -> Callable[[np.ndarray], np.ndarray]:
    """Return a decoder for E8M0, a scale: 2^(code - 127), and code 255 is NaN."""
    table = np.ldexp(1.0, np.arange(256) - 127)
    table[255] = np.nan
    table = table.astype(np.float32)
    return lambda codes: table[codes]


@dataclass(frozen=True)
class Format:
    """One number format.

    Attributes
    ----------
    bits : size of one value in the file.
    storage : the little-endian NumPy type of the bytes in the file.
    array : the NumPy type of the arrays that the reader returns.
    widen : converts from ``storage`` to ``array`` where the two differ, else None.
    narrow : converts an array to ``storage``; None where the writer does not write the format.
    packed : several values share a byte; such a format is not decoded, and only ``bits`` matters.
    """

    bits: int
    storage: np.dtype
    array: np.dtype
    widen: Callable[[np.ndarray], np.ndarray] | None = None
    narrow: Callable[[np.ndarray], np.ndarray] | None = None
    packed: bool = False


def _native(code: str) -> Format:
    storage = np.dtype(code)
    return Format(
        8 * storage.itemsize, storage, storage, narrow=lambda a: a.astype(storage, copy=False)
    )


def _widened(widen: Callable[[np.ndarray], np.ndarray]) -> Format:
    return Format(8, np.dtype("u1"), np.dtype("f4"), widen)


def _packed(bits: int) -> Format:
    return Format(bits, np.dtype("u1"), np.dtype("u1"), packed=True)


FORMATS: dict[str, Format] = {
    "F64": _native("<f8"),
    "F32": _native("<f4"),
    "F16": _native("<f2"),
    "I64": _native("<i8"),
    "I32": _native("<i4"),
    "I16": _native("<i2"),
    "I8": _native("i1"),
    "U64": _native("<u8"),
    "U32": _native("<u4"),
    "U16": _native("<u2"),
    "U8": _native("u1"),
    "C64": _native("<c8"),
    # Operations on a bool byte other than 0 and 1 are undefined in NumPy: any nonzero byte is True.
    "BOOL": Format(
        8, np.dtype("u1"), np.dtype("?"), lambda codes: codes != 0, lambda a: a.astype("u1")
    ),
    "BF16": Format(16, np.dtype("<u2"), np.dtype("f4"), _from_bfloat16, _to_bfloat16),
    "F8_E5M2": _widened(
        _float8(5, 15, nan=(0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF), infinity=(0x7C, 0xFC))
    ),
    "F8_E4M3": _widened(_float8(4, 7, nan=(0x7F, 0xFF))),
    "F8_E5M2FNUZ": _widened(_float8(5, 16, nan=(0x80,))),
    "F8_E4M3FNUZ": _widened(_float8(4, 8, nan=(0x80,))),
    "F8_E8M0": _widened(_exponent8()),
    "F6_E2M3": _packed(6),
    "F6_E3M2": _packed(6),
    "F4": _packed(4),
}

# The format that stores an array's values as they are, by the array's little-endian type string.
NATIVE_NAMES = {
    FORMATS[name].array.str: name
    for name in FORMATS
    if FORMATS[name].narrow is not None and name != "BF16"
}

# The formats that floating-point arrays can be stored in, by the names of NumPy and torch.
FLOAT_NAMES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
