"""`tinybert bench`: how fast we are, beside torch and transformers doing the same work."""

from __future__ import annotations

import argparse
import statistics
import sys
from typing import Any

from tinybert.backend import DeviceError, parse_device
from tinybert.bench import CASES, ROUNDS, Case, Result, run_case
from tinybert.bench.machine import describe, share_threads
from tinybert.cli.command import Command, add_device_argument, add_json_argument, optional
from tinybert.cli.terminal import fold, print_json, table, terminal_width
from tinybert.fetch import FetchError

DETAILS = """\
Runs each case here and elsewhere in turns, checks first that both compute
the same, and prints the median of our time divided by theirs in each round:
below 1 we are faster. Needs torch and transformers
(pip install "tinybert[test]"). Both sides have the same number of threads:
OMP_NUM_THREADS=4 tinybert bench. Exit code 1 if results disagree.

cases:
""" + "\n".join(f"  {case.name:18} {case.summary}" for case in CASES)

EXAMPLE = """\
  $ tinybert bench --only minilm-forward --runs 5"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--only, --runs, --device, --json, --markdown."""
    parser.add_argument("--only", nargs="+", metavar="CASE", default=[], help="only these cases")
    parser.add_argument(
        "--runs",
        type=int,
        metavar="N",
        default=ROUNDS,
        help="rounds that count (default: %(default)s)",
    )
    parser.add_argument(
        "--markdown", action="store_true", help="print the table as the README has it"
    )
    add_device_argument(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Run the chosen cases; 1 if results disagree, ValueError if none could run."""
    cases = _chosen(args.only)
    if args.runs < 1:
        raise ValueError(f"--runs must be at least 1, got {args.runs}")
    for module in ("torch", "transformers"):
        optional(module, "test", "bench")
    parse_device(args.device)
    machine = describe() | {"threads": share_threads(), "device": args.device}
    if not args.json:
        print("\n".join(_machine_lines(machine)) + "\n")
    results: list[Result] = []
    skipped: dict[str, str] = {}
    for case in cases:
        print(f"{case.name}: {case.summary} ...", file=sys.stderr, flush=True)
        try:
            results += run_case(case, args.device, args.runs)
        except (ImportError, FetchError, DeviceError) as reason:
            skipped[case.name] = str(reason)
    if not results:
        raise ValueError("; ".join(f"{name}: {reason}" for name, reason in skipped.items()))
    if args.json:
        cases_shown = [result.as_dict() for result in results]
        print_json({"machine": machine, "cases": cases_shown, "skipped": skipped})
    else:
        print("\n".join((_markdown if args.markdown else _table)(results, skipped)))
    return 0 if all(result.agrees for result in results) else 1


def _chosen(names: list[str]) -> list[Case]:
    known = {case.name: case for case in CASES}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"--only: no case {unknown[0]!r}; cases are {', '.join(known)}")
    return [known[name] for name in names] if names else list(CASES)


def _machine_lines(machine: dict[str, Any]) -> list[str]:
    versions = ("python", "tinybert", "numpy", "torch", "transformers", "tokenizers")
    words = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']};",
        f"{machine['threads']} thread(s) at most on every side, device {machine['device']};",
        *(f"{name} {machine[name]}" for name in versions),
    ]
    return fold(words, terminal_width())


LEGEND = (
    "ms: median (minimum to maximum); ratio: ours / theirs, the median over the rounds; "
    "below 1 is faster"
)


def _table(results: list[Result], skipped: dict[str, str]) -> list[str]:
    """A line for each result: medians in milliseconds with their range, and the ratio."""
    rows = []
    for result in results:
        row = [result.case, result.other, f"{result.difference:.1e}"]
        if result.agrees:
            row += [_milliseconds(result.ours), _milliseconds(result.others)]
            row += [f"{result.ratio:.2f}"]
        else:
            row += ["-", "-", "DISAGREES"]
        rows.append(row)
    heads = ["case", "beside", "max diff", "ours ms", "theirs ms", "ratio"]
    lines = table(heads, rows, "llrrrr")
    if any(result.noisy for result in results):
        lines.append("\nTimes vary by more than half: the machine is busy, do not trust them.")
    lines += [f"{result.case}: {result.note}" for result in results if result.note]
    lines += [f"{name}: skipped, {reason}" for name, reason in skipped.items()]
    return [*lines, "", LEGEND]


def _markdown(results: list[Result], skipped: dict[str, str]) -> list[str]:
    """The same for a page: a row for each result, then what was measured on the way."""
    lines = ["| case | ours, ms | theirs, ms | ratio |", "|---|---|---|---|"]
    for result in results:
        cells = [f"`{result.case}`, beside {result.other}"]
        if result.agrees:
            cells += [_milliseconds(result.ours), _milliseconds(result.others)]
            cells += [f"{result.ratio:.2f}"]
        else:
            cells += ["", "", "disagrees"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [f"\n`{result.case}`: {result.note}." for result in results if result.note]
    lines += [f"\n`{name}`: skipped, {reason}." for name, reason in skipped.items()]
    return lines


def _milliseconds(times: list[float]) -> str:
    median, low, high = (1000 * f(times) for f in (statistics.median, min, max))
    digits = 0 if low >= 100 else 1 if low >= 1 else 3
    return f"{median:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


COMMAND = Command(
    "bench", "Measure our speed beside torch and transformers", DETAILS, EXAMPLE,
    add_arguments, run,
)  # fmt: skip
