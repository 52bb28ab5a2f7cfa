"""The files of a NeMo model: `model_weights.ckpt` and `model_config.yaml`, in one folder or in
NeMo's tar archive (`.nemo`).

The archive is not unpacked: its members are contiguous, and are read in place.
"""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

from tinybert.files import open_regular
from tinybert.formats.nemo.checkpoint import NemoCheckpoint, is_nemo
from tinybert.formats.nemo.yaml_options import read_options
from tinybert.formats.torch.bytes import FileBytes
from tinybert.formats.torch.file import TorchFile
from tinybert.weights.errors import CheckpointError
from tinybert.weights.reader import TensorReader

WEIGHTS = "model_weights.ckpt"
OPTIONS = "model_config.yaml"
MAX_OPTIONS = 1 << 17  # bytes; a normal file has a few thousand
MAX_MEMBERS = 10_000


def with_folder_options(file: TorchFile) -> TensorReader:
    """Return the Nemotron if the file has NeMo's names and its options are in the same folder,
    else the reader of the file itself.
    """
    options = Path(file.path).with_name(OPTIONS)
    if not is_nemo(file) or not options.exists():
        return file
    with open_regular(options, CheckpointError) as opened:
        return _nemotron(file, str(options), opened.read(MAX_OPTIONS + 1))


def open_archive(path: Path) -> TensorReader:
    """Return the Nemotron in a `.nemo` file. Raises CheckpointError for other tar archives."""
    try:
        with tarfile.open(path, "r:") as archive:
            members = _members(archive)
    except (tarfile.TarError, ValueError, OverflowError, EOFError, RecursionError) as error:
        raise CheckpointError(path, f"is a damaged tar archive: {error}") from error
    if set(members) != {WEIGHTS, OPTIONS}:
        raise CheckpointError(
            path,
            f"is a tar archive without NeMo's {WEIGHTS} and {OPTIONS}. If NeMo split the model "
            "over devices, merge it with NeMo first; if PyTorch before 0.1.10 "
            "saved it, open it with torch.load and save it again",
        )
    weights, options = (
        FileBytes(path, begin=m.offset_data, size=m.size, name=name)
        for name, m in sorted(members.items(), reverse=True)
    )
    try:
        text = options.read(0, min(options.size, MAX_OPTIONS + 1))
    finally:
        options.close()
    file = TorchFile(weights.path, weights)
    if not is_nemo(file):
        file.close()
        raise CheckpointError(
            weights.path, "does not have the tensor names of a Megatron-core decoder"
        )
    return _nemotron(file, options.path, text)


def _members(archive: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    """Return the two files, in any folder; names are compared, never used as paths."""
    found: dict[str, tarfile.TarInfo] = {}
    for count, member in enumerate(archive):
        name = member.name.removeprefix("./")
        if name in (WEIGHTS, OPTIONS) and member.isreg() and not member.issparse():
            if name in found:
                raise ValueError(f"it has {name} twice")
            found[name] = member
        if count >= MAX_MEMBERS:
            raise ValueError(f"it has more than {MAX_MEMBERS} members")
    return found


def _nemotron(file: TorchFile, name: str, text: bytes) -> NemoCheckpoint:
    """Return the Nemotron; `name`, `text`: of the options. An error closes the file."""
    try:
        options = _parsed(name, text)
        return NemoCheckpoint(file, options)
    except BaseException as error:
        file.close()
        if isinstance(error, ValueError) and not isinstance(error, CheckpointError):
            raise CheckpointError(file.path, f"{error} ({name})") from None
        raise


def _parsed(name: str, text: bytes) -> dict[str, Any]:
    if len(text) > MAX_OPTIONS:
        raise CheckpointError(name, f"has over {MAX_OPTIONS} bytes, the limit for options")
    try:
        return read_options(text.decode())
    except ImportError:
        raise ImportError(
            f'{name}: NeMo\'s options need yaml: pip install "tinybert[nemo]"'
        ) from None
    except ValueError as error:
        raise CheckpointError(name, str(error)) from error
