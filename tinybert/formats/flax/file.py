"""``flax_model.msgpack``, the weights of transformers' Flax classes, under PyTorch's names.

A file is one MessagePack map of maps; its leaves are arrays, each an extension of type 1 that
holds [shape, name of the dtype, bytes]; arrays over a gigabyte are stored in chunks. Opening reads
only shapes, dtypes and positions; neither flax nor msgpack is needed.

Format: flax/serialization.py; names as in transformers 4.37, ``modeling_flax_pytorch_utils.py``.
"""

import mmap
import os
from collections.abc import Iterator, Sequence
from typing import Any

from tinybert.files import open_regular
from tinybert.formats.flax.messagepack import BytePosition, parse
from tinybert.formats.spans import Piece, Span, SpanReader, kernel_is_transposed
from tinybert.weights.dtypes import FORMATS
from tinybert.weights.errors import CheckpointError

_ARRAY, _SCALAR = 1, 3  # extension types; 2 is a Python complex number
_CHUNKED = "__msgpack_chunked_array__"
_NUMPY_NAMES = {
    str(fmt.array): name for name, fmt in FORMATS.items() if fmt.widen is None and not fmt.packed
} | {
    "bool": "BOOL", "bfloat16": "BF16", "float8_e5m2": "F8_E5M2", "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2fnuz": "F8_E5M2FNUZ", "float8_e4m3fnuz": "F8_E4M3FNUZ",
}  # fmt: skip


class FlaxFile(SpanReader):
    """One ``flax_model.msgpack``; a tensor is read on access.

    Names and shapes are those of the PyTorch model: dense kernels are transposed, scales and
    embeddings are weights, ``layer/0`` is ``layer.0``. Raises CheckpointError for a malformed file
    and for leaves that are not arrays.
    """

    format = "Flax"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        name = os.fspath(path)
        file = open_regular(path, CheckpointError)
        try:
            super().__init__(name, [file], _spans(name, file.fileno()))
        except BaseException:
            file.close()
            raise


def _spans(path: str, descriptor: int) -> dict[str, Span]:
    size = os.fstat(descriptor).st_size
    if size == 0:
        raise CheckpointError(path, "is empty: the download or copy failed; download it again")
    spans: dict[str, Span] = {}
    try:
        with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as buffer:
            tree = parse(buffer, 0, size)
            if not isinstance(tree, dict):
                raise ValueError("is not a Flax file: it does not contain a map")
            if set(tree) == {"params"} and isinstance(tree["params"], dict):
                tree = tree["params"]
            for keys, leaf in _leaves(tree, ()):
                name, span = _tensor(buffer, path, keys, leaf)
                if name in spans:
                    raise ValueError(f"two arrays would be {name!r:.120}")
                spans[name] = span
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(path, str(error)) from None
    return spans


def _leaves(tree: dict[str, Any], above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        if isinstance(value, dict) and _CHUNKED not in value:
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value


def _tensor(buffer: Any, path: str, keys: tuple[str, ...], leaf: Any) -> tuple[str, Span]:
    try:
        span = _joined(buffer, leaf) if isinstance(leaf, dict) else _array(buffer, leaf)
    except ValueError as error:
        raise ValueError(f"leaf {'/'.join(keys)!r:.120}: {error}") from None
    if keys[-1] == "kernel" and kernel_is_transposed(path, "/".join(keys), span.shape):
        span = Span(span.dtype, span.shape, span.pieces, transposed=True)
    return torch_name(keys), span


def torch_name(keys: Sequence[str]) -> str:
    """Return the PyTorch name of a Flax array; kernels, embeddings and scales are weights."""
    last = "weight" if keys[-1] in ("kernel", "embedding", "scale") else keys[-1]
    return ".".join([*keys[:-1], last])


def _array(buffer: Any, leaf: Any) -> Span:
    if not isinstance(leaf, BytePosition) or leaf.kind not in (_ARRAY, _SCALAR):
        raise ValueError(f"is not an array: {leaf!r:.80}")
    content = parse(buffer, leaf.begin, leaf.end)
    if not isinstance(content, list) or len(content) != 3:
        raise ValueError("an array must be [shape, dtype, bytes]")
    shape, dtype, data = content
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"shape must be a list of sizes, not {shape!r:.80}")
    if not isinstance(dtype, str) or dtype not in _NUMPY_NAMES:
        raise ValueError(f"dtype {dtype!r:.40} is not supported")
    if not isinstance(data, BytePosition) or data.kind is not None:
        raise ValueError("an array's data must be bytes")
    piece = Piece(0, data.begin, data.end - data.begin)
    return Span(_NUMPY_NAMES[dtype], tuple(shape), (piece,))


def _joined(buffer: Any, leaf: dict[str, Any]) -> Span:
    """Return an array that was saved as consecutive flat chunks."""
    shape = _listed(leaf.get("shape"))
    chunks = [_array(buffer, chunk) for chunk in _listed(leaf.get("chunks"))]
    if not chunks or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("a chunked array must have a shape and chunks")
    if len({chunk.dtype for chunk in chunks}) != 1:
        raise ValueError("the chunks of an array differ in dtype")
    pieces = tuple(piece for chunk in chunks for piece in chunk.pieces)
    return Span(chunks[0].dtype, tuple(shape), pieces)


def _listed(members: Any) -> list[Any]:
    """Return the values of ``{"0": ..., "1": ...}`` in order; Flax writes a tuple in this form."""
    if not isinstance(members, dict) or set(members) != {str(i) for i in range(len(members))}:
        raise ValueError("a chunked array must number its sizes and chunks from 0")
    return [members[str(i)] for i in range(len(members))]
