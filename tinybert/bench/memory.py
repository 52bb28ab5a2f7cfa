"""Benchmark peak memory: each implementation runs in a process of its own.

What counts is how far the peak of the resident memory is above the libraries just imported, as the
kernel reports it (VmHWM and VmRSS in /proc/self/status): weights, gradients, the state of the
optimizer, activations, and whatever a library holds back for later. The work is the same as in the
benchmarks of time, which compare the results.
"""

from __future__ import annotations

import atexit
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tinybert.bench import bert, pretraining
from tinybert.bench.loading import load, save_random_weights
from tinybert.bench.machine import share_threads
from tinybert.bench.timing import CannotRun, Prepared

COMMAND = "import sys; from tinybert.bench import memory; memory.measure(sys.argv[1])"
STEPS = 2  # the first one allocates the state of AdamW


def memory(device: str, work: str, **options: Any) -> Prepared:
    """Measure a work of `WORKS` in bytes, after its results were compared on a small input."""
    if device != "cpu" or not Path("/proc/self/status").exists():
        raise CannotRun("peak memory is measured on the CPU, with Linux's /proc")
    if work == "load":
        folder = tempfile.mkdtemp(prefix="tinybert-bench-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        save_random_weights(folder, options)
        options = {"folder": folder}
    _, sides = WORKS[work]
    ours, *others = (partial(_peak, work, side, options) for side in sides)
    return Prepared(ours, dict(zip(sides[1:], others, strict=True)), _compare(work))


def _compare(work: str) -> dict[str, float]:
    """Return the differences of the results on a small model."""
    tiny = {
        "vocab_size": 50,
        "hidden_size": 12,
        "num_attention_heads": 3,
        "intermediate_size": 20,
    }
    if work == "pretrain":
        return pretraining.pretrain("cpu", 2, 8, tiny).differences
    if work == "load":
        return load("cpu", {**tiny, "num_hidden_layers": 1}).differences
    return bert.train_step("cpu", 1, 16, tiny).differences


def _peak(work: str, side: str, options: dict[str, Any], _: Any = None) -> int:
    """Return the bytes that a side adds at most in a process of its own.

    Raises CannotRun if the process fails, with the last line of its error or its exit status.
    """
    request = json.dumps([work, side, options])
    command = [sys.executable, "-c", COMMAND, request]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        reason = (run.stderr.strip().splitlines() or [f"exit status {run.returncode}"])[-1]
        raise CannotRun(f"the process of {side} failed: {reason}")
    return int(run.stdout)


def measure(request: str) -> None:
    """Print how much the peak memory of this process is above that of the imported libraries."""
    work, side, options = json.loads(request)
    if side != "ours":
        import transformers

        share_threads()
        assert transformers.BertForMaskedLM  # imported at its first use
        assert transformers.MegatronBertModel
    run, _ = WORKS[work]
    before = _status("VmRSS")
    run(side, **options)
    print(_status("VmHWM") - before)


def _status(name: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(name))


# --- the work -------------------------------------------------------------------------------------


def _pretrain(side: str, batch: int, length: int, config: dict[str, Any]) -> None:
    _, step = pretraining.SIDES[side]("cpu", batch, length, config)
    for _ in range(STEPS):
        step()


def _train(side: str, batch: int, length: int, config: dict[str, Any]) -> None:
    step = bert.SIDES[side](batch, length, config)
    for _ in range(STEPS):
        step()


def _load(side: str, folder: str) -> None:
    if side == "ours":
        from tinybert.models import MegatronBertModel

        ours = MegatronBertModel.from_pretrained(folder)
        sum(float(p.data.sum()) for p in ours.parameters())
    else:
        from transformers import MegatronBertModel as Theirs

        sum(p.sum().item() for p in Theirs.from_pretrained(folder).parameters())


WORKS: dict[str, tuple[Callable[..., None], tuple[str, ...]]] = {
    "pretrain": (_pretrain, ("ours", "torch", "transformers")),
    "train": (_train, ("ours", "torch")),
    "load": (_load, ("ours", "transformers")),
}
