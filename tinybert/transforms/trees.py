"""Trees: dicts, lists, tuples and model outputs, nested, whose leaves are arrays or other values.

None is a tree without leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tinybert.model_output import ModelOutput


def tree_map(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Return a tree like `tree` whose leaves are function(leaf, *leaves of the other trees).

    Raises ValueError if the trees have different keys or lengths.
    """
    if tree is None:
        return None
    if isinstance(tree, Mapping):
        for other in others:
            if not isinstance(other, Mapping) or other.keys() != tree.keys():
                found = sorted(other) if isinstance(other, Mapping) else type(other).__name__
                raise ValueError(f"the trees differ: keys {sorted(tree)} and {found}")
        parts = {key: tree_map(function, tree[key], *(o[key] for o in others)) for key in tree}
        return type(tree)(**parts) if isinstance(tree, ModelOutput) else parts
    if isinstance(tree, (list, tuple)):
        for other in others:
            if not isinstance(other, (list, tuple)) or len(other) != len(tree):
                raise ValueError(
                    f"the trees differ: {type(tree).__name__} of {len(tree)} and "
                    f"{type(other).__name__}"
                    + (f" of {len(other)}" if isinstance(other, (list, tuple)) else "")
                )
        made = [tree_map(function, *members) for members in zip(tree, *others, strict=True)]
        return type(tree)(*made) if hasattr(tree, "_fields") else type(tree)(made)
    return function(tree, *others)


def tree_leaves(tree: Any) -> list[Any]:
    """Return the leaves of a tree in order."""
    leaves: list[Any] = []
    tree_map(leaves.append, tree)
    return leaves
