"""Tensors from data, from a number, from a range and from a random generator, as in torch.

Floating results have the default dtype and are on the default device, unless `dtype` and `device`
say otherwise. Random numbers come from the generator of the device, which `manual_seed` sets; they
are not torch's numbers.
"""

from __future__ import annotations

import math as _math
from typing import Any

import numpy as np

from tinybert.autograd import Tensor, as_tensor, get_default_device, get_default_dtype
from tinybert.backend import array_module, generator
from tinybert.ops.arguments import shape_argument
from tinybert.torch_names.dtypes import TENSOR_TYPES, numpy_dtype


def tensor(
    data: Any, *, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Return a Tensor with a copy of a number, (nested) list, array or Tensor.

    Integers become int64, booleans bool, floats the default dtype; an array keeps its dtype.
    """
    return Tensor(data, requires_grad, numpy_dtype(dtype), device)


def from_numpy(ndarray: np.ndarray) -> Tensor:
    """Return a Tensor that shares the memory of a NumPy array."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"ndarray must be a numpy.ndarray, got {type(ndarray).__name__}")
    return as_tensor(ndarray)


def is_tensor(obj: Any) -> bool:
    """Return whether an object is a Tensor."""
    return isinstance(obj, Tensor)


class TensorType:
    """A function that makes tensors of one dtype: `LongTensor([1, 2])`, or `LongTensor(2, 3)` of
    that shape (zeros; torch leaves it uninitialised). `x.type(LongTensor)` converts to it.
    """

    def __init__(self, name: str) -> None:
        self.__name__ = name
        self.dtype = np.dtype(TENSOR_TYPES[name])

    def __call__(self, *data: Any, device: str | None = None) -> Tensor:
        """Return a Tensor of the given data, or of the given sizes."""
        if len(data) == 1 and not isinstance(data[0], (int, np.integer)):
            return tensor(data[0], dtype=self.dtype, device=device)
        return zeros(*(data or (0,)), dtype=self.dtype, device=device)

    def __str__(self) -> str:
        return f"tinybert.{self.__name__}"


HalfTensor, FloatTensor, DoubleTensor = map(TensorType, list(TENSOR_TYPES)[:3])
ByteTensor, CharTensor, ShortTensor = map(TensorType, list(TENSOR_TYPES)[3:6])
IntTensor, LongTensor, BoolTensor = map(TensorType, list(TENSOR_TYPES)[6:])


# --- one value ------------------------------------------------------------------------------------


def zeros(
    *size: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Return zeros of a shape: `zeros(2, 3)` or `zeros((2, 3))`."""
    return full(size, 0.0, dtype=dtype, device=device, requires_grad=requires_grad)


def ones(
    *size: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Return ones of a shape: `ones(2, 3)` or `ones((2, 3))`."""
    return full(size, 1.0, dtype=dtype, device=device, requires_grad=requires_grad)


def empty(
    *size: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Return a tensor of a shape, to be filled. It holds zeros; torch's holds anything."""
    return full(size, 0.0, dtype=dtype, device=device, requires_grad=requires_grad)


def full(
    size: Any, fill_value: Any, *, dtype: Any = None, device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Return a tensor of the shape `size` whose elements are all `fill_value`.

    Without `dtype`, a float gives the default dtype, an integer int64, a boolean bool.
    """
    shape = shape_argument(tuple(size) if isinstance(size, (tuple, list)) else (size,))
    return _made(np.full(shape, fill_value, _dtype(dtype, fill_value)), device, requires_grad)


def zeros_like(
    input: Any, *, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Return zeros of the shape, dtype and device of `input`."""
    return full_like(input, 0, dtype=dtype, device=device, requires_grad=requires_grad)


def ones_like(
    input: Any, *, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Return ones of the shape, dtype and device of `input`."""
    return full_like(input, 1, dtype=dtype, device=device, requires_grad=requires_grad)


def empty_like(
    input: Any, *, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Return a tensor like `input`, to be filled. It holds zeros; torch's holds anything."""
    return full_like(input, 0, dtype=dtype, device=device, requires_grad=requires_grad)


def full_like(
    input: Any, fill_value: Any, *, dtype: Any = None, device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Return a tensor of the shape, dtype and device of `input`, all elements `fill_value`."""
    x = as_tensor(input)
    array = array_module(x.data).full_like(x.data, fill_value, dtype=numpy_dtype(dtype))
    return _made(array, device or x.device, requires_grad)


# --- ranges ---------------------------------------------------------------------------------------


def arange(
    start: Any, end: Any = None, step: Any = 1, *, dtype: Any = None, device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Return start, start + step, ... below `end`; `arange(n)` is 0 to n - 1.

    Integers give int64, a float among the arguments the default dtype.
    """
    first, last = (0, start) if end is None else (start, end)
    chosen = _dtype(dtype, first + last + step)
    return _made(np.arange(first, last, step).astype(chosen), device, requires_grad)


def linspace(
    start: Any, end: Any, steps: int, *, dtype: Any = None, device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Return `steps` numbers at equal distances from `start` to `end`, both included."""
    return _made(np.linspace(start, end, steps).astype(_dtype(dtype)), device, requires_grad)


def eye(
    n: int, m: int | None = None, *, dtype: Any = None, device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Return an (n, m) matrix with ones on the diagonal; m is n by default."""
    return _made(np.eye(n, m, dtype=_dtype(dtype)), device, requires_grad)


# --- random numbers -------------------------------------------------------------------------------


def rand(
    *size: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Return random numbers, uniform from 0 to 1 (1 excluded)."""
    device, chosen = device or get_default_device(), _dtype(dtype)
    array = generator(device).random(shape_argument(size), dtype=_drawn(chosen))
    return _made(array.astype(chosen, copy=False), device, requires_grad)


def randn(
    *size: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Return random numbers of the standard normal distribution."""
    device, chosen = device or get_default_device(), _dtype(dtype)
    array = generator(device).standard_normal(shape_argument(size), dtype=_drawn(chosen))
    return _made(array.astype(chosen, copy=False), device, requires_grad)


def randint(
    *arguments: Any, dtype: Any = "int64", device: str | None = None, **named: Any
) -> Tensor:
    """Return random integers below `high`: `randint(high, size)` or `randint(low, high, size)`.

    `low` (included; 0 by default), `high` and `size` may be given by name.
    """
    if "low" not in named and len(arguments) + len(named) < 3:
        named["low"] = 0
    free = [name for name in ("low", "high", "size") if name not in named]
    if len(arguments) != len(free) or len(named) + len(free) > 3:
        raise TypeError("randint takes (high, size) or (low, high, size)")
    given = named | dict(zip(free, arguments, strict=True))
    low, high, size = given["low"], given["high"], given["size"]
    device = device or get_default_device()
    if high <= low:
        raise ValueError(f"randint: high must be larger than low = {low}, got {high}")
    array = generator(device).random(shape_argument((size,))) * (high - low) // 1 + low
    return _made(array.astype(numpy_dtype(dtype)), device, False)


def randperm(n: int, *, dtype: Any = "int64", device: str | None = None) -> Tensor:
    """Return the numbers 0 to n - 1 in random order."""
    device = device or get_default_device()
    array = generator(device).random((n,)).argsort()
    return _made(array.astype(numpy_dtype(dtype)), device, False)


def rand_like(input: Any, **options: Any) -> Tensor:
    """Return `rand` of the shape, dtype and device of `input`; options as those of `rand`."""
    x = as_tensor(input)
    return rand(x.shape, **{"dtype": x.dtype, "device": x.device, **options})


def randn_like(input: Any, **options: Any) -> Tensor:
    """Return `randn` of the shape, dtype and device of `input`; options as those of `randn`."""
    x = as_tensor(input)
    return randn(x.shape, **{"dtype": x.dtype, "device": x.device, **options})


def _dtype(dtype: Any, value: Any = 0.0) -> np.dtype:
    """Return the dtype that is given, or the one that torch takes for the number `value`."""
    given = numpy_dtype(dtype)
    if given is None:
        array = np.asarray(value)
        given = get_default_dtype() if array.dtype.kind == "f" else array.dtype
    return given


def _drawn(dtype: np.dtype) -> np.dtype:
    """Return the dtype in which a generator draws numbers of `dtype`."""
    if dtype.kind != "f":
        raise TypeError(f"dtype must be floating, got {dtype}; use randint for integers")
    return np.dtype("float64") if dtype == "float64" else np.dtype("float32")


def _made(array: Any, device: str | None, requires_grad: bool) -> Tensor:
    made = as_tensor(array, device or get_default_device())
    return made.requires_grad_() if requires_grad else made


pi, inf, nan = _math.pi, _math.inf, _math.nan
