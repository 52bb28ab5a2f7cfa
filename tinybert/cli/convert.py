"""`tinybert convert`: any checkpoint to a folder that Hugging Face transformers reads."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.checkpoints import CheckpointError, open_checkpoint, save_sharded
from tinybert.checkpoints.difference import BLOCK, EQUAL, difference
from tinybert.checkpoints.dtypes import FORMATS, Format
from tinybert.checkpoints.nemo import is_nemo
from tinybert.checkpoints.nemo_files import OPTIONS
from tinybert.checkpoints.reader import Selection, TensorReader
from tinybert.checkpoints.safetensors import stored_infos
from tinybert.cli.command import Command, add_json_argument
from tinybert.cli.model_files import find_config, home_of, weights_path
from tinybert.cli.progress import progress
from tinybert.cli.terminal import fold, human_size, print_json, terminal_width
from tinybert.tokenizers.chat import MORE_TEMPLATES, TEMPLATE_FILE

DTYPES = ("float16", "bfloat16", "float32")
CONFIG = "config.json"
COMPANIONS = (  # files of a tokenizer, and how to generate
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
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors")

DETAILS = """\
Writes the weights of SOURCE into the folder TARGET as safetensors, with
config.json and the tokenizer's files if they lie beside SOURCE, so that
tinybert and transformers load it. SOURCE is a folder or file that tinybert
reads: safetensors, PyTorch (.bin, .pt), Megatron-LM (NGC's .zip),
TensorFlow (.h5, .ckpt.index), Flax (.msgpack), NeMo's Nemotron (.nemo, or
model_weights.ckpt beside model_config.yaml). One tensor at a time is in
memory. Then all is read back and compared. TARGET appears when everything
is done and right, or not at all."""

EXAMPLE = """\
  $ tinybert convert megatron_bert_345m_v0_1_cased.zip megatron-cased
  megatron_bert_345m_v0_1_cased.zip (Megatron-LM) -> megatron-cased
    config.json           284 B  from the checkpoint
    model.safetensors  729.0 MB
  verified: 399 tensors read back, each equal to its source

  $ tinybert convert model model-half --dtype float16 --max-shard-size 1GB"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """SOURCE, TARGET, --dtype, --max-shard-size, --force, --json."""
    parser.add_argument("source", metavar="SOURCE", help="a folder, a file of weights, or minilm")
    parser.add_argument("target", metavar="TARGET", help="the folder to make")
    parser.add_argument("--dtype", choices=DTYPES, help="of all floats; as they are by default")
    parser.add_argument(
        "--max-shard-size", default="5GB", metavar="SIZE", help="of a file (default: 5GB)"
    )
    parser.add_argument(
        "--force", action="store_true", help="replace the model in TARGET; other files stay"
    )
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Write, verify, move into place, and say what was done."""
    source = weights_path(args.source)
    target = Path(os.path.realpath(Path(args.target).expanduser()))
    _check(source, target, args.force)
    with open_checkpoint(source) as checkpoint:
        if is_nemo(checkpoint):  # otherwise the names would be Hugging Face's
            raise ValueError(f"{source} has NeMo's names, and {OPTIONS} has to lie beside it")
        config = find_config(source, checkpoint)
        origins: dict[str, str] = {}
        with _new_folder(target) as folder:
            rounding = _write(checkpoint, folder, args)
            if config is not None:
                _write_config(config.options, folder, args.dtype)
                origins[CONFIG] = "copied" if config.origin == CONFIG else f"from {config.origin}"
            origins |= dict.fromkeys(_copy_companions(home_of(source), folder), "copied")
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
            "verified": True,  # or there would be an error instead
            "rounding": rounding,
        }
    if args.json:
        print_json(result)
    else:
        print("\n".join(_shown(result, origins, args.dtype)))
    return 0


def _check(source: Path, target: Path, force: bool) -> None:
    """Refuse a target that would destroy something."""
    homes = Path(os.path.realpath(home_of(source))), home_of(Path(os.path.realpath(source)))
    if any(target == home or target in home.parents for home in homes):
        raise ValueError(f"TARGET {target} holds SOURCE itself: give another folder")
    if target.exists() and not target.is_dir():
        raise ValueError(f"TARGET {target} exists and is no folder")
    if target.is_dir() and any(target.iterdir()) and not force:
        raise ValueError(f"TARGET {target} exists and is not empty: --force replaces its model")


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `target` at the end, unless something fails before.

    It lies on the same disk, so that it moves in one step.
    """
    there = next(folder for folder in target.parents if folder.is_dir())
    unfinished = there / f".converting-{secrets.token_hex(8)}"
    unfinished.mkdir()
    try:
        yield unfinished
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace(target, unfinished)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _replace(target: Path, new: Path) -> None:
    """Put `new` in the place of `target`; what is not of the model moves over."""
    if not target.exists():
        os.rename(new, target)
        return
    old = new.with_name(new.name + "-old")
    os.rename(target, old)
    try:
        os.rename(new, target)
    except BaseException:
        os.rename(old, target)
        raise
    for entry in list(old.iterdir()):
        if not (target / entry.name).exists() and not any(map(entry.match, WEIGHTS)):
            os.rename(entry, target / entry.name)
    shutil.rmtree(old)


class _Watched(Selection):
    """A reader's tensors; every one that is read moves a progress bar."""

    def __init__(self, reader: TensorReader, advance: Callable[[int], object]) -> None:
        super().__init__(reader, reader)
        self._advance = advance

    def __getitem__(self, name: str) -> np.ndarray:
        array = self._reader.copy(name)
        self._advance(self.info(name).nbytes)
        return array


def _write(checkpoint: TensorReader, folder: Path, args: argparse.Namespace) -> float:
    """Write the tensors and compare what was written; returns the largest rounding error."""
    total = sum(checkpoint.info(name).nbytes for name in checkpoint)
    with progress("writing", total) as advance:
        save_sharded(_Watched(checkpoint, advance), folder, args.max_shard_size, dtype=args.dtype)
    with progress("checking", total) as advance, open_checkpoint(folder) as written:
        return _verify(_Watched(checkpoint, advance), written, args.dtype, folder)


def _verify(source: TensorReader, written: TensorReader, dtype: str | None, place: Path) -> float:
    """Read each tensor back: it must be the source's, rounded to its new format where that is so.

    Returns the largest rounding error; CheckpointError names a tensor that is not as it should be.
    """
    wanted = stored_infos(source, dtype)
    if set(wanted) != set(written):
        raise CheckpointError(place, "does not have the tensors that were written to it")
    rounding = 0.0
    for name, info in wanted.items():
        error = _rounding(source[name], written.copy(name), FORMATS[info.dtype])
        if error is None or written.info(name) != info:
            raise CheckpointError(
                place, f"tensor {name!r} does not read back as it was written; is the disk sound?"
            )
        rounding = max(rounding, error)
    return rounding


def _rounding(array: np.ndarray, back: np.ndarray, fmt: Format) -> float | None:
    """How far what was read back is off; None if more than by the rounding to the format."""
    assert fmt.narrow is not None
    flat, flat_back, rounding = array.reshape(-1), back.reshape(-1), 0.0
    for start in range(0, flat.size, BLOCK):
        block, read = flat[start : start + BLOCK], flat_back[start : start + BLOCK]
        exact = fmt.narrow(block)
        exact = fmt.widen(exact) if fmt.widen else exact
        if difference(exact, read) != EQUAL:
            return None
        rounding = max(rounding, difference(block, read).largest)
    return rounding


def _write_config(options: dict[str, Any], folder: Path, dtype: str | None) -> None:
    renamed = {key: dtype for key in ("torch_dtype", "dtype") if dtype and key in options}
    text = json.dumps(options | renamed, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def _copy_companions(home: Path, folder: Path) -> list[str]:
    found = {file for pattern in COMPANIONS for file in home.glob(pattern) if file.is_file()}
    names = [file.relative_to(home).as_posix() for file in found]
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(home / name, folder / name)
    return names


def _shown(result: dict[str, Any], origins: dict[str, str], dtype: str | None) -> list[str]:
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
        lines.append(f"  no {CONFIG}: none lies beside the source, and loading needs one")
    verdict = f"verified: {result['tensors']} tensors read back, each equal to its source"
    if result["rounding"]:
        verdict += f" rounded to {dtype} (by at most {result['rounding']:.2g})"
    return [*lines, *fold(verdict.split(" "), terminal_width())]


COMMAND = Command(
    "convert", "Turn any checkpoint into a folder of safetensors", DETAILS, EXAMPLE,
    add_arguments, run,
)  # fmt: skip
