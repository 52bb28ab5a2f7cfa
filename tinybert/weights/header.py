"""The header of a safetensors file, checked completely before any of it is used.

Layout: 8 bytes, little-endian, the header's length n; n bytes of JSON ``{name: {"dtype": "F32",
"shape": [2, 3], "data_offsets": [begin, end]}, "__metadata__": {str: str}}``; then the data,
which the tensors must cover exactly, without gaps, overlaps or a rest. A file is accepted if the
reference library (safetensors 0.8.0) accepts it, with three exceptions, which are refused: a
repeated key (the reference uses the last one if the offsets fit), an entry that is a JSON array,
and a dtype that is an object.
"""

import os
from dataclasses import dataclass
from typing import Any, BinaryIO

from tinybert.files import check_nesting
from tinybert.weights.dtypes import FORMATS
from tinybert.weights.errors import CheckpointError
from tinybert.weights.reader import PREVIEW, TensorInfo, description
from tinybert.weights.strict_json import parse_json

MAX_HEADER = 100_000_000  # bytes; the reference's cap, about a million tensors
_MAX_NESTING = 126  # of a tensor's entry, with fields that the format does not know
_MAX_BITS = 2**64


@dataclass(frozen=True)
class Header:
    """The tensors of a file, in header order, and the byte of the file where each begins."""

    tensors: dict[str, TensorInfo]
    begin: dict[str, int]
    metadata: dict[str, str]
    file_size: int


def read_header(file: BinaryIO, path: str) -> Header:
    """Read and check the header of an open file. Raises CheckpointError naming ``path``."""
    size = os.fstat(file.fileno()).st_size
    first = file.read(PREVIEW)
    try:
        length = _header_length(first, size)
        file.seek(8)
        return _parse(file.read(length), size)
    except ValueError as error:
        raise CheckpointError(path, str(error)) from None


def _header_length(first: bytes, size: int) -> int:
    length = int.from_bytes(first[:8], "little")
    if size < 8 or length > MAX_HEADER:
        # Other formats are recognized only here: their signatures give no plausible length.
        raise ValueError(
            description(first, size)
            or f"is not a safetensors file: its first 8 bytes give a header of {length} bytes, and "
            f"{MAX_HEADER} are allowed"
        )
    if length > size - 8:
        raise ValueError(
            f"is truncated, or not a safetensors file: its first 8 bytes give a header of {length} "
            f"bytes, and the file has {size} in all; download it again"
        )
    return length


def _parse(raw: bytes, size: int) -> Header:
    try:
        content = parse_json(raw)
    except ValueError as error:
        raise ValueError(f"bad header: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"bad header: a JSON object is needed, not a {type(content).__name__}")
    metadata = _check_metadata(content.pop("__metadata__", None))
    tensors: dict[str, TensorInfo] = {}
    offsets: dict[str, tuple[int, int]] = {}
    for name, entry in content.items():
        try:
            tensors[name], offsets[name] = _check_entry(entry)
        except ValueError as error:
            raise ValueError(f"bad header: tensor {name!r:.80}: {error}") from None
    _check_coverage(offsets, size - 8 - len(raw))
    start = 8 + len(raw)
    return Header(tensors, {n: start + begin for n, (begin, _) in offsets.items()}, metadata, size)


def _check_metadata(metadata: Any) -> dict[str, str]:
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise ValueError("bad header: __metadata__ must be an object of strings")
    for key, value in metadata.items():
        if not isinstance(value, str):
            raise ValueError(
                f"bad header: __metadata__[{key!r:.80}] must be a string, not {value!r:.40}"
            )
    return metadata


def _check_entry(entry: Any) -> tuple[TensorInfo, tuple[int, int]]:
    """Return the checked (info, (begin, end)) of one tensor; offsets count from the data."""
    if not isinstance(entry, dict):
        raise ValueError(f"its entry must be an object, not {entry!r:.40}")
    for field in ("dtype", "shape", "data_offsets"):
        if field not in entry:
            raise ValueError(f"{field} is missing")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in FORMATS:
        raise ValueError(f"dtype must be one of {' '.join(FORMATS)}, not {dtype!r:.40}")
    if not _are_sizes(shape):
        raise ValueError(f"shape must be a list of non-negative integers, not {shape!r:.60}")
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ValueError(
            f"data_offsets must be [begin, end], 0 <= begin <= end, not {offsets!r:.60}"
        )
    begin, end = offsets
    nbytes = _size_in_bytes(shape, FORMATS[dtype].bits)
    if end - begin != nbytes:
        raise ValueError(f"{dtype} of shape {shape!r:.60} takes {nbytes} bytes, not {end - begin}")
    if len(entry) > 3:
        check_nesting(entry, _MAX_NESTING)
    return TensorInfo(dtype, tuple(shape), nbytes), (begin, end)


def _are_sizes(value: Any) -> bool:
    # type() instead of isinstance(): True is an int to Python, but not a size.
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)


def _size_in_bytes(shape: list[int], bits: int) -> int:
    total = 1
    for n in shape:
        total *= n
        # Checked at every step, as in the reference: a later 0 does not excuse an overflow, and
        # the product of a thousand huge sizes is never computed.
        if total >= _MAX_BITS:
            break
    total *= bits
    if total >= _MAX_BITS:
        raise ValueError(f"shape {shape!r:.60} overflows 64 bits")
    if total % 8:
        raise ValueError(f"shape {shape!r:.60} of {bits}-bit values does not fill whole bytes")
    return total // 8


def _check_coverage(offsets: dict[str, tuple[int, int]], available: int) -> None:
    covered = 0
    for name, (begin, end) in sorted(offsets.items(), key=lambda item: item[1]):
        if begin != covered:
            what = "overlaps the tensor before it" if begin < covered else "leaves a gap before it"
            raise ValueError(
                f"bad header: tensor {name!r:.80} {what}: begins at {begin}, expected {covered}"
            )
        covered = end
    if covered > available:
        raise ValueError(
            f"is truncated: the header describes {covered} bytes of data and the file has "
            f"{available}; download it again"
        )
    if covered < available:
        raise ValueError(f"{available - covered} bytes of data do not belong to any tensor")
