"""`Int8Rows`: the weights of a model rounded to 8-bit integers, with a scale for each row.

    scale[i] = max_j |W[i, j]| / L        codes[i, j] = round(W[i, j] / scale[i])

with codes from -L to L, L = 127 unless a smaller one is given: coarser numbers take the same eight
bits, but fewer in a compressed archive (L = 63: about 0.8 of them). A row keeps its largest value,
and no value is off by more than scale[i] / 2. Matrices become
``weight`` (codes) and ``weight_scale`` (rows, 1); biases and the weights of normalization layers
stay as they are. `QuantizedCheckpoint` reads this layout back as plain numbers.

transformers (5.24, with compressed-tensors 0.20) reads this layout for linear layers, not for
embeddings: convert to float32 for it.

Layout: https://github.com/vllm-project/compressed-tensors, ``int-quantized``, strategy ``channel``
"""

import math
from typing import Any

import numpy as np

from tinybert.checks import check, check_integer
from tinybert.weights.errors import CheckpointError
from tinybert.weights.reader import TensorInfo, TensorReader, check_out

LARGEST = 127  # of the codes
# `quantization_config` of config.json.
CONFIG: dict[str, Any] = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "config_groups": {
        "group_0": {
            "targets": ["Linear", "Embedding"],
            "weights": {
                "num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel",
                "dynamic": False,
            },
        },
    },
    "ignore": [],
}  # fmt: skip


class Int8Rows(TensorReader):
    """The tensors of another reader, its matrices ``*.weight`` as int8 with a scale for each row.

    Closing it does not close the reader. A matrix with infinite or NaN values raises
    CheckpointError when it is read.
    """

    def __init__(self, reader: TensorReader, largest: int = LARGEST) -> None:
        check_integer("largest", largest, 1)
        check("largest", largest, largest <= LARGEST, f"an integer from 1 to {LARGEST}")
        self._reader, self.metadata, self.format = reader, reader.metadata, reader.format
        self._largest = largest
        self._named: dict[str, TensorInfo] = {}
        self._scales: dict[str, str] = {}  # the matrix that a scale belongs to
        for name in reader:
            self._named[name] = info = reader.info(name)
            if _is_matrix(name, info):
                rows = info.shape[0]
                self._named[name] = TensorInfo("I8", info.shape, math.prod(info.shape))
                self._named[name + "_scale"] = TensorInfo("F32", (rows, 1), 4 * rows)
                self._scales[name + "_scale"] = name

    def info(self, name: str) -> TensorInfo:
        """See ``TensorReader.info``."""
        return self._named[name]

    def __getitem__(self, name: str) -> np.ndarray:
        if name in self._scales:
            return self._scale(self._scales[name])
        if name + "_scale" not in self._scales:
            return self._reader[name]
        return np.rint(self._reader[name] / self._scale(name)).astype(np.int8)

    def _scale(self, name: str) -> np.ndarray:
        largest = np.abs(self._reader[name]).max(axis=1, keepdims=True)
        if not np.isfinite(largest).all():
            kind = self._reader.format
            raise CheckpointError(kind, f"tensor {name!r} has infinite or NaN values")
        scale = (largest / self._largest).astype(np.float32)
        return np.where(scale == 0, np.float32(1), scale)

    def read_into(self, name: str, out: np.ndarray) -> None:
        """See ``TensorReader.read_into``."""
        check_out(f"tensor {name!r}", self.info(name), out)
        np.copyto(out, self[name], casting="same_kind")

    def close(self) -> None:
        """Do nothing: the other reader stays open."""


def _is_matrix(name: str, info: TensorInfo) -> bool:
    is_float = info.dtype in ("F64", "F32", "F16", "BF16")
    end = name.rpartition(".")[2]
    return end == "weight" and is_float and len(info.shape) == 2 and 0 not in info.shape
