"""Weights in an ONNX file, under PyTorch's names.

Many sentence encoders are published as ONNX only. Exporters keep the names of most parameters, but
not those of matrices: x @ weight^T becomes a product with a constant (in, out) whose name is a
number. `names.py` finds their names in the graph. A file of dynamic int8 has integers with a scale,
weight = (integer - zero point) * scale, which become float32.

Format: onnx.proto of ONNX 1.17; names as of torch.onnx and onnxruntime's `quantize_dynamic`.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from tinybert.files import open_regular
from tinybert.formats.onnx.library import onnx_library
from tinybert.formats.onnx.names import Stored, stored_weights
from tinybert.weights.dtypes import NATIVE_NAMES
from tinybert.weights.errors import CheckpointError
from tinybert.weights.reader import TensorInfo, TensorReader, check_out

LARGEST = (1 << 31) - 1  # bytes of a message of protobuf
DTYPES = {  # the numbers of TensorProto.DataType
    1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
    11: "float64",
}  # fmt: skip


class Weight(NamedTuple):
    """One weight: the arrays it is computed from, and the shape and dtype that it has then."""

    stored: Stored
    info: TensorInfo


class OnnxFile(TensorReader):
    """The weights of one ONNX file. Arrays are read on access.

    Raises CheckpointError for a malformed file, for weights whose names cannot be found, for a
    graph whose matrices an optimiser has joined, and for data in a file outside of the folder.
    ImportError without the package onnx.
    """

    format = "ONNX"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path, self.metadata = os.fspath(path), {}
        onnx = onnx_library()
        with open_regular(path, CheckpointError) as file:
            size = os.fstat(file.fileno()).st_size
            if size > LARGEST:
                raise CheckpointError(
                    self.path, f"has {size} bytes, an ONNX file at most {LARGEST}"
                )
            content = file.read()
        try:
            model = onnx.ModelProto.FromString(content)
        except Exception as error:  # of protobuf, whose kinds depend on its implementation
            raise CheckpointError(
                self.path, f"is not a complete ONNX file ({error}); download it again"
            ) from None
        del content
        if not model.graph.node:
            raise CheckpointError(self.path, "is not an ONNX file: it has no graph")
        try:
            found = stored_weights(model.graph)
        except ValueError as error:
            raise CheckpointError(self.path, str(error)) from None
        if not found:
            raise CheckpointError(self.path, "has no named weights")
        self._named = {name: Weight(stored, self._info(stored)) for name, stored in found.items()}

    def _info(self, stored: Stored) -> TensorInfo:
        array = stored.array
        shape, dtype = tuple(array.dims), self._dtype(array)
        self._check(array)
        if stored.scale is not None:
            dtype = np.dtype("float32")
            for part in (stored.scale, stored.zero_point):
                if part is not None:
                    self._check(part)
        shape = shape[::-1] if stored.transposed else shape
        return TensorInfo(NATIVE_NAMES[dtype.str], shape, math.prod(shape) * dtype.itemsize)

    def _dtype(self, tensor: Any) -> np.dtype:
        if tensor.data_type not in DTYPES:
            raise CheckpointError(
                self.path, f"tensor {tensor.name!r:.120} has dtype {tensor.data_type}, which is "
                "not supported"
            )  # fmt: skip
        return np.dtype(DTYPES[tensor.data_type])

    def _check(self, tensor: Any) -> None:
        """Raise CheckpointError unless a tensor has as many bytes as its shape needs."""
        if any(size < 0 for size in tensor.dims):
            raise CheckpointError(self.path, f"tensor {tensor.name!r:.120} has a negative size")
        needed = math.prod(tensor.dims) * self._dtype(tensor).itemsize
        if tensor.external_data or tensor.data_location == 1:
            file, begin, length = self._external(tensor)
            try:
                size = file.stat().st_size
            except OSError as error:
                raise CheckpointError(file, f"cannot be read: {error.strerror}") from None
            if length != needed or begin < 0 or begin + length > size:
                raise CheckpointError(
                    self.path,
                    f"tensor {tensor.name!r:.120} needs {needed} bytes; {length} from byte {begin} "
                    f"of {file.name}, which has {size}, are not that",
                )
        elif tensor.raw_data and len(tensor.raw_data) != needed:
            raise CheckpointError(
                self.path, f"tensor {tensor.name!r:.120} needs {needed} bytes, the file has "
                f"{len(tensor.raw_data)}"
            )  # fmt: skip

    def _external(self, tensor: Any) -> tuple[Path, int, int]:
        """Return the file, the position and the length of data outside of the ONNX file."""
        given = {entry.key: entry.value for entry in tensor.external_data}
        location = given.get("location", "")
        if not location or set(location) & set("/\\:\0") or location in (".", ".."):
            raise CheckpointError(
                self.path,
                f"tensor {tensor.name!r:.120} has its data in {location!r:.120}, which is not the "
                "plain name of a file in the same folder",
            )
        numbers = (given.get("offset", "0"), given.get("length", ""))
        if not all(text.isascii() and text.isdecimal() and len(text) < 20 for text in numbers):
            raise CheckpointError(
                self.path, f"tensor {tensor.name!r:.120}: offset and length must be numbers, got "
                f"{', '.join(map(repr, numbers))[:120]}"
            )  # fmt: skip
        return Path(self.path).parent / location, int(numbers[0]), int(numbers[1])

    def _array(self, tensor: Any) -> np.ndarray:
        """Return the numbers of a tensor."""
        dtype = self._dtype(tensor)
        if tensor.external_data or tensor.data_location == 1:
            path, begin, length = self._external(tensor)
            file: BinaryIO
            with open_regular(path, CheckpointError) as file:
                file.seek(begin)
                content = file.read(length)
            if len(content) != length:
                raise CheckpointError(path, "was truncated after it was opened")
            return np.frombuffer(content, dtype.newbyteorder("<")).reshape(tuple(tensor.dims))
        if tensor.raw_data:
            array = np.frombuffer(tensor.raw_data, dtype.newbyteorder("<"))
            return array.reshape(tuple(tensor.dims))
        try:
            return onnx_library().numpy_helper.to_array(tensor)
        except Exception as error:  # whatever the library raises for wrong numbers
            raise CheckpointError(
                self.path, f"tensor {tensor.name!r:.120} is malformed: {error}"
            ) from None

    def info(self, name: str) -> TensorInfo:
        """Return format, shape and size of a weight without reading it."""
        return self._weight(name).info

    def _weight(self, name: str) -> Weight:
        if name not in self._named:
            raise KeyError(f"{self.path} has no tensor {name!r:.200}")
        return self._named[name]

    def __getitem__(self, name: str) -> np.ndarray:
        stored = self._weight(name).stored
        array = self._array(stored.array)
        if stored.scale is not None:
            array = self._dequantised(array, stored)
        array = array.T if stored.transposed else array
        array.flags.writeable = False
        return array

    def _dequantised(self, array: np.ndarray, stored: Stored) -> np.ndarray:
        """Return (integer - zero point) * scale in float32; one scale, or one for each column."""
        scale, zero = self._array(stored.scale).astype("float32"), np.zeros(1, "float32")
        if stored.zero_point is not None:
            zero = self._array(stored.zero_point).astype("float32")
        for part in (scale, zero):
            if part.size != 1 and part.shape != array.shape[-1:]:
                raise CheckpointError(
                    self.path, f"tensor {stored.array.name!r:.120} of shape {array.shape} has "
                    f"scales of shape {part.shape}"
                )  # fmt: skip
        return (array.astype("float32") - zero.reshape(-1)) * scale.reshape(-1)

    def read_into(self, name: str, out: np.ndarray) -> None:
        """Fill ``out`` with a weight, cast to its dtype; see ``TensorReader.read_into``."""
        check_out(f"tensor {name!r:.200}", self.info(name), out)
        np.copyto(out, self[name])

    def close(self) -> None:
        """Do nothing: the file is read when it is opened."""
