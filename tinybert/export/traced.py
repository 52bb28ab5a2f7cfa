"""`Traced`: an array that remembers the array functions that computed it.

A model whose parameters are traced runs the plain formula of every operation, as on a device of its
own, and every array function that it calls becomes a `Step`: also those of masks and positions,
which no operation of the engine computes. Where ONNX has an operator for a whole operation, such
as `LayerNormalization`, that replaces its formula (`Observer`). Steps whose result is not used,
such as checks of arguments, are left out later.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinybert.autograd.modes import observing
from tinybert.backend import Backend, device, register_backend

DEVICE = "onnx"


class Step:
    """A call of an array function, or an operation of the engine.

    Attributes:
        name: of the function as in NumPy; of an operation, its class; "input", "parameter" or
            "constant" for arrays that are given.
        args, options: its arguments; arrays are replaced by their `Source`.
        results: the arrays that it returned.
        scope: the dotted name of the module that called it.
        number: steps are numbered in the order of the calls.
    """

    __slots__ = ("args", "name", "number", "options", "results", "scope")

    def __init__(self, name: str, args: Any, options: Any, results: Any) -> None:
        self.name, self.results = name, results
        self.args, self.options = sources(args), sources(options)
        self.scope, self.number = _log.scope, _log.count
        _log.count += 1


class Source:
    """Where an array comes from: the result number `index` of a step."""

    __slots__ = ("index", "step")

    def __init__(self, step: Step, index: int = 0) -> None:
        self.step, self.index = step, index

    @property
    def array(self) -> np.ndarray:
        """The array, of this run."""
        return self.step.results[self.index]


class _Log:
    """The module that runs now, and the number of steps so far."""

    scope = ""
    count = 0


_log = _Log()
_one_at_a_time = threading.Lock()


def sources(value: Any) -> Any:
    """Return an argument with the `Source` of each traced array in its place."""
    if isinstance(value, Traced):
        return value.source
    if isinstance(value, slice):
        return slice(*(sources(part) for part in (value.start, value.stop, value.step)))
    if isinstance(value, (tuple, list)):
        return tuple(map(sources, value))
    if isinstance(value, dict):
        return {name: sources(part) for name, part in value.items()}
    return value


def arrays(value: Any) -> Any:
    """Return an argument with the array of each traced array in its place."""
    if isinstance(value, Traced):
        return value.array
    if isinstance(value, (tuple, list)):
        return type(value)(arrays(part) for part in value)
    if isinstance(value, dict):
        return {name: arrays(part) for name, part in value.items()}
    return value


def call(name: str, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call an array function and return its results as traced arrays.

    A result written into `out` replaces the source of that array.
    """
    out = options.pop("out", None)
    with np.errstate(all="ignore"):
        found = function(*arrays(args), **arrays(options))
    several = isinstance(found, (tuple, list))
    results = [np.asarray(part) for part in (found if several else (found,))]
    if results[0].dtype == object:
        raise TypeError(f"{name} did not compute numbers")
    step = Step(name, args, options, results)
    if out is not None:
        np.copyto(out.array, results[0], casting="unsafe")
        out.source = Source(step)
        return out
    traced = [Traced(array, Source(step, i)) for i, array in enumerate(results)]
    return tuple(traced) if several else traced[0]


def given(kind: str, array: np.ndarray, name: str = "") -> Traced:
    """Return an array that no step computed: an "input", a "parameter" or a "constant"."""
    return Traced(array, Source(Step(kind, (name,), {}, [array])))


class Traced:
    """An array with the source of its numbers; see the module's docstring."""

    __slots__ = ("__weakref__", "array", "base", "source")
    __array_ufunc__ = None  # `ndarray + traced` comes here
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, array: np.ndarray, source: Source) -> None:
        self.array, self.source, self.base = array, source, None

    dtype = property(lambda self: self.array.dtype)
    shape = property(lambda self: self.array.shape)
    ndim = property(lambda self: self.array.ndim)
    size = property(lambda self: self.array.size)
    itemsize = property(lambda self: self.array.itemsize)
    nbytes = property(lambda self: self.array.nbytes)
    strides = property(lambda self: self.array.strides)
    flags = property(lambda self: self.array.flags)
    T = property(lambda self: call("transpose", np.transpose, self))
    real = property(lambda self: call("real", np.real, self))
    imag = property(lambda self: call("imag", np.imag, self))

    def __array__(self, *args: Any, **options: Any) -> np.ndarray:
        raise TypeError("a traced array is not on the CPU; move it with .to('cpu')")

    def __len__(self) -> int:
        return len(self.array)

    def __getattr__(self, name: str) -> Any:
        """Return a method of arrays, such as `sum`."""
        method = getattr(np.ndarray, name)  # AttributeError for what arrays do not have
        if name in ("item", "tolist"):
            return getattr(self.array, name)
        return lambda *args, **options: call(name, method, self, *args, **options)

    def __getitem__(self, index: Any) -> Traced:
        return call("getitem", lambda array, index: array[index], self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.array[arrays(index)] = arrays(value)
        self.source = Source(Step("assignment to elements", (), {}, [self.array]))


def _operator(name: str, function: np.ufunc, kind: str) -> Callable[..., Any]:
    def forward(self: Traced, *other: Any) -> Any:
        if other and not isinstance(other[0], Traced) and is_foreign(other[0]):
            return NotImplemented
        return call(name, function, self, *other)

    def reflected(self: Traced, other: Any) -> Any:
        return call(name, function, other, self)

    def in_place(self: Traced, other: Any) -> Traced:
        result = call(name, function, self, other)
        np.copyto(self.array, result.array, casting="unsafe")
        self.source = call("astype", np.ndarray.astype, result, self.dtype).source
        return self

    return {"": forward, "r": reflected, "i": in_place}[kind]


def is_foreign(value: Any) -> bool:
    """Return whether another object, such as a Tensor, has to do the arithmetic."""
    return getattr(value, "__array_ufunc__", 0) is None


_ARITHMETIC = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.true_divide,
    "floordiv": np.floor_divide, "mod": np.remainder, "pow": np.power, "matmul": np.matmul,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
}  # fmt: skip
_ONE_SIDED = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal, "neg": np.negative, "abs": np.absolute, "invert": np.invert,
}  # fmt: skip
for _name, _function in _ARITHMETIC.items():
    for _kind in ("", "r", "i"):
        setattr(Traced, f"__{_kind}{_name}__", _operator(_function.__name__, _function, _kind))
for _name, _function in _ONE_SIDED.items():
    setattr(Traced, f"__{_name}__", _operator(_function.__name__, _function, ""))
for _name in ("bool", "int", "float", "complex", "index"):
    setattr(Traced, f"__{_name}__", lambda self, _name=_name: getattr(self.array, f"__{_name}__")())


class Library:
    """The array module of traced arrays: the functions of NumPy, each call a step."""

    def __init__(self, module: Any = np) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._module, name)
        if name == "fft":
            return Library(found)
        if isinstance(found, type) or not callable(found) or name in _VALUES:
            return Traced if name == "ndarray" else found
        return lambda *args, **options: call(found.__name__, found, *args, **options)


_VALUES = ("finfo", "iinfo", "result_type", "promote_types", "errstate", "dtype")


class Observer:
    """Is told of modules and operations (see `tinybert.trace`).

    Args:
        scopes: the dotted name of each module, by its id.
        operations: the classes of operations that one step replaces.
    """

    def __init__(self, scopes: dict[int, str], operations: Any) -> None:
        self.scopes, self.operations = scopes, operations

    def call(self, module: Any, run: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run the call of a module, whose name its steps then have."""
        before, _log.scope = _log.scope, self.scopes.get(id(module), _log.scope)
        try:
            return run(*args, **kwargs)
        finally:
            _log.scope = before

    def forward(
        self, node: Any, inputs: Any, arrays: Any, options: Any, outputs: Any, started: float
    ) -> None:
        """Replace the steps of an operation that has just run by one."""
        if type(node) in self.operations:
            results = [output.data for output in outputs]
            name = type(node).__name__
            step = Step(name, tuple(arrays), options, [result.array for result in results])
            for index, result in enumerate(results):
                result.source = Source(step, index)


@contextmanager
def tracing(model: Any, operations: Any) -> Iterator[None]:
    """Trace the parameters and buffers of a model in the block; at its end they are as before.

    Another thread that traces waits for the end of the block.
    """
    with _one_at_a_time:
        yield from _tracing(model, operations)


def _tracing(model: Any, operations: Any) -> Iterator[None]:
    backends, types = device._backends, device._array_types
    device._backends = dict(backends)
    named = dict(model.named_parameters()) | dict(model.named_buffers())
    before = {name: tensor.data for name, tensor in named.items()}
    scopes = {id(module): name for name, module in model.named_modules()}
    try:
        register_backend(
            Backend(
                name=DEVICE,
                xp=Library(),
                array_type=Traced,
                new_generator=_no_random_numbers,
                from_host=lambda array, index: given("constant", array),
                to_host=lambda array: array.array,
                index_of=lambda array: 0,
            )
        )
        for name, tensor in named.items():
            tensor.data = given("parameter", before[name], name)
        with observing(Observer(scopes, operations)):
            yield
    finally:
        for name, tensor in named.items():
            tensor.data = before[name]
        device._backends, device._array_types = backends, types


def _no_random_numbers(seed: Any) -> Any:
    raise ValueError("a model that draws random numbers cannot be exported: call model.eval()")
