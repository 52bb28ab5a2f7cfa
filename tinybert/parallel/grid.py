"""`Grid`: the ranks of a job as a grid of tensor x data x pipeline parallel groups.

With `tensor=2, data=2, pipeline=2` the eight ranks are

                      data 0      data 1
    pipeline stage 0   0  1        2  3
    pipeline stage 1   4  5        6  7      the pairs are tensor-parallel groups

Tensor-parallel ranks exchange most, several times a layer, so they are neighbours: with MPI's usual
order they are in one machine. Stages exchange least, so they are far apart.

With `chunks=C`, C ranks take the place of one: together they hold a copy's batch, each with some
tokens of every text (`chunks.py`).

Source   Narayanan et al. 2021, arXiv:2104.04473, section 3.1; Shoeybi et al. 2019,
         arXiv:1909.08053, figure 8
"""

from __future__ import annotations

import math

from tinybert.checks import check_integer
from tinybert.parallel.communicator import Communicator
from tinybert.parallel.simulated import run


class Grid:
    """The groups of one rank. Every rank of `world` must make the same grid.

    Args:
        tensor: ranks that share each layer.
        pipeline: stages, each with a part of the layers.
        data: copies of the model, each with a part of the batch.
        world: all ranks, tensor * pipeline * data * chunks of them; None means this process alone.
        chunks: ranks that divide the tokens of each text.

    Attributes:
        tensor, pipeline, data, chunks: communicators of the groups that this rank is in.
        replicas: the ranks with the same parameters, data * chunks of them.
        ends: of this rank's pipeline the first and the last stage; None on the stages between. Both
            have a copy of tied word embeddings.
        model: the ranks that together hold one copy of the model.
    """

    def __init__(
        self, tensor: int = 1, pipeline: int = 1, data: int = 1, world: Communicator | None = None,
        *, chunks: int = 1,
    ) -> None:  # fmt: skip
        sizes = {"tensor": tensor, "pipeline": pipeline, "data": data, "chunks": chunks}
        for name, size in sizes.items():
            check_integer(name, size, 1)
        world, ranks = alone() if world is None else world, math.prod(sizes.values())
        if ranks != world.size:
            product = " * ".join(f"{n}={s}" for n, s in sizes.items() if n != "chunks" or s > 1)
            raise ValueError(
                f"{product} = {ranks} ranks, but the job has {world.size}; start it with "
                f"mpiexec -n {ranks}"
            )
        self.world, self.sizes = world, sizes
        replicas = data * chunks
        self.place = place(world.rank, tensor, replicas)
        t, p, r = self.place
        self.tensor = world.split(p * replicas + r, t)
        self.pipeline = world.split(r * tensor + t, p)
        self.replicas = world.split(p * tensor + t, r)
        self.data = self.replicas.split(r % chunks, r) if chunks > 1 else self.replicas
        self.chunks = self.replicas.split(r // chunks, r)
        self.model = world.split(r, p * tensor + t)
        at_end = p in (0, pipeline - 1)
        ends = self.pipeline.split(int(at_end), p)
        self.ends = ends if at_end else None

    @property
    def is_first(self) -> bool:
        """Whether this rank has the first stage, with the embeddings."""
        return self.pipeline.rank == 0

    @property
    def is_last(self) -> bool:
        """Whether this rank has the last stage, with the head."""
        return self.pipeline.rank == self.pipeline.size - 1


def place(rank: int, tensor: int, replicas: int) -> tuple[int, int, int]:
    """Return the numbers of a rank in its tensor and pipeline group and among its replicas."""
    return rank % tensor, rank // (tensor * replicas), rank // tensor % replicas


def alone() -> Communicator:
    """Return a group of one rank."""
    return run(1, lambda world: world)[0]


def span(size: int, parts: int, index: int) -> slice:
    """Return part `index` of `size` things divided into contiguous, nearly equal parts."""
    return slice(size * index // parts, size * (index + 1) // parts)
