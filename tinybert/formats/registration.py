"""The kinds of files that `tinybert.formats` reads, registered with `tinybert.weights`.

Each is recognized by its content, not by its name. A reader's module is imported when a file of its
kind is opened: `import tinybert` stays fast, and a missing extra (h5py) is an error only for the
files that need it.
"""

from pathlib import Path
from typing import Any

from tinybert.doctor import diagnose
from tinybert.hub_cache import ADAPTER, find_bases
from tinybert.weights.reader import (
    FileFormat,
    TensorReader,
    register_description,
    register_format,
    translations,
)

_TABLE_MAGIC = bytes.fromhex("57fb808b247547db")  # the end of TensorFlow's .index files


def register() -> None:
    """Register every kind of file, in the order in which a folder with several is read."""
    for file_format in _FORMATS:
        register_format(file_format)
    find_bases.append(_find_bases)
    translations.update(dict.fromkeys(("tf", "flax"), _open_framework))
    register_description(diagnose)


def _find_bases(folder: Path) -> list[Path]:
    from tinybert.lora_config import bases

    return bases(folder)


def _open_framework(reader: TensorReader, path: Path) -> TensorReader:
    from tinybert.formats.frameworks import FrameworkCheckpoint

    return FrameworkCheckpoint(reader, path)


def _open_torch(path: Path) -> TensorReader:
    from tinybert.formats.torch.file import TorchFile, holds_megatron, read_torch

    if holds_megatron(path) or _is_megatron(read_torch(path)):
        from tinybert.formats.megatron.file import MegatronLMFile

        return MegatronLMFile(path)
    from tinybert.formats.nemo.files import with_folder_options

    return with_folder_options(TorchFile(path))


def _is_megatron(content: Any) -> bool:
    model = content.get("model") if isinstance(content, dict) else None
    return isinstance(model, dict) and isinstance(model.get("language_model"), dict)


def _open_hdf5(path: Path) -> TensorReader:
    from tinybert.formats.tensorflow.h5 import TensorFlowH5File

    return TensorFlowH5File(path)


def _open_table(path: Path) -> TensorReader:
    from tinybert.formats.tensorflow.bundle import TensorFlow1Checkpoint

    return TensorFlow1Checkpoint(path)


def _open_tar(path: Path) -> TensorReader:
    from tinybert.formats.nemo.files import open_archive

    return open_archive(path)


def _open_ranks(path: Path) -> TensorReader:
    from tinybert.formats.nemo.files import open_folder

    return open_folder(path)


def _open_messagepack(path: Path) -> TensorReader:
    from tinybert.formats.flax.file import FlaxFile

    return FlaxFile(path)


def _open_adapter(path: Path) -> TensorReader:
    from tinybert.formats.peft import AdaptedCheckpoint

    return AdaptedCheckpoint(path)


def _open_onnx(path: Path) -> TensorReader:
    from tinybert.formats.onnx.file import OnnxFile

    return OnnxFile(path)


def _is_torch(path: Path, first: bytes, last: bytes) -> bool:
    return first.startswith((b"PK\3\4", b"\x80\2", b"\x80\3", b"\x80\4", b"\x80\5"))


def _is_hdf5(path: Path, first: bytes, last: bytes) -> bool:
    return path.name.endswith(".h5.index.json") or first.startswith(b"\x89HDF\r\n\x1a\n")


def _is_tar(path: Path, first: bytes, last: bytes) -> bool:
    return first[257:262] == b"ustar"


def _is_split_nemo(path: Path, first: bytes, last: bytes) -> bool:
    """Return whether it is a folder with NeMo's files for each rank, or in distributed form."""
    patterns = "[mt]p_rank_*/model_weights.ckpt", "common.pt", "*weights/common.pt"
    return path.is_dir() and any(any(path.glob(pattern)) for pattern in patterns)


def _is_adapter(path: Path, first: bytes, last: bytes) -> bool:
    return path.is_dir() and (path / ADAPTER).is_file()


def _is_table(path: Path, first: bytes, last: bytes) -> bool:
    """Return whether it is an .index file, the prefix of a checkpoint's files, or a folder."""
    if path.is_dir():
        return any(path.glob("*.index"))
    is_prefix = not path.exists() and path.with_name(f"{path.name}.index").exists()
    return is_prefix or last == _TABLE_MAGIC


def _is_messagepack(path: Path, first: bytes, last: bytes) -> bool:
    """Return whether it is a map of 1 to 15 entries, or with a two- or four-byte count, whose first
    key is text."""
    key = first[{0xDE: 3, 0xDF: 5}.get(first[0], 1) :][:1] if first else b""
    is_map = first[:1] in (b"\xde", b"\xdf") or b"\x81" <= first[:1] <= b"\x8f"
    return is_map and (b"\xa0" <= key <= b"\xbf" or key in (b"\xd9", b"\xda"))


def _is_onnx(path: Path, first: bytes, last: bytes) -> bool:
    """Return whether it is a message with the version of ONNX's format (field 1, a number), then
    another field of a model: producer, domain, graph, operators, ... A damaged file is one by its
    name, unless it is of another kind.
    """
    version, field = first[1:2], first[2:3]
    known = field != b"" and field in b"\x12\x1a\x22\x28\x32\x3aB"
    if first[:1] == b"\x08" and b"\x00" < version < b"\x20" and known:
        return True
    return path.suffix == ".onnx" and first[8:9] != b"{" and not diagnose(first, len(first))


_FORMATS = (
    FileFormat((), _is_adapter, _open_adapter),
    FileFormat(("pytorch_model.bin", "pytorch_model.bin.index.json"), _is_torch, _open_torch),
    FileFormat(("tf_model.h5", "tf_model.h5.index.json"), _is_hdf5, _open_hdf5),
    FileFormat(("model.ckpt.index", "bert_model.ckpt.index"), _is_table, _open_table),
    FileFormat(("flax_model.msgpack",), _is_messagepack, _open_messagepack),
    FileFormat(
        ("model_optim_rng.pt", "release/mp_rank_00/model_optim_rng.pt", "model_weights.ckpt"),
        _is_tar,
        _open_tar,
    ),
    FileFormat((), _is_split_nemo, _open_ranks),
    FileFormat(("model.onnx", "onnx/model.onnx"), _is_onnx, _open_onnx),
)
