"""A reader for TensorFlow checkpoints, ``bert_model.ckpt.index`` and its ``.data`` files, without
TensorFlow, under PyTorch's names.

The index is a table (see ``sstable.py``) from names to messages with the position of each variable;
the data files are the bare arrays. Two families of names are known: Google's original BERT
(TensorFlow 1) and the encoder of the TensorFlow 2 Model Garden.

Format: tensorflow/core/protobuf/tensor_bundle.proto, and protobuf's encoding guide.
"""

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinybert.files import open_regular, read_regular
from tinybert.formats.spans import (
    Piece,
    Span,
    SpanReader,
    kernel_is_transposed,
)
from tinybert.formats.tensorflow.crc32c import crc32c, masked
from tinybert.formats.tensorflow.names import (
    is_ignored,
    is_kernel,
    is_object,
    tf1_name,
    tf2_name,
    tf2_shape,
)
from tinybert.formats.tensorflow.sstable import read_table, varint
from tinybert.weights.errors import CheckpointError
from tinybert.weights.reader import MAX_INDEX

_MAX_VARIABLES = 100_000
_MAX_SHARDS = 100_000  # the file names have five digits
_BLOCK = 1 << 22  # bytes for which the checksum is computed at a time

# tensorflow/core/framework/types.proto; strings (7) and quantised numbers are not supported.
_DTYPES = {
    1: "F32", 2: "F64", 3: "I32", 4: "U8", 5: "I16", 6: "I8", 8: "C64", 9: "I64", 10: "BOOL",
    14: "BF16", 17: "U16", 19: "F16", 22: "U32", 23: "U64",
}  # fmt: skip


@dataclass(frozen=True)
class _Entry:
    """The position of a variable, from the index (BundleEntryProto)."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    sliced: bool


class TensorFlow1Checkpoint(SpanReader):
    """The model's variables in a checkpoint of TensorFlow, under Hugging Face's PyTorch names.

    Dense kernels are transposed. Variables of training (Adam's moments, ``global_step``) are left
    out; ``ignored`` has their names. Google's BERT (TensorFlow 1) has the names of
    BertForPreTraining or of a fine-tuned head, a Model Garden encoder (TensorFlow 2) of BertModel.
    Each tensor's checksum is verified when it is first read, at about 300 MB a second.

    Parameters
    ----------
    path : the ``.index`` file, its path without that ending, or a folder with one checkpoint (of
        several, the one that TensorFlow's ``checkpoint`` file names).

    Raises CheckpointError for a malformed, incomplete or foreign checkpoint.
    """

    format = "TensorFlow checkpoint"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        prefix = _find(Path(path))
        index = f"{prefix}.index"
        try:
            shards, entries = _parse(index)
            self.ignored = tuple(name for name in entries if is_ignored(name))
            kept = {name: entry for name, entry in entries.items() if not is_ignored(name)}
            used = sorted({entry.shard for entry in kept.values()})
            spans, self._checksums = _spans(index, kept, {shard: i for i, shard in enumerate(used)})
        except CheckpointError:
            raise
        except ValueError as error:
            raise CheckpointError(index, str(error)) from None
        self._verified: set[str] = set()
        with ExitStack() as opened:
            files = []
            for shard in used:
                if shard >= shards:
                    raise CheckpointError(index, f"has a variable in data file {shard} of {shards}")
                data = f"{prefix}.data-{shard:05d}-of-{shards:05d}"
                if not os.path.exists(data):
                    raise CheckpointError(
                        data, "is missing, but the index refers to it; download it too"
                    )
                files.append(opened.enter_context(open_regular(data, CheckpointError)))
            super().__init__(index, files, spans)
            opened.pop_all()

    def __getitem__(self, name: str) -> np.ndarray:
        self._verify(name)
        return super().__getitem__(name)

    def read_into(self, name: str, out: np.ndarray) -> None:
        """Fill ``out`` with a tensor, cast to its dtype; see ``TensorReader.read_into``."""
        self._verify(name)
        super().read_into(name, out)

    def _verify(self, name: str) -> None:
        span = self._span(name)
        if name in self._verified:
            return
        checksum = 0
        for begin in range(0, span.nbytes, _BLOCK):
            block = np.empty(min(_BLOCK, span.nbytes - begin), np.uint8)
            self._read(span, begin, block)
            checksum = crc32c(block, checksum)
        if masked(checksum) != self._checksums[name]:
            raise CheckpointError(
                self.path,
                f"the checksum of tensor {name!r:.120} is wrong; download the data files again",
            )
        self._verified.add(name)


def _find(path: Path) -> str:
    """Return the common prefix of the paths of a checkpoint's files."""
    if not path.is_dir():
        return str(path).removesuffix(".index")
    found = sorted(file.name.removesuffix(".index") for file in path.glob("*.index"))
    state = path / "checkpoint"
    if len(found) > 1 and state.exists():
        with open_regular(state, CheckpointError) as file:
            text = file.read(4096).decode("utf-8", errors="replace")
        named = re.match(r'model_checkpoint_path: "([^"/\\]+)"', text)
        found = [name for name in found if named is None or name == named[1]]
    if len(found) != 1:
        listed = ", ".join(found[:5]) or "none"
        raise CheckpointError(path, f"must have one TensorFlow checkpoint (.index), has {listed}")
    return str(path / found[0])


def _parse(index: str) -> tuple[int, dict[str, _Entry]]:
    """Return the number of data files, and every variable's entry by name."""
    table = read_table(read_regular(index, MAX_INDEX, CheckpointError))
    key, header = next(table, (b"", None))
    if key or header is None:
        raise ValueError(
            "is a table, but not that of a checkpoint: it does not begin with a header"
        )
    fields = dict(_fields(header))
    shards = fields.get(1, 0)
    if fields.get(2, 0):
        raise ValueError("was written on a big-endian machine, which is not supported")
    if not isinstance(shards, int) or not 0 < shards <= _MAX_SHARDS:
        raise ValueError(f"bad header: {shards!r} data files")
    entries = {}
    for key, value in table:
        entries[key.decode("utf-8")] = _entry(value)
        if len(entries) > _MAX_VARIABLES:
            raise ValueError(f"has over {_MAX_VARIABLES} variables")
    return shards, entries


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield (number, value) for each field of a protobuf message; nested messages stay bytes."""
    at = 0
    while at < len(raw):
        tag, at = varint(raw, at)
        kind = tag & 7
        value: int | bytes
        if kind == 0:
            value, at = varint(raw, at)
        elif kind == 2:
            size, at = varint(raw, at)
            value, at = raw[at : at + size], at + size
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value, at = int.from_bytes(raw[at : at + size], "little"), at + size
        else:
            raise ValueError(f"bad message: wire type {kind}")
        if at > len(raw):
            raise ValueError("bad message: a field is cut off")
        yield tag >> 3, value


def _entry(raw: bytes) -> _Entry:
    numbers = {1: 0, 3: 0, 4: 0, 5: 0, 6: 0}
    shape: tuple[int, ...] = ()
    sliced = False
    for field, value in _fields(raw):
        if field in numbers and isinstance(value, int):
            numbers[field] = value
        elif field == 2 and isinstance(value, bytes):
            shape = tuple(_dimension(axis) for n, axis in _fields(value) if n == 2)
        elif field == 7:
            sliced = True
        else:
            raise ValueError(f"bad entry: field {field}")
    return _Entry(numbers[1], shape, numbers[3], numbers[4], numbers[5], numbers[6], sliced)


def _dimension(raw: int | bytes) -> int:
    size = dict(_fields(raw)).get(1, 0) if isinstance(raw, bytes) else -1
    if not isinstance(size, int) or not 0 <= size < 1 << 63:
        raise ValueError("bad entry: an axis without a size")
    return size


def _spans(
    index: str, entries: dict[str, _Entry], files: dict[int, int]
) -> tuple[dict[str, Span], dict[str, int]]:
    """Return spans and checksums by PyTorch name."""
    objects = any(is_object(name) for name in entries)
    spans: dict[str, Span] = {}
    checksums = {}
    for variable, entry in entries.items():
        if entry.sliced:
            raise ValueError(
                f"variable {variable!r:.120} is stored in slices, which are not supported"
            )
        if entry.dtype not in _DTYPES:
            raise ValueError(
                f"variable {variable!r:.120} has type {entry.dtype}, which is not supported"
            )
        shape = tf2_shape(variable, entry.shape) if objects else entry.shape
        name = tf2_name(variable) if objects else tf1_name(variable)
        if name in spans:
            raise ValueError(f"two variables would be {name!r:.120}, one is {variable!r:.120}")
        transposed = is_kernel(variable) and kernel_is_transposed(index, variable, shape)
        piece = Piece(files[entry.shard], entry.offset, entry.size)
        spans[name] = Span(_DTYPES[entry.dtype], shape, (piece,), transposed)
        checksums[name] = entry.checksum
    return spans, checksums
