"""f and g: the conjugate operators at the entry and the exit of a tensor-parallel block.

    x --> f --> [ column-parallel linear, activation, row-parallel linear ] --> g --> y

                       forward                 backward
    f   `copy`         identity                all-reduce
    g   `add`          all-reduce              identity
    f'  `gather`       all-gather              reduce-scatter       with sequence parallelism,
    g'  `add_scatter`  reduce-scatter          all-gather           along the tokens

f and g are conjugate: the backward of each is the forward of the other. x is the same on all ranks,
and each uses it for its part of the block: dx is the sum of what the ranks find, which f computes.
y is the sum of what the ranks compute, so dy is the gradient of each term: g passes it on as it is.

With sequence parallelism the tokens outside the block are divided among the ranks. The all-reduce
of g splits into its two halves: a reduce-scatter at the exit, and an all-gather at the next entry.
The bytes sent are the same, and norms and dropout are computed once, not on every rank.

If the number of tokens is not a multiple of the ranks, the last ranks have zeros after the last
token. They are dropped at each entry, so attention never sees them, and their gradient is zero.

Two more operators are at the ends of the stack of layers, where what follows is computed by every
rank alike:

    `scatter`          own tokens              all-gather
    `collect`          all-gather              own tokens

Source   Shoeybi et al. 2019, arXiv:1909.08053, section 3 and figures 3 and 4 (f, g); Korthikanti et
         al. 2022, arXiv:2205.05198, section 4.2.2 and figure 5 (g and its conjugate, along tokens)
Bytes    f backward and g forward: an allreduce of the array. f' and g': an allgather and a
         reduce_scatter of all tokens. Each array is B T D numbers, T rounded up for f' and g'.
"""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Function, Tensor
from tinybert.backend import array_module
from tinybert.parallel.communicator import Communicator

TOKENS = 1  # the axis of hidden states (B, T, D) that sequence parallelism divides


class _Operator(Function):
    """An operator of a group; `forward` keeps the group for `backward`."""

    def forward(self, x: Any, *, group: Communicator) -> Any:
        self.group = group
        return self.run(x)

    def run(self, x: Any) -> Any:
        raise NotImplementedError

    def backward(self, dy: Any) -> Any:
        raise NotImplementedError

    def filled(self, x: Any) -> Any:
        """Return x with tokens of zeros after the last, to a multiple of the ranks."""
        missing = -x.shape[TOKENS] % self.group.size
        return array_module(x).pad(x, [(0, 0), (0, missing), (0, 0)]) if missing else x

    def own(self, x: Any) -> Any:
        """Return this rank's tokens of all tokens."""
        x, group = self.filled(x), self.group
        part = x.shape[TOKENS] // group.size
        return x[:, group.rank * part : (group.rank + 1) * part]

    def all(self, x: Any, count: int) -> Any:
        """Return all tokens, `count` of them, from those of each rank."""
        gathered = self.group.allgather(x, TOKENS)
        return array_module(x).ascontiguousarray(gathered[:, :count])


class Copy(_Operator):
    """f: y = x; dx = the sum of dy over the ranks."""

    def run(self, x: Any) -> Any:
        return x

    def backward(self, dy: Any) -> Any:
        return self.group.allreduce(dy)


class AllReduce(_Operator):
    """g: y = the sum of x over the ranks; dx = dy."""

    def run(self, x: Any) -> Any:
        return self.group.allreduce(x)

    def backward(self, dy: Any) -> Any:
        return dy


class AllGather(_Operator):
    """f': y = x of all ranks; dx = this rank's tokens of the sum of dy over the ranks."""

    def run(self, x: Any) -> Any:
        return self.all(x, self.group.tokens)

    def backward(self, dy: Any) -> Any:
        return self.group.reduce_scatter(self.filled(dy), TOKENS)


class ReduceScatter(_Operator):
    """g': y = this rank's tokens of the sum of x over the ranks; dx = dy of all ranks."""

    def run(self, x: Any) -> Any:
        self.count = x.shape[TOKENS]
        return self.group.reduce_scatter(self.filled(x), TOKENS)

    def backward(self, dy: Any) -> Any:
        return self.all(dy, self.count)


class Scatter(_Operator):
    """y = this rank's tokens of x, which is the same on all ranks; dx = dy of all ranks."""

    def run(self, x: Any) -> Any:
        self.count = self.group.tokens = x.shape[TOKENS]
        return self.own(x).copy()

    def backward(self, dy: Any) -> Any:
        return self.all(dy, self.count)


class Collect(_Operator):
    """y = x of all ranks, used by each alike; dx = this rank's tokens of dy."""

    def run(self, x: Any) -> Any:
        return self.all(x, self.group.tokens)

    def backward(self, dy: Any) -> Any:
        return self.own(dy)


def copy(x: Tensor, group: Communicator) -> Tensor:
    """Return f(x), x (...)."""
    return Copy.apply(x, group=group)


def add(x: Tensor, group: Communicator) -> Tensor:
    """Return g(x), the sum over the ranks, of the shape of x (...)."""
    return AllReduce.apply(x, group=group)


def gather(x: Tensor, group: Communicator) -> Tensor:
    """Return (B, T, D) for own tokens x (B, ceil(T / size), D), to enter a block."""
    return AllGather.apply(x, group=group)


def add_scatter(x: Tensor, group: Communicator) -> Tensor:
    """Return own tokens (B, ceil(T / size), D) of the sum over the ranks of x (B, T, D)."""
    return ReduceScatter.apply(x, group=group)


def scatter(x: Tensor, group: Communicator) -> Tensor:
    """Return own tokens (B, ceil(T / size), D) of x (B, T, D), the same on all ranks."""
    return Scatter.apply(x, group=group)


def collect(x: Tensor, group: Communicator) -> Tensor:
    """Return (B, T, D) for own tokens x (B, ceil(T / size), D): all ranks then compute alike."""
    return Collect.apply(x, group=group)
