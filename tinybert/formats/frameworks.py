"""Safetensors files of transformers' TensorFlow and Flax classes, under PyTorch's names.

Their header has the framework as ``format``. Names and kernels are those of the framework's own
files, ``tf_model.h5`` and ``flax_model.msgpack``.

Source: transformers 4.57, ``modeling_tf_utils.py`` and ``modeling_flax_utils.py``.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tinybert.formats.flax.file import torch_name as flax_name
from tinybert.formats.spans import kernel_is_transposed
from tinybert.formats.tensorflow.h5 import torch_name as tensorflow_name
from tinybert.formats.tensorflow.h5 import without_base
from tinybert.weights.errors import CheckpointError
from tinybert.weights.reader import TensorInfo, TensorReader


class FrameworkCheckpoint(TensorReader):
    """The tensors of another reader under PyTorch's names; dense kernels are transposed.

    Raises CheckpointError for two tensors with one name in PyTorch, and for the kernels of
    convolutions.
    """

    def __init__(self, reader: TensorReader, path: Path) -> None:
        self._reader, self._path = reader, path
        framework = reader.metadata["format"]
        self.metadata = {**reader.metadata, "format": "pt"}
        self.format = f"{reader.format} of {framework}"
        self._named: dict[str, tuple[str, bool]] = {}  # our name -> name in the file, transposed
        for stored in reader:
            name, kernel = _NAMES[framework](stored)
            if kernel:
                kernel_is_transposed(str(path), stored, reader.info(stored).shape)
            if name in self._named:
                raise CheckpointError(path, f"two tensors would be {name!r:.120}")
            self._named[name] = (stored, kernel)
        if framework == "tf":
            self._named = without_base(self._named)

    def info(self, name: str) -> TensorInfo:
        """Return format, shape and size of a tensor, after transposing."""
        stored, kernel = self._location(name)
        info = self._reader.info(stored)
        return info._replace(shape=info.shape[::-1]) if kernel else info

    def __getitem__(self, name: str) -> np.ndarray:
        stored, kernel = self._location(name)
        array = self._reader[stored]
        return array.T if kernel else array

    def read_into(self, name: str, out: np.ndarray) -> None:
        """See ``TensorReader.read_into``."""
        stored, kernel = self._location(name)
        self._reader.read_into(stored, out.T if kernel else out)

    def stored(self, name: str) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray] | None]:
        """See ``TensorReader.stored``."""
        stored, kernel = self._location(name)
        array, widen = self._reader.stored(stored)
        return (array.T if kernel else array), widen

    def _location(self, name: str) -> tuple[str, bool]:
        if name not in self._named:
            raise KeyError(f"{self._path} has no tensor {name!r}")
        return self._named[name]

    def close(self) -> None:
        """Close the reader. Arrays that were returned stay valid."""
        self._reader.close()


def _tensorflow(stored: str) -> tuple[str, bool]:
    parts = stored.split("/")
    return tensorflow_name(parts), parts[-1].removesuffix(":0") == "kernel"


def _flax(stored: str) -> tuple[str, bool]:
    keys = stored.split(".")
    return flax_name(keys), keys[-1] == "kernel"


_NAMES: dict[str, Callable[[str], tuple[str, bool]]] = {"tf": _tensorflow, "flax": _flax}
