"""Checkpoints of a training run: everything that the run needs to continue bit for bit.

    checkpoint-00000500/
        config.json, model.safetensors    a model folder, which `from_pretrained` loads
        optimizer.safetensors             the optimizer's arrays
        extra.safetensors                 the weights of the loss, if it has any
    training_state.json               step, position in the data, random generators, ...

A checkpoint is written to a temporary folder, flushed to disk, and renamed: it is there completely
or not at all, whenever the process is killed or the disk is full.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.autograd import Tensor
from tinybert.optim import Optimizer
from tinybert.weights import CheckpointError, load_file, save_file

STATE_NAME, OPTIMIZER_NAME = "training_state.json", "optimizer.safetensors"
EXTRA_NAME = "extra.safetensors"
_NAME = re.compile(r"checkpoint-(\d{8})")
_UNFINISHED = ".checkpoint-"


def write_checkpoint(folder: Path, step: int, write: Callable[[Path], None], keep: int) -> Path:
    """Create the checkpoint of a step; `write` writes its files to the folder that it is given.

    Afterwards only the newest `keep` checkpoints are left. If `write` fails, for example because
    the disk is full, nothing has changed.
    """
    final = folder / f"checkpoint-{step:08}"
    unfinished = folder / f"{_UNFINISHED}{step:08}.tmp"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        write(unfinished)
        for path in (*unfinished.iterdir(), unfinished):
            _flush(path)
        if final.exists():
            shutil.rmtree(final)
        os.rename(unfinished, final)
        _flush(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints of a run, oldest first."""
    return sorted(path for path in folder.glob("checkpoint-*") if _NAME.fullmatch(path.name))


def clear_unfinished(folder: Path) -> None:
    """Delete what a killed run has left."""
    for path in folder.glob(f"{_UNFINISHED}*.tmp"):
        shutil.rmtree(path)


def _flush(path: Path) -> None:
    """Write the content of a file or folder to the disk."""
    if path.is_dir() and os.name != "posix":
        return  # other systems cannot open folders
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# --- state ----------------------------------------------------------------------------------------


def save_optimizer(path: Path, optimizer: Optimizer) -> dict[str, Any]:
    """Write an optimizer's arrays to a file, and return the rest of its state, ready for JSON."""
    state = optimizer.state_dict()
    arrays, numbers = {}, {}
    for parameter, values in state["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                arrays[f"{parameter}.{name}"] = value.numpy()
            else:
                numbers[f"{parameter}.{name}"] = value
    save_file(arrays, path)
    return {"numbers": numbers, "param_groups": state["param_groups"]}


def load_optimizer(path: Path, optimizer: Optimizer, rest: Mapping[str, Any]) -> None:
    """Restore an optimizer from its arrays and the rest of its state."""
    state: dict[int, dict[str, Any]] = {}
    for key, value in {**load_file(path), **rest["numbers"]}.items():
        parameter, name = key.split(".", 1)
        state.setdefault(int(parameter), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": rest["param_groups"]})


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write `training_state.json`."""
    text = json.dumps(state, indent=2, default=_plain)
    (folder / STATE_NAME).write_text(text + "\n", encoding="utf-8")


def read_state(folder: Path) -> dict[str, Any]:
    """Read `training_state.json`; CheckpointError if it is damaged."""
    path = folder / STATE_NAME
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(os.fspath(path), f"is not valid JSON ({error})") from None


def _plain(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be saved as JSON")
