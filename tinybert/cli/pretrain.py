"""`tinybert pretrain`: train a language model on text."""

from __future__ import annotations

import argparse
import ast
from pathlib import Path
from typing import Any

from tinybert.backend import manual_seed
from tinybert.cli.command import Command, add_device_argument, add_json_argument
from tinybert.cli.training_arguments import (
    add_training_arguments,
    check_output,
    read_options,
    say,
    train,
)
from tinybert.embedding import SentenceEmbedder
from tinybert.hub import resolve
from tinybert.models import AutoConfig
from tinybert.tokenizers import AutoTokenizer
from tinybert.training import TokenFile
from tinybert.training.distillation import WEIGHT, SentenceDistillation, SentenceVectors
from tinybert.training.examples import column_names
from tinybert.training.language_modeling import OBJECTIVES, LanguageModeling

DETAILS = """\
Trains a language model on text files, with fresh weights (--family) or those
of a model (--model). A text file has a sentence or paragraph a line, and an
empty line between documents; in a .csv, .tsv or .jsonl file, each row is a
document, with its text in the column text. The objectives:

masked       predict masked words (BERT, MegatronBERT, MEGA)
masked+next  also predict whether the second text follows the first (BERT,
             MegatronBERT)
causal       predict the next token (Nemotron, and any decoder)

The text is tokenized once, into OUTPUT/tokens.safetensors. --validation TEXT
measures loss and accuracy on other text after each epoch, and keeps the best
model. With --teacher MODEL, a model of sentence embeddings such as minilm, the
model learns its sentence vectors too. `tinybert pretrain --resume --output
FOLDER` continues a run after an interruption."""

EXAMPLE = """\
  $ tinybert train-tokenizer corpus.txt --output my-tokenizer
  $ tinybert pretrain corpus.txt --tokenizer my-tokenizer --family bert \\
      --set hidden_size=128 --set num_hidden_layers=2 \\
      --set num_attention_heads=2 --set intermediate_size=512 \\
      --steps 1000 --output my-bert
  $ tinybert fill-mask "The [MASK] of the ship." --model my-bert"""

DEFAULTS: dict[str, Any] = {
    "text": [], "validation": [], "model": None, "family": None, "tokenizer": None, "set": [],
    "objective": None, "length": 128, "mask_share": 0.15, "plain_masks": False, "output": None,
    "teacher": None, "teacher_weight": None, "column": [], "batch_size": 32, "epochs": 1,
    "device": "cpu", "learning_rate": 5e-4,
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add TEXT, --model, --family, --tokenizer, --set, ... and the training options."""
    parser.add_argument("text", nargs="*", metavar="TEXT", help="a text file in UTF-8")
    parser.add_argument("--validation", action="append", metavar="TEXT", help="text to measure on")
    parser.add_argument(
        "--column", action="append", metavar="text=NAME", help="of CSV and JSON lines files"
    )
    parser.add_argument("--model", metavar="MODEL", help="start from the weights of this model")
    parser.add_argument("--family", metavar="NAME", help="start from fresh weights of this family")
    parser.add_argument("--tokenizer", metavar="FOLDER", help="default: that of --model")
    parser.add_argument(
        "--set", action="append", metavar="NAME=VALUE", help="an option of the model's config"
    )
    parser.add_argument("--objective", choices=OBJECTIVES, help="default: by the model's family")
    parser.add_argument("--length", type=int, metavar="N", help="tokens in a row (default: 128)")
    parser.add_argument(
        "--mask-share", type=float, metavar="X", help="share of masked tokens (default: 0.15)"
    )
    parser.add_argument(
        "--plain-masks", action="store_const", const=True, help="mask tokens, not whole words"
    )
    parser.add_argument(
        "--teacher", metavar="MODEL", help="also learn the sentence vectors of this model"
    )
    parser.add_argument(
        "--teacher-weight", type=float, metavar="X", help="weight of that loss (default: 4)"
    )
    add_training_arguments(parser)
    add_device_argument(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Train, and print the last metrics."""
    options = read_options(args, DEFAULTS)
    if not options["text"]:
        raise ValueError("TEXT is required: the text files to train on")
    if (options["model"] is None) == (options["family"] is None):
        raise ValueError("give --model to start from its weights, or --family for fresh weights")
    if options["teacher_weight"] is not None and options["teacher"] is None:
        raise ValueError("--teacher-weight needs --teacher")
    tokenizer_folder = options["tokenizer"] or options["model"]
    if tokenizer_folder is None:
        raise ValueError("--family needs --tokenizer FOLDER; `tinybert train-tokenizer` makes one")
    check_output(options, args)
    column = column_names(options["column"], ("text",)).get("text", "text")
    tokenizer = AutoTokenizer.from_pretrained(resolve(tokenizer_folder))
    config = _config(options, tokenizer)
    task: Any = LanguageModeling(
        tokenizer, _objective(options, config), options["length"], options["mask_share"],
        not options["plain_masks"],
    )  # fmt: skip
    folder = Path(options["output"])
    folder.mkdir(parents=True, exist_ok=True)
    tokens = TokenFile.build(folder / "tokens.safetensors", options["text"], tokenizer, column)
    say(f"{len(tokens):,} tokens, number of documents: {len(tokens.documents) - 1:,}")
    held_out = None
    if options["validation"]:
        held_out = TokenFile.build(
            folder / "validation.safetensors", options["validation"], tokenizer, column
        )
    model = _model(options, task, config)
    task.check_model(model)
    if options["teacher"] is not None:
        task = _with_teacher(options, task, tokens, held_out)
    return train(model, task, tokens, held_out, tokenizer, options, args)


def _with_teacher(
    options: dict[str, Any], task: Any, tokens: TokenFile, held_out: TokenFile | None
) -> SentenceDistillation:
    """Return the task together with the sentence vectors of --teacher."""
    teacher = SentenceEmbedder.from_pretrained(resolve(options["teacher"]), options["device"])
    folder = Path(options["output"])

    def build(name: str, text: str, tokens: TokenFile) -> SentenceVectors:
        return SentenceVectors.build(folder / name, tokens, options[text], task.tokenizer, teacher)

    weight = WEIGHT if options["teacher_weight"] is None else options["teacher_weight"]
    vectors = build("teacher.safetensors", "text", tokens)
    if held_out is None:
        return SentenceDistillation(task, vectors, weight=weight)
    measured = build("teacher-validation.safetensors", "validation", held_out)
    return SentenceDistillation(task, vectors, weight=weight, held_out=measured)


def _config(options: dict[str, Any], tokenizer: Any) -> Any:
    """Return the config of the model: that of --model, or of --family, with the values of --set."""
    values = {}
    for item in options["set"]:
        name, separator, text = item.partition("=")
        if not separator:
            raise ValueError(f"--set must be NAME=VALUE, got {item!r}")
        try:
            values[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            values[name] = text
    if options["model"] is not None:
        return AutoConfig.from_pretrained(resolve(options["model"]), **values)
    roles = ("pad_token_id", "bos_token_id", "eos_token_id")
    ids = {name: getattr(tokenizer, name) for name in roles}
    ids = {name: token_id for name, token_id in ids.items() if token_id is not None}
    sizes = {"vocab_size": len(tokenizer), **ids}
    return AutoConfig.for_model(options["family"], **{**sizes, **values})


def _objective(options: dict[str, Any], config: Any) -> str:
    if options["objective"] is not None:
        return options["objective"]
    return "causal" if config.model_type == "nemotron" else "masked"


def _model(options: dict[str, Any], task: LanguageModeling, config: Any) -> Any:
    """Return the model, with the weights of --model or fresh ones."""
    if options["model"] is not None:
        folder = resolve(options["model"])
        return task.auto.from_pretrained(folder, config=config, device=options["device"])
    with manual_seed(options["seed"]):
        return task.auto.from_config(config).to(device=options["device"])


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, run)
