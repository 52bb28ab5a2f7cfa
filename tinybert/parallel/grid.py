"""`Grid`: the ranks of a job as a grid of tensor x data x pipeline parallel groups.

With `tensor=2, data=2, pipeline=2` the eight ranks are

                      data 0      data 1
    pipeline stage 0   0  1        2  3
    pipeline stage 1   4  5        6  7      the pairs are tensor-parallel groups

Tensor-parallel ranks exchange most, several times a layer, so they are neighbours: with MPI's usual
order they are in one machine. Stages exchange least, so they are far apart.

Source   Narayanan et al. 2021, arXiv:2104.04473, section 3.1; Shoeybi et al. 2019,
         arXiv:1909.08053, figure 8
"""

from __future__ import annotations

from tinybert.checks import check_integer
from tinybert.parallel.communicator import Communicator
from tinybert.parallel.simulated import run


class Grid:
    """The groups of one rank. Every rank of `world` must make the same grid.

    Args:
        tensor: ranks that share each layer.
        pipeline: stages, each with a part of the layers.
        data: copies of the model, each with a part of the batch.
        world: all ranks, tensor * pipeline * data of them; None means this process alone.

    Attributes:
        tensor, pipeline, data: communicators of the groups that this rank is in.
        ends: of this rank's pipeline the first and the last stage; None on the stages between. Both
            have a copy of tied word embeddings.
        model: the ranks that together hold one copy of the model.
    """

    def __init__(
        self, tensor: int = 1, pipeline: int = 1, data: int = 1, world: Communicator | None = None
    ) -> None:
        for name, size in (("tensor", tensor), ("pipeline", pipeline), ("data", data)):
            check_integer(name, size, 1)
        world = alone() if world is None else world
        if tensor * pipeline * data != world.size:
            raise ValueError(
                f"tensor={tensor} * pipeline={pipeline} * data={data} = {tensor * pipeline * data} "
                f"ranks, but the job has {world.size}; start it with mpiexec -n "
                f"{tensor * pipeline * data}"
            )
        self.world = world
        self.sizes = {"tensor": tensor, "pipeline": pipeline, "data": data}
        self.place = place(world.rank, tensor, data)
        t, p, d = self.place
        self.tensor = world.split(p * data + d, t)
        self.pipeline = world.split(d * tensor + t, p)
        self.data = world.split(p * tensor + t, d)
        self.model = world.split(d, p * tensor + t)
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


def place(rank: int, tensor: int, data: int) -> tuple[int, int, int]:
    """Return the numbers of a rank in its tensor, pipeline and data-parallel group."""
    return rank % tensor, rank // (tensor * data), rank // tensor % data


def alone() -> Communicator:
    """Return a group of one rank."""
    return run(1, lambda world: world)[0]


def span(size: int, parts: int, index: int) -> slice:
    """Return part `index` of `size` things divided into contiguous, nearly equal parts."""
    return slice(size * index // parts, size * (index + 1) // parts)
