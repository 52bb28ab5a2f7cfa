"""`tinybert export`: write a model as an ONNX file."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path
from typing import Any

from tinybert.atomic import atomic_write
from tinybert.cli.command import Command, add_json_argument
from tinybert.cli.convert import CONFIG, find_companions, write_config
from tinybert.cli.terminal import human_size, print_json, terminal_width, wrap
from tinybert.embedding import SentenceEmbedder
from tinybert.export import export_onnx
from tinybert.export.model import input_shapes
from tinybert.export.operations import OPSET
from tinybert.hub import resolve
from tinybert.models import AutoConfig, families
from tinybert.models.auto import class_of
from tinybert.models.base import PreTrainedModel

DETAILS = """\
Writes MODEL, a folder or a model's name, as FILE in the ONNX format, opset 17,
for onnxruntime and other run times. The class is that of config.json with its
head; for a folder of sentence-transformers, it is the model without a head.
Batch size and length are free. Padding is computed, not left at 0; caches
are not exported. The files of the tokenizer are copied next to FILE, and
config.json with the name of the class. Weights of more than 2 GB go into
FILE.data. Needs the package onnx: pip install "tinybert[onnx]"."""

EXAMPLE = """\
  $ tinybert export embedded embedded-onnx/model.onnx
  embedded (BertModel) -> embedded-onnx/model.onnx, 84.9 MB, opset 17
    inputs   input_ids, attention_mask, token_type_ids
    outputs  last_hidden_state
    copied   config.json, 1_Pooling/config.json, modules.json,
             sentence_bert_config.json, special_tokens_map.json,
             tokenizer_config.json, vocab.txt
  $ tinybert export embedded scores/model.onnx --class BertForMaskedLM"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add MODEL, FILE, --hidden-states, --attentions, --external-data, --force, --json."""
    parser.add_argument("model", metavar="MODEL", help="a model's folder or name")
    parser.add_argument("file", metavar="FILE", help="the file to write, such as folder/model.onnx")
    parser.add_argument(
        "--class", dest="kind", metavar="NAME", help="the class of the model, such as BertModel"
    )
    parser.add_argument("--hidden-states", action="store_true", help="add them to the outputs")
    parser.add_argument("--attentions", action="store_true", help="add them to the outputs")
    parser.add_argument(
        "--external-data", action="store_true", help="write the weights into FILE.data"
    )
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Write the model and the files next to it, and print what was written."""
    source, target = resolve(args.model), Path(os.path.expanduser(args.file))
    config = AutoConfig.from_pretrained(source)
    folder = target.parent
    origin, names = find_companions(source)
    names = [CONFIG, *names]
    if source.resolve() == folder.resolve():
        names = []  # they are there
    if args.kind is not None:
        _class_named(args.kind)
    if target.suffix != ".onnx" or target.is_dir():
        raise ValueError(f"FILE must end in .onnx, such as {target}/model.onnx, got {args.file}")
    if not args.force:
        data = [target.with_name(f"{target.name}.data")] if args.external_data else []
        for file in (target, *data, *(folder / name for name in names)):
            if file.exists():
                raise ValueError(f"{file} exists: use --force to replace it, or give another FILE")
    model = _load(source, config, args.kind)
    folder.mkdir(parents=True, exist_ok=True)
    outputs = export_onnx(
        model,
        target,
        output_hidden_states=args.hidden_states,
        output_attentions=args.attentions,
        external_data=True if args.external_data else None,
    )
    if names:
        options = json.loads((resolve(source, [CONFIG]) / CONFIG).read_text("utf-8"))
        write_config(options | {"architectures": [type(model).__name__]}, folder, None)
    for name in names[1:]:
        (folder / name).parent.mkdir(exist_ok=True)
        with open(origin / name, "rb") as original, atomic_write(folder / name) as copy:
            shutil.copyfileobj(original, copy)
    result = {
        "model": args.model,
        "class": type(model).__name__,
        "file": str(target),
        "bytes": target.stat().st_size,
        "opset": OPSET,
        "inputs": list(input_shapes(model)),
        "outputs": outputs,
        "copied": names,
    }
    if args.json:
        print_json(result)
        return 0
    size = human_size(target.stat().st_size)
    print(f"{args.model} ({result['class']}) -> {target}, {size}, opset {OPSET}")
    for title, listed in (("inputs", list(input_shapes(model))), ("outputs", outputs),
                          ("copied", names)):  # fmt: skip
        for line in wrap(", ".join(listed).split(" "), terminal_width() - 11) if listed else []:
            print(f"  {title:9}{line}")
            title = ""
    return 0


def _load(folder: Path, config: Any, kind: str | None) -> Any:
    """Load the model of a folder as the class `kind`, by default as that of its config."""
    if kind is None and not (folder / "modules.json").is_file():
        return class_of(config).from_pretrained(folder)
    if kind is None:
        return SentenceEmbedder.from_pretrained(folder).model
    return _class_named(kind).from_pretrained(folder)


def _class_named(name: str) -> Any:
    found = getattr(families, name, None)
    if not (isinstance(found, type) and issubclass(found, PreTrainedModel)):
        raise ValueError(f"--class {name}: there is no such model class")
    return found


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, run)
