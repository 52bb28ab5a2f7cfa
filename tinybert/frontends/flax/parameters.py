"""Flax's parameter trees: their names, fresh values, and the parameters of a module made of them.

    encoder.layer.0.attention.self.query.weight (out, in)      of a module
    encoder / layer / 0 / attention / self / query / kernel (in, out)      in the tree

Source   flax.linen's Dense, Embed and LayerNorm; transformers' `modeling_flax_bert.py`
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tinybert.autograd import Tensor, as_tensor, get_default_device
from tinybert.backend import parse_device, to_device
from tinybert.frontends.initial import truncated_normal
from tinybert.nn import Embedding, LayerNorm, Linear, Module

Path = tuple[str, ...]
_WEIGHTS: tuple[tuple[type[Module], str], ...] = (
    (Linear, "kernel"), (Embedding, "embedding"), (LayerNorm, "scale"),
)  # fmt: skip


class Place(NamedTuple):
    """Where a leaf is in the module: its dotted name and shape there; a kernel is transposed."""

    name: str
    shape: tuple[int, ...]
    is_kernel: bool

    @property
    def leaf_shape(self) -> tuple[int, ...]:
        """The shape in the tree."""
        return self.shape[::-1] if self.is_kernel else self.shape


def places(module: Module) -> dict[Path, Place]:
    """Return the leaves of a module's tree by their paths; a shared parameter is one leaf."""
    found: dict[Path, Place] = {}
    seen: set[int] = set()
    for prefix, part in module.named_modules():
        weight = next((name for kind, name in _WEIGHTS if isinstance(part, kind)), "weight")
        for name, parameter in part._parameters.items():
            if parameter is None or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            keys = [*prefix.split("."), weight if name == "weight" else name]
            dotted = f"{prefix}.{name}" if prefix else name
            place = Place(dotted, parameter.shape, keys[-1] == "kernel")
            found[tuple(key for key in keys if key)] = place
    return found


def tree_of(leaves: Mapping[Path, Any]) -> dict[str, Any]:
    """Return nested dicts made of leaves by path."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        inside = tree
        for key in path[:-1]:
            inside = inside.setdefault(key, {})
        inside[path[-1]] = leaf
    return tree


def leaves_of(tree: Mapping[str, Any], above: Path = ()) -> dict[Path, Any]:
    """Return the leaves of nested dicts by path. Raises TypeError if `tree` is not a dict."""
    if not isinstance(tree, Mapping):
        raise TypeError(f"params must be nested dicts of arrays, got {type(tree).__name__}")
    leaves: dict[Path, Any] = {}
    for key, value in tree.items():
        path = (*above, str(key))
        leaves |= leaves_of(value, path) if isinstance(value, Mapping) else {path: value}
    return leaves


def check_complete(leaves: Iterable[Path], wanted: Iterable[Path]) -> None:
    """Raise ValueError, naming them, if leaves are missing."""
    missing = sorted("/".join(path) for path in set(wanted) - set(leaves))
    if missing:
        raise ValueError(f"params lack {', '.join(missing)}")


def as_parameters(tree: Any, wanted: Mapping[Path, Place], dtype: Any) -> dict[str, Tensor]:
    """Return the parameters of a module by name: views of the tree's leaves, in `dtype`.

    Gradients flow into the leaves. Raises ValueError for leaves that are missing or have another
    shape.
    """
    leaves = leaves_of(tree)
    check_complete(leaves, wanted)
    named: dict[str, Tensor] = {}
    for path, place in wanted.items():
        leaf = as_tensor(leaves[path])
        if leaf.shape != place.leaf_shape:
            raise ValueError(
                f"params: {'/'.join(path)} must have shape {place.leaf_shape}, got {leaf.shape}"
            )
        leaf = leaf.transpose(0, 1) if place.is_kernel else leaf
        named[place.name] = leaf if leaf.dtype == dtype else leaf.to(dtype)
    return named


def from_module(module: Module, wanted: Mapping[Path, Place]) -> dict[Path, Tensor]:
    """Return the leaves of a module: views of its parameters."""
    state = module.state_dict()
    found = {path: state[place.name] for path, place in wanted.items()}
    return {p: x.transpose(0, 1) if wanted[p].is_kernel else x for p, x in found.items()}


def fresh(path: Path, place: Place, key: tuple[int, ...], std: float, is_head: bool) -> Tensor:
    """Return the initial value of a leaf: it depends on the key and the path alone.

    Embeddings and kernels are normal with standard deviation `std`; kernels of a head have Flax's
    default, LeCun et al. 1998: variance 1 / in, normal, cut at two standard deviations. Scales are
    1, biases 0.
    """
    shape, kind = place.leaf_shape, path[-1]
    values = np.full(shape, float(kind == "scale"), np.float32)
    if kind in ("kernel", "embedding"):
        seed = (*key, zlib.crc32("/".join(path).encode()))
        generator = parse_device("cpu")[0].new_generator(seed)
        if kind == "kernel" and is_head:
            # The standard deviation of a standard normal cut at -2 and 2 is 0.8796.
            std = 1 / math.sqrt(shape[0]) / 0.87962566103423978
            values = truncated_normal(generator, shape) * np.float32(std)
        else:
            values = generator.standard_normal(shape, dtype=np.float32) * np.float32(std)
    return as_tensor(to_device(values, get_default_device()))
