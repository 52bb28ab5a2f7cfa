"""Schedules of a pipeline: in which order a stage runs its micro-batches forward and backward.

A batch is cut into m micro-batches, so that all p stages have work. F is a forward, B a backward:

    GPipe, p = 2, m = 3             1F1B, p = 2, m = 3
    stage 0   F0 F1 F2 B0 B1 B2     F0 F1 B0 F2 B1 B2
    stage 1   F0 F1 F2 B0 B1 B2     F0 B0 F1 B1 F2 B2

Both wait equally long: the bubble is (p - 1) / m of the time of the work. GPipe keeps the
activations of m micro-batches. With one forward, one backward (1F1B) a stage starts a backward as
soon as it can, and keeps those of at most p micro-batches.

Source   GPipe: Huang et al. 2018, arXiv:1811.06965, figure 2. 1F1B: Narayanan et al. 2021,
         arXiv:2104.04473, section 2.2.1 and figure 4 (top); the bubble: section 2.2.1
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

Action = tuple[str, int]  # "forward" or "backward", and the number of the micro-batch


def gpipe(stage: int, stages: int, micro_batches: int) -> Iterator[Action]:
    """Return the actions of a stage: all forwards, then all backwards."""
    yield from (("forward", number) for number in range(micro_batches))
    yield from (("backward", number) for number in range(micro_batches))


def one_forward_one_backward(stage: int, stages: int, micro_batches: int) -> Iterator[Action]:
    """Return the actions of a stage: after p - 1 - stage forwards, a backward for each forward."""
    ahead = min(stages - 1 - stage, micro_batches)
    yield from (("forward", number) for number in range(ahead))
    for number in range(ahead, micro_batches):
        yield "forward", number
        yield "backward", number - ahead
    yield from (("backward", number) for number in range(micro_batches - ahead, micro_batches))


SCHEDULES: dict[str, Callable[[int, int, int], Iterator[Action]]] = {
    "gpipe": gpipe,
    "1f1b": one_forward_one_backward,
}


def bubble(stages: int, micro_batches: int) -> float:
    """Return the time in which a stage waits, as a share of the time in which it works."""
    return (stages - 1) / micro_batches
