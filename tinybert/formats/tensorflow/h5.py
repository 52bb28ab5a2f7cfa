"""``tf_model.h5``, the weights of transformers' TensorFlow classes, under PyTorch's names.

HDF5's directory is read with h5py. The arrays are read without it: Keras stores each contiguously,
so its position and size are enough. Groups, links and names are checked; nothing outside the file
is opened.

Format: the HDF5 File Format Specification 3.0; names as in transformers 4.37,
``modeling_tf_pytorch_utils.py``.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from tinybert.files import open_regular, read_regular
from tinybert.formats.spans import (
    Piece,
    Span,
    SpanReader,
    kernel_is_transposed,
)
from tinybert.weights.dtypes import NATIVE_NAMES
from tinybert.weights.errors import CheckpointError
from tinybert.weights.reader import MAX_INDEX
from tinybert.weights.strict_json import parse_json

T = TypeVar("T")
SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MAX_DEPTH = 32  # nested groups; Keras writes about twelve levels
_MAX_OBJECTS = 100_000
_LAST = {"kernel": "weight", "gamma": "weight", "embeddings": "weight", "beta": "bias"}


class TensorFlowH5File(SpanReader):
    """One ``tf_model.h5``, or the shards that a ``tf_model.h5.index.json`` names.

    Names and shapes are those of the PyTorch model: dense kernels are transposed, a tied array
    that is stored under several layers has the first name only, and if all tensors belong to the
    base model, as in TFBertModel, its prefix ("bert.") is dropped. A tensor is read on access.

    Raises CheckpointError for a malformed file and for what Keras does not write: soft and
    external links, data outside the file, compressed or chunked data, types other than integers
    and floats. ImportError when h5py is missing.
    """

    format = "TensorFlow"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        name = os.fspath(path)
        sharded = name.endswith(".json")
        weight_map = _read_index(Path(name)) if sharded else {}
        shards = sorted(set(weight_map.values())) if sharded else [name]
        spans: dict[str, Span] = {}
        with ExitStack() as opened:
            files: list[BinaryIO] = []
            for shard in shards:
                files.append(opened.enter_context(_open(shard)))
                for stored, span in _datasets(shard, len(files) - 1):
                    # A shard has the variable's name without the model; a single file puts the
                    # layer's group and the model's name before it.
                    parts = stored.split("/")[0 if sharded else 2 :]
                    _add(spans, shard, parts or [stored], span)
            for variable, shard in weight_map.items():
                if torch_name(variable.split("/")[1:]) not in spans:
                    raise CheckpointError(
                        shard,
                        f"lacks {variable!r:.120}, which it has according to the index",
                    )
            super().__init__(name, files, without_base(spans))
            opened.pop_all()


def torch_name(parts: list[str]) -> str:
    """Return the PyTorch name of a Keras variable, given its name split at "/", without the model.

    ``mlm___cls`` is ``cls`` (the part before ``___`` distinguishes two layers that are one in
    PyTorch), ``layer_._0`` is ``layer.0``, and a kernel, gamma or embedding is a weight.
    """
    levels = "/".join(part.rpartition("___")[2] for part in parts).replace("_._", "/").split("/")
    levels[-1] = levels[-1].removesuffix(":0")
    levels[-1] = _LAST.get(levels[-1], levels[-1])
    return ".".join(level for level in levels if level)


def _add(spans: dict[str, Span], path: str, parts: list[str], span: Span) -> None:
    name = torch_name(parts)
    if parts[-1].removesuffix(":0") == "kernel" and kernel_is_transposed(path, name, span.shape):
        span = Span(span.dtype, span.shape, span.pieces, True, span.big_endian)
    if name in spans and spans[name].info != span.info:
        raise CheckpointError(
            path,
            f"has tensor {name!r:.120} twice, as {spans[name].info} and as {span.info}",
        )
    spans.setdefault(name, span)


def without_base(tensors: dict[str, T]) -> dict[str, T]:
    """Return a dict of tensors without the base model's prefix if all names have it, as PyTorch
    saves base models.
    """
    base = next(iter(tensors), "").partition(".")[0] + "."
    if f"{base}embeddings.word_embeddings.weight" not in tensors:
        return tensors
    if not all(name.startswith(base) for name in tensors):
        return tensors
    return {name.removeprefix(base): tensor for name, tensor in tensors.items()}


def _open(path: str) -> BinaryIO:
    file = open_regular(path, CheckpointError)
    if file.read(len(SIGNATURE)) != SIGNATURE:
        file.close()
        raise CheckpointError(path, "is not an HDF5 file: it does not begin with the signature")
    return file


def _read_index(index: Path) -> dict[str, str]:
    """Return the path of the shard of each variable in an index."""
    raw = read_regular(index, MAX_INDEX, CheckpointError)
    try:
        content: Any = parse_json(raw)
    except ValueError as error:
        raise CheckpointError(index, f"bad index: {error}") from None
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(index, "bad index: it must be a JSON object with a weight_map object")
    for shard in weight_map.values():
        if not isinstance(shard, str) or not shard.endswith(".h5") or set(shard) & set("/\\:\0"):
            raise CheckpointError(index, f"bad index: {shard!r:.80} is not a plain file name")
        if not (index.parent / shard).exists():
            raise CheckpointError(
                index.parent / shard,
                "is missing, but the index names it; download the whole folder again",
            )
    return {name: str(index.parent / shard) for name, shard in weight_map.items()}


def _datasets(path: str, file: int) -> list[tuple[str, Span]]:
    """Yield (name, span) of every dataset in an HDF5 file."""
    try:
        import h5py
    except ImportError:
        raise ImportError(
            f'{path}: TensorFlow .h5 files need h5py: pip install "tinybert[tf]"'
        ) from None
    try:
        with h5py.File(path, "r", locking=False) as root:
            found = []
            for name, dataset in _walk(h5py, root, path):
                found.append((name, _span(h5py, dataset, path, file)))
            return found
    except (CheckpointError, MemoryError):
        raise
    except Exception as error:  # h5py raises many types of exceptions
        raise CheckpointError(path, f"bad HDF5: {type(error).__name__}: {error}") from None


def _walk(h5py: Any, root: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield (full name, dataset) in the file's order; an object that occurs twice is an error."""

    def address(node: Any) -> int:
        return h5py.h5o.get_info(node.id).addr

    seen = {address(root)}
    pending = [("", root, 0)]
    while pending:
        prefix, group, depth = pending.pop()
        inner = []
        for key in group:
            name = f"{prefix}{key}"
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise CheckpointError(path, f"{name!r:.120} is a link, which is not supported")
            node = group[key]
            if address(node) in seen:
                raise CheckpointError(path, f"{name!r:.120} is an object that has another name")
            seen.add(address(node))
            if len(seen) > _MAX_OBJECTS:
                raise CheckpointError(path, f"has over {_MAX_OBJECTS} groups and arrays")
            if isinstance(node, h5py.Group):
                if depth == _MAX_DEPTH:
                    raise CheckpointError(path, f"groups are nested over {_MAX_DEPTH} deep")
                inner.append((f"{name}/", node, depth + 1))
            elif isinstance(node, h5py.Dataset):
                yield name, node
            else:
                raise CheckpointError(path, f"{name!r:.120} is neither group nor array")
        pending.extend(reversed(inner))


def _span(h5py: Any, dataset: Any, path: str, file: int) -> Span:
    name = dataset.name
    layout = dataset.id.get_create_plist()
    # Before the shape: to compute that of a virtual dataset, HDF5 opens the files that it names.
    if layout.get_layout() == h5py.h5d.VIRTUAL or layout.get_external_count():
        raise CheckpointError(
            path, f"{name!r:.120} has its data in another file, which is not supported"
        )
    dtype, shape = dataset.dtype, dataset.shape
    known = NATIVE_NAMES.get(dtype.newbyteorder("<").str) if dtype.kind in "fiu" else None
    # For a number format that NumPy lacks, such as bfloat16, h5py returns the nearest dtype.
    if known is None or not dataset.id.get_type().equal(h5py.h5t.py_create(dtype)):
        raise CheckpointError(path, f"{name!r:.120} has type {dtype}, which is not supported")
    if shape is None or layout.get_layout() != h5py.h5d.CONTIGUOUS:
        raise CheckpointError(
            path,
            f"{name!r:.120} is not stored contiguously, which is not supported; "
            "`h5repack -l CONTI -f NONE OLD NEW` makes arrays contiguous",
        )
    begin, size = dataset.id.get_offset(), dataset.id.get_storage_size()
    if begin is None:  # no data were written: an empty array, or an interrupted save
        begin = size = 0
    return Span(known, shape, (Piece(file, begin, size),), big_endian=dtype.byteorder == ">")
