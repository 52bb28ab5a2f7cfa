"""The random numbers of dropout on several ranks: the ones that a single process would draw.

Every part of the model (the embeddings, each layer, the head) has a stream of its own, from a key:

    (seed, step, number of the micro-batch in the step, number of the part)

No rank has to draw for parts that it does not have, and layers that are recomputed in backward find
their stream again. Inside a part, a rank that computes a share of an array draws for the whole, and
keeps its share:

    hidden states (B, T, D)         the same on all tensor-parallel ranks: the same numbers; with
                                    sequence parallelism the rank's tokens of them
    attention weights (B, H, T, T)  the rank's heads of them

With chunks over ranks, the rank's tokens of hidden states, and its chunks of arrays (B, C, ...).

So a grid of any shape, and one process, drop the same elements. (Megatron-LM has one stream for
what ranks share and one for what they do not, which gives other masks on other grids.) On a GPU
an element is drawn by its position in the array of all ranks.

Source   Shoeybi et al. 2019, arXiv:1909.08053, appendix B.2, "Random number generation"
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tinybert.backend import array_module, drawing_from, generator, parse_device
from tinybert.parallel.grid import Grid

# The axis that ranks divide: heads of attention weights (B, H, Tq, Tk), also in groups
# (B, G, R, Tq, Tk), or tokens of hidden states (B, T, D), or chunks (B, C, ...).
AXIS = 1


class Stream:
    """The generator of one micro-batch on this rank, with the methods that dropout uses.

    Args:
        key: seed, step and micro-batch.
        grid: the rank's groups.
        device: the device of the numbers.
    """

    def __init__(self, key: tuple[int, int, int], grid: Grid, device: str) -> None:
        group = grid.tensor if grid.chunks.size == 1 else grid.chunks
        self.key, self.device, self.group = key, device, (group.rank, group.size)
        self.start(0, False)

    def start(self, part: int, sequence: bool, tokens: int | None = None) -> None:
        """Start the stream of a part; with `sequence` its tokens are divided among the ranks.

        tokens: how many, if they may be no multiple of the ranks.
        """
        self.new = parse_device(self.device)[0].new_generator((*self.key, part))
        self.sequence, self.tokens = sequence, tokens

    def random(self, shape: tuple[int, ...], dtype: Any = "float64") -> Any:
        """Return this rank's share of uniform numbers, of the shape of the share."""
        total = self.tokens if len(shape) == 3 else None
        return Share(self.new, self.share(len(shape)), total).random(shape, dtype)

    def share(self, axes: int) -> tuple[int, int]:
        """Return which part of how many the rank has of an array of so many axes."""
        return self.group if axes > 3 or (axes == 3 and self.sequence) else (0, 1)

    def integers(self, high: int) -> SharedSeed:
        """Return a seed below `high`, whose generators draw this rank's share."""
        seed = SharedSeed(self.new.integers(high))
        seed.share, seed.tokens = self.share, self.tokens
        return seed


class SharedSeed(int):
    """A seed from which each rank draws the numbers of its share."""

    share: Callable[[int], tuple[int, int]]  # as `share` and `tokens` of the stream
    tokens: int | None

    def shared(self, new: Any) -> Share:
        """Return the rank's share, its heads or chunks, of a generator made from this seed."""
        return Share(new, self.share(5))


class Share:
    """A generator of one rank's part, along axis 1, of random numbers for all ranks.

    Args:
        new: the generator that all ranks have.
        part: the number of the part, and of how many equal parts.
        total: the size of axis 1 for all ranks, if it may be no multiple of the parts.
    """

    def __init__(self, new: Any, part: tuple[int, int], total: int | None = None) -> None:
        self.new, self.part, self.total = new, part, total

    def random(self, shape: tuple[int, ...], dtype: Any = "float64") -> Any:
        """Return the rank's part, of this shape, of uniform numbers for all ranks."""
        index, count = self.part
        if count == 1:
            return self.new.random(shape, dtype=dtype)
        own = shape[AXIS]
        total = own * count if self.total is None else self.total
        whole = self.new.random((shape[0], total, *shape[AXIS + 1 :]), dtype=dtype)
        if missing := own * count - total:  # for the zeros after the last token
            whole = array_module(whole).pad(whole, [(0, 0), (0, missing), (0, 0)])
        return whole[:, index * own : (index + 1) * own]


@contextmanager
def micro_batch(grid: Grid, seed: int, step: int, number: int, device: str) -> Iterator[None]:
    """Draw the numbers of dropout for one micro-batch of one step in the `with` block."""
    name = "{}:{}".format(*((backend := parse_device(device))[0].name, backend[1]))
    streams = {key: Stream((seed, step, number), grid, key) for key in ("cpu:0", name)}
    with drawing_from(streams):
        yield


def start_part(device: str, part: int, sequence: bool, tokens: int | None = None) -> None:
    """Start the stream of a part of the model; nothing happens outside of `micro_batch`."""
    for name in {"cpu", device}:
        stream = generator(name)
        if isinstance(stream, Stream):
            stream.start(part, sequence, tokens)
