"""Weight files to NumPy arrays and back; knows nothing of tensors or models."""

from tinybert.checkpoints.atomic import atomic_write
from tinybert.checkpoints.errors import CheckpointError
from tinybert.checkpoints.folder import load_checkpoint, open_checkpoint, save_sharded
from tinybert.checkpoints.safetensors import SafetensorsFile, load_file, save_file

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
