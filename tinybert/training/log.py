"""`TrainingLog`: the log of a run as JSON lines, and a live line on the terminal."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tinybert.progress import progress_bar
from tinybert.weights import atomic_write

LOG_NAME = "log.jsonl"


class TrainingLog:
    """Collects what the steps report, and writes means to `log.jsonl`.

    A line has "step", "loss", "norm" (of the gradient, before clipping), "learning_rate" and
    "tokens_per_second"; a line of an evaluation has "step" and the metrics. When a run continues
    from step N, lines after step N are dropped: they will be written again.

    Also a context manager, which shows a progress bar while it is open.
    """

    def __init__(self, folder: Path, step: int, steps: int) -> None:
        self.path = folder / LOG_NAME
        lines = read_log(folder) if step else []
        kept = [line for line in lines if line["step"] <= step]
        with atomic_write(self.path, "w") as file:
            file.writelines(json.dumps(line) + "\n" for line in kept)
        self.step, self.steps = step, steps
        self._bar = progress_bar("training", steps, " steps")
        self._entries: list[dict[str, float]] = []
        self._started, self._speed = time.perf_counter(), ""

    def __enter__(self) -> TrainingLog:
        self._advance = self._bar.__enter__()
        self._advance(self.step)
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.__exit__(*error)

    def add(self, entry: dict[str, float], write: bool) -> None:
        """Add what a step reports; if `write`, write the means since the last line."""
        self.step += 1
        self._entries.append(entry)
        if write:
            seconds = time.perf_counter() - self._started
            tokens = sum(entry["tokens"] for entry in self._entries)
            means = {
                name: sum(entry[name] for entry in self._entries) / len(self._entries)
                for name in ("loss", "norm")
            }
            line = {**means, "learning_rate": entry["learning_rate"]}
            self.write({"step": self.step, **line, "tokens_per_second": tokens / seconds})
            self._entries, self._started = [], time.perf_counter()
            self._speed = f", {tokens / seconds:,.0f} tokens/s"
        self._advance(1, f"loss {entry['loss']:.3f}{self._speed}")

    def write(self, line: dict[str, float]) -> None:
        """Append one line."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def read_log(folder: Path) -> list[dict[str, float]]:
    """Return the lines of a log; a last line that is not complete is left out."""
    path = folder / LOG_NAME
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
