"""Column- and row-parallel linear layers: a matrix product divided among ranks.

Y = X W^T. By columns of Y (rows of W, as torch stores it) each rank computes Y_r = X W_r^T, some of
the features of Y. By rows (columns of W) each rank has some of the features of X, and
Y = sum_r X_r W_r^T.

A column-parallel layer followed by a row-parallel one needs one sum, at the end: in between,
activations and attention heads use the features of one rank alone.

Source   Shoeybi et al. 2019, arXiv:1909.08053, section 3 and figure 3
Shapes   p ranks   column: weight (O / p, I), bias (O / p,)   row: weight (O, I / p), bias (O,)
"""

from __future__ import annotations

from typing import Any, ClassVar

from tinybert import functional as F
from tinybert.autograd import Tensor, as_tensor
from tinybert.nn import Linear, Module, Parameter
from tinybert.parallel import conjugate
from tinybert.parallel.communicator import Communicator
from tinybert.parallel.grid import span


class Sharded(Module):
    """A layer whose parameters are divided among ranks.

    Attributes:
        axes: for each parameter that is divided, the axis of the full parameter.
    """

    axes: ClassVar[dict[str, int]] = {}

    def take(self, layer: Module, group: Communicator) -> None:
        """Take this rank's part of every parameter of the full layer."""
        self.group = group
        for name in ("weight", "bias"):
            if hasattr(layer, name):
                setattr(self, name, self.part(name, getattr(layer, name)))

    def part(self, name: str, parameter: Any) -> Any:
        """Return this rank's part of a parameter: a new one, or itself if it is not divided."""
        if parameter is None or name not in self.axes:
            return parameter
        axis = self.axes[name]
        index = span(parameter.shape[axis], self.group.size, self.group.rank)
        data = parameter.data[(slice(None),) * axis + (index,)]
        return Parameter(data.copy(order="C"), requires_grad=parameter.requires_grad)


class ColumnParallelLinear(Sharded, Linear):
    """The columns of y = x @ weight^T + bias that this rank computes.

    Args:
        layer: the full layer, the same on all ranks.
        group: the ranks that share it.
        copies: whether x passes through f; False if it has already, for several layers at once.
        gathers: return the columns of all ranks.
    """

    axes: ClassVar[dict[str, int]] = {"weight": 0, "bias": 0}

    def __init__(
        self, layer: Linear, group: Communicator, copies: bool = True, gathers: bool = False
    ) -> None:
        Module.__init__(self)
        self.copies, self.gathers = copies, gathers
        self.take(layer, group)
        self.in_features, self.out_features = layer.in_features, self.weight.shape[0]

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., O / p), or (..., O) if it gathers, for x (..., I), equal on all ranks."""
        y = F.linear(conjugate.copy(x, self.group) if self.copies else x, self.weight, self.bias)
        return columns(y, self.group) if self.gathers else y


class RowParallelLinear(Sharded, Linear):
    """y = x @ weight^T + bias from the features of x that this rank has; the same y on all ranks.

    The bias is added once, after the sum.

    Args:
        layer: the full layer, the same on all ranks.
        group: the ranks that share it.
        sequence: return this rank's tokens only (sequence parallelism).
    """

    axes: ClassVar[dict[str, int]] = {"weight": 1}

    def __init__(self, layer: Linear, group: Communicator, sequence: bool = False) -> None:
        Module.__init__(self)
        self.sum = conjugate.add_scatter if sequence else conjugate.add
        self.take(layer, group)
        self.in_features, self.out_features = self.weight.shape[1], layer.out_features

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., O) for the features x (..., I / p) of this rank."""
        y = self.sum(F.linear(x, self.weight), self.group)
        return y if self.bias is None else y + self.bias


def columns(y: Tensor, group: Communicator) -> Tensor:
    """Return the columns (..., O) of all ranks, which may have different numbers of them.

    There is no gradient: a loss of all columns is computed where they are (`cross_entropy.py`).
    """
    counts = group.gather_objects(y.shape[-1])
    missing = max(counts) - y.shape[-1]
    equal = F.pad(y.detach(), [(0, 0)] * (y.ndim - 1) + [(0, missing)])
    parts = group.allgather(equal.data[None])
    return F.concat([as_tensor(p[..., :n]) for p, n in zip(parts, counts, strict=True)], axis=-1)
