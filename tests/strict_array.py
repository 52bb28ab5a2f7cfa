"""`StrictArray`: a NumPy array that behaves as if it lived on another device; see `strict.py`."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.launches import launched, waited


def plain(value: Any) -> Any:
    """The NumPy array inside; numbers as they are. Anything that CuPy's arithmetic would not take
    is refused.
    """
    if isinstance(value, StrictArray):
        return value._array
    if isinstance(value, (numbers.Number, np.bool_)):  # Python and NumPy scalars
        return value
    raise TypeError(f"Unsupported type {type(value)}: a device array or a number is needed")


def plain_option(value: Any) -> Any:
    """An argument that is not an operand: axes, shapes, dtypes, names; host arrays are refused here
    too.
    """
    if isinstance(value, np.ndarray):
        raise TypeError("a host array was given to a function of the device")
    if isinstance(value, (tuple, list)):
        return type(value)(plain_option(part) for part in value)
    return value._array if isinstance(value, StrictArray) else value


def _owner(array: np.ndarray) -> np.ndarray:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def wrap(result: Any, *sources: Any) -> Any:
    """`result` as StrictArray; the same object where it is the array of a source, and a view with
    its `base` where it shows a source's memory.
    """
    if isinstance(result, (tuple, list)):
        return type(result)(wrap(part, *sources) for part in result)
    array = np.asarray(result)
    for source in sources:
        if isinstance(source, StrictArray):
            if array is source._array:
                return source
            if _owner(array) is _owner(source._array):
                return StrictArray(array, source if source.base is None else source.base)
    return StrictArray(array)


def quietly(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call NumPy without its floating-point warnings, which a GPU does not give."""
    with np.errstate(all="ignore"):
        return function(*args, **kwargs)


class StrictArray:
    """An array "on the device": see the module's docstring."""

    __slots__ = ("_array", "base")
    __array_ufunc__ = None  # so that `ndarray + strict` comes here, to be refused
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, array: np.ndarray, base: StrictArray | None = None) -> None:
        if not isinstance(array, np.ndarray):
            raise TypeError(f"StrictArray wraps a NumPy array, got {type(array).__name__}")
        self._array = array
        self.base = base

    def get(self) -> np.ndarray:
        """A copy on the host; the only way there."""
        waited("get")
        return self._array.copy()

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed; use .get()")

    def __array_function__(self, function: Any, *args: Any) -> Any:
        raise TypeError(f"numpy.{function.__name__} was called on a device array")

    dtype = property(lambda self: self._array.dtype)
    shape = property(lambda self: self._array.shape)
    strides = property(lambda self: self._array.strides)
    flags = property(lambda self: _Flags(self._array.flags))
    data = property(lambda self: SimpleNamespace(ptr=self._array.ctypes.data))
    device = property(lambda self: SimpleNamespace(id=0))
    ndim = property(lambda self: self._array.ndim)
    size = property(lambda self: self._array.size)
    itemsize = property(lambda self: self._array.itemsize)
    nbytes = property(lambda self: self._array.nbytes)
    T = property(lambda self: wrap(self._array.T, self))
    real = property(lambda self: wrap(self._array.real, self))
    imag = property(lambda self: wrap(self._array.imag, self))

    def __repr__(self) -> str:
        return f"strict{self._array!r}"

    def __len__(self) -> int:
        return len(self._array)

    def __bool__(self) -> bool:
        waited("bool")
        return bool(self._array)

    def __int__(self) -> int:
        waited("int")
        return int(self._array)

    def __float__(self) -> float:
        waited("float")
        return float(self._array)

    def __complex__(self) -> complex:
        waited("complex")
        return complex(self._array)

    def item(self) -> Any:
        """The only element as a Python number."""
        waited("item")
        return self._array.item()

    def __getitem__(self, index: Any) -> StrictArray:
        place = _plain_index(index, self.shape)
        if _has_mask(place):  # the size of the result has to be known
            launched("nonzero")
            waited("mask")
        result = self._array[place]
        if isinstance(result, np.ndarray) and not np.shares_memory(result, self._array):
            launched("take")
        return wrap(result, self)

    def __setitem__(self, index: Any, value: Any) -> None:
        place, new = _plain_index(index, self.shape), plain(value)
        launched("setitem")
        quietly(self._array.__setitem__, place, new)
        if any(isinstance(p, np.ndarray) and p.dtype != bool for p in _parts(place)):
            self._scramble(place, new)

    def _scramble(self, index: Any, value: Any) -> None:
        """Garbage wherever several values were written to one element: which wins is undefined."""
        places = np.arange(self.size).reshape(self.shape)[index]
        written = np.broadcast_to(value, places.shape).astype(self.dtype).ravel()
        first, last = np.empty((2, self.size), self.dtype)
        last[places.ravel()] = written
        first[places.ravel()[::-1]] = written[::-1]
        spoilt = np.zeros(self.size, bool)
        spoilt[places] = first[places] != last[places]
        garbage = np.nan if self.dtype.kind in "fc" else 77
        self._array[spoilt.reshape(self.shape)] = garbage

    # CuPy's signatures: no `initial`, no `where`, no `mode`.

    def sum(self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False):
        return self._reduce("sum", out, axis=axis, dtype=dtype, keepdims=keepdims)

    def prod(self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False):
        return self._reduce("prod", out, axis=axis, dtype=dtype, keepdims=keepdims)

    def mean(self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False):
        return self._reduce("mean", out, axis=axis, dtype=dtype, keepdims=keepdims)

    def var(self, axis=None, dtype=None, out=None, ddof: int = 0, keepdims: bool = False):
        return self._reduce("var", out, axis=axis, dtype=dtype, ddof=ddof, keepdims=keepdims)

    def max(self, axis: Any = None, out: Any = None, keepdims: bool = False):
        return self._reduce("max", out, axis=axis, keepdims=keepdims)

    def min(self, axis: Any = None, out: Any = None, keepdims: bool = False):
        return self._reduce("min", out, axis=axis, keepdims=keepdims)

    def all(self, axis: Any = None, out: Any = None, keepdims: bool = False):
        return self._reduce("all", out, axis=axis, keepdims=keepdims)

    def any(self, axis: Any = None, out: Any = None, keepdims: bool = False):
        return self._reduce("any", out, axis=axis, keepdims=keepdims)

    def argmax(self, axis: Any = None, out=None, dtype=None, keepdims: bool = False):
        return self._reduce("argmax", out, axis=axis, keepdims=keepdims)

    def argmin(self, axis: Any = None, out=None, dtype=None, keepdims: bool = False):
        return self._reduce("argmin", out, axis=axis, keepdims=keepdims)

    def cumsum(self, axis: Any = None, dtype: Any = None, out: Any = None):
        return self._reduce("cumsum", out, axis=axis, dtype=dtype)

    def _reduce(self, name: str, out: Any, **options: Any) -> StrictArray:
        result = quietly(getattr(self._array, name), **plain_option(options))
        launched(name)
        if out is None:
            return wrap(result)
        out._array[...] = result
        return out

    def astype(self, dtype: Any, order="K", casting=None, subok=None, copy: bool = True):
        array = quietly(self._array.astype, dtype, order=order, copy=copy)
        if array is not self._array:
            launched("astype")
        return wrap(array, self)

    def view(self, dtype: Any) -> StrictArray:
        return wrap(self._array.view(dtype), self)

    def copy(self, order: str = "C") -> StrictArray:
        launched("copy")
        return StrictArray(self._array.copy(order=order))

    def reshape(self, *shape: Any, order: str = "C") -> StrictArray:
        return self._relaid(self._array.reshape(*plain_option(shape), order=order))

    def _relaid(self, array: np.ndarray) -> StrictArray:
        """A view, or a copy where no view has the shape."""
        if array.size and not np.may_share_memory(array, self._array):
            launched("copy")
        return wrap(array, self)

    def transpose(self, *axes: Any) -> StrictArray:
        return wrap(self._array.transpose(*plain_option(axes)), self)

    def swapaxes(self, axis1: int, axis2: int) -> StrictArray:
        return wrap(self._array.swapaxes(axis1, axis2), self)

    def squeeze(self, axis: Any = None) -> StrictArray:
        return wrap(self._array.squeeze(axis), self)

    def ravel(self, order: str = "C") -> StrictArray:
        return self._relaid(self._array.ravel(order))

    def flatten(self, order: str = "C") -> StrictArray:
        launched("copy")
        return StrictArray(self._array.flatten(order))

    def repeat(self, repeats: Any, axis: Any = None) -> StrictArray:
        launched("repeat")
        return wrap(self._array.repeat(plain_option(repeats), axis))

    def take(self, indices: Any, axis: Any = None, out: Any = None) -> StrictArray:
        launched("take")
        result = np.take(self._array, plain(indices), axis, mode="wrap")
        if out is None:
            return StrictArray(result)
        out._array[...] = result
        return out

    def argsort(self, axis: Any = -1) -> StrictArray:
        launched("argsort")
        return StrictArray(self._array.argsort(axis, kind="stable"))

    def nonzero(self) -> tuple[StrictArray, ...]:
        launched("nonzero")
        waited("nonzero")
        return wrap(self._array.nonzero())

    def conj(self) -> StrictArray:
        return wrap(self._array.conj(), self)

    def fill(self, value: Any) -> None:
        launched("fill")
        self._array.fill(plain(value))

    def clip(self, min: Any = None, max: Any = None, out: Any = None) -> StrictArray:
        launched("clip")
        limits = [None if limit is None else plain(limit) for limit in (min, max)]
        options = {} if out is None else {"out": plain(out)}
        return wrap(np.clip(self._array, *limits, **options), *(() if out is None else (out,)))


def note(name: str, a: Any, b: Any = None) -> None:
    """Note one elementwise operation, or a product with the copies that CuPy makes for it."""
    launched(name)
    if "matmul" not in name or not isinstance(b, StrictArray):
        return
    if max(a.ndim, b.ndim) <= 2:
        flags = [x._array.flags for x in (a, b)]
        copies = sum(not (flag.c_contiguous or flag.f_contiguous) for flag in flags)
    else:
        half = a.dtype == b.dtype == np.float16
        copies = sum(half or not x._array.flags.c_contiguous for x in (a, b)) + half
        if a.shape[:-2] != b.shape[:-2]:  # addresses of the matrices of a, b and the result
            copies += 3 * (max(a.ndim, b.ndim) - 2)
    if copies:
        launched("copy for matmul", copies)


def _binary(name: str) -> Callable[[StrictArray, Any], Any]:
    def method(self: StrictArray, other: Any) -> Any:
        if not isinstance(other, StrictArray) and getattr(other, "__array_ufunc__", 0) is None:
            return NotImplemented  # a Tensor on the right knows better
        note(name, self, other)
        return wrap(quietly(getattr(self._array, name), plain(other)))

    return method


def _inplace(name: str) -> Callable[[StrictArray, Any], StrictArray]:
    def method(self: StrictArray, other: Any) -> StrictArray:
        launched(name)
        quietly(getattr(self._array, name), plain(other))
        return self

    return method


def _unary(name: str) -> Callable[[StrictArray], Any]:
    def method(self: StrictArray) -> Any:
        launched(name)
        return wrap(quietly(getattr(self._array, name)))

    return method


_ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor")
for _name in _ARITHMETIC:
    setattr(StrictArray, f"__{_name}__", _binary(f"__{_name}__"))
    setattr(StrictArray, f"__r{_name}__", _binary(f"__r{_name}__"))
    setattr(StrictArray, f"__i{_name}__", _inplace(f"__i{_name}__"))
for _name in ("matmul", "rmatmul", "eq", "ne", "lt", "le", "gt", "ge"):  # CuPy has no __imatmul__
    setattr(StrictArray, f"__{_name}__", _binary(f"__{_name}__"))
for _name in ("neg", "pos", "abs", "invert"):
    setattr(StrictArray, f"__{_name}__", _unary(f"__{_name}__"))


class _Flags:
    """The flags that CuPy's arrays have."""

    def __init__(self, flags: Any) -> None:
        self.c_contiguous, self.f_contiguous = flags.c_contiguous, flags.f_contiguous
        self.forc, self.fnc, self.owndata = flags.forc, flags.fnc, flags.owndata


def _has_mask(index: Any) -> bool:
    return any(isinstance(p, np.ndarray) and p.dtype == bool for p in _parts(index))


def _parts(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)


def _plain_index(index: Any, shape: tuple[int, ...]) -> Any:
    """An index for NumPy, integer arrays wrapped into range as CuPy's kernels wrap them."""
    parts = _parts(index)
    used = sum(
        part.ndim if isinstance(part, StrictArray) and part.dtype == bool else 1
        for part in parts
        if part is not None and part is not Ellipsis and not isinstance(part, bool)
    )
    result, axis = [], 0
    for part in parts:
        if part is Ellipsis:
            axis += len(shape) - used
        elif isinstance(part, StrictArray):
            if part.dtype == bool:
                axis += part.ndim
                part = part._array
            else:
                size = shape[axis] if axis < len(shape) else 1
                axis += 1
                part = part._array % max(size, 1)
        elif isinstance(part, (np.ndarray, list)):
            raise TypeError(f"an index on the device must not be a host {type(part).__name__}")
        elif part is not None and not isinstance(part, bool):
            axis += 1
        result.append(part)
    return tuple(result) if isinstance(index, tuple) else result[0]
