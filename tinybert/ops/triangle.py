"""The lower and the upper triangle of matrices (tril, triu)."""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import Array, array_module


class _Triangle:
    """Mixin that keeps one side of a diagonal of the last two axes and sets the other to 0."""

    keep: Array  # (rows, columns), True where elements stay

    def diagonals(self, x: Any) -> Any:
        """Return for each element of the last two axes its diagonal: column - row."""
        if x.ndim < 2:
            raise ValueError(
                f"{type(self).__name__.lower()} needs at least two axes, got shape {x.shape}"
            )
        xp = array_module(x)
        return xp.arange(x.shape[-1])[None, :] - xp.arange(x.shape[-2])[:, None]

    def kept(self, x: Any) -> Any:
        """Return x where `keep`, 0 elsewhere."""
        xp = array_module(x)
        return xp.where(self.keep, x, xp.zeros_like(x))


class Tril(_Triangle, Function):
    """The lower triangle of the last two axes: 0 above `diagonal`. dx = tril(dy)."""

    def forward(self, x: Any, *, diagonal: int) -> Any:
        self.keep = self.diagonals(x) <= diagonal
        return self.kept(x)

    def backward(self, dy: Any) -> Any:
        return self.kept(dy)


def tril(input: Any, diagonal: int = 0) -> Tensor:
    """Return the lower triangle of the last two axes, zeros above `diagonal`."""
    return Tril.apply(as_tensor(input), diagonal=diagonal)


class Triu(_Triangle, Function):
    """The upper triangle of the last two axes: 0 below `diagonal`. dx = triu(dy)."""

    def forward(self, x: Any, *, diagonal: int) -> Any:
        self.keep = self.diagonals(x) >= diagonal
        return self.kept(x)

    def backward(self, dy: Any) -> Any:
        return self.kept(dy)


def triu(input: Any, diagonal: int = 0) -> Tensor:
    """Return the upper triangle of the last two axes, zeros below `diagonal`."""
    return Triu.apply(as_tensor(input), diagonal=diagonal)
