"""ZeRO stage 1: each data-parallel rank keeps a part of the optimizer's state.

Adam keeps two numbers for each weight, twice the memory of the weights, on every copy of the model.
With stage 1 a rank keeps those of 1 / d of the weights, and updates only these:

    gradients --reduce-scatter--> own part --optimizer--> own weights --all-gather--> all weights

A reduce-scatter and an all-gather send the bytes of an all-reduce: the memory is free.

The weights of a parameter group form one long vector, filled up with zeros to d equal parts. The
optimizer sees this rank's part as one parameter. That is the same update where the rule treats each
number separately: SGD, Adam, AdamW; not LAMB, which needs the norm of each matrix.

Source   Rajbhandari et al. 2019, arXiv:1910.02054, section 5.1 (P_os), figure 1; section 7.2.1
Bytes    over `data`, n numbers of weights: a reduce_scatter of n and an allgather of n
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from tinybert.autograd import Tensor, no_grad
from tinybert.backend import Array, array_module
from tinybert.optim import Lamb, Optimizer
from tinybert.parallel.buckets import flat
from tinybert.parallel.communicator import Communicator


class Piece(NamedTuple):
    """Numbers `start` to `stop` of a flat parameter, and where they are in the rank's vector."""

    parameter: Tensor
    start: int
    stop: int
    at: int


class ZeroOptimizer:
    """An optimizer whose state is divided among data-parallel ranks.

    Args:
        optimizer: over all parameters of this rank; it keeps its groups, but of each it trains the
            rank's part of one vector.
        group: the ranks with the same parameters.

    Attributes:
        pieces: for each group what this rank's vector holds.

    Raises ValueError for LAMB, and for groups of several dtypes.
    """

    def __init__(self, optimizer: Optimizer, group: Communicator) -> None:
        if isinstance(optimizer, Lamb):
            raise ValueError("ZeRO needs an optimizer by element: adamw, adam or sgd, not lamb")
        self.optimizer, self.group = optimizer, group
        self.members: list[list[Tensor]] = []
        self.pieces: list[list[Piece]] = []
        for options in optimizer.param_groups:
            members = options["params"]
            if len({p.dtype for p in members}) > 1:
                raise ValueError("ZeRO needs parameters of one dtype")
            total = sum(p.size for p in members)
            part = -(-total // group.size)
            self.members.append(members)
            self.pieces.append(_pieces(members, group.rank * part, (group.rank + 1) * part))
            xp = array_module(members[0].data)
            own = Tensor._wrap(xp.zeros(part, members[0].dtype)).requires_grad_(True)
            options["params"] = [own]
        self.read_weights()

    @property
    def parts(self) -> list[Tensor]:
        """The rank's vector of each group."""
        return [options["params"][0] for options in self.optimizer.param_groups]

    @no_grad()
    def read_weights(self) -> None:
        """Copy the rank's part of the weights into its vectors."""
        for own, pieces in zip(self.parts, self.pieces, strict=True):
            data = own._changed("read_weights")
            for parameter, start, stop, at in pieces:
                data[at : at + stop - start] = parameter.data.reshape(-1)[start:stop]

    def add_gradients(self) -> None:
        """Give each rank its part of the gradients, added over the ranks."""
        for own, members in zip(self.parts, self.members, strict=True):
            own.grad = Tensor._wrap(self.group.reduce_scatter(self._filled(flat(members), own)))

    @no_grad()
    def step(self, unused: Iterable[Tensor] = ()) -> None:
        """Update the rank's part of the weights, and gather those of all.

        unused: parameters without a gradient, the same on every rank; they are not changed.
        """
        kept = {id(parameter) for parameter in unused}
        self.optimizer.step()
        for own, members in zip(self.parts, self.members, strict=True):
            vector, start = self.group.allgather(own.data), 0
            for parameter in members:
                if id(parameter) not in kept:
                    data = parameter._changed("step")
                    data[...] = vector[start : start + parameter.size].reshape(parameter.shape)
                start += parameter.size
        if kept:
            self.read_weights()

    def _filled(self, vector: Array, own: Tensor) -> Array:
        missing = own.size * self.group.size - vector.size
        return array_module(vector).pad(vector, (0, missing))


def _pieces(members: list[Tensor], first: int, last: int) -> list[Piece]:
    """Return what numbers `first` to `last` of the concatenated parameters are."""
    pieces: list[Piece] = []
    begin = 0
    for parameter in members:
        start, stop = max(first - begin, 0), min(last - begin, parameter.size)
        if start < stop:
            pieces.append(Piece(parameter, start, stop, begin + start - first))
        begin += parameter.size
    return pieces


def piece_gradients(zero: ZeroOptimizer) -> list[tuple[Tensor, Any]]:
    """Return each parameter that this rank updates in part, with that part of its gradient."""
    found = []
    for own, pieces in zip(zero.parts, zero.pieces, strict=True):
        assert own.grad is not None  # set by add_gradients
        found += [(p, own.grad.data[at : at + stop - start]) for p, start, stop, at in pieces]
    return found
