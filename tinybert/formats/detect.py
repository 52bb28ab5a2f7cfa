"""Which reader a file needs, told from its content; its name may say anything.

A reader's module is imported when its format turns up, so that a missing extra (h5py)
troubles only those who need it.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinybert.formats.doctor import PREVIEW
from tinybert.formats.torch.file import TorchFile, holds_megatron, read_torch
from tinybert.weights.errors import CheckpointError
from tinybert.weights.header import MAX_HEADER
from tinybert.weights.reader import TensorReader
from tinybert.weights.safetensors import SafetensorsFile

_TABLE_MAGIC = bytes.fromhex("57fb808b247547db")  # the end of TensorFlow's .index files


def open_file(path: str | os.PathLike[str]) -> TensorReader:
    """The reader over one file of weights.

    A TensorFlow checkpoint is opened by its ``.index`` file, by the path that its files have in
    common or by their folder; several ``.h5`` files by their index.

    Raises FileNotFoundError when there is no such file, CheckpointError when it is malformed or of
    no known format, ImportError with the command to install what its format needs.
    """
    path = Path(path)
    if path.name.endswith(".h5.index.json"):
        return _tensorflow_h5(path)
    index = path.with_name(f"{path.name}.index")
    if path.is_dir() or (index.exists() and not path.exists()):
        return _tensorflow1(path)
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for a writer
        raise CheckpointError(path, "is not a regular file")
    with open(path, "rb") as file:
        first = file.read(PREVIEW)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - len(_TABLE_MAGIC)))
        last = file.read()
    for matches, open_it in _READERS:
        if matches(first, last):
            return open_it(path)
    return SafetensorsFile(path)  # which says what it is instead


def _safetensors(path: Path) -> TensorReader:
    return SafetensorsFile(path)


def _torch(path: Path) -> TensorReader:
    if not _is_megatron(path):
        from tinybert.formats.nemo.files import with_options_beside

        return with_options_beside(TorchFile(path))
    from tinybert.formats.megatron.file import MegatronLMFile

    return MegatronLMFile(path)


def _is_megatron(path: Path) -> bool:
    if holds_megatron(path):
        return True
    content: Any = read_torch(path)
    model = content.get("model") if isinstance(content, dict) else None
    return isinstance(model, dict) and isinstance(model.get("language_model"), dict)


def _tensorflow_h5(path: Path) -> TensorReader:
    from tinybert.formats.tensorflow.h5 import TensorFlowH5File

    return TensorFlowH5File(path)


def _tensorflow1(path: Path) -> TensorReader:
    from tinybert.formats.tensorflow.bundle import TensorFlow1Checkpoint

    return TensorFlow1Checkpoint(path)


def _tar(path: Path) -> TensorReader:
    from tinybert.formats.nemo.files import open_archive

    return open_archive(path)


def _flax(path: Path) -> TensorReader:
    from tinybert.formats.flax.file import FlaxFile

    return FlaxFile(path)


def _is_safetensors(first: bytes, last: bytes) -> bool:
    return first[8:9] == b"{" and int.from_bytes(first[:8], "little") <= MAX_HEADER


def _is_torch(first: bytes, last: bytes) -> bool:
    return first.startswith((b"PK\3\4", b"\x80\2", b"\x80\3", b"\x80\4", b"\x80\5"))


def _is_hdf5(first: bytes, last: bytes) -> bool:
    return first.startswith(b"\x89HDF\r\n\x1a\n")


def _is_tar(first: bytes, last: bytes) -> bool:
    return first[257:262] == b"ustar"


def _is_table(first: bytes, last: bytes) -> bool:
    return last == _TABLE_MAGIC


def _is_messagepack(first: bytes, last: bytes) -> bool:
    """A map, of 1 to 15 entries or with a two- or four-byte count, whose first key is text."""
    key = first[{0xDE: 3, 0xDF: 5}.get(first[0], 1) :][:1] if first else b""
    is_map = first[:1] in (b"\xde", b"\xdf") or b"\x81" <= first[:1] <= b"\x8f"
    return is_map and (b"\xa0" <= key <= b"\xbf" or key in (b"\xd9", b"\xda"))


_READERS: tuple[tuple[Callable[[bytes, bytes], bool], Callable[[Path], TensorReader]], ...] = (
    (_is_safetensors, _safetensors),
    (_is_torch, _torch),
    (_is_hdf5, _tensorflow_h5),
    (_is_tar, _tar),
    (_is_table, _tensorflow1),
    (_is_messagepack, _flax),
)
