"""Models as files for other run times: ONNX."""

from tinybert.export.model import export_onnx

__all__ = ["export_onnx"]
