"""Where a command finds weights, and the configuration that belongs to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from tinybert.checkpoints.reader import TensorReader
from tinybert.fetch import model_folder
from tinybert.models.config import read_json_object


class FoundConfig(NamedTuple):
    """A configuration, and where it was found: a file's name, or `the checkpoint`."""

    options: dict[str, Any]
    origin: str


def weights_path(name: str) -> Path:
    """The file or folder of that name, or MiniLM's folder; ValueError if there is none.

    A TensorFlow 1 checkpoint may be named as TensorFlow does, without `.index`.
    """
    path = Path(name).expanduser()
    if path.exists():
        return path
    if name == "minilm":
        return model_folder(name)
    index = path.with_name(path.name + ".index")
    if path.name and index.is_file():
        return index
    raise ValueError(f"there is no file or folder {name!r}, nor is it minilm")


def home_of(path: Path) -> Path:
    """The folder in which the companions of the weights lie."""
    return path if path.is_dir() else path.parent


def find_config(path: Path, checkpoint: TensorReader) -> FoundConfig | None:
    """The configuration that a checkpoint stores itself, or that lies beside it.

    Google's `bert_config.json` does not say of what it is the configuration: `model_type` is added.
    """
    stored = getattr(checkpoint, "model_config", None)
    if stored is not None:
        return FoundConfig(stored(), "the checkpoint")
    for name in ("config.json", "bert_config.json"):
        file = home_of(path) / name
        if file.is_file():
            options = read_json_object(file)
            if name == "bert_config.json":
                options = {"model_type": "bert", **options}
            return FoundConfig(options, name)
    return None
