"""`tinybert bench`: benchmark tinybert against torch and transformers."""

from __future__ import annotations

import argparse
import statistics
import sys
from typing import Any

from tinybert.backend import DeviceError, parse_device
from tinybert.bench import CASES, LIBRARIES, ROUNDS, SUITES, CannotRun, Case, Result, run_case
from tinybert.bench.machine import describe, share_threads
from tinybert.checks import check_integer
from tinybert.cli.bench_chart import save_ratios
from tinybert.cli.command import Command, add_device_argument, add_json_argument, optional
from tinybert.cli.figures import SUFFIXES, figure_path
from tinybert.cli.terminal import print_json, table, terminal_width, wrap
from tinybert.fetch import FetchError

DETAILS = """\
Runs each case with tinybert and with torch, transformers or tokenizers in
turns, after checking that the results agree. ratio is our time divided by
theirs, the median over the rounds: below 1 tinybert is faster. The suite
memory compares the peak memory of processes instead, the suite kernels also
with "plain", our formulas without fast kernels. All use the same number of
threads, which OMP_NUM_THREADS=4 tinybert bench sets. Needs torch and
transformers (pip install "tinybert[test]"). onnxruntime is compared only if
--against names it, in the cases bert-base-forward, minilm-forward, sentence,
toy and ragged. The exit code is 1 if results disagree.

The suites and their cases:

""" + "\n".join(
    f"{case.suite:9}  {case.name:17} \n    {case.summary}"
    for suite in SUITES for case in CASES if case.suite == suite
)  # fmt: skip

EXAMPLE = """\
  $ tinybert bench --only minilm-forward
  ...
  case            against  max diff           ours ms         theirs ms  ratio
  minilm-forward  torch     1.4e-06  190 (183 to 217)  114 (100 to 135)   1.61

  $ tinybert bench forward latency --against torch,onnxruntime \\
      --plot bench.png"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the suites, --only, --against, --runs, --device, --json, --markdown, --plot."""
    parser.add_argument(
        "suites", nargs="*", metavar="SUITE", help=f"run only {', '.join(SUITES)} (default: all)"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="CASE",
        default=[],
        help="run only these cases, of the suites if any are named",
    )
    parser.add_argument(
        "--against",
        metavar="LIBRARIES",
        default="",
        help="compare only with these, separated by commas: " + ", ".join(LIBRARIES),
    )
    parser.add_argument(
        "--runs",
        type=int,
        metavar="N",
        default=ROUNDS,
        help="timed rounds, after a warm-up (default: %(default)s)",
    )
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    parser.add_argument(
        "--plot",
        metavar="FILE",
        help=f"also save a chart of the ratios ({', '.join(SUFFIXES)})",
    )
    add_device_argument(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Run the selected cases; return 1 if results disagree. ValueError if no case could run."""
    cases = _selected(args.suites, args.only)
    against = _libraries(args.against)
    check_integer("--runs", args.runs, 1)
    torch = optional("torch", "test", "bench")
    for module in ("transformers", *{"onnxruntime"}.intersection(against)):
        optional(module, "test", "bench")
    plot = figure_path("--plot", args.plot)
    if parse_device(args.device)[0].name != "cpu" and not torch.cuda.is_available():
        raise DeviceError(f"device {args.device!r}: torch finds no GPU to compare with")
    machine = describe() | {"threads": share_threads(), "device": args.device}
    if not args.json:
        print("\n".join(_machine_lines(machine, args.runs)) + "\n")
    results: list[Result] = []
    skipped: dict[str, str] = {}
    for case in cases:
        print(f"{case.name}: {case.summary} ...", file=sys.stderr, flush=True)
        try:
            results += run_case(case, args.device, args.runs, against)
        except (ImportError, FetchError, DeviceError, CannotRun) as reason:
            skipped[case.name] = str(reason)
    if not results:
        raise ValueError("; ".join(f"{name}: {reason}" for name, reason in skipped.items()))
    if args.json:
        cases_run = [result.as_dict() for result in results]
        print_json({"machine": machine, "cases": cases_run, "skipped": skipped})
    else:
        print("\n".join((_markdown if args.markdown else _table)(results, skipped)))
    if plot:
        title = f"{machine['cpu']}, {machine['threads']} thread(s), torch {machine['torch']}"
        save_ratios(plot, results, title)
    return 0 if all(result.agrees for result in results) else 1


def _selected(suites: list[str], names: list[str]) -> list[Case]:
    """Return the cases of the suites that --only names; all of the suites without it."""
    if unknown := [suite for suite in suites if suite not in SUITES]:
        raise ValueError(f"SUITE must be of {', '.join(SUITES)}, got {unknown[0]!r}")
    known = [case.name for case in CASES]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"--only must be cases of {', '.join(known)}, got {unknown[0]!r}")
    cases = [case for case in CASES if case.suite in (suites or SUITES)]
    if other := [c for c in CASES if c.name in names and c not in cases]:
        raise ValueError(f"--only {other[0].name} is a case of {other[0].suite}: add this suite")
    return [case for case in cases if not names or case.name in names]


def _libraries(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    if unknown := [name for name in names if name not in LIBRARIES]:
        raise ValueError(f"--against must be of {', '.join(LIBRARIES)}, got {unknown[0]!r}")
    return names


def _machine_lines(machine: dict[str, Any], runs: int) -> list[str]:
    libraries = ("tinybert", "numpy", "torch", "transformers", "tokenizers", "onnxruntime")
    parts = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']};",
        f"at most {machine['threads']} thread(s) each, device {machine['device']};",
        f"{runs} round(s);",
        *(f"{name} {machine[name]}" for name in ("python", *libraries) if machine[name]),
    ]
    return wrap(parts, terminal_width())


LEGEND = (
    "ms (MB for memory): median (minimum to maximum); ratio: ours / theirs, the median over the "
    "rounds; below 1 tinybert is faster, or needs less"
)


def _table(results: list[Result], skipped: dict[str, str]) -> list[str]:
    """Return a line for each result: median and range in milliseconds, and the ratio."""
    rows = []
    for result in results:
        row = [result.case, result.other, f"{result.difference:.1e}"]
        if result.agrees:
            row += [_spread(figures, result.measures) for figures in (result.ours, result.others)]
            row += [f"{result.ratio:.2f}"]
        else:
            row += ["-", "-", "DISAGREES"]
        rows.append(row)
    header = ["case", "against", "max diff", "ours ms", "theirs ms", "ratio"]
    lines = table(header, rows, "llrrrr")
    if any(result.noisy for result in results):
        lines.append("\nTimes vary by more than 50 %: the machine is busy, so they are unreliable.")
    lines += [f"{case}: {note}" for case, note in _notes(results)]
    lines += [f"{name}: skipped, {reason}" for name, reason in skipped.items()]
    return [*lines, "", *wrap(LEGEND.split(), terminal_width())]


def _markdown(results: list[Result], skipped: dict[str, str]) -> list[str]:
    """Return the table in Markdown: a row for each result, then the notes."""
    lines = ["| case | ours, ms | theirs, ms | ratio |", "|---|---|---|---|"]
    for result in results:
        cells = [f"`{result.case}`, against {result.other}"]
        if result.agrees:
            cells += [_spread(figures, result.measures) for figures in (result.ours, result.others)]
            cells += [f"{result.ratio:.2f}"]
        else:
            cells += ["", "", "disagrees"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [f"\n`{case}`: {note}." for case, note in _notes(results)]
    lines += [f"\n`{name}`: skipped, {reason}." for name, reason in skipped.items()]
    return lines


def _notes(results: list[Result]) -> list[tuple[str, str]]:
    """Return other measurements with the names of their cases: tokens per second, and notes."""
    notes = []
    for result in results:
        if speed := result.tokens_per_second:
            ours, theirs = (f"{rate:,.0f}" for rate in speed.values())
            notes.append((result.case, f"{ours} tokens/s, {result.other} {theirs} tokens/s"))
    notes += [(result.case, result.note) for result in results if result.note]
    return list(dict.fromkeys(notes))  # the results of a case share its note


def _spread(figures: list[float], measures: str) -> str:
    """Return median and range: seconds in ms without a unit, as the header has it; bytes in MB."""
    factor, unit = (1e3, "") if measures == "seconds" else (1e-6, " MB")
    median, low, high = (factor * f(figures) for f in (statistics.median, min, max))
    digits = 0 if low >= 100 else 1 if low >= 1 else 3
    return f"{median:.{digits}f}{unit} ({low:.{digits}f} to {high:.{digits}f})"


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, run)
