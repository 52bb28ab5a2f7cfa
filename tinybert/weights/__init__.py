"""Weights on disk: safetensors files and model folders, as NumPy arrays.

The package does not know tensors or models. Readers of other kinds of files
register themselves, see `reader.register_format`.
"""

from tinybert.atomic import atomic_write
from tinybert.weights import quantized as _quantized  # registers itself
from tinybert.weights.errors import CheckpointError
from tinybert.weights.folder import load_checkpoint, open_checkpoint, save_sharded
from tinybert.weights.safetensors import SafetensorsFile, load_file, save_file

__all__ = [
    "CheckpointError",
    "SafetensorsFile",
    "atomic_write",
    "load_checkpoint",
    "load_file",
    "open_checkpoint",
    "save_file",
    "save_sharded",
]
