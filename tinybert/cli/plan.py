"""`tinybert plan`: memory, messages and time of a training run on many GPUs."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median

from tinybert.checks import check, check_integer
from tinybert.cli.command import Command, add_json_argument, check_output_file
from tinybert.cli.figures import figure_path
from tinybert.cli.plan_chart import save_papers
from tinybert.cli.ranks import is_first, on_ranks
from tinybert.cli.terminal import human_size, print_json, table, terminal_width, wrap
from tinybert.fetch import FetchError
from tinybert.hub import resolve
from tinybert.models import AutoConfig
from tinybert.parallel.grid import alone
from tinybert.parallel.plan.calibrate import calibrate
from tinybert.parallel.plan.job import PRECISIONS, RECOMPUTE, Job
from tinybert.parallel.plan.machines import MACHINES, Machine, read_machine
from tinybert.parallel.plan.memory import Memory, memory
from tinybert.parallel.plan.papers import UNITS, published
from tinybert.parallel.plan.prediction import Step, predict
from tinybert.parallel.plan.runs import read_runs
from tinybert.parallel.plan.shapes import PRESETS, Shape, shape_of
from tinybert.parallel.plan.traffic import step_messages
from tinybert.parallel.plan.work import step_flops
from tinybert.weights import atomic_write

DETAILS = """\
Predicts a training step of a transformer on any number of GPUs, without one:
the memory of a rank, FLOPs, the bytes that a rank sends, and the seconds of
the step. GPUs are split in three ways: --tensor ranks share each layer,
--pipeline ranks have different layers, and the rest compute different texts.

The time adds up matrix products, other operations (by the bytes they move),
messages (latency and bandwidth), the bubble of the pipeline, and the update.
The constants are those of --machine, or of --constants, a file that
--calibrate measured: it also measures small runs on every grid of the ranks,
and prints their deviation from the prediction. `--papers` compares the
predictions with the published runs of Megatron-LM and Nemotron-4; `--models`
lists the shapes."""

EXAMPLE = """\
  $ tinybert plan --model megatron-8.3b --gpus 512 --tensor 8 \\
      --micro 8 --recompute full --machine v100
  8.32 billion parameters on 512 ranks: tensor 8, pipeline 1, data 64
  ...
  $ tinybert plan --papers
  $ mpiexec -n 2 tinybert plan --calibrate --output constants.json
  $ tinybert plan --model megatron-336m --gpus 2 --constants constants.json"""

PARTS = {
    "matmul": "matrix products",
    "other": "other operations",
    "overhead": "overhead of layers",
    "tensor": "messages: tensor",
    "pipeline": "messages: pipeline",
    "data": "messages: data",
    "bubble": "bubble",
    "optimizer": "optimizer",
}


# The options of a plan, with their defaults.
PLAN: dict[str, object] = {
    "gpus": None, "tensor": 1, "pipeline": 1, "virtual_stages": 1, "micro": 1, "batch": None,
    "length": None, "recompute": "none", "sequence_parallel": False, "scatter": False,
    "zero": False, "overlap": False, "precision": "mixed", "machine": None, "constants": None,
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to show, the model, how it is split, and the machine."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--model", metavar="MODEL", help="a name of --models, or a model's folder or name"
    )
    what.add_argument("--models", action="store_true", help="list the shapes of the papers")
    what.add_argument("--papers", action="store_true", help="compare with published runs")
    what.add_argument(
        "--calibrate", action="store_true",
        help="measure this machine's constants, on as many ranks as mpiexec starts",
    )  # fmt: skip
    for name, text in (
        ("gpus", "number of ranks (default: tensor x pipeline)"),
        ("tensor", "ranks that share each layer (default: 1)"),
        ("pipeline", "stages of layers (default: 1)"),
        ("virtual_stages", "stages on each pipeline rank: the interleaved schedule (default: 1)"),
        ("micro", "sequences in a microbatch (default: 1)"),
        ("batch", "sequences in a step (default: one microbatch on each copy of the model, "
                  "with a pipeline 4 for each stage)"),
        ("length", "tokens of a sequence (default: what the model can read)"),
    ):  # fmt: skip
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=int, default=PLAN[name], metavar="N", help=text)
    parser.add_argument(
        "--recompute", choices=RECOMPUTE, default="none",
        help="activations that the backward pass computes again (default: none)",
    )  # fmt: skip
    parser.add_argument(
        "--sequence-parallel", action="store_true", help="split norms and dropout along the text"
    )
    parser.add_argument(
        "--scatter", action="store_true",
        help="send each stage's output in parts, one for each rank of --tensor",
    )  # fmt: skip
    parser.add_argument(
        "--zero",
        action="store_true",
        help="split the optimizer's states over the copies of the model",
    )
    parser.add_argument(
        "--overlap", action="store_true", help="sum gradients while the backward pass runs"
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="mixed",
        help="mixed is 16-bit numbers, and 32-bit ones in Adam (default: mixed)",
    )
    constants = parser.add_mutually_exclusive_group()
    constants.add_argument("--machine", choices=MACHINES, help="kind of GPU (default: a100)")
    constants.add_argument(
        "--constants", metavar="FILE", help="use measured constants instead of --machine's"
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="with --papers: save a chart (.png, .svg, .pdf); with --calibrate: save the "
        "constants (.json)",
    )
    parser.add_argument(
        "--measured", action="append", default=[], metavar="FILE",
        help="with --papers --output: draw the runs of a file of --calibrate too; may be repeated",
    )  # fmt: skip
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print the plan, the comparison with the papers, or the list of shapes."""
    if args.output is not None and not (args.papers or args.calibrate):
        raise ValueError("--output is an option of --papers and --calibrate")
    if args.measured and not (args.papers and args.output):
        raise ValueError("--measured is an option of --papers with --output")
    _check_plan_options(args)
    if args.calibrate:
        return _calibrate(args)
    if args.models:
        return _models(args.json)
    if args.papers:
        return _papers(args.json, figure_path("--output", args.output), args.measured)
    shape = _shape(args.model)
    if args.length is not None:
        check_integer("--length", args.length, 1)
        shape = replace(shape, positions=args.length)
    job = _job(args)
    machine = MACHINES[args.machine or "a100"]
    if args.constants is not None:
        machine = read_machine(Path(args.constants))
    step, used = predict(shape, job, machine), memory(shape, job)
    if args.json:
        print_json(_as_dict(shape, job, machine, step, used))
    else:
        print("\n".join(_lines(shape, job, machine, step, used)))
    return 0


def _check_plan_options(args: argparse.Namespace) -> None:
    """Raise ValueError for an option of a plan without --model, which would have no effect."""
    unused = [name for name, value in PLAN.items() if getattr(args, name) != value]
    if args.model is None and unused:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
        raise ValueError(f"{flags}: only with --model")


def _shape(name: str) -> Shape:
    if name in PRESETS:
        return PRESETS[name][0]
    try:
        folder = resolve(name, ["config.json"])
    except (OSError, ValueError, FetchError) as error:
        raise ValueError(
            f"--model {name!r} is not in the list of tinybert plan --models, and as a model's "
            f"folder or name: {error}"
        ) from None
    return shape_of(AutoConfig.from_pretrained(folder))


def _job(args: argparse.Namespace) -> Job:
    for name in ("tensor", "pipeline", "micro"):
        check_integer(f"--{name}", getattr(args, name), 1)
    inner = args.tensor * args.pipeline
    gpus = inner if args.gpus is None else args.gpus
    check_integer("--gpus", gpus, 1)
    check("--gpus", gpus, gpus % inner == 0, f"a multiple of --tensor x --pipeline = {inner}")
    data = gpus // inner
    count = 4 * args.pipeline if args.pipeline > 1 else 1
    return Job(
        tensor=args.tensor, pipeline=args.pipeline, data=data,
        batch=data * args.micro * count if args.batch is None else args.batch,
        micro=args.micro, virtual_stages=args.virtual_stages, recompute=args.recompute,
        sequence_parallel=args.sequence_parallel, scatter=args.scatter, zero=args.zero,
        overlap=args.overlap, precision=args.precision,
    )  # fmt: skip


def _lines(shape: Shape, job: Job, machine: Machine, step: Step, used: Memory) -> list[str]:
    work = (
        f"{job.batch:,} sequence(s) of {shape.positions:,} tokens in a step, in "
        f"{job.microbatches:,} micro-batch(es) of {job.micro} on each rank; "
        f"{step_flops(shape, job):.3g} FLOPs"
    )
    stages = f" x {job.virtual_stages} virtual stages" if job.virtual_stages > 1 else ""
    lines = [
        f"{shape.parameters / 1e9:.2f} billion parameters on {job.ranks:,} "
        f"{'rank' if job.ranks == 1 else 'ranks'}: "
        f"tensor {job.tensor}, pipeline {job.pipeline}{stages}, data {job.data}",
        *wrap(work.split(" "), terminal_width()),
        f"machine: {machine.name}",
        "",
    ]
    fits = "fits into" if used.total <= machine.capacity else "more than the"
    rows = [[name, human_size(size)] for name, size in vars(used).items()]
    rows += [["total", f"{human_size(used.total)} ({fits} {human_size(machine.capacity)})"]]
    lines += [*table(["memory of a rank", ""], rows, "ll"), ""]
    header = ["activations with", "size", "with the rest", "fits"]
    lines += [*table(header, _choices(shape, job, machine), "lrrl"), ""]
    rows = [
        [text, f"{getattr(step, name):.4g}", f"{getattr(step, name) / step.seconds:.1%}"]
        for name, text in PARTS.items()
    ]
    rows += [["step", f"{step.seconds:.4g}", ""]]
    lines += [*table(["seconds of a step", "", "share"], rows, "lrr"), ""]
    rows = [
        [kind, human_size(sum(m.sent for m in messages))]
        for kind, messages in step_messages(shape, job).items()
    ]
    lines += [*table(["a rank sends in a step", ""], rows, "lr"), ""]
    tokens = job.batch * shape.positions / step.seconds
    found = (
        f"{step.flops / 1e12:.4g} TFLOP/s of a rank, {step.flops * job.ranks / 1e15:.4g} PFLOP/s "
        f"of all; {step.utilization:.1%} of the peak without what is computed again; "
        f"{tokens:,.0f} tokens/s"
    )
    return lines + wrap(found.split(" "), terminal_width())


def _choices(shape: Shape, job: Job, machine: Machine) -> list[list[str]]:
    """Return a row for each way to keep fewer activations."""
    rows = []
    for recompute in RECOMPUTE:
        for parallel in (False, True) if job.tensor > 1 and recompute != "full" else (False,):
            used = memory(shape, replace(job, recompute=recompute, sequence_parallel=parallel))
            name = {"none": "no recomputation"}.get(recompute, f"{recompute} recomputation")
            fits = "yes" if used.total <= machine.capacity else "no"
            rows.append([
                name + (", sequence parallel" if parallel else ""),
                human_size(used.activations), human_size(used.total), fits,
            ])  # fmt: skip
    return rows


def _as_dict(
    shape: Shape, job: Job, machine: Machine, step: Step, used: Memory
) -> dict[str, object]:
    return {
        "parameters": shape.parameters,
        "ranks": job.ranks,
        "job": vars(job),
        "machine": machine.name,
        "memory": {**vars(used), "total": used.total, "capacity": machine.capacity},
        "flops": step_flops(shape, job),
        "bytes_sent": {
            kind: sum(m.sent for m in messages)
            for kind, messages in step_messages(shape, job).items()
        },
        "seconds": {**{name: getattr(step, name) for name in PARTS}, "step": step.seconds},
        "flops_per_second_of_a_rank": step.flops,
        "utilization": step.utilization,
    }


def _models(as_json: bool) -> int:
    if as_json:
        print_json({
            name: {**vars(shape), "parameters": shape.parameters, "source": source}
            for name, (shape, source) in PRESETS.items()
        })  # fmt: skip
        return 0
    rows = [
        [name, f"{s.parameters / 1e9:,.2f}", f"{s.layers}", f"{s.hidden:,}", f"{s.heads}",
         f"{s.positions:,}", source]
        for name, (s, source) in PRESETS.items()
    ]  # fmt: skip
    header = ["model", "billion", "layers", "hidden", "heads", "tokens", "source"]
    print("\n".join(table(header, rows, "lrrrrrl")))
    return 0


def _papers(as_json: bool, path: Path | None, files: list[str]) -> int:
    runs = list(published())
    if path is not None:
        save_papers(path, runs, [run for name in files for run in read_runs(Path(name))])
    if as_json:
        print_json([
            {"source": run.source, "model": run.model, "ranks": run.job.ranks, "kind": run.kind,
             "published": run.value, "predicted": run.prediction, "deviation": run.deviation,
             "fitted": run.fitted}
            for run in runs
        ])  # fmt: skip
        return 0
    rows = [
        [run.source, run.model, f"{run.job.ranks:,}", f"{run.value:g} {UNITS[run.kind]}",
         f"{run.prediction:.4g}", "fitted" if run.fitted else f"{run.deviation:+.1%}"]
        for run in runs
    ]  # fmt: skip
    header = ["source", "model", "GPUs", "published", "predicted", "deviation"]
    print("\n".join(table(header, rows, "llrrrr")))
    sizes = [abs(run.deviation) for run in runs if not run.fitted]
    print(
        f"\n{len(sizes)} predictions: median deviation {median(sizes):.1%}, "
        f"largest {max(sizes):.1%}"
    )
    for machine in MACHINES.values():
        text = f"{machine.name}: fitted to {machine.fitted}. {machine.source}."
        print("\n".join(wrap(text.split(" "), terminal_width())))
    return 0


def _calibrate(args: argparse.Namespace) -> int:
    """Measure the constants and some runs; rank 0 prints and saves them."""
    if args.output is not None:
        check_output_file("--output", Path(args.output), (".json",))
    world = alone() if args.grid is None else args.grid.world

    def say(text: str) -> None:
        if sys.stderr.isatty():
            print(text, file=sys.stderr, flush=True)

    machine, runs = calibrate(world, say)
    if not is_first(args):
        return 0
    found = {**asdict(machine), "runs": [asdict(run) for run in runs]}
    if args.output is not None:
        with atomic_write(Path(args.output)) as file:
            file.write(json.dumps(found, indent=1).encode() + b"\n")
    if args.json:
        print_json(found)
        return 0
    print(
        f"{world.size} rank(s): {machine.matmul / 1e9:.1f} GFLOP/s in matrix products, "
        f"{machine.memory / 1e9:.2f} GB/s in other operations, {machine.overhead * 1e3:.2f} ms for "
        f"a layer"
    )
    if world.size > 1:
        print(
            f"messages: latency {machine.latency * 1e6:.0f} microseconds, "
            f"bandwidth {machine.bandwidth / 1e9:.2f} GB/s"
        )
    rows = [
        [run.kind, f"{run.tensor}", f"{run.pipeline}", f"{run.data}", f"{run.batch}",
         f"{run.seconds * 1e3:.1f}", f"{run.predicted * 1e3:.1f}",
         f"{run.predicted / run.seconds - 1:+.1%}"]
        for run in runs
    ]  # fmt: skip
    header = ["scaling", "tensor", "pipeline", "data", "batch", "ms", "predicted", "deviation"]
    print("\n".join(["", *table(header, rows, "lrrrrrrr")]))
    return 0


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, on_ranks(run, names=()), ranks=True)
