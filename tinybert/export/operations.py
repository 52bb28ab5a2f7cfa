"""What each array function, and each operation of the engine, is in ONNX.

A mapping takes the graph and the arguments of the call. Arrays are `Array`, integers may be `Size`.
It returns the name of the result, or a list of names. `graph.result` has its shape and dtype.

Source   the operators of ONNX, https://onnx.ai/onnx/operators, at opset 17
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinybert.export.graph import LARGEST, SMALLEST, Graph
from tinybert.export.record import Array
from tinybert.ops.convolution import LongConvolution
from tinybert.ops.embedding import Embedding
from tinybert.ops.erf import Erf
from tinybert.ops.gelu import Gelu
from tinybert.ops.laplace import Laplace
from tinybert.ops.layer_norm import LayerNorm
from tinybert.ops.linear import Linear
from tinybert.ops.log_softmax import LogSoftmax
from tinybert.ops.pad import Pad
from tinybert.ops.power_sums import PowerSums
from tinybert.ops.sigmoid import Sigmoid
from tinybert.ops.silu import Silu
from tinybert.ops.softmax import Softmax

Mapping = Callable[..., Any]

OPSET = 17  # the first with LayerNormalization
IR_VERSION = 8
OPERATIONS: dict[type, Mapping] = {}  # of the engine
FUNCTIONS: dict[str, Mapping] = {}  # of arrays, by their names in NumPy


def mapping(*keys: Any) -> Callable[[Mapping], Mapping]:
    """Return a decorator that enters a mapping into the tables."""

    def enter(function: Mapping) -> Mapping:
        for key in keys:
            if isinstance(key, str):
                FUNCTIONS[key] = function
            else:
                OPERATIONS[key] = function
        return function

    return enter


# --- operations of the engine ---------------------------------------------------------------------


@mapping(Linear)
def _linear(g: Graph, x: Any, weight: Any, bias: Any = None) -> str:
    y = g.op("MatMul", x, g.op("Transpose", weight, perm=[1, 0]))
    return y if bias is None else g.op("Add", y, bias)


@mapping(Embedding)
def _embedding(g: Graph, ids: Any, weight: Any, **options: Any) -> str:
    return g.op("Gather", weight, ids, axis=0)


@mapping(LayerNorm)
def _layer_norm(g: Graph, x: Any, weight: Any, bias: Any, *, eps: float, plus: float = 0.0) -> str:
    axis = -len(weight.shape)
    scale = g.op("Add", weight, _number(g, plus)) if plus else weight
    inputs = [x, scale] if bias is None else [x, scale, bias]
    return g.op("LayerNormalization", *inputs, axis=axis, epsilon=eps)


def _number(g: Graph, value: float) -> np.ndarray:
    """Return a number in the dtype of the result."""
    return np.array(value, g.result.dtype)


@mapping(Gelu)
def _gelu(g: Graph, x: Any) -> str:
    erf = g.op("Erf", g.op("Div", x, _number(g, math.sqrt(2))))
    return g.op("Mul", g.op("Mul", x, g.op("Add", erf, _number(g, 1))), _number(g, 0.5))


@mapping(Erf)
def _erf(g: Graph, x: Any) -> str:
    return g.op("Erf", x)


@mapping(Laplace)
def _laplace(g: Graph, x: Any, *, mu: float, sigma: float) -> str:
    z = g.op("Div", g.op("Sub", x, _number(g, mu)), _number(g, sigma * math.sqrt(2)))
    return g.op("Mul", g.op("Add", g.op("Erf", z), _number(g, 1)), _number(g, 0.5))


@mapping(Sigmoid)
def _sigmoid(g: Graph, x: Any) -> str:
    return g.op("Sigmoid", x)


@mapping(Silu)
def _silu(g: Graph, x: Any) -> str:
    return g.op("Mul", x, g.op("Sigmoid", x))


@mapping(Softmax)
def _softmax(g: Graph, x: Any, *, axis: int) -> str:
    return g.op("Softmax", x, axis=axis)


@mapping(LogSoftmax)
def _log_softmax(g: Graph, x: Any, *, axis: int) -> str:
    return g.op("LogSoftmax", x, axis=axis)


@mapping(Pad)
def _pad(g: Graph, x: Any, *, widths: Any, value: float) -> str:
    if not isinstance(widths, tuple):
        widths = (widths, widths)
    if not isinstance(widths[0], tuple):
        widths = (widths,) * len(x.shape)
    before, after = zip(*widths, strict=True)
    return g.op("Pad", x, g.integers(*before, *after), _number(g, value))


@mapping(PowerSums)
def _power_sums(g: Graph, weight: Any, base: Any, *, length: Any) -> str:
    """All powers (D, N, T) at once: the file has no loops."""
    steps = g.op("Range", *(g.operand(n, g.result.dtype) for n in (0, length, 1)))
    powers = g.op("Pow", g.op("Unsqueeze", base, g.integers(-1)), steps)
    sums = g.op("MatMul", g.op("Unsqueeze", weight, g.integers(-2)), powers)
    return g.op("Squeeze", sums, g.integers(-2))


@mapping(LongConvolution)
def _long_convolution(g: Graph, x: Any, back: Any, ahead: Any = None) -> str:
    """Direct convolutions, one feature a group. `Conv` computes y_t = sum_k w_k x_(t+k)."""
    rows = g.op("Transpose", x, perm=[0, 2, 1])  # (B, D, T)
    lags = g.op("Squeeze", g.op("Sub", g.size(back.shape[1]), g.integers(1)), g.integers(0))
    lags = g.op("Unsqueeze", lags, g.integers(0))
    zeros = g.integers(0, 0)
    backwards = _slice(g, back, [(1, -1, SMALLEST, -1)])
    total = None
    for kernel, pads in (
        (backwards, (zeros, lags, zeros, g.integers(0))),
        (ahead, (zeros, g.integers(0), zeros, lags)),
    ):
        if kernel is not None:
            padded = g.op("Pad", rows, g.op("Concat", *pads, axis=0), _number(g, 0))
            weight = g.op("Unsqueeze", kernel, g.integers(1))  # (D, 1, M)
            y = g.op("Conv", padded, weight, group=x.shape[2])
            total = y if total is None else g.op("Add", total, y)
    return g.op("Transpose", total, perm=[0, 2, 1])


# --- arithmetic -----------------------------------------------------------------------------------


def _common(*values: Any) -> Any:
    """Return the dtype in which values are compared."""
    return np.result_type(*(v.dtype if isinstance(v, Array) else v for v in values))


def _binary(kind: str, of_flags: str | None = None, compares: bool = False) -> Mapping:
    def emit(g: Graph, a: Any, b: Any) -> str:
        dtype = _common(a, b) if compares else g.result.dtype
        operator = of_flags if of_flags and np.dtype(dtype).kind == "b" else kind
        return g.op(operator, g.operand(a, dtype), g.operand(b, dtype))

    return emit


for _name, _kind, _of_flags in (
    ("add", "Add", "Or"), ("subtract", "Sub", None), ("multiply", "Mul", "And"),
    ("divide", "Div", None), ("true_divide", "Div", None), ("power", "Pow", None),
    ("maximum", "Max", "Or"), ("minimum", "Min", "And"), ("matmul", "MatMul", None),
    ("bitwise_and", "And", "And"), ("bitwise_or", "Or", "Or"), ("bitwise_xor", "Xor", "Xor"),
    ("logical_and", "And", "And"), ("logical_or", "Or", "Or"),
):  # fmt: skip
    FUNCTIONS[_name] = _binary(_kind, _of_flags)
for _name, _kind in (
    ("equal", "Equal"), ("less", "Less"), ("less_equal", "LessOrEqual"), ("greater", "Greater"),
    ("greater_equal", "GreaterOrEqual"),
):  # fmt: skip
    FUNCTIONS[_name] = _binary(_kind, compares=True)


@mapping("not_equal")
def _not_equal(g: Graph, a: Any, b: Any) -> str:
    return g.op("Not", FUNCTIONS["equal"](g, a, b))


def _unary(kind: str) -> Mapping:
    return lambda g, x: g.op(kind, g.operand(x, g.result.dtype))


for _name, _kind in (
    ("negative", "Neg"), ("absolute", "Abs"), ("exp", "Exp"), ("log", "Log"), ("sqrt", "Sqrt"),
    ("tanh", "Tanh"), ("sin", "Sin"), ("cos", "Cos"), ("invert", "Not"), ("logical_not", "Not"),
    ("reciprocal", "Reciprocal"),
):  # fmt: skip
    FUNCTIONS[_name] = _unary(_kind)


@mapping("square")
def _square(g: Graph, x: Any) -> str:
    return g.op("Mul", x, x)


@mapping("where")
def _where(g: Graph, condition: Any, a: Any, b: Any) -> str:
    dtype = g.result.dtype
    return g.op("Where", g.operand(condition, bool), g.operand(a, dtype), g.operand(b, dtype))


@mapping("clip")
def _clip(g: Graph, x: Any, low: Any = None, high: Any = None) -> str:
    for kind, limit in (("Max", low), ("Min", high)):
        if limit is not None:
            x = g.op(kind, x, g.operand(limit, g.result.dtype))
    return g.name(x)


@mapping("einsum")
def _einsum(g: Graph, equation: str, *operands: Any, optimize: Any = None) -> str:
    return g.op("Einsum", *operands, equation=equation)


# --- reductions -----------------------------------------------------------------------------------


def _axes(x: Any, axis: Any) -> list[int]:
    if axis is None:
        return list(range(len(x.shape)))
    return list(axis) if isinstance(axis, tuple) else [axis]


@mapping("sum")
def _sum(g: Graph, x: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> str:
    axes = g.integers(*_axes(x, axis))
    return g.op("ReduceSum", g.operand(x, g.result.dtype), axes, keepdims=int(keepdims))


def _reduction(kind: str, within: Any = None) -> Mapping:
    """A reduction to the dtype of its input; computed in the dtype `within`, if given."""

    def emit(g: Graph, x: Any, axis: Any = None, keepdims: bool = False) -> str:
        dtype = within or g.result.dtype
        y = g.op(kind, g.operand(x, dtype), axes=_axes(x, axis), keepdims=int(keepdims))
        return y if dtype == g.result.dtype else g.cast(y, g.result.dtype)

    return emit


FUNCTIONS["mean"] = _reduction("ReduceMean")
FUNCTIONS["max"] = _reduction("ReduceMax")
FUNCTIONS["min"] = _reduction("ReduceMin")
FUNCTIONS["any"] = _reduction("ReduceMax", np.int32)
FUNCTIONS["all"] = _reduction("ReduceMin", np.int32)


def _place(kind: str) -> Mapping:
    def emit(g: Graph, x: Any, axis: int, keepdims: bool = False) -> str:
        dtype = x.dtype if x.dtype.kind == "f" else np.dtype("float64")  # exact below 2^53
        return g.op(kind, g.operand(x, dtype), axis=axis, keepdims=int(keepdims))

    return emit


FUNCTIONS["argmax"] = _place("ArgMax")
FUNCTIONS["argmin"] = _place("ArgMin")


@mapping("cumsum")
def _cumsum(g: Graph, x: Any, axis: int, dtype: Any = None) -> str:
    return g.op("CumSum", g.operand(x, g.result.dtype), g.constant(np.int64(axis)))


# --- shapes and copies ----------------------------------------------------------------------------


@mapping("reshape", "ravel", "squeeze", "expand_dims")
def _reshape(g: Graph, x: Any, *shape: Any, **options: Any) -> str:
    return g.op("Reshape", x, g.shape(g.result.shape))


@mapping("broadcast_to")
def _broadcast_to(g: Graph, x: Any, shape: Any) -> str:
    return g.op("Expand", x, g.integers(*g.result.shape))


@mapping("transpose")
def _transpose(g: Graph, x: Any, *axes: Any) -> str:
    if len(axes) == 1 and isinstance(axes[0], tuple):
        axes = axes[0]
    rank = len(x.shape)
    return g.op("Transpose", x, perm=[axis % rank for axis in axes or reversed(range(rank))])


@mapping("swapaxes")
def _swapaxes(g: Graph, x: Any, first: int, second: int) -> str:
    order = list(range(len(x.shape)))
    order[first], order[second] = order[second], order[first]
    return g.op("Transpose", x, perm=order)


@mapping("astype", "copy", "ascontiguousarray", "asarray", "array")
def _astype(g: Graph, x: Any, *dtype: Any, **options: Any) -> str:
    return g.operand(x, g.result.dtype)


@mapping("concatenate")
def _concatenate(g: Graph, arrays: Any, axis: int = 0) -> str:
    dtype = g.result.dtype
    return g.op("Concat", *(g.operand(x, dtype) for x in arrays), axis=axis)


@mapping("stack")
def _stack(g: Graph, arrays: Any, axis: int = 0) -> str:
    place = g.integers(axis)
    parts = [g.op("Unsqueeze", g.operand(x, g.result.dtype), place) for x in arrays]
    return g.op("Concat", *parts, axis=axis)


def _filled(number: Any) -> Mapping:
    """An array of one number; its arguments only give the shape and the dtype."""
    return lambda g, *args, **options: g.op(
        "Expand", _number(g, number), g.integers(*g.result.shape)
    )


for _name in ("zeros", "zeros_like", "empty", "empty_like"):
    FUNCTIONS[_name] = _filled(0)
for _name in ("ones", "ones_like"):
    FUNCTIONS[_name] = _filled(1)


@mapping("full", "full_like")
def _full(g: Graph, like: Any, value: Any, dtype: Any = None) -> str:
    return g.op("Expand", g.operand(value, g.result.dtype), g.integers(*g.result.shape))


@mapping("arange")
def _arange(g: Graph, *bounds: Any, dtype: Any = None) -> str:
    start, stop, step = {1: (0, *bounds, 1), 2: (*bounds, 1), 3: bounds}[len(bounds)]
    return g.op("Range", *(g.operand(bound, g.result.dtype) for bound in (start, stop, step)))


# --- indexing -------------------------------------------------------------------------------------


@mapping("getitem")
def _getitem(g: Graph, x: Any, index: Any) -> Any:
    parts = list(index) if isinstance(index, tuple) and not isinstance(index, Array) else [index]
    if Ellipsis not in [p for p in parts if p is Ellipsis]:
        parts.append(Ellipsis)
    used = sum(part is not None and part is not Ellipsis for part in parts)
    dots = next(i for i, part in enumerate(parts) if part is Ellipsis)
    parts[dots : dots + 1] = [slice(None)] * (len(x.shape) - used)
    by_axis = [part for part in parts if part is not None]
    if any(isinstance(part, Array) and part.dtype.kind == "b" for part in by_axis):
        raise NotImplementedError("an index of booleans")
    bounds = [
        (axis, *_bounds(part))
        for axis, part in enumerate(by_axis)
        if isinstance(part, slice) and part != slice(None)
    ]
    y = _slice(g, x, bounds) if bounds else g.name(x)
    chosen = [axis for axis, part in enumerate(by_axis) if not isinstance(part, slice)]
    if sum(isinstance(by_axis[axis], Array) for axis in chosen) and len(chosen) > 1:
        if chosen != list(range(len(chosen))) or None in parts:
            raise NotImplementedError("an index of several arrays that are not the first axes")
        return g.op("GatherND", y, _joined(g, [by_axis[axis] for axis in chosen]))
    for axis in reversed(chosen):
        part = by_axis[axis]
        ids = g.operand(part, np.int64) if isinstance(part, Array) else g.integers(part)
        y = g.op("Gather", y, ids, axis=axis)
        if not isinstance(part, Array):
            y = g.op("Squeeze", y, g.integers(axis))
    places, at = [], 0
    for part in parts:
        if part is None:
            places.append(at)
        at += (
            len(part.shape) if isinstance(part, Array) else part is None or isinstance(part, slice)
        )
    return g.op("Unsqueeze", y, g.integers(*places)) if places else y


def _bounds(part: slice) -> tuple[Any, Any, int]:
    step = 1 if part.step is None else part.step
    first, last = (0, LARGEST) if step > 0 else (LARGEST, SMALLEST)
    start = first if part.start is None else part.start
    return start, last if part.stop is None else part.stop, step


def _slice(g: Graph, x: Any, bounds: list[tuple[int, Any, Any, int]]) -> str:
    """Cut axes of x, each given as (axis, start, stop, step)."""
    axes, starts, stops, steps = zip(*bounds, strict=True)
    lists = (g.integers(*numbers) for numbers in (starts, stops, axes, steps))
    return g.op("Slice", x, *lists)


def _joined(g: Graph, parts: list[Any]) -> str:
    """Return several indices, which broadcast, as one array for GatherND."""
    rank = max(len(part.shape) for part in parts if isinstance(part, Array))
    shape = g.integers(*g.result.shape[:rank])
    columns = [g.op("Expand", g.operand(part, np.int64), shape) for part in parts]
    return g.op("Concat", *(g.op("Unsqueeze", c, g.integers(-1)) for c in columns), axis=-1)
