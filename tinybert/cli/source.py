"""Where a command finds weights, and the configuration that belongs to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from tinybert.checkpoints import CheckpointError
from tinybert.checkpoints.nemo import NemoCheckpoint, is_nemo
from tinybert.checkpoints.reader import TensorReader
from tinybert.cli.command import optional
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


NEMO_OPTIONS = "model_config.yaml"
MAX_NEMO_BYTES = 1 << 20  # of the options; an honest file has a few thousand


def with_hugging_face_names(path: Path, checkpoint: TensorReader) -> TensorReader:
    """The checkpoint itself, or if its names are NeMo's, what they are called elsewhere.

    NeMo's options lie beside the weights once its archive is unpacked; ValueError if they do not.
    """
    if not is_nemo(checkpoint):
        return checkpoint
    file = home_of(path) / NEMO_OPTIONS
    if not file.is_file() or file.stat().st_size > MAX_NEMO_BYTES:
        raise ValueError(
            f"{path} has NeMo's names, and {NEMO_OPTIONS} has to lie beside it "
            "(unpack the .nemo file with tar -xf)"
        )
    yaml = optional("yaml", "nemo", "NeMo's options")
    try:
        options = yaml.safe_load(file.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CheckpointError(file, f"is no YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(options, dict):
        raise CheckpointError(file, f"expected options by name, got {type(options).__name__}")
    return NemoCheckpoint(checkpoint, options)


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
