"""Quantised weights, widened to plain numbers when they are read.

A quantised layer stores codes ``weight`` (8-bit integers or floats) and ``weight_scale``, or
``weight_scale_inv``; both names mean a factor:

    W[i, j] = (codes[i, j] - zero_point[block]) * scale[block]

with one block for the whole matrix, for each row, for each group of columns in a row, or for each
tile of rows and columns. The scales of activations are not read: a model calculates with plain
numbers. The computation is in float32, which rounds once.

Layout: https://github.com/vllm-project/compressed-tensors (``int-quantized``, ``float-quantized``,
``naive-quantized``), and the ``fp8`` and ``fbgemm_fp8`` methods of transformers.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinybert.weights.errors import CheckpointError
from tinybert.weights.reader import TensorInfo, TensorReader, check_out, translations

SCALES = ("weight_scale", "weight_scale_inv")
ZERO_POINT = "weight_zero_point"
ACTIVATIONS = (
    "input_scale", "input_zero_point", "output_scale", "output_zero_point", "q_scale", "k_scale",
    "v_scale",
)  # fmt: skip
CONFIG_NAMES = {"quantization_config", "compression_config"}  # in config.json; the second is old
METHODS = ("compressed-tensors", "fp8", "fbgemm_fp8")
# What a layer of another kind has, and the kind.
OTHERS = {
    "qweight": "GPTQ or AWQ",
    "SCB": "bitsandbytes (8 bits)",
    "absmax": "bitsandbytes (4 bits)",
    "scales": "MLX, GPTQ or a similar library",
    "weight_packed": "compressed-tensors with several values in a byte",
}
_CHUNK = 1 << 18  # values widened at a time
_MAX_CONFIG = 16 << 20  # bytes


def check_method(options: Mapping[str, Any]) -> None:
    """Raise ValueError, naming the method, for a `quantization_config` that is not supported."""
    method = options.get("quant_method", METHODS[0])
    if method not in METHODS:
        raise ValueError(_refusal(str(method)[:40]))


def forget_quantization(config: dict[str, Any]) -> None:
    """Remove what a config says of quantised weights, which are read as plain numbers.

    Raises ValueError, naming the method, if it is not supported.
    """
    for name in CONFIG_NAMES:
        options = config.pop(name, None)
        if isinstance(options, Mapping):
            try:
                check_method(options)
            except ValueError as error:
                raise ValueError(f"{name}: the model {error}") from None


def _refusal(kind: str) -> str:
    return (
        f"is quantised with {kind}, which is not supported (only {', '.join(METHODS)}): load it "
        "with transformers, call dequantize() of the model, and save it"
    )


class _Scales(NamedTuple):
    """The tensors with the scales and zero points of a layer, and the size of a block."""

    scale: str
    zero_point: str | None
    block: tuple[int, int]


class QuantizedCheckpoint(TensorReader):
    """The plain numbers, in float32, of a reader's quantised weights, and its other tensors.

    Raises CheckpointError for methods and layouts that are not those of this file's docstring.
    """

    def __init__(self, reader: TensorReader, path: Path) -> None:
        self._reader, self._path = reader, path
        self.metadata, self.format = reader.metadata, f"{reader.format}, quantised"
        options = _quantization_config(path)
        try:
            check_method(options)
            self._check_kind()
            self._scales = dict(self._layers(list(_blocks(options))))
        except ValueError as error:
            raise CheckpointError(path, str(error)) from None
        used = {name for layer in self._scales.values() for name in layer[:2]}
        self._named = dict.fromkeys(
            name for name in reader if name not in used and _end(name) not in ACTIVATIONS
        )

    def _check_kind(self) -> None:
        known = {"weight", *SCALES, ZERO_POINT}
        for end in map(_end, self._reader):
            kind = OTHERS.get(end, f"tensors {end!r:.80}" if end.startswith("weight_") else None)
            if kind is not None and end not in known:
                raise ValueError(_refusal(kind))

    def _layers(self, blocks: list[tuple[int, int]]) -> Iterator[tuple[str, _Scales]]:
        for scale in self._reader:
            if _end(scale) not in SCALES:
                continue
            layer = scale[: -len(_end(scale))]
            weight, zero = f"{layer}weight", f"{layer}{ZERO_POINT}"
            if weight not in self._reader:
                raise ValueError(f"has {scale!r:.120}, but no {weight!r:.120}")
            self._check_dtypes(weight, scale, zero)
            block = _block(self._reader.info(weight).shape, self._reader.info(scale).shape, blocks)
            if block is None:
                raise ValueError(
                    f"{scale!r:.120} has shape {self._reader.info(scale).shape}, which does not "
                    f"belong to a weight of shape {self._reader.info(weight).shape}, or whose "
                    "block size the quantization_config in config.json does not say"
                )
            yield weight, _Scales(scale, zero if zero in self._reader else None, block)

    def _check_dtypes(self, weight: str, scale: str, zero: str) -> None:
        codes, factor = self._reader.info(weight), self._reader.info(scale)
        known = codes.dtype.startswith("F8_") or (codes.dtype == "I8" and _end(scale) == SCALES[0])
        if not known or not factor.dtype.startswith(("F", "BF")):
            raise ValueError(
                f"{weight!r:.120} is {codes.dtype} and {scale!r:.120} is {factor.dtype}, which is "
                "not supported: an int8 or float8 weight needs a scale of floats"
            )
        if zero in self._reader and self._reader.info(zero)[:2] != ("I8", factor.shape):
            raise ValueError(f"{zero!r:.120} must be int8, of the shape of the scale")

    def info(self, name: str) -> TensorInfo:
        """See ``TensorReader.info``; a quantised weight is F32."""
        info = self._reader.info(self._own(name))
        if name not in self._scales:
            return info
        return TensorInfo("F32", info.shape, 4 * math.prod(info.shape))

    def __getitem__(self, name: str) -> np.ndarray:
        if self._own(name) not in self._scales:
            return self._reader[name]
        out = np.empty(self.info(name).shape, np.float32)
        self.read_into(name, out)
        out.flags.writeable = False
        return out

    def read_into(self, name: str, out: np.ndarray) -> None:
        """See ``TensorReader.read_into``."""
        layer = self._scales.get(self._own(name))
        if layer is None:
            self._reader.read_into(name, out)
            return
        check_out(f"tensor {name!r}", self.info(name), out)
        if out.dtype != np.float32:
            np.copyto(out, self[name], casting="same_kind")
            return
        self._reader.read_into(name, out)
        height, width = layer.block
        scale = self._factors(layer.scale)
        zero = None if layer.zero_point is None else self._factors(layer.zero_point)
        step = max(1, _CHUNK // max(1, out.shape[1]))
        for first in range(0, len(out), step):
            rows = out[first : first + step]  # a view
            at = np.arange(first, first + len(rows)) // height
            if zero is not None:
                rows -= _wide(zero[at], width, out.shape[1])
            rows *= _wide(scale[at], width, out.shape[1])

    def mapped(self, name: str) -> np.ndarray | None:
        """See ``TensorReader.mapped``."""
        return None if self._own(name) in self._scales else self._reader.mapped(name)

    def stored(self, name: str) -> Any:
        """See ``TensorReader.stored``: a quantised weight is in memory, as numbers."""
        if self._own(name) in self._scales:
            return super().stored(name)
        return self._reader.stored(name)

    def _factors(self, name: str) -> np.ndarray:
        """Return scales or zero points as float32 (rows of blocks, columns of blocks)."""
        values = self._reader[name].astype(np.float32)
        return values if values.ndim == 2 else values.reshape(-1, 1)

    def _own(self, name: str) -> str:
        if name not in self._named:
            raise KeyError(f"{self._path} has no tensor {name!r}")
        return name

    def close(self) -> None:
        """Close the reader. Arrays that were returned stay valid."""
        self._reader.close()


def _end(name: str) -> str:
    return name.rpartition(".")[2]


def _wide(values: np.ndarray, width: int, columns: int) -> np.ndarray:
    """Return one value for each column, or one for all of them."""
    if values.shape[1] == 1:
        return values
    return np.repeat(values, width, axis=1)[:, :columns]


def _block(
    shape: tuple[int, ...], scale: tuple[int, ...], blocks: list[tuple[int, int]]
) -> tuple[int, int] | None:
    """Return the rows and columns of a block, from the shapes of a weight and its scale; None if
    they do not tell it, or do not fit.

    blocks: the sizes that the configuration names, needed for tiles of several rows.
    """
    if len(shape) != 2 or len(scale) > 2 or 0 in shape:
        return None
    rows, columns = shape
    if scale in ((), (1,), (1, 1)):
        return rows, columns
    if scale in ((rows,), (rows, 1)):
        return 1, columns
    if len(scale) != 2:
        return None
    if scale[0] == rows and scale[1] and columns % scale[1] == 0:
        return 1, columns // scale[1]
    for height, width in blocks:
        if scale == (-(-rows // height), -(-columns // width)):
            return height, width
    return None


def _blocks(options: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    """Yield the sizes of tiles that a `quantization_config` names."""
    groups = options.get("config_groups")
    schemes = groups.values() if isinstance(groups, Mapping) else ()
    weights = (scheme.get("weights") for scheme in schemes if isinstance(scheme, Mapping))
    found: list[Any] = [options.get("weight_block_size")]
    found += [args.get("block_structure") for args in weights if isinstance(args, Mapping)]
    for block in found:
        sizes = block if isinstance(block, list) else []
        if [type(size) for size in sizes] == [int, int] and min(sizes) > 0:
            yield sizes[0], sizes[1]


def _quantization_config(path: Path) -> dict[str, Any]:
    """Return the `quantization_config` of the config.json in the folder of a file; {} if none."""
    file = path.parent / "config.json"
    if not file.is_file() or file.stat().st_size > _MAX_CONFIG:
        return {}
    try:
        config = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(file, f"not valid JSON ({error})") from None
    found = (config.get(name) for name in CONFIG_NAMES) if isinstance(config, dict) else ()
    return next((options for options in found if isinstance(options, dict)), {})


translations |= dict.fromkeys((*SCALES, *OTHERS), QuantizedCheckpoint)
