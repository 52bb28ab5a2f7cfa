"""What the ranks of `mpiexec -n 4 python -m tests.parallel.mpi_job` compute.

Every rank prints nothing; rank 0 prints OK if all operations of MPI agree with NumPy, and training
on each grid of four ranks with training in one process. With the argument `fail` or `bug`, rank 2
raises an error.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from tests.parallel.models import make_model
from tests.parallel.test_training import job, merged
from tinybert.cli.ranks import on_ranks
from tinybert.parallel import mpi
from tinybert.parallel.grid import Grid

GRIDS = [
    ("megatron-causal", {"tensor": 2, "pipeline": 2}, {"sequence": True}),
    ("bert-mlm", {"pipeline": 2, "data": 2}, {"zero": True, "schedule": "gpipe"}),
    ("nemotron", {"tensor": 2, "data": 2}, {"zero": True, "bucket": 3000}),
    ("megatron-pretraining", {"pipeline": 4}, {}),
    ("mega", {"data": 2, "chunks": 2}, {"zero": True}),
]


def check_operations(world):
    arrays = np.random.default_rng(0).normal(size=(world.size, 8, 3)).astype("float32")
    own, rank = arrays[world.rank], world.rank
    np.testing.assert_allclose(world.allreduce(own), arrays.sum(0), atol=1e-5)
    np.testing.assert_array_equal(world.allreduce(own, "max"), arrays.max(0))
    gathered = np.concatenate(list(arrays), axis=1)
    np.testing.assert_array_equal(world.allgather(own, axis=1), gathered)
    part = world.reduce_scatter(own[:, ::-1])
    expected = arrays.sum(0)[:, ::-1][2 * rank : 2 * rank + 2]
    np.testing.assert_allclose(part, expected, atol=1e-5)
    np.testing.assert_array_equal(world.bcast(own if rank == 1 else None, 1), arrays[1])
    after, before = (rank + 1) % world.size, (rank - 1) % world.size
    request = world.send(own.T, after)
    np.testing.assert_array_equal(world.recv((3, 8), "float32", before), arrays[before].T)
    request.wait()
    assert world.split(rank % 2, -rank).gather_objects(rank) == [rank % 2 + 2, rank % 2]


def fail_on_one(args: argparse.Namespace) -> int:
    """Raise on one rank, while the others wait for it."""
    if args.grid.world.rank == 2:
        raise OSError("the disk is full") if "fail" in sys.argv else KeyError("a bug")
    args.grid.world.barrier()
    return 0


def main(steps: int) -> None:
    world = mpi.world()
    check_operations(world)
    for name, sizes, options in GRIDS:
        options = {"steps": steps, **options}
        sizes = {"tensor": 1, "pipeline": 1, "data": 1, **sizes}
        result = job(name, **options)(make_model(name), Grid(**sizes, world=world))
        results = world.gather_objects(result)
        if world.rank == 0:
            curve, weights = merged([job(name, steps)(make_model(name), Grid())])
            found, parts = merged(results)
            np.testing.assert_allclose(found, curve, rtol=0, atol=1e-10)
            for key, array in weights.items():
                np.testing.assert_allclose(parts[key], array, rtol=0, atol=1e-10, err_msg=key)
    world.barrier()
    if world.rank == 0:
        print("OK", len(GRIDS))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(on_ranks(fail_on_one)(argparse.Namespace(prog="job")))
    main(20)
