"""Data parallelism: the gradients of all copies of the model are added while backward still runs.

Each data-parallel rank computes the gradient of its part of the batch. Parameters are put into
buckets, the last ones first, because backward reaches them first. As soon as backward has the
gradients of a bucket, its all-reduce starts, and backward continues with earlier layers.

    backward      layer 3 | layer 2 | layer 1 | layer 0
    all-reduce              layer 3 | layer 2 | layer 1 | layer 0

Source   Li et al. 2020, "PyTorch Distributed", arXiv:2006.15704, section 3.2 and figure 4
Bytes    an allreduce of the gradients, once a step however many micro-batches there are
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tinybert.autograd import Tensor
from tinybert.backend import Array, array_module
from tinybert.parallel.communicator import Communicator, Request

BUCKET = 25 * 2**20  # bytes, as in the paper's implementation


class Buckets:
    """Adds the gradients of a step over a group, in buckets.

    Args:
        parameters: with gradients to be added, in the order of the model.
        group: the ranks that have the same parameters.
        size: bytes of a bucket; a larger parameter is a bucket of its own.
    """

    def __init__(self, parameters: Iterable[Tensor], group: Communicator, size: int = BUCKET):
        self.group = group
        self.buckets: list[list[Tensor]] = []
        left, kind = 0, None
        for parameter in reversed(list(parameters)):
            if parameter.data.nbytes > left or kind != parameter.dtype:
                self.buckets.append([])
                left, kind = size, parameter.dtype
            self.buckets[-1].append(parameter)
            left -= parameter.data.nbytes
        self.started: list[Request] = []

    def expecting(self, root: Tensor) -> Callable[..., None]:
        """Return the function that takes the gradients of the leaves in the last backward of a
        step, from `root`. It starts the all-reduce of each bucket when it is complete.
        """
        waiting = Counter(id(leaf) for leaf in _leaves(root))
        mine = {id(parameter) for bucket in self.buckets for parameter in bucket}

        def deliver(leaf: Tensor, grad: Array, fresh: bool) -> None:
            leaf.accumulate_grad(grad, fresh)
            waiting[id(leaf)] -= 1
            if id(leaf) in mine:
                self._start(lambda bucket: not any(waiting[id(p)] > 0 for p in bucket))

        return deliver

    def finish(self) -> None:
        """Start what has not started, wait for all, and replace the gradients by their sums."""
        if self.group.size == 1:
            return
        self._start(lambda bucket: True)
        for bucket, request in zip(self.buckets, self.started, strict=True):
            spread(request.wait(), bucket)
        self.started = []

    def _start(self, complete: Callable[[list[Tensor]], bool]) -> None:
        """Start the all-reduce of complete buckets, in their order, the same on every rank."""
        while self.group.size > 1 and len(self.started) < len(self.buckets):
            bucket = self.buckets[len(self.started)]
            if not complete(bucket):
                return
            self.started.append(self.group.iallreduce(flat(bucket)))


def flat(parameters: Sequence[Tensor]) -> Array:
    """Return the gradients of parameters as one new vector; zeros where there is none."""
    xp = array_module(parameters[0].data)
    rows = [
        xp.zeros(p.size, p.dtype) if p.grad is None else p.grad.data.reshape(-1)
        for p in parameters
    ]  # fmt: skip
    return xp.concatenate(rows)


def spread(vector: Array, parameters: Sequence[Tensor]) -> None:
    """Set the gradients of parameters to the parts of a vector, as `flat` orders them."""
    start = 0
    for parameter in parameters:
        part = vector[start : start + parameter.size].reshape(parameter.shape)
        parameter.grad = Tensor._wrap(part.copy())
        start += parameter.size


def _leaves(root: Tensor) -> Iterable[Any]:
    """Return the leaves that backward from `root` reaches, once for each use."""
    stack, seen = [root.grad_fn], {id(root.grad_fn)}
    while stack:
        node: Any = stack.pop()
        for parent in node.parents:
            if isinstance(parent, tuple):
                if id(parent[0]) not in seen:
                    seen.add(id(parent[0]))
                    stack.append(parent[0])
            elif parent is not None:
                yield parent
