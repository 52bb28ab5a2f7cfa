"""`jit`: a check that a function is pure, where JAX would compile it.

JAX traces a function once and runs the trace from then on, so a function with side effects is
wrong under `jax.jit`. Nothing is compiled here, on a CPU or a GPU: the operations run as always.
The check finds what would go wrong in JAX.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tinybert.autograd import Tensor
from tinybert.backend import is_array, to_host
from tinybert.transforms.trees import tree_leaves


def jit(
    fun: Callable[..., Any] | None = None,
    *,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Sequence[str] | None = None,
) -> Callable[..., Any]:
    """Return `fun`, which is checked for purity at the first call with arguments of new shapes.

    Args:
        fun: the function; without it, a decorator is returned.
        static_argnums, static_argnames: accepted as in JAX; every argument may be static here.

    The first call with new shapes runs the function twice, later ones once. Raises ValueError if
    the two results differ, bit by bit, or if an argument, or the weights or mode of a module that
    the function refers to, changed.
    """
    if fun is None:
        return functools.partial(
            jit, static_argnums=static_argnums, static_argnames=static_argnames
        )
    checked: set[Any] = set()
    name = getattr(fun, "__name__", type(fun).__name__)

    @functools.wraps(fun)
    def run(*args: Any, **kwargs: Any) -> Any:
        key = tuple(_shape(leaf) for leaf in tree_leaves((args, kwargs)))
        if key in checked:
            return fun(*args, **kwargs)
        arguments, modules = _values((args, kwargs)), list(_modules(fun))
        states = [_state(module) for module in modules]
        first = _values(fun(*args, **kwargs))
        for module, state in zip(modules, states, strict=True):
            if _state(module) != state:
                raise ValueError(
                    f"{name} is not pure: it changes {type(module).__name__}; return new values, "
                    "and pass parameters as arguments (see functional_call)"
                )
        if _values((args, kwargs)) != arguments:
            raise ValueError(f"{name} is not pure: it changes one of its arguments")
        result = fun(*args, **kwargs)
        if _values(result) != first:
            raise ValueError(
                f"{name} is not pure: two calls with the same arguments gave different results; "
                "if it draws random numbers (dropout), pass a seed as an argument"
            )
        checked.add(key)
        return result

    return run


def _values(tree: Any) -> list[Any]:
    """Return a fingerprint of every leaf."""
    return [_value(leaf) for leaf in tree_leaves(tree)]


def _value(leaf: Any) -> Any:
    array = leaf.data if isinstance(leaf, Tensor) else leaf
    if is_array(array) or isinstance(array, np.generic):
        host = np.ascontiguousarray(to_host(np.asarray(array) if np.isscalar(array) else array))
        return array.shape, str(array.dtype), zlib.crc32(host.view(np.uint8).data)
    return leaf if isinstance(leaf, (bool, int, float, complex, str, bytes)) else id(leaf)


def _shape(leaf: Any) -> Any:
    array = leaf.data if isinstance(leaf, Tensor) else leaf
    return (array.shape, str(array.dtype)) if is_array(array) else type(leaf)


def _modules(fun: Any) -> Iterator[Any]:
    """Return the modules that a function refers to: itself, its object, closure and globals; and
    those of the function that a transformation was applied to.
    """
    if hasattr(fun, "__wrapped__"):
        yield from _modules(fun.__wrapped__)
    seen = [fun, getattr(fun, "__self__", None), *(getattr(fun, "__defaults__", None) or ())]
    for cell in getattr(fun, "__closure__", None) or ():
        seen.extend([cell.cell_contents] if cell != type(cell)() else [])
    code = getattr(fun, "__code__", None)
    if code is not None:
        seen.extend(fun.__globals__[name] for name in code.co_names if name in fun.__globals__)
    for value in seen:
        if hasattr(value, "named_state") and not isinstance(value, type):
            yield value


def _state(module: Any) -> Any:
    """Return a fingerprint of the weights of a module, and the mode of its parts."""
    parts = module.modules() if hasattr(module, "modules") else ()
    weights = {name: _value(tensor) for name, tensor in module.named_state()}
    return weights, [part.training for part in parts]
