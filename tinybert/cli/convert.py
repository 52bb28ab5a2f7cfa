"""`tinybert convert`: convert any checkpoint to a folder that transformers can load."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.atomic import UNFINISHED, atomic_write, saving, settle
from tinybert.cli.command import Command, add_json_argument
from tinybert.cli.model_files import find_config, folder_of, weights_path
from tinybert.cli.terminal import human_size, print_json, terminal_width, wrap
from tinybert.cli.verification import check_model
from tinybert.formats.difference import BLOCK, EQUAL, difference
from tinybert.formats.nemo.checkpoint import is_nemo
from tinybert.formats.nemo.files import OPTIONS
from tinybert.hub import resolve
from tinybert.progress import progress_bar
from tinybert.tokenizers.config import MORE_TEMPLATES, TEMPLATE_FILE
from tinybert.weights import CheckpointError, open_checkpoint, save_sharded
from tinybert.weights.dtypes import FORMATS, Format
from tinybert.weights.folder import weight_files
from tinybert.weights.int8 import CONFIG as INT8_CONFIG
from tinybert.weights.int8 import Int8Rows
from tinybert.weights.quantized import QuantizedCheckpoint, forget_quantization
from tinybert.weights.reader import TensorReader
from tinybert.weights.safetensors import stored_infos
from tinybert.weights.sharded import Selection

INT8 = "int8"
DTYPES = ("float16", "bfloat16", "float32", INT8)
CONFIG = "config.json"
TOKENIZER_COMPANIONS = (  # files of the tokenizer, and the generation config
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "tokenizer*.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    TEMPLATE_FILE,
    f"{MORE_TEMPLATES}/*.jinja",
)
COMPANIONS = (
    *TOKENIZER_COMPANIONS,
    "modules.json",
    "config_sentence_transformers.json",
    "sentence_*_config.json",
    "[0-9]_[A-Z]*/config.json",
    "[0-9]_[A-Z]*/model.safetensors",
    "[0-9]_[A-Z]*/pytorch_model.bin",
)

DETAILS = """\
Writes the weights of SOURCE into the folder TARGET as safetensors, with
config.json and the tokenizer's files if SOURCE has them; tinybert and
transformers can load TARGET. SOURCE is a folder or a file: safetensors,
PyTorch (.bin, .pt), Megatron-LM (NGC's .zip), TensorFlow (.h5, .ckpt.index),
Flax (.msgpack), ONNX (.onnx), or a Nemotron of NeMo (.nemo, or
model_weights.ckpt with model_config.yaml; the files of several ranks are
joined). Only one tensor at a time is in memory; of an ONNX file, all of it.
8-bit weights with scales become float32. All tensors are read back and compared
with SOURCE, and their names and shapes with the model of config.json:
"verified" means that both are right. If anything fails, TARGET is not created
or changed."""

EXAMPLE = """\
  $ tinybert convert megatron_bert_345m_v0_1_cased.zip megatron-cased
  megatron_bert_345m_v0_1_cased.zip (Megatron-LM) -> megatron-cased
    config.json           284 B  from the checkpoint
    model.safetensors  729.0 MB
  all weights of MegatronBertForPreTraining were found
  verified: 399 tensors read back, each equal to its source

  $ tinybert convert model model-half --dtype float16 --max-shard-size 1GB"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add SOURCE, TARGET, --dtype, --max-shard-size, --force, --json."""
    parser.add_argument(
        "source", metavar="SOURCE", help="a folder, a weights file, or a model's name"
    )
    parser.add_argument("target", metavar="TARGET", help="the folder to create")
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        help="dtype of all float tensors (default: unchanged); int8: of matrices, with a scale "
        "for each row (transformers does not read int8 embeddings)",
    )
    parser.add_argument(
        "--max-shard-size",
        default="5GB",
        metavar="SIZE",
        help="maximum size of a file (default: 5GB)",
    )
    parser.add_argument(
        "--force", action="store_true", help="replace the model in TARGET; keep its other files"
    )
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Write the weights, verify them, move all files to TARGET in one step, print a summary."""
    source = weights_path(args.source)
    target = Path(os.path.realpath(os.path.expanduser(args.target)))
    _check_target(source, target, args.force)
    with open_checkpoint(source) as checkpoint:
        if is_nemo(checkpoint):  # with its options, the reader gives the names of transformers
            raise ValueError(f"{source} is a NeMo checkpoint and needs {OPTIONS} in its folder")
        config = find_config(source, checkpoint)
        checked = check_model(config.options if config else None, checkpoint)
        origins: dict[str, str] = {}
        origin, copied = find_companions(folder_of(source))

        def replaced(folder: Path) -> list[Path]:
            older = [folder / name for name in companions(folder)] if copied else []
            return weight_files(folder) + older

        with saving(target, replaced) as folder:
            rounding = _write(checkpoint, folder, args)
            if config is not None:
                plain = "float32" if isinstance(checkpoint, QuantizedCheckpoint) else None
                write_config(config.options, folder, args.dtype or plain)
                origins[CONFIG] = "copied" if config.origin == CONFIG else f"from {config.origin}"
            for name in copied:
                _copy(origin / name, folder / name)
            origins |= dict.fromkeys(copied, "copied")
            files = {
                file.relative_to(folder).as_posix(): file.stat().st_size
                for file in sorted(folder.rglob("*"))
                if file.is_file()
            }
        result = {
            "source": str(source),
            "format": checkpoint.format,
            "target": str(args.target),
            "files": files,
            "config": config.origin if config else None,
            "tensors": len(checkpoint),
            "model": checked.text,
            "verified": checked.complete,  # the tensors were compared: else an error was raised
            "rounding": rounding,
        }
    if args.json:
        print_json(result)
    else:
        print("\n".join(_summary(result, origins, args.dtype)))
    return 0


def _check_target(source: Path, target: Path, force: bool) -> None:
    """Raise ValueError for a target whose replacement would destroy files."""
    folders = Path(os.path.realpath(folder_of(source))), folder_of(Path(os.path.realpath(source)))
    if any(target == folder or target in folder.parents for folder in folders):
        raise ValueError(f"TARGET {target} contains SOURCE: give another folder")
    if target.exists() and not target.is_dir():
        raise ValueError(f"TARGET {target} exists and is not a folder")
    if not target.is_dir() or force:
        return
    settle(target)
    if any(not name.startswith(UNFINISHED) for name in os.listdir(target)):
        raise ValueError(f"TARGET {target} is not empty: use --force to replace its model")


class _WithProgress(Selection):
    """The tensors of a reader; each tensor that is read advances a progress bar."""

    def __init__(self, reader: TensorReader, advance: Callable[[int], object]) -> None:
        super().__init__(reader, reader)
        self._advance = advance

    def __getitem__(self, name: str) -> np.ndarray:
        array = self._reader.copy(name)
        self._advance(self.info(name).nbytes)
        return array


def _write(checkpoint: TensorReader, folder: Path, args: argparse.Namespace) -> float:
    """Write the tensors, verify the written files, and return the largest rounding error."""
    stored, dtype = checkpoint, args.dtype
    if dtype == INT8:
        stored, dtype = Int8Rows(checkpoint), None
    total = sum(stored.info(name).nbytes for name in stored)
    with progress_bar("writing", total, "B") as advance:
        save_sharded(_WithProgress(stored, advance), folder, args.max_shard_size, dtype=dtype)
    with progress_bar("verifying", total, "B") as advance, open_checkpoint(folder) as written:
        if stored is not checkpoint:
            widened = QuantizedCheckpoint(_WithProgress(stored, advance), folder / CONFIG)
            _verify(widened, written, None, folder)
            return max(difference(checkpoint[name], written[name]).largest for name in checkpoint)
        return _verify(_WithProgress(stored, advance), written, dtype, folder)


def _verify(source: TensorReader, written: TensorReader, dtype: str | None, folder: Path) -> float:
    """Compare each written tensor with its source, rounded to the new dtype.

    Returns the largest rounding error; raises CheckpointError for a tensor that differs.
    """
    expected = stored_infos(source, dtype)
    if set(expected) != set(written):
        raise CheckpointError(folder, "does not have the tensors that were written to it")
    rounding = 0.0
    for name, info in expected.items():
        error = _rounding(source[name], written.copy(name), FORMATS[info.dtype])
        if error is None or written.info(name) != info:
            raise CheckpointError(
                folder, f"tensor {name!r} differs from what was written; check the disk"
            )
        rounding = max(rounding, error)
    return rounding


def _rounding(array: np.ndarray, written: np.ndarray, fmt: Format) -> float | None:
    """Return the largest rounding error; None if the arrays differ by more than rounding."""
    assert fmt.narrow is not None
    flat, flat_written, rounding = array.reshape(-1), written.reshape(-1), 0.0
    for start in range(0, flat.size, BLOCK):
        block, read = flat[start : start + BLOCK], flat_written[start : start + BLOCK]
        exact = fmt.narrow(block)
        exact = fmt.widen(exact) if fmt.widen else exact
        if difference(exact, read) != EQUAL:
            return None
        rounding = max(rounding, difference(block, read).largest)
    return rounding


def write_config(options: dict[str, Any], folder: Path, dtype: str | None) -> None:
    """Write config.json for weights in `dtype`; None leaves that entry as it is."""
    renamed: dict[str, Any] = {
        key: dtype
        for key in ("torch_dtype", "dtype")
        if dtype not in (None, INT8) and key in options
    }
    options = options | renamed
    forget_quantization(options)
    if dtype == INT8:
        options["quantization_config"] = INT8_CONFIG
    text = json.dumps(options, indent=2, sort_keys=True, ensure_ascii=False)
    with atomic_write(folder / CONFIG, "w") as file:
        file.write(text + "\n")


def find_companions(source: Path) -> tuple[Path, list[str]]:
    """Return the folder with a model's other files and their names.

    For an adapter that has none it is the folder of its base model. A config.json next to the
    adapter is that of a head: the files of sentence-transformers describe the base without it.
    """
    origin = resolve(source, COMPANIONS)
    has_head = origin != source and (source / CONFIG).is_file()
    return origin, companions(origin, TOKENIZER_COMPANIONS if has_head else COMPANIONS)


def companions(folder: Path, patterns: Sequence[str] = COMPANIONS) -> list[str]:
    """Return the names of the files of a folder that belong to a model besides its weights."""
    files = {file for pattern in patterns for file in folder.glob(pattern) if file.is_file()}
    return sorted(file.relative_to(folder).as_posix() for file in files)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    with open(source, "rb") as file, atomic_write(target) as copy:
        shutil.copyfileobj(file, copy)


def _summary(result: dict[str, Any], origins: dict[str, str], dtype: str | None) -> list[str]:
    files = result["files"]
    width = max(map(len, files))
    sizes = {name: human_size(size) for name, size in files.items()}
    digits = max(map(len, sizes.values()))
    lines = [f"{result['source']} ({result['format']}) -> {result['target']}"]
    lines += [
        f"  {name:{width}}  {sizes[name]:>{digits}}  {origins.get(name, '')}".rstrip()
        for name in files
    ]
    if CONFIG not in files:
        lines.append(f"  no {CONFIG}: SOURCE has none; add one to load the model")
    else:
        text = wrap(result["model"].split(" "), terminal_width() - 2)
        lines += [f"  {line}" for line in text]
    verdict = "verified" if result["verified"] else "copied"
    verified = f"{verdict}: {result['tensors']} tensors read back, each equal to its source"
    if result["rounding"]:
        verified += f" rounded to {dtype} (by at most {result['rounding']:.2g})"
    return [*lines, *wrap(verified.split(" "), terminal_width())]


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, run)
