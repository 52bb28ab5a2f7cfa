"""Attacks: hostile inputs of growing size, each read in a process of its own with limits.

python -m tests.attacks.harness GROUP ... runs the attacks of groups and prints what is wrong.
An attack passes if reading ends with a result or a named error, within its bounds of time and
memory, and if both grow at most in proportion to the input.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

Read = Callable[[], object]
STEPS = (1, 2, 4)  # the sizes of an attack, in units of its smallest
ADDRESS_SPACE = 4 << 30  # bytes that a process may reserve; libraries reserve about 1 GB
WALL = 30.0  # seconds after which a process is killed
FLOOR_SECONDS, FLOOR_BYTES = 0.25, 48 << 20  # less is not compared: clocks and pools are coarse
GROWTH = 7  # at most, from the smallest to the largest size; linear is 4, quadratic 16
LONGEST_MESSAGE = 2000  # characters


class Attack(NamedTuple):
    """One hostile input.

    Attributes:
        name: unique.
        make: f(n, folder) writes the input of size n, and returns the function that reads it.
        size: the smallest n; 0 for an input of one size.
        named: what the message of an error must have, such as the file's name.
        seconds, memory: bounds of the largest size (of the processor, and bytes).
    """

    name: str
    make: Callable[[int, Path], Read]
    size: int = 0
    named: str = ""
    seconds: float = 3.0
    memory: int = 400 << 20


class Outcome(NamedTuple):
    """What reading took: seconds of the processor, bytes at the peak, and the kind and message of
    the error; "" if there was none.
    """

    seconds: float
    memory: int
    kind: str
    message: str


def faults(attack: Attack, steps: Sequence[int]) -> list[str]:
    """Run an attack in several sizes, and return what is wrong."""
    sizes = [step * attack.size for step in steps] if attack.size else [0]
    outcomes = [run(attack, size) for size in sizes]
    found = [
        f"n = {size}: {o.kind}: {o.message[:300]}"
        for size, o in zip(sizes, outcomes, strict=True)
        if not is_named(o, attack.named)
    ]
    last, first = outcomes[-1], outcomes[0]
    if last.seconds > attack.seconds:
        found.append(f"{last.seconds:.2f} s, bound {attack.seconds:g}")
    if last.memory > attack.memory:
        found.append(f"{last.memory >> 20} MB, bound {attack.memory >> 20}")
    if last.seconds > max(FLOOR_SECONDS, GROWTH * first.seconds):
        found.append("seconds grow: " + ", ".join(f"{o.seconds:.3f}" for o in outcomes))
    if last.memory > max(FLOOR_BYTES, GROWTH * first.memory):
        found.append("memory grows: " + ", ".join(f"{o.memory >> 20}" for o in outcomes) + " MB")
    return found


def is_named(outcome: Outcome, named: str) -> bool:
    """Return whether reading gave a result, or an error of one short message that names a thing."""
    if not outcome.kind:
        return True
    known = outcome.kind in ("ValueError", "OSError", "FetchError")
    return known and named in outcome.message and len(outcome.message) <= LONGEST_MESSAGE


def run(attack: Attack, size: int) -> Outcome:
    """Run an attack of one size in a process made by fork."""
    source, target = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(source)
            os.write(target, json.dumps(_measured(attack, size)).encode())
        finally:
            os._exit(0)
    os.close(target)
    deadline = time.monotonic() + WALL
    while time.monotonic() < deadline:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            break
        time.sleep(0.001)
    else:
        os.kill(child, signal.SIGKILL)
        _, status, usage = os.wait4(child, 0)
    with open(source, "rb") as file:
        answer = file.read()
    if answer:
        return Outcome(*json.loads(answer))
    seconds = usage.ru_utime + usage.ru_stime
    return Outcome(seconds, 0, "killed", f"status {status} after {seconds:.1f} s")


def _measured(attack: Attack, size: int) -> tuple[Any, ...]:
    with tempfile.TemporaryDirectory() as folder:
        read = attack.make(size, Path(folder))
        base = _peak(reset=True)
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        before = time.process_time()
        kind = message = ""
        try:
            read()
        except Exception as error:
            kind = next(
                (k.__name__ for k in (UnicodeError, ValueError, OSError) if isinstance(error, k)),
                type(error).__name__,
            )
            message = str(error)
        seconds = time.process_time() - before
        return seconds, max(0, _peak() - base), kind, message[: LONGEST_MESSAGE + 1]


def _peak(reset: bool = False) -> int:
    """Return the peak of this process's memory in bytes, since the last reset on Linux."""
    with suppress(OSError):
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) << 10
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def main() -> None:
    """Run the attacks of the groups that are named, or of all; print a line of JSON for each.

    --sample N runs N of every group, at their largest size; --share I/K runs every K-th from I.
    """
    from tests.attacks.groups import GROUPS

    parser = argparse.ArgumentParser()
    parser.add_argument("groups", nargs="*", default=list(GROUPS))
    parser.add_argument("--sample", type=int)
    parser.add_argument("--share", default="0/1")
    args = parser.parse_args()
    first, step = map(int, args.share.split("/"))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for group in args.groups:
        attacks = list(GROUPS[group]())
        chosen = attacks[first::step]
        if args.sample:
            chosen = chosen[:: len(chosen) // args.sample + 1]
        for attack in chosen:
            found = faults(attack, STEPS[-1:] if args.sample else STEPS)
            print(json.dumps([len(attacks), attack.name, found]), flush=True)


if __name__ == "__main__":
    main()
