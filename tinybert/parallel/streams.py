"""The random numbers of dropout on several ranks: the ones that a single process would draw.

Every part of the model (the embeddings, each layer, the head) has a stream of its own, from a key:

    (seed, step, number of the micro-batch in the step, number of the part)

No rank has to draw for parts that it does not have, and layers that are recomputed in backward find
their stream again. Inside a part, a rank that computes a share of an array draws for the whole, and
keeps its share:

    hidden states (B, T, D)         the same on all tensor-parallel ranks: the same numbers; with
                                    sequence parallelism the rank's tokens of them
    attention weights (B, H, T, T)  the rank's heads of them

So a grid of any shape, and one process, drop the same elements. (Megatron-LM has one stream for
what ranks share and one for what they do not, which gives other masks on other grids.)

That holds on the CPU. The GPU's kernels draw by the position in the rank's own array: there the
ranks of a tensor-parallel group drop the same positions of their own heads (and, with sequence
parallelism, of their own tokens), and the masks depend on the grid.

Source   Shoeybi et al. 2019, arXiv:1909.08053, appendix B.2, "Random number generation"
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tinybert.backend import array_module, drawing_from, generator, parse_device
from tinybert.parallel.grid import Grid

HEADS = 1  # the axis of attention weights (B, H, Tq, Tk), also in groups (B, G, R, Tq, Tk)
TOKENS = 1  # the axis of hidden states (B, T, D)


class Stream:
    """The generator of one micro-batch on this rank, with the methods that dropout uses.

    Args:
        key: seed, step and micro-batch.
        grid: the rank's groups.
        device: the device of the numbers.
    """

    def __init__(self, key: tuple[int, int, int], grid: Grid, device: str) -> None:
        self.key, self.device, self.tensor = key, device, (grid.tensor.rank, grid.tensor.size)
        self.start(0)

    def start(self, part: int, tokens: int | None = None) -> None:
        """Start the stream of a part; with `tokens` the ranks divide so many."""
        self.new = parse_device(self.device)[0].new_generator((*self.key, part))
        self.tokens = tokens

    def random(self, shape: tuple[int, ...], dtype: Any = "float64") -> Any:
        """Return this rank's share of uniform numbers, of the shape of the share."""
        if len(shape) == 4:
            return Share(self.new, self.tensor, HEADS).random(shape, dtype)
        if len(shape) == 3 and self.tokens is not None:
            return Share(self.new, self.tensor, TOKENS, self.tokens).random(shape, dtype)
        return self.new.random(shape, dtype=dtype)

    def integers(self, high: int) -> SharedSeed:
        """Return a seed below `high`, whose generators draw this rank's heads."""
        seed = SharedSeed(self.new.integers(high))
        seed.tensor = self.tensor
        return seed


class SharedSeed(int):
    """A seed from which each rank draws the numbers of its attention heads."""

    tensor: tuple[int, int]

    def shared(self, new: Any) -> Share:
        """Return the rank's share of a generator made from this seed."""
        return Share(new, self.tensor, HEADS)


class Share:
    """A generator of one rank's part, along an axis, of random numbers for all ranks.

    Args:
        new: the generator that all ranks have.
        part: the number of the part, and of how many equal parts.
        axis: that the parts divide.
        total: the numbers along the axis, if they are not a multiple of the parts.
    """

    def __init__(
        self, new: Any, part: tuple[int, int], axis: int, total: int | None = None
    ) -> None:
        self.new, self.part, self.axis, self.total = new, part, axis, total

    def random(self, shape: tuple[int, ...], dtype: Any = "float64") -> Any:
        """Return the rank's part, of this shape, of uniform numbers for all ranks."""
        (index, count), axis, own = self.part, self.axis, shape[self.axis]
        total = own * count if self.total is None else self.total
        whole = self.new.random((*shape[:axis], total, *shape[axis + 1 :]), dtype=dtype)
        if missing := own * count - total:  # for the zeros after the last token
            ends = [(0, missing if i == axis else 0) for i in range(whole.ndim)]
            whole = array_module(whole).pad(whole, ends)
        return whole[(slice(None),) * axis + (slice(index * own, (index + 1) * own),)]


@contextmanager
def micro_batch(grid: Grid, seed: int, step: int, number: int, device: str) -> Iterator[None]:
    """Draw the numbers of dropout for one micro-batch of one step in the `with` block."""
    name = "{}:{}".format(*((backend := parse_device(device))[0].name, backend[1]))
    streams = {key: Stream((seed, step, number), grid, key) for key in ("cpu:0", name)}
    with drawing_from(streams):
        yield


def start_part(device: str, part: int, tokens: int | None = None) -> None:
    """Start the stream of a part of the model; nothing happens outside of `micro_batch`."""
    for name in {"cpu", device}:
        stream = generator(name)
        if isinstance(stream, Stream):
            stream.start(part, tokens)
