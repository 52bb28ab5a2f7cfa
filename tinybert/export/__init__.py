"""Models as files for other run times, and back: ONNX."""

from __future__ import annotations

import os

import numpy as np

from tinybert.export.model import export_onnx

__all__ = ["export_onnx", "load_onnx"]


def load_onnx(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return the weights of an ONNX file by their PyTorch names; int8 as float32.

    See `OnnxFile` for errors. `tinybert convert FILE.onnx FOLDER` makes a model folder of it, and
    `from_pretrained` reads a folder whose only weights are `model.onnx` or `onnx/model.onnx`.
    """
    from tinybert.formats.onnx.file import OnnxFile

    with OnnxFile(path) as file:
        return {name: file.copy(name) for name in file}
