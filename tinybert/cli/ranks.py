"""Training commands on several ranks: --tensor, --pipeline, --data, --chunks, and the launch."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from typing import Any

from tinybert.checks import check_choice, check_integer
from tinybert.cli.command import USER_ERRORS
from tinybert.cli.errors import error_line
from tinybert.cli.launch import launched_rank, launched_size
from tinybert.embedding import SentenceEmbedder
from tinybert.parallel import mpi
from tinybert.parallel.communicator import Communicator
from tinybert.parallel.grid import Grid
from tinybert.parallel.schedules import SCHEDULES
from tinybert.parallel.sentences import SharedEmbedder
from tinybert.parallel.trainer import ParallelTrainer
from tinybert.training import Trainer, TrainingConfig

SIZES = "tensor", "pipeline", "data", "chunks"
# The other options of a grid, with their defaults.
GRID_OPTIONS = {"sequence_parallel": False, "schedule_of_stages": "1f1b", "zero": False}


def add_rank_arguments(parser: argparse.ArgumentParser, chunks: bool = False) -> None:
    """Add --tensor, --pipeline, --data, --sequence-parallel, --schedule, --zero; and --chunks."""
    ranks = parser.add_argument_group(
        "several ranks",
        "started by mpiexec -n RANKS, with RANKS = T * P * D"
        + " * C" * chunks
        + " (default: D = RANKS;\nwith --resume or --config: the options of that run)",
    )
    ranks.add_argument("--tensor", type=int, metavar="T", help="ranks that divide each layer")
    ranks.add_argument("--pipeline", type=int, metavar="P", help="stages of the layers")
    ranks.add_argument("--data", type=int, metavar="D", help="copies of the model")
    if chunks:
        ranks.add_argument(
            "--chunks", type=int, metavar="C",
            help="ranks that divide the tokens of each text (MEGA with use_chunking)",
        )  # fmt: skip
    ranks.add_argument(
        "--sequence-parallel", action="store_true", help="the ranks of T divide the tokens too"
    )
    ranks.add_argument(
        "--schedule-of-stages", choices=("1f1b", "gpipe"),
        help="the order of micro-batches, --accumulation of them (default: 1f1b)",
    )  # fmt: skip
    ranks.add_argument(
        "--zero", action="store_true", help="divide the optimizer's state among the copies"
    )


def on_ranks(
    run: Callable[[argparse.Namespace], int], whole: str = "data", names: Sequence[str] = SIZES,
    earlier: Callable[[argparse.Namespace], tuple[Path, dict[str, Any]] | None] | None = None,
) -> Callable[[argparse.Namespace], int]:  # fmt: skip
    """Return the `run` of a command that also works on several ranks.

    Rank 0 reports; the others print nothing. An error on one rank ends all with its message.

    whole: what all ranks are if the command line does not say, one of `SIZES`.
    names: the options that are sizes of the grid.
    earlier: returns the file and the grid of the run that the command line continues or repeats;
        this grid is used unless the command line sets a size or an option of the grid.
    """

    def run_rank(args: argparse.Namespace) -> int:
        args.grid, rank = None, launched_rank()
        if rank:
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (open until the end)
        sizes = _sizes(args, names)
        given = any(sizes.values()) or any(getattr(args, name, None) for name in GRID_OPTIONS)
        if rank is None:
            if earlier and not given and args.resume and (found := earlier(args)):
                raise ValueError(_mismatch(*found, "this process is alone"))
            return run(args)
        world = mpi.world()
        if launched_size() not in (None, world.size):
            raise ValueError(
                f"mpiexec started {launched_size()} processes, but each is alone: mpi4py has "
                f"loaded another MPI than that of mpiexec (to install both: {mpi.INSTALL})"
            )
        try:
            options = GRID_OPTIONS
            if earlier and not given and (found := earlier(args)):
                options = found[1]
                sizes = {name: options[name] for name in SIZES}
                if prod(sizes.values()) != world.size:
                    raise ValueError(_mismatch(*found, f"mpiexec started {world.size}"))
            elif not any(sizes.values()):
                sizes[whole] = world.size
            for name in GRID_OPTIONS:
                setattr(args, name, getattr(args, name, None) or options[name])
            if getattr(args, "device", "cpu") != "cpu":  # None: that of --config
                mpi.choose_gpu(world)
            args.grid = Grid(**{name: size or 1 for name, size in sizes.items()}, world=world)
            return run(args)
        except BaseException as error:
            _end_all(error, args, world)
            raise

    return run_rank


def _sizes(args: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    """Return the sizes of the grid that the command line names.

    Raises ValueError for those that need several ranks, if `mpiexec` has not started this process.
    """
    sizes = {name: getattr(args, name, None) for name in names}
    for name, size in sizes.items():
        if size is not None:
            check_integer(f"--{name}", size, 1)
    if launched_rank() is not None or not names:
        return sizes
    ranks = prod(size or 1 for size in sizes.values())
    if ranks > 1:
        flags = " ".join(f"--{name} {size}" for name, size in sizes.items() if size)
        raise ValueError(
            f"{flags} needs {ranks} ranks: start it with mpiexec -n {ranks} tinybert ... "
            f"(to install: {mpi.INSTALL})"
        )
    for name in ("zero", "sequence_parallel"):
        if getattr(args, name, False):
            flag = "--" + name.replace("_", "-")
            raise ValueError(f"{flag} needs several ranks: start it with mpiexec")
    return sizes


def _mismatch(path: Path, grid: dict[str, Any], now: str) -> str:
    """Return the error of a run that continues on a wrong number of ranks."""
    flags = [f"--{name} {grid[name]}" for name in SIZES if grid[name] > 1] or ["--data 1"]
    for name, default in GRID_OPTIONS.items():
        if grid[name] != default:
            flags.append(f"--{name.replace('_', '-')}" + f" {grid[name]}" * (default is not False))
    ranks = prod(grid[name] for name in SIZES)
    return (
        f"{path}: the run has {ranks} {'rank' if ranks == 1 else 'ranks'} ({' '.join(flags)}), but "
        f"{now}: start it with mpiexec -n {ranks}, or give the options of another grid"
    )


def _end_all(error: BaseException, args: argparse.Namespace, world: Communicator) -> None:
    """Report an error once, and end all ranks.

    An error of all ranks, such as a missing file, is reported by rank 0. The others wait, each
    longer than the one before, so that the first to report ends those that still wait.
    """
    time.sleep(2 + min(world.rank, 50) / 10 if world.rank else 0)
    if not isinstance(error, (*USER_ERRORS, KeyboardInterrupt)):
        traceback.print_exception(error, file=sys.__stderr__)
    with suppress(OSError):  # a full disk, or a closed pipe
        sys.stdout.flush()
    where = f"rank {world.rank} of {world.size}: " if world.rank else ""
    world.abort(error_line(error, args, where))


def is_first(args: argparse.Namespace) -> bool:
    """Whether this process reports: the only one, or rank 0."""
    return args.grid is None or args.grid.world.rank == 0


def grid_of(args: argparse.Namespace) -> dict[str, Any] | None:
    """Return the grid of a run and its options, for run.json; None without MPI."""
    if args.grid is None:
        return None
    return {**args.grid.sizes, **{name: getattr(args, name) for name in GRID_OPTIONS}}


def read_grid(path: Path, grid: Any) -> dict[str, Any]:
    """Return the grid that `grid_of` wrote into a file; ValueError if it is damaged."""
    if not isinstance(grid, dict):
        raise ValueError(f"{path}: grid must be an object, got {grid!r}")
    for name in SIZES:
        check_integer(f"{path}: {name}", grid.get(name, 1), 1)
    for name, default in GRID_OPTIONS.items():
        allowed = tuple(SCHEDULES) if isinstance(default, str) else (False, True)
        check_choice(f"{path}: {name}", grid.get(name, default), allowed)
    return {**dict.fromkeys(SIZES, 1), **GRID_OPTIONS, **grid}


def from_first(args: argparse.Namespace, make: Callable[[], Any]) -> Any:
    """Return what `make()` returns on rank 0, the only one that calls it: it alone has the standard
    input.
    """
    if args.grid is None:
        return make()
    return args.grid.world.gather_objects(make() if is_first(args) else None)[0]


@contextmanager
def shared_embedder(args: argparse.Namespace, folder: Path) -> Iterator[SentenceEmbedder | None]:
    """Yield the embedder of a model's folder, whose batches are divided among the ranks.

    The ranks other than 0 get None, after all batches.
    """
    if args.grid is None:
        yield SentenceEmbedder.from_pretrained(folder, device=args.device)
        return
    embedder: Any = SharedEmbedder.from_pretrained(folder, device=args.device)
    embedder.join(args.grid.world)
    if is_first(args):
        yield embedder
        embedder.close()
    else:
        embedder.serve()
        yield None


def first_alone(args: argparse.Namespace, make: Callable[[], Any]) -> Any:
    """Return `make()`, which rank 0 calls before the others: it writes files that they read."""
    if args.grid is None:
        return make()
    if not is_first(args):
        args.grid.world.barrier()
        return make()
    made = make()
    args.grid.world.barrier()
    return made


def ranks_trainer(
    model: Any, task: Any, batches: Any, held_out: Any, config: TrainingConfig, folder: Path,
    tokenizer: Any, report: Callable[[str], object], args: argparse.Namespace,
) -> Trainer:  # fmt: skip
    """Return the trainer of `task_trainer` for the grid of this rank."""
    return ParallelTrainer(
        model, batches, config, folder, args.grid,
        sequence=args.sequence_parallel, schedule=args.schedule_of_stages, zero=args.zero,
        evaluate=None if held_out is None else lambda model: task.evaluate(model, held_out),
        best=task.best, loss=task.loss, count=task.count, save=tokenizer.save_pretrained,
        report=report, extra=getattr(task, "projection", None),
    )  # fmt: skip
