"""Reading and writing safetensors files.

A file is a header (checked in ``header.py``) and raw little-endian arrays. To read it, we map the
file into memory and make NumPy arrays that point into the mapping. A file cannot run code. Formats
that NumPy lacks are widened without loss: BF16 and the 8-bit floats to float32.

Format: https://github.com/huggingface/safetensors#format
"""

import json
import math
import mmap
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from tinybert.atomic import atomic_write
from tinybert.files import open_regular
from tinybert.weights.dtypes import FLOAT_NAMES, FORMATS, NATIVE_NAMES, Format
from tinybert.weights.errors import CheckpointError
from tinybert.weights.header import MAX_HEADER, read_header
from tinybert.weights.reader import (
    FileFormat,
    TensorInfo,
    TensorReader,
    check_out,
    register_format,
)

_CHUNK = 1 << 18  # values converted at a time


class SafetensorsFile(TensorReader):
    """One safetensors file, opened and checked; a tensor is read when it is accessed.

    ``file[name]`` is a **read-only** array. NumPy's own formats are views of the memory-mapped
    file, which take no memory until they are used; BF16, 8-bit floats (both become float32), BOOL
    (any nonzero byte is True) and misaligned tensors are new arrays. The mapping stays open as long
    as an array uses it, and saving to the same path creates a new file. As with every memory map,
    the process crashes if the file is truncated in place while its arrays are used; no function of
    this package does that.

    Raises CheckpointError if the file is malformed, OSError if it cannot be opened. Also a context
    manager.
    """

    format = "safetensors"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._lock = threading.Lock()
        self._map: mmap.mmap | None = None
        self._private: mmap.mmap | None = None
        self._file = open_regular(self.path, CheckpointError)
        try:
            self._header = read_header(self._file, self.path)
        except BaseException:
            self._file.close()
            raise
        self.metadata = self._header.metadata
        self._named = self._header.tensors

    def close(self) -> None:
        """Close the file. Arrays that were handed out stay valid."""
        self._file.close()
        self._map = self._private = None

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def info(self, name: str) -> TensorInfo:
        """Return format, shape and size of a tensor without reading its data."""
        if name not in self._named:
            raise KeyError(f"{self.path} has no tensor {name!r:.200}")
        return self._named[name]

    def __getitem__(self, name: str) -> np.ndarray:
        info = self.info(name)
        fmt = self._decodable(name, info)
        begin = self._header.begin[name]
        view = fmt.widen is None and begin % fmt.storage.itemsize == 0
        buffer = self._mapping() if view else None
        try:
            array = np.ndarray(info.shape, fmt.array, buffer, begin if view else 0)
        except (ValueError, OverflowError) as error:
            # The format allows shapes that NumPy does not: over 64 axes, or (0, 2**63).
            raise CheckpointError(self.path, f"tensor {name!r:.200}: {error}") from None
        if not view:
            self.read_into(name, array)
        array.flags.writeable = False
        return array

    def read_into(self, name: str, out: np.ndarray) -> None:
        """Fill ``out`` with a tensor, cast to its dtype; see ``TensorReader.read_into``."""
        info = self.info(name)
        fmt = self._decodable(name, info)
        check_out(f"tensor {name!r:.200}", info, out)
        begin = self._header.begin[name]
        if fmt.widen is None and out.dtype == fmt.storage and out.flags.c_contiguous:
            self._read(begin, out.reshape(-1).view(np.uint8))
            return
        flat = out.reshape(-1) if out.flags.c_contiguous else out.flat
        for first in range(0, out.size, _CHUNK):
            values = np.empty(min(_CHUNK, out.size - first), fmt.storage)
            self._read(begin + first * fmt.storage.itemsize, values.view(np.uint8))
            flat[first : first + values.size] = fmt.widen(values) if fmt.widen else values

    def mapped(self, name: str) -> np.ndarray | None:
        """See ``TensorReader.mapped``: for NumPy's own formats, on POSIX systems."""
        info = self.info(name)
        fmt, begin = self._decodable(name, info), self._header.begin[name]
        if os.name != "posix" or fmt.widen is not None or begin % fmt.storage.itemsize:
            return None  # on other systems a mapped file cannot be replaced
        with self._lock:
            if self._private is None:
                self._private = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_COPY)
            if len(self._private) < self._header.file_size:
                raise CheckpointError(self.path, "was truncated after it was opened")
        return np.ndarray(info.shape, fmt.array, self._private, begin)

    def stored(self, name: str) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray] | None]:
        """See ``TensorReader.stored``: a view of the file, unless the tensor is misaligned."""
        info = self.info(name)
        fmt, begin = self._decodable(name, info), self._header.begin[name]
        if begin % fmt.storage.itemsize:
            return self[name], None
        array = np.ndarray(info.shape, fmt.storage, self._mapping(), begin)
        return array, fmt.widen

    def _decodable(self, name: str, info: TensorInfo) -> Format:
        fmt = FORMATS[info.dtype]
        if fmt.packed:
            raise CheckpointError(
                self.path,
                f"tensor {name!r:.200} is {info.dtype}, and packed formats are not supported",
            )
        return fmt

    def _mapping(self) -> mmap.mmap:
        with self._lock:
            if self._map is None:
                self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
            if len(self._map) < self._header.file_size:
                raise CheckpointError(self.path, "was truncated after it was opened")
            return self._map

    def _read(self, begin: int, out: np.ndarray) -> None:
        """Fill the uint8 array ``out`` with the file's bytes starting at ``begin``."""
        with self._lock:
            self._file.seek(begin)
            done = 0
            while done < out.size:
                count = self._file.readinto(out.data[done:])
                if not count:
                    raise CheckpointError(self.path, "was truncated after it was opened")
                done += count


def _is_safetensors(path: Path, first: bytes, last: bytes) -> bool:
    return first[8:9] == b"{" and int.from_bytes(first[:8], "little") <= MAX_HEADER


register_format(FileFormat(("model.safetensors",), _is_safetensors, SafetensorsFile))


def load_file(
    path: str | os.PathLike[str], names: Iterable[str] | None = None
) -> dict[str, np.ndarray]:
    """Return the tensors of a safetensors file (all, or those in ``names``) as read-only arrays.

    The arrays are views of the memory-mapped file where NumPy has the format (see
    ``SafetensorsFile``); copy one to change it. Raises CheckpointError for a malformed file,
    KeyError for an unknown name.
    """
    with SafetensorsFile(path) as file:
        return {name: file[name] for name in (file if names is None else names)}


def save_file(
    tensors: Mapping[str, Any],
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
    dtype: str | None = None,
) -> None:
    """Save arrays of any layout and byte order as one safetensors file, atomically.

    ``save_file(model.state_dict(), path)`` saves a model's weights; ``load_state_dict`` takes what
    ``load_file`` returns.

    The header has the order of ``tensors``; the data are sorted by format, widest first, which
    aligns every tensor. At most one array is copied at a time (one that is not C-contiguous).

    Parameters
    ----------
    tensors : names and arrays, NumPy scalars or Tensors; or a lazy reader, of which one tensor is
        in memory at a time; its BF16 tensors stay BF16 (8-bit floats become F32).
    path : the file to create or replace; it keeps its old content if anything fails.
    metadata : strings by name for the header's ``__metadata__``, e.g. ``{"format": "pt"}``.
    dtype : ``"float64"``, ``"float32"``, ``"float16"`` or ``"bfloat16"`` (or ``"F64"`` to
        ``"BF16"``) stores all floating-point arrays in that format, rounded to nearest even (a
        finite value that would become infinite is a ValueError); None stores them as they are.

    Raises TypeError or ValueError naming the tensor that cannot be stored.
    """
    infos = stored_infos(tensors, dtype)
    header, order = _layout(infos, metadata)
    with atomic_write(path) as file:
        file.write(header)
        for name in order:
            _write(file, name, tensors[name], FORMATS[infos[name].dtype])


def stored_infos(tensors: Mapping[str, Any], dtype: str | None = None) -> dict[str, TensorInfo]:
    """Return format, shape and size with which ``save_file`` stores each tensor; it raises the
    same errors. Tensors of a lazy reader are not read.
    """
    dtype = FLOAT_NAMES.get(dtype, dtype) if dtype is not None else None
    if dtype is not None and dtype not in FLOAT_NAMES.values():
        raise ValueError(f"dtype must be None or one of {', '.join(FLOAT_NAMES)}, got {dtype!r}")
    infos = {}
    for name in tensors:
        if not isinstance(name, str):
            raise TypeError(f"tensor names must be str, got {name!r:.200}")
        if name == "__metadata__":
            raise ValueError("'__metadata__' is reserved and cannot be the name of a tensor")
        if isinstance(tensors, TensorReader):
            shape, own = tensors.info(name).shape, _format_kept(name, tensors.info(name).dtype)
        else:
            own = _format_of(name, tensors[name])
            shape = tensors[name].shape
        stored = dtype if dtype is not None and own in FLOAT_NAMES.values() else own
        infos[name] = TensorInfo(stored, shape, math.prod(shape) * FORMATS[stored].bits // 8)
    return infos


def _format_of(name: str, array: Any) -> str:
    """Return the format that stores the values of an array, NumPy scalar or Tensor as they are."""
    if not (isinstance(array, (np.ndarray, np.generic)) or _is_tensor(array)):
        raise TypeError(f"tensor {name!r:.200} must be a NumPy array, got {type(array).__name__}")
    native = NATIVE_NAMES.get(array.dtype.newbyteorder("<").str)
    if native is None:
        raise TypeError(
            f"tensor {name!r:.200} has dtype {array.dtype}, which safetensors does not support"
        )
    return native


def _is_tensor(value: object) -> bool:
    """Return whether it is a Tensor of this package, which the weights do not import."""
    return isinstance(getattr(value, "dtype", None), np.dtype) and hasattr(value, "numpy")


def _format_kept(name: str, own: str) -> str:
    """Return the format to store a tensor of format ``own`` in: the same, or a wider one."""
    fmt = FORMATS.get(own)
    if fmt is None or fmt.packed:
        raise TypeError(f"tensor {name!r:.200} is {own}, which cannot be saved")
    return own if fmt.narrow is not None else NATIVE_NAMES[fmt.array.str]


def _layout(
    infos: dict[str, TensorInfo], metadata: Mapping[str, str] | None
) -> tuple[bytes, list[str]]:
    """Return the bytes before the data, and the names in the order of their data."""
    order = sorted(infos, key=lambda name: -FORMATS[infos[name].dtype].bits)
    offsets, end = {}, 0
    for name in order:
        begin, end = end, end + infos[name].nbytes
        offsets[name] = [begin, end]
    content: dict[str, object] = {}
    if metadata is not None:
        for key, value in metadata.items():
            if not isinstance(key, str) or not isinstance(value, str):
                raise TypeError(f"metadata must map str to str, got {key!r:.80}: {value!r:.80}")
        content["__metadata__"] = dict(metadata)
    for name, info in infos.items():
        content[name] = {
            "dtype": info.dtype,
            "shape": info.shape,
            "data_offsets": offsets[name],
        }
    header = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    if len(header) > MAX_HEADER:
        raise ValueError(
            f"the header would have {len(header)} bytes, at most {MAX_HEADER} are allowed"
        )
    return len(header).to_bytes(8, "little") + header, order


def _write(file: IO[bytes], name: str, array: Any, fmt: Format) -> None:
    assert fmt.narrow is not None
    array = array.numpy() if _is_tensor(array) else array
    flat = np.ascontiguousarray(array).reshape(-1)
    for first in range(0, flat.size, _CHUNK):
        values = flat[first : first + _CHUNK]
        with np.errstate(over="ignore"):  # reported below, with the tensor's name
            stored = fmt.narrow(values)
        if values.dtype.kind == "f" and (fmt.widen or values.dtype != fmt.array):
            kept = fmt.widen(stored) if fmt.widen else stored
            if np.any(np.isinf(kept) & np.isfinite(values)):
                raise ValueError(
                    f"tensor {name!r:.200} has values beyond the range of {fmt.bits}-bit floats"
                )
        file.write(stored.view(np.uint8).data)
