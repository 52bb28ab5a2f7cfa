"""`vmap`: apply a function to every member of an axis.

It is a loop: the function runs once for each member, and the results are stacked. Gradients flow
through it, and it may be inside or outside of `grad`. It saves writing a batch axis, not time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from tinybert.autograd import Tensor, as_tensor
from tinybert.backend import is_array
from tinybert.functional import stack
from tinybert.transforms.trees import tree_map


def vmap(fun: Callable[..., Any], in_axes: Any = 0, out_axes: int = 0) -> Callable[..., Any]:
    """Return `fun` for arguments with one axis more.

    Args:
        fun: takes and returns trees of arrays.
        in_axes: the axis of all positional arguments, or a tuple with one for each: a number, None
            for an argument that is the same for all, or a tree of these like the argument. Keyword
            arguments have axis 0.
        out_axes: the new axis of the results.

    Raises ValueError for axes that do not exist, differ in size, or have no members, and if nothing
    has an axis.
    """

    @functools.wraps(fun)
    def run(*args: Any, **kwargs: Any) -> Any:
        axes = tuple(in_axes) if isinstance(in_axes, (tuple, list)) else (in_axes,) * len(args)
        if len(axes) != len(args):
            raise ValueError(f"in_axes has {len(axes)} members for {len(args)} arguments")
        sizes: set[int] = set()
        _over(args, axes, lambda leaf, axis: sizes.add(_size(leaf, axis)))
        _over(kwargs, 0, lambda leaf, axis: sizes.add(_size(leaf, axis)))
        if len(sizes) != 1 or 0 in sizes:
            raise ValueError(
                f"the mapped axes must have one common size of at least 1, got {sorted(sizes)}"
            )
        results = []
        for index in range(sizes.pop()):
            take = functools.partial(_take, index=index)
            results.append(fun(*_over(args, axes, take), **_over(kwargs, 0, take)))
        return tree_map(lambda *members: stack(members, out_axes), *results)

    return run


def _over(tree: Any, axes: Any, function: Callable[[Any, int], Any]) -> Any:
    """Apply function(leaf, axis) to the leaves with an axis; `axes` is a prefix of the tree."""
    if axes is None:
        return tree
    if isinstance(axes, Mapping):
        if not isinstance(tree, Mapping) or tree.keys() != axes.keys():
            found = sorted(tree) if isinstance(tree, Mapping) else type(tree).__name__
            raise ValueError(f"in_axes has keys {sorted(axes)} for an argument with {found}")
        return {key: _over(part, axes[key], function) for key, part in tree.items()}
    if isinstance(axes, (tuple, list)):
        if not isinstance(tree, (tuple, list)) or len(tree) != len(axes):
            count = len(tree) if isinstance(tree, (tuple, list)) else type(tree).__name__
            raise ValueError(f"in_axes has {len(axes)} members for an argument with {count}")
        parts = zip(tree, axes, strict=True)
        return type(tree)([_over(part, axis, function) for part, axis in parts])
    return tree_map(lambda leaf: function(leaf, axes), tree)


def _size(leaf: Any, axis: int) -> int:
    shape = leaf.shape if isinstance(leaf, Tensor) or is_array(leaf) else as_tensor(leaf).shape
    if not -len(shape) <= axis < len(shape):
        raise ValueError(
            f"an argument of shape {shape} has no axis {axis}; in_axes=None passes it as it is"
        )
    return shape[axis]


def _take(leaf: Any, axis: int, index: int) -> Any:
    leaf = leaf if isinstance(leaf, Tensor) or is_array(leaf) else as_tensor(leaf)
    return leaf[(slice(None),) * (axis % leaf.ndim) + (index,)]
