"""Splitting features into attention heads, and merging heads into features."""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor


class SplitHeads(Function):
    """y[b, h, t, k] = x[b, t, h K + k]: features become H heads of K features. dx merges dy.

    Shapes   x (B, T, H K)   y (B, H, T, K), a view of x
    Source   Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2
    Oracle   x.reshape(B, T, H, K).transpose(1, 2)
    """

    def forward(self, x: Any, *, heads: int) -> Any:
        if x.ndim != 3 or heads < 1 or x.shape[2] % heads:
            raise ValueError(f"split_heads: {heads} heads do not divide the features of {x.shape}")
        batch, length, width = x.shape
        return x.reshape(batch, length, heads, width // heads).swapaxes(1, 2)

    def backward(self, dy: Any) -> Any:
        return _merged(dy)


class MergeHeads(Function):
    """y[b, t, h K + k] = x[b, h, t, k]: the heads concatenated. dx splits dy.

    Shapes   x (B, H, T, K)   y (B, T, H K)
    Source   Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2
    Oracle   x.transpose(1, 2).reshape(B, T, H * K)
    """

    def forward(self, x: Any) -> Any:
        if x.ndim != 4:
            raise ValueError(f"merge_heads: x must have shape (B, H, T, K), got {x.shape}")
        self.shape = x.shape
        return _merged(x)

    def backward(self, dy: Any) -> Any:
        batch, heads, length, size = self.shape
        return dy.reshape(batch, length, heads, size).swapaxes(1, 2)


def split_heads(input: Any, heads: int) -> Tensor:
    """Return features (B, T, H K) as heads (B, H, T, K), a view."""
    return SplitHeads.apply(as_tensor(input), heads=heads)


def merge_heads(input: Any) -> Tensor:
    """Return heads (B, H, T, K) as features (B, T, H K)."""
    return MergeHeads.apply(as_tensor(input))


def _merged(x: Any) -> Any:
    """Return heads (B, H, T, K) as features (B, T, H K)."""
    batch, heads, length, size = x.shape
    return x.swapaxes(1, 2).reshape(batch, length, heads * size)
