"""Find the weights of a model, and the configuration that belongs to them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from tinybert.fetch import known_names, named_folder
from tinybert.hub import resolve
from tinybert.models.config import read_json_object
from tinybert.weights.reader import TensorReader

CONFIGS = ("config.json", "bert_config.json")


class FoundConfig(NamedTuple):
    """A configuration, and its origin: a file name, or `the checkpoint`."""

    options: dict[str, Any]
    origin: str


def weights_path(name: str) -> Path:
    """Return the path of a file or folder, or the folder of a name; ValueError if there is none.

    A TensorFlow 1 checkpoint can be given without the suffix `.index`, as in TensorFlow.
    """
    if (named := named_folder(name)) is not None:
        return named
    path = Path(os.path.expanduser(name))
    if path.exists():
        return path
    index = path.with_name(path.name + ".index")
    if path.name and index.is_file():
        return index
    raise ValueError(
        f"{name!r} is neither a file or folder nor a known model name ({known_names()})"
    )


def folder_of(path: Path) -> Path:
    """Return the folder with the config and tokenizer of the weights."""
    folder = path if path.is_dir() else path.parent
    if folder.name == "onnx" and not any((folder / name).is_file() for name in CONFIGS):
        return folder.parent  # as published: the files of the model beside a folder "onnx"
    return folder


def find_config(path: Path, checkpoint: TensorReader) -> FoundConfig | None:
    """Return the configuration stored in the checkpoint or in its folder (or, for an adapter, in
    that of its base model); None if there is none.

    `model_type` is added to Google's `bert_config.json`, which lacks it.
    """
    stored = getattr(checkpoint, "model_config", None)
    if stored is not None:
        return FoundConfig(stored(), "the checkpoint")
    for name in CONFIGS:
        file = resolve(folder_of(path), CONFIGS) / name
        if file.is_file():
            options = read_json_object(file)
            if name == "bert_config.json":
                options = {"model_type": "bert", **options}
            return FoundConfig(options, name)
    return None
