"""PyTorch's own weight files (``pytorch_model.bin``, ``.pt``), read without PyTorch and without
running anything that they contain.

``read_torch`` gives the whole saved object; ``TorchFile`` is the reader over the named tensors of
a state dict. Both read only the pickle; the numbers are read on access.
"""

import os
import tempfile
from typing import Any

import numpy as np

from tinybert.doctor import diagnose
from tinybert.formats.torch.bytes import FileBytes
from tinybert.formats.torch.legacy import read_legacy
from tinybert.formats.torch.tensor import LazyTensor
from tinybert.formats.torch.zip import ZipArchive, read_zip
from tinybert.weights.errors import CheckpointError
from tinybert.weights.reader import PREVIEW, TensorInfo, TensorReader

_ZIP = b"PK\3\4"
_MEGATRON = "model_optim_rng.pt"  # what Megatron-LM calls its checkpoints, also in NVIDIA's zips
_WRAPPERS = ("state_dict", "model_state_dict", "model", "module")


def read_torch(path: str | os.PathLike[str]) -> Any:
    """Return the object in a PyTorch file: dicts (``OrderedDict`` too), lists, tuples, numbers,
    strings, with a ``LazyTensor`` for each tensor (or parameter) and a ``Record`` for each
    ``argparse.Namespace`` (its attributes in ``.state``).

    A zip file with one ``model_optim_rng.pt`` in it, as NVIDIA publishes Megatron-LM's checkpoints,
    is unpacked into a temporary file, and that is read.

    The file stays open as long as one of its tensors is in use. Raises CheckpointError for a
    malformed file and for one that refers to anything but weights.
    """
    return open_torch(path)[0]


def open_torch(path: str | os.PathLike[str]) -> tuple[Any, FileBytes]:
    """Return what ``read_torch`` does, and the file of the tensors, which the caller closes."""
    return _read(FileBytes(path))


def _read(file: FileBytes, inner: bool = False) -> tuple[Any, FileBytes]:
    try:
        first = file.read(0, min(PREVIEW, file.size))
        if first.startswith(b"\x80"):  # PROTO, the first opcode of a pickle
            return read_legacy(file), file
        if not first.startswith(_ZIP):
            fault = diagnose(first, file.size) or "is not a file that torch.save wrote"
            raise CheckpointError(file.path, fault)
        archive = ZipArchive(file)
        members = _megatron_members(archive)
        if len(members) != 1 or inner:  # one level only: a zip file can contain itself
            return read_zip(archive), file
        unpacked = _unpack(archive, members[0])
        file.close()
        return _read(unpacked, inner=True)
    except CheckpointError:
        file.close()
        raise
    except ValueError as error:
        file.close()
        raise CheckpointError(file.path, str(error)) from None


def holds_megatron(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is a zip file with at least one ``model_optim_rng.pt``."""
    return bool(megatron_members(path))


def megatron_members(path: str | os.PathLike[str]) -> list[str]:
    """Return the names of all ``model_optim_rng.pt`` in a zip file; none for other files."""
    file = FileBytes(path)
    try:
        is_zip = file.read(0, min(4, file.size)) == _ZIP
        return _megatron_members(ZipArchive(file)) if is_zip else []
    finally:
        file.close()


def _megatron_members(archive: ZipArchive) -> list[str]:
    return [name for name in archive.members if name.split("/")[-1] == _MEGATRON]


def _unpack(archive: ZipArchive, name: str) -> FileBytes:
    """Copy a member to an anonymous temporary file, which is deleted when it is closed."""
    unpacked = tempfile.TemporaryFile()  # noqa: SIM115 (closed by FileBytes)
    try:
        for part in archive.source(name).parts():
            unpacked.write(part)
        unpacked.flush()
    except BaseException:
        unpacked.close()
        raise
    return FileBytes(f"{archive.file.path}/{name}", unpacked)


class TorchFile(TensorReader):
    """The named tensors of one PyTorch file, in the order of its state dict; each is read on
    access.

    The state dict may be under ``"state_dict"``, ``"model_state_dict"``, ``"model"`` or
    ``"module"`` of the saved dict; values other than tensors are ignored. ``file[name]`` is a
    read-only array; bfloat16 and 8-bit floats are widened to float32, exactly. Tensors that share
    a storage have separate names. ``file`` is used instead of opening ``path``. Raises
    CheckpointError as ``read_torch`` does, and when there is no state dict, or more than one.
    """

    def __init__(self, path: str | os.PathLike[str], file: FileBytes | None = None) -> None:
        self.path = os.fspath(path)
        self.metadata = {}
        content, self._file = _read(file or FileBytes(path))
        try:
            zipped = self._file.read(0, min(4, self._file.size)) == _ZIP
            self.format = "PyTorch" if zipped else "PyTorch before 1.6"
            self._named = find_state_dict(content, self.path)
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file. Arrays that were returned stay valid."""
        self._file.close()

    def __getitem__(self, name: str) -> np.ndarray:
        return self._tensor(name).read()

    def info(self, name: str) -> TensorInfo:
        """Return format, shape and size in bytes of a tensor, without reading its data."""
        return self._tensor(name).info

    def read_into(self, name: str, out: np.ndarray) -> None:
        """Fill ``out`` with a tensor, cast to its dtype; see ``TensorReader.read_into``."""
        tensor = self._tensor(name)
        try:
            tensor.read_into(out)
        except CheckpointError:
            raise
        except (ValueError, TypeError) as error:
            raise type(error)(f"tensor {name!r}: {error}") from None

    def _tensor(self, name: str) -> LazyTensor:
        if name not in self._named:
            raise KeyError(f"{self.path} has no tensor {name!r}")
        return self._named[name]


def find_state_dict(value: Any, path: str) -> dict[str, LazyTensor]:
    """Return the tensors by name of a saved object, at the top or one level below."""
    if type(value) is not dict:
        raise CheckpointError(path, f"holds a {type(value).__name__}, not a dict of tensors")
    found = {"": value} | {key: value[key] for key in _WRAPPERS if type(value.get(key)) is dict}
    found = {
        key: tensors
        for key, each in found.items()
        if (tensors := {name: item for name, item in each.items() if type(item) is LazyTensor})
    }
    if len(found) > 1:
        where = ", ".join(repr(key) if key else "the top level" for key in found)
        raise CheckpointError(path, f"holds tensors by name more than once: {where}")
    if not found and value:
        keys = ", ".join(repr(key)[:40] for key in list(value)[:8])
        raise CheckpointError(path, f"has no named tensors, only {keys}")
    tensors = next(iter(found.values()), {})
    for name in tensors:
        if type(name) is not str:
            raise CheckpointError(path, f"must have strings as names of tensors, got {name!r}")
    return tensors
