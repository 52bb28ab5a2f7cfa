"""`grad` and `value_and_grad`: the gradient of a function of trees, as a function.

One backward pass through the recorded graph. The engine records forward passes only, so the
gradient of a gradient (and `jvp`, which two backward passes would give) is not available.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tinybert.autograd import Tensor, as_tensor, enable_grad
from tinybert.backend import Array, array_module
from tinybert.transforms.trees import tree_map


class _Outer(threading.local):
    """The leaves of the gradients that are being computed, for each thread."""

    leaves: tuple[dict[int, Tensor], ...] = ()


_outer = _Outer()


def value_and_grad(
    fun: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """Return a function of fun's arguments that returns (value, gradients).

    Args:
        fun: returns one number; with `has_aux` a pair of it and any tree.
        argnums: the positions of the arguments to differentiate: trees of floating arrays. Other
            arguments are constants.
        has_aux: the new function returns ((value, aux), gradients).

    The gradients are a tree like the argument (a tuple of trees for several argnums), with zeros
    for leaves that the value does not depend on. No `.grad` changes. Raises TypeError for leaves
    that are not floating and for values that are not one number, and NotImplementedError for the
    gradient of a gradient.
    """
    chosen = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    @functools.wraps(fun)
    def run(*args: Any, **kwargs: Any) -> Any:
        leaves: dict[int, Tensor] = {}
        arguments = list(args)
        for number in chosen:
            if not -len(args) <= number < len(args):
                raise ValueError(f"argnums {number} is not among {len(args)} positional arguments")
            arguments[number] = tree_map(lambda leaf: _leaf(leaf, leaves), args[number])
        before, _outer.leaves = _outer.leaves, (*_outer.leaves, leaves)
        try:
            with enable_grad():
                result = fun(*arguments, **kwargs)
        finally:
            _outer.leaves = before
        if has_aux and not (isinstance(result, tuple) and len(result) == 2):
            raise TypeError("has_aux=True: the function must return a pair (number, aux)")
        value, aux = result if has_aux else (result, None)
        value = as_tensor(value)
        if value.size != 1:
            raise TypeError(f"the function must return one number, got shape {value.shape}")
        gradients = _gradients(value, leaves)
        trees = tuple(tree_map(lambda leaf: gradients[id(leaf)], arguments[n]) for n in chosen)
        value, aux = value.detach(), tree_map(_detached, aux)
        return ((value, aux) if has_aux else value), trees[0] if chosen == (argnums,) else trees

    return run


def grad(
    fun: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """Return a function of fun's arguments that returns the gradients; with `has_aux` the pair
    (gradients, aux). See `value_and_grad`.
    """
    both = value_and_grad(fun, argnums, has_aux)

    @functools.wraps(fun)
    def run(*args: Any, **kwargs: Any) -> Any:
        value, gradients = both(*args, **kwargs)
        return (gradients, value[1]) if has_aux else gradients

    return run


def _leaf(value: Any, leaves: dict[int, Tensor]) -> Tensor:
    """Return a new leaf of the graph that shares the memory of `value`."""
    tensor = as_tensor(value)
    if tensor.requires_grad and _outer.leaves:
        raise _second()
    if tensor.dtype.kind not in "fc":
        raise TypeError(f"only floating arrays have gradients, got a leaf of {tensor.dtype}")
    leaf = tensor.detach().requires_grad_()
    leaves[id(leaf)] = leaf
    return leaf


def leaf_gradients(value: Tensor, leaves: Mapping[int, Tensor]) -> dict[int, Array]:
    """Return the gradients of a number by the identity of the leaf, for those of the leaves that it
    depends on. No `.grad` changes.
    """
    found: dict[int, Array] = {}

    def deliver(leaf: Tensor, gradient: Array, fresh: bool) -> None:
        if any(id(leaf) in outer for outer in _outer.leaves):
            raise _second()
        if id(leaf) in leaves:
            gradient = gradient.astype(leaf.dtype, copy=not fresh)
            found[id(leaf)] = found[id(leaf)] + gradient if id(leaf) in found else gradient

    if value.requires_grad:
        ones = array_module(value.data).ones(value.shape, value.dtype)
        value._backward(ones, False, deliver)
    return found


def _gradients(value: Tensor, leaves: dict[int, Tensor]) -> dict[int, Tensor]:
    """Return the gradient of every leaf by its identity; zeros for those that are not used."""
    found = leaf_gradients(value, leaves)
    for key, leaf in leaves.items():
        if key not in found:
            found[key] = array_module(leaf.data).zeros(leaf.shape, leaf.dtype)
    return {key: as_tensor(array) for key, array in found.items()}


def _detached(leaf: Any) -> Any:
    return leaf.detach() if isinstance(leaf, Tensor) else leaf


def _second() -> NotImplementedError:
    return NotImplementedError(
        "the gradient of a gradient is not available, since backward passes are not recorded; "
        "detach() the arguments of the inner function to treat its gradient as a constant"
    )
