"""Training on several ranks: tensor, pipeline and data parallelism on MPI.

    from tinybert.parallel import Grid, ParallelTrainer, parallelize, world

    grid = Grid(tensor=2, pipeline=2, data=2, world=world())        # under mpiexec -n 8
    ParallelTrainer(model, batches, config, folder, grid).train()

`parallelize(model, grid)` alone divides a model; without stages it is called, and generates, as
before. `run(ranks, function)` runs a function on simulated ranks in one process. Each idea is in
one file; its docstring names the paper and the figure.
"""

from tinybert.parallel.communicator import Communicator
from tinybert.parallel.grid import Grid
from tinybert.parallel.mpi import world
from tinybert.parallel.parallelize import Part, parallelize
from tinybert.parallel.schedules import SCHEDULES
from tinybert.parallel.simulated import run
from tinybert.parallel.step import ParallelStep
from tinybert.parallel.trainer import ParallelTrainer

__all__ = [
    "SCHEDULES",
    "Communicator",
    "Grid",
    "ParallelStep",
    "ParallelTrainer",
    "Part",
    "parallelize",
    "run",
    "world",
]
