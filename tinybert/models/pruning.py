"""Pruning of attention heads (Michel et al. 2019, arXiv:1905.10650)."""

from __future__ import annotations

from tinybert.autograd import no_grad
from tinybert.models.attention import SelfAttention
from tinybert.nn import Linear, Parameter


def prune_attention_heads(attention: SelfAttention, output: Linear, heads: set[int]) -> None:
    """Remove heads, by their original numbers, from an attention and the layer after it.

    Raises ValueError for heads that never existed, and if no head would be left.
    """
    original = attention.query.in_features // attention.head_size
    wrong = sorted(head for head in heads if not 0 <= head < original)
    if wrong:
        raise ValueError(f"heads must be from 0 to {original - 1}, got {wrong}")
    kept = [index for index, head in enumerate(attention.kept_heads) if head not in heads]
    if not kept:
        raise ValueError(f"cannot prune all heads of a layer: {sorted(heads)}")
    size = attention.head_size
    features = [head * size + k for head in kept for k in range(size)]
    for layer in (attention.query, attention.key, attention.value):
        _keep(layer, "weight", features, 0)
        _keep(layer, "bias", features, 0)
        layer.out_features = len(features)
    _keep(output, "weight", features, 1)
    output.in_features = len(features)
    attention.kept_heads = [attention.kept_heads[index] for index in kept]


def _keep(layer: Linear, name: str, indices: list[int], axis: int) -> None:
    """Replace a parameter by its rows (axis 0) or columns (axis 1) at `indices`."""
    old = getattr(layer, name)
    with no_grad():
        kept = old[indices] if axis == 0 else old[:, indices]
    setattr(layer, name, Parameter(kept.data.copy(), requires_grad=old.requires_grad))
