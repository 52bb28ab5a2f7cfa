"""The package onnx, imported where an ONNX file is read or written."""

from __future__ import annotations

from typing import Any


def onnx_library() -> Any:
    """Return the module onnx. Raises ImportError with the command that installs it."""
    try:
        import onnx
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise ImportError(
            'an ONNX file needs the package onnx: pip install "tinybert[onnx]"'
        ) from error
    return onnx
