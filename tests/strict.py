"""A strict double of CuPy for machines without a GPU: it computes with NumPy and refuses what CuPy
refuses.

Code that runs on it never mixes host and device arrays, never converts one into the other unasked,
uses only functions and arguments that CuPy has, and does not rely on what differs there: an index
out of range wraps around silently, a reduction gives an array without axes, and assigning to the
same element twice leaves garbage. Importing this module registers the device "strict".
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.cupy_signatures import ARGUMENTS
from tests.launches import VIEWS, launched
from tests.strict_array import StrictArray, note, plain, plain_option, quietly, wrap
from tinybert.backend import Backend, register_backend


def _ufunc(name: str) -> Callable[..., Any]:
    """An elementwise function: device arrays and numbers only, at least one of them an array."""
    function = getattr(np, name)

    def call(*operands: Any, out: Any = None, dtype: Any = None) -> Any:
        arrays = [plain(operand) for operand in operands]
        note(name, *operands)
        options = {} if dtype is None else {"dtype": dtype}
        if out is None:
            return wrap(quietly(function, *arrays, **options))
        quietly(function, *arrays, out=plain(out), **options)
        return out

    return call


def check_arguments(name: str, positional: int, options: dict[str, Any]) -> None:
    """Refuse arguments that only NumPy's function has."""
    known = ARGUMENTS[f"fft.{name}" if name in FOURIER else name].split()
    left = known[positional:] if "**" not in known else [*known, *options]
    wrong = [option for option in options if option not in left]
    if wrong or positional > len(known):
        raise TypeError(f"{name} of CuPy takes {', '.join(known)}; got {wrong or positional}")


FOURIER = ("fft", "ifft", "rfft", "irfft")


def _on_arrays(name: str, namespace: Any = np) -> Callable[..., Any]:
    """A function whose first argument is a device array, or a sequence of them to be joined."""
    function = getattr(namespace, name)

    def call(first: Any, *rest: Any, **options: Any) -> Any:
        check_arguments(name, 1 + len(rest), options)
        several = isinstance(first, (tuple, list))
        sources = first if several else (first,)
        if not sources or not all(isinstance(source, StrictArray) for source in sources):
            raise TypeError(f"{name}: a device array is needed, got {type(sources[0]).__name__}")
        arrays = [plain(source) for source in sources]
        out = options.get("out")
        result = quietly(
            function, arrays if several else arrays[0], *map(plain_option, rest),
            **{key: plain_option(value) for key, value in options.items()},
        )  # fmt: skip
        if name in FOURIER:
            _note_fourier(name, first, result, options)
        elif name in ("concatenate", "stack", "hstack", "vstack"):
            launched(name, len(sources))
        elif name not in VIEWS and result is not arrays[0]:
            launched(name)
        if name == "empty_like":
            poison(result)
        return wrap(result, *sources) if out is None else out

    return call


def _creation(name: str) -> Callable[..., Any]:
    """A function that makes an array from shapes, numbers and dtypes."""
    function = getattr(np, name)

    def call(*args: Any, **options: Any) -> StrictArray:
        check_arguments(name, len(args), options)
        result = function(
            *map(plain_option, args), **{k: plain_option(v) for k, v in options.items()}
        )
        if name == "empty":
            poison(result)
        else:
            launched(name)
        return wrap(result)

    return call


def poison(array: np.ndarray) -> None:
    """Fill memory that has not been written to, so that no result may depend on it."""
    array[...] = np.nan if array.dtype.kind in "fc" else array.dtype.type(77)


def _note_fourier(name: str, x: StrictArray, result: np.ndarray, options: dict[str, Any]) -> None:
    """Note a transform: the padding, the copy, the transform, the factor."""
    length = (result if name == "irfft" else x).shape[-1]
    if name != "irfft" and result.shape[-1] != (length // 2 + 1 if name == "rfft" else length):
        launched("fft padding", 2)
    elif name in ("irfft", "ifft") or x.base is not None or not x.flags.c_contiguous:
        launched("fft copy")
    launched(name)
    if options.get("norm") == "forward" or name in ("irfft", "ifft"):
        launched("fft factor")


def _array(data: Any, dtype: Any = None, copy: bool = True) -> StrictArray:
    """Numbers and nested lists of numbers; a host array has to come by `Tensor.to`."""
    if isinstance(data, StrictArray):
        return data.astype(dtype or data.dtype, copy=copy)
    launched("array")
    return StrictArray(np.array(plain_option(data), dtype=dtype))


def _asarray(data: Any, dtype: Any = None) -> StrictArray:
    return _array(data, dtype, copy=False)


def _where(condition: StrictArray, x: Any, y: Any) -> StrictArray:
    if not isinstance(condition, StrictArray):
        raise TypeError("where: the condition must be a device array")
    launched("where")
    return wrap(np.where(plain(condition), plain(x), plain(y)))


def _einsum(equation: str, *operands: StrictArray, optimize: bool = False) -> StrictArray:
    launched("einsum")
    return wrap(np.einsum(equation, *map(plain, operands), optimize=optimize))


def _take_along_axis(array: StrictArray, indices: StrictArray, axis: int) -> StrictArray:
    launched("take")
    wrapped = plain(indices) % max(array.shape[axis], 1)
    return wrap(np.take_along_axis(plain(array), wrapped, axis))


def _argsort(array: StrictArray, axis: int = -1, kind: str | None = None) -> StrictArray:
    """CuPy's sorting is stable, and may be asked to be; its method cannot be asked."""
    if kind not in (None, "stable"):
        raise ValueError("argsort: kind must be None or 'stable'")
    return array.argsort(axis)


def _bincount(x: StrictArray, weights: Any = None, minlength: int | None = None) -> StrictArray:
    """As CuPy's: the sums are float64."""
    launched("bincount")
    doubles = None if weights is None else plain(weights).astype(np.float64)
    return wrap(np.bincount(plain(x), doubles, minlength or 0))


def _add_at(array: StrictArray, indices: StrictArray, values: StrictArray) -> None:
    """As CuPy's `add.at`: indices that occur several times add up."""
    launched("add.at")
    np.add.at(plain(array), plain(indices), plain(values))


_UFUNCS = """
    abs absolute add arccos arcsin arctan bitwise_and bitwise_or bitwise_xor ceil conj copysign cos
    cosh divide equal exp expm1 floor floor_divide fmax fmin greater greater_equal invert isfinite
    isinf isnan left_shift less less_equal log log1p log2 logaddexp logical_and logical_not
    logical_or logical_xor matmul maximum minimum multiply negative not_equal positive power
    reciprocal remainder rint sign sin sinh sqrt square subtract tan tanh true_divide
"""
_METHODS = """
    all any argmax argmin copy cumsum max mean min nonzero prod ravel repeat reshape squeeze
    sum swapaxes transpose var
"""
_ON_ARRAYS = """
    ascontiguousarray broadcast_to concatenate diff dot empty_like expand_dims flatnonzero flip
    full_like hstack imag isin lexsort moveaxis ones_like outer pad real roll searchsorted sort
    split stack tensordot tile tril triu unique vstack zeros_like
"""
_CREATION = "arange empty eye full linspace ones tri zeros"
_VALUES = """
    bool_ complex128 complex64 dtype finfo float16 float32 float64 iinfo inf int32 int64 int8 intp
    nan newaxis pi promote_types result_type uint32 uint64 uint8
"""

strict: Any = SimpleNamespace(
    **{name: _ufunc(name) for name in _UFUNCS.split()},
    **{name: getattr(StrictArray, name) for name in _METHODS.split()},
    **{name: _on_arrays(name) for name in _ON_ARRAYS.split()},
    **{name: _creation(name) for name in _CREATION.split()},
    **{name: getattr(np, name) for name in _VALUES.split()},
    argsort=_argsort, array=_array, asarray=_asarray, bincount=_bincount, clip=StrictArray.clip,
    einsum=_einsum, ndarray=StrictArray, take=StrictArray.take, take_along_axis=_take_along_axis,
    where=_where,
    fft=SimpleNamespace(**{n: _on_arrays(n, np.fft) for n in ("fft", "ifft", "rfft", "irfft")}),
)  # fmt: skip

strict.add.at = _add_at


class StrictGenerator:
    """Random numbers "on the device", by the methods that CuPy's `Generator` has."""

    def __init__(self, seed: int | tuple[int, ...] | None) -> None:
        launched("generator")
        self._rng = np.random.default_rng(seed)

    def random(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> StrictArray:
        launched("random")
        if out is not None:
            out._array[...] = self._rng.random(out.shape, dtype)
            return out
        return wrap(self._rng.random(size, dtype))

    def standard_normal(self, size: Any = None, dtype: Any = np.float64) -> StrictArray:
        launched("random")
        return wrap(self._rng.standard_normal(size, dtype))


def from_host(array: np.ndarray, index: int) -> StrictArray:
    """A copy on the device."""
    launched("from host")
    return StrictArray(array.copy())


register_backend(
    Backend(
        name="strict",
        xp=strict,
        array_type=StrictArray,
        new_generator=StrictGenerator,
        from_host=from_host,
        to_host=lambda array: array.get(),
        index_of=lambda array: 0,
    )
)
