"""A training job whose rank kills itself in a given phase of a step.

    mpiexec -n 2 python -m tests.parallel.faulty_job FOLDER PHASE STEPS [RANK SPOT CALL MOMENT]

Without the last four arguments nothing fails. With them rank RANK ends by SIGKILL, before or after
(MOMENT) the call number CALL of the function number SPOT of the phase. It counts the calls after
the job has saved a new checkpoint.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.parallel.models import Endless, make_model
from tinybert.models.bert import TransformerLayer
from tinybert.ops.layer_norm import LayerNorm
from tinybert.ops.linear import Linear
from tinybert.parallel import mpi
from tinybert.parallel.buckets import Buckets
from tinybert.parallel.grid import Grid
from tinybert.parallel.trainer import ParallelTrainer
from tinybert.training import TrainingConfig, checkpoint
from tinybert.weights import safetensors

# For each phase: the grid, and functions with the most calls to let pass, of those in a step.
PHASES: dict[str, tuple[dict[str, int], list[tuple[Any, str, int]]]] = {
    "forward": ({"tensor": 2}, [(TransformerLayer, "forward", 8), (Linear, "forward", 40)]),
    "backward": ({"pipeline": 2}, [(LayerNorm, "backward", 8), (Linear, "backward", 24)]),
    "all-reduce": ({"data": 2}, [(mpi.MPI, "_allreduce", 8), (Buckets, "finish", 1)]),
    "checkpoint": ({"data": 2}, [
        (safetensors, "_write", 60), (ParallelTrainer, "_write_own", 1),
        # what follows only rank 0 does
        (checkpoint, "write_state", 1), (checkpoint, "_flush", 5), (checkpoint.os, "rename", 1),
        (checkpoint.shutil, "rmtree", 2),
    ]),
}  # fmt: skip
BY_ALL = 2  # of the functions that write a checkpoint
STRUCK = "struck"  # the file that says that a rank has killed itself


def strike(
    trainer: ParallelTrainer, phase: str, spot: int, call: int, moment: str, folder: Path
) -> None:
    """Let this rank kill itself."""
    owner, name, _ = PHASES[phase][1][spot]
    original, left = getattr(owner, name), [call]
    first = trainer.step + (2 if phase == "checkpoint" else 1)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        left[0] -= trainer.step >= first
        now = left[0] == 0 and trainer.step >= first
        result = None if now and moment == "before" else original(*args, **kwargs)
        if now:
            (folder / STRUCK).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, wrapped)


def main(folder: Path, phase: str, steps: int, *fault: str) -> None:
    world = mpi.world()
    grid = Grid(**PHASES[phase][0], world=world)
    micro = 4 // grid.data.size
    config = TrainingConfig(steps, accumulation=micro, learning_rate=0.01, save_every=1, keep=2)
    trainer = ParallelTrainer(
        make_model("bert-mlm"), Endless("bert-mlm"), config, folder, grid,
        zero=phase == "checkpoint", save=lambda folder: None,
    )  # fmt: skip
    if phase == "all-reduce":  # several in a step
        trainer.run.buckets = Buckets(trainer.run.trained, grid.data, size=2000)
    trainer.resume()
    if fault and world.rank == int(fault[0]):
        spot, call, moment = fault[1:]
        strike(trainer, phase, int(spot), int(call), moment, folder)
    trainer.train()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
