"""The files of a NeMo model: `model_weights.ckpt` and `model_config.yaml`, in one folder or in
NeMo's tar archive (`.nemo`). A model that was split over devices has the weights of each rank in a
folder, see `ranks.py`.

The archive is not unpacked: its members are contiguous, and are read in place.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tinybert.files import open_regular
from tinybert.formats.nemo.checkpoint import NemoCheckpoint, is_nemo
from tinybert.formats.nemo.ranks import TIED, SplitCheckpoint, rank_of, stages_of
from tinybert.formats.nemo.yaml_options import read_options
from tinybert.formats.torch.bytes import FileBytes
from tinybert.formats.torch.file import TorchFile
from tinybert.weights.errors import CheckpointError
from tinybert.weights.reader import TensorReader

WEIGHTS = "model_weights.ckpt"
OPTIONS = "model_config.yaml"
MAX_OPTIONS = 1 << 17  # bytes; a normal file has a few thousand
MAX_MEMBERS = 10_000
DISTRIBUTED = (
    "is a distributed checkpoint (torch_dist or zarr), which is not supported: load it with NeMo "
    f"and save model.state_dict() with torch.save as {WEIGHTS}, in a folder with its {OPTIONS}"
)
File = TypeVar("File", TorchFile, SplitCheckpoint)


def with_folder_options(file: TorchFile) -> TensorReader:
    """Return the Nemotron if the file has NeMo's names and its options are in the same folder, or
    the whole Nemotron if the file is one rank of it; else the reader of the file itself.
    """
    path = Path(file.path)
    options = path.with_name(OPTIONS)
    folder = path.absolute().parent
    if path.name == WEIGHTS and rank_of(folder.name) and (folder.parent / OPTIONS).exists():
        file.close()
        return open_folder(folder.parent)
    if not is_nemo(file) or not options.exists():
        return file
    return _nemotron(file, str(options), _text(options))


def open_folder(folder: Path) -> TensorReader:
    """Return the Nemotron in a folder with the weights of each rank in a folder of its own.

    Raises CheckpointError for a distributed checkpoint.
    """
    ranks = [each.name for each in folder.iterdir() if rank_of(each.name)]
    files = {
        rank: partial(TorchFile, folder / rank / WEIGHTS)
        for rank in ranks
        if (folder / rank / WEIGHTS).exists()
    }
    if not files:
        raise CheckpointError(folder, DISTRIBUTED)
    options = folder / OPTIONS
    if not options.exists():
        raise CheckpointError(
            folder, f"has a NeMo model that was split over devices, and needs its {OPTIONS}"
        )
    return _joined(str(folder), files, str(options), _text(options))


def open_archive(path: Path) -> TensorReader:
    """Return the Nemotron in a `.nemo` file. Raises CheckpointError for other tar archives."""
    try:
        with tarfile.open(path, "r:") as archive:
            members = _members(archive)
    except (tarfile.TarError, ValueError, OverflowError, EOFError, RecursionError) as error:
        raise CheckpointError(path, f"is a damaged tar archive: {error}") from error
    if "" in members:
        raise CheckpointError(path, DISTRIBUTED)
    ranks = members.keys() - {WEIGHTS, OPTIONS}
    if OPTIONS not in members or (WEIGHTS in members) == bool(ranks):
        raise CheckpointError(
            path,
            f"is a tar archive without NeMo's {OPTIONS} and {WEIGHTS} (one, or one for each rank "
            "in folders like mp_rank_00). If PyTorch before 0.1.10 saved it, open it with "
            "torch.load and save it again",
        )

    def member(name: str) -> FileBytes:
        found = members[name]
        return FileBytes(path, begin=found.offset_data, size=found.size, name=name)

    def weights(name: str) -> TorchFile:
        file = member(name)
        return TorchFile(file.path, file)

    options = member(OPTIONS)
    try:
        text = options.read(0, min(options.size, MAX_OPTIONS + 1))
    finally:
        options.close()
    if not ranks:
        return _nemotron(_decoder(weights(WEIGHTS)), options.path, text)
    files = {name.partition("/")[0]: partial(weights, name) for name in ranks}
    return _joined(str(path), files, options.path, text)


def _members(archive: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    """Return the files of NeMo, in any folder; names are compared, never used as paths.

    Of a distributed checkpoint one member is returned, with the name "".
    """
    found: dict[str, tarfile.TarInfo] = {}
    for count, member in enumerate(archive):
        name = member.name.removeprefix("./")
        if name.startswith("model_weights/"):
            return {"": member}
        folder, _, file = name.rpartition("/")
        known = name in (WEIGHTS, OPTIONS) or (file == WEIGHTS and rank_of(folder))
        if known and member.isreg() and not member.issparse():
            if name in found:
                raise ValueError(f"it has {name} twice")
            found[name] = member
        if count >= MAX_MEMBERS:
            raise ValueError(f"it has more than {MAX_MEMBERS} members")
    return found


def _text(options: Path) -> bytes:
    with open_regular(options, CheckpointError) as opened:
        return opened.read(MAX_OPTIONS + 1)


def _joined(
    path: str, files: Mapping[str, Callable[[], TorchFile]], name: str, text: bytes
) -> NemoCheckpoint:
    """Return the Nemotron of all ranks. files: the folder of a rank -> opens its weights."""
    options = _parsed(name, text)
    with ExitStack() as opened, _naming(path, name):
        stages = [
            [opened.enter_context(files[folder]()) for folder in stage]
            for stage in stages_of(files, options)
        ]
        joined = _decoder(SplitCheckpoint(path, stages, options.get(TIED) is True))
        model = NemoCheckpoint(joined, options)
        opened.pop_all()
    return model


def _decoder(file: File) -> File:
    if not is_nemo(file):
        file.close()
        raise CheckpointError(
            file.path, "does not have the tensor names of a Megatron-core decoder"
        )
    return file


def _nemotron(file: TorchFile, name: str, text: bytes) -> NemoCheckpoint:
    """Return the Nemotron; `name`, `text`: of the options. An error closes the file."""
    with ExitStack() as opened, _naming(file.path, name):
        opened.enter_context(file)
        model = NemoCheckpoint(file, _parsed(name, text))
        opened.pop_all()
    return model


@contextmanager
def _naming(path: str, options: str) -> Iterator[None]:
    """Let a ValueError name the weights and the options, which do not match each other."""
    try:
        yield
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(path, f"{error} ({options})") from None


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
