"""The reduction that all losses share.

A loss is a number for each element (or row) and then a reduction: "none" keeps them all, "sum" adds
them up, "mean" divides by how many count. float16 is computed in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert.backend import Array
from tinybert.ops.arguments import converted, widened


class Loss:
    """Mixin: the reduction of losses, and its backward."""

    dtype: Any  # of the prediction; the loss has the same
    count: Any  # what the sum was divided by, or None

    def reduce(self, losses: Array, reduction: str, count: Any = None) -> Array:
        """Return `losses` unchanged, their sum, or their sum / count (by default their number).

        The mean of nothing is nan, without a warning, as in torch.
        """
        if reduction not in ("none", "mean", "sum"):
            raise ValueError(f"reduction must be 'none', 'mean' or 'sum', got {reduction!r}")
        self.count = None
        if reduction == "none":
            return converted(losses, self.dtype)
        total = losses.sum()
        if reduction == "mean":
            self.count = losses.size if count is None else count
            with np.errstate(divide="ignore", invalid="ignore"):
                total = total / self.count
        return converted(total, self.dtype)

    def each(self, dy: Array) -> Array:
        """Return dL by each single loss: dy, or dy / count; it broadcasts to the losses."""
        if self.count is None:
            return widened(dy)
        with np.errstate(divide="ignore", invalid="ignore"):
            return widened(dy) / self.count
