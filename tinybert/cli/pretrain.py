"""`tinybert pretrain`: train a language model on text."""

from __future__ import annotations

import argparse
import ast
from pathlib import Path
from typing import Any

from tinybert.backend import manual_seed
from tinybert.cli.command import Command, add_device_argument, add_json_argument
from tinybert.cli.corpus_arguments import (
    CORPUS_DEFAULTS,
    add_corpus_arguments,
    make_language_task,
    read_corpus,
)
from tinybert.cli.ranks import add_rank_arguments, first_alone, on_ranks
from tinybert.cli.training_arguments import (
    add_training_arguments,
    check_output,
    earlier_grid,
    read_options,
    train,
)
from tinybert.embedding import SentenceEmbedder
from tinybert.hub import resolve
from tinybert.models import AutoConfig
from tinybert.tokenizers import AutoTokenizer
from tinybert.training import TokenFile
from tinybert.training.distillation import WEIGHT, SentenceDistillation, SentenceVectors
from tinybert.training.language_modeling import LanguageModeling

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
FOLDER` continues a run after an interruption.

On several ranks of MPI, --tensor T ranks divide each layer, --pipeline P the
layers, --data D the batch, and --chunks C the tokens of each text (MEGA with
use_chunking). Each rank loads the whole model, and trains its part. --resume
needs none of these options: it uses those of the run. With others it resumes
on another grid, if --data times --accumulation stays the same."""

EXAMPLE = """\
  $ tinybert train-tokenizer corpus.txt --output my-tokenizer
  $ tinybert pretrain corpus.txt --tokenizer my-tokenizer --family bert \\
      --set hidden_size=128 --set num_hidden_layers=2 \\
      --set num_attention_heads=2 --set intermediate_size=512 \\
      --steps 1000 --output my-bert
  $ tinybert fill-mask "The [MASK] of the ship." --model my-bert
  $ mpiexec -n 8 tinybert pretrain corpus.txt --tokenizer my-tokenizer \\
      --family megatron-bert --tensor 2 --pipeline 2 --data 2 \\
      --accumulation 4 --steps 1000 --output my-megatron
  $ mpiexec -n 4 tinybert pretrain corpus.txt --tokenizer my-tokenizer \\
      --family mega --set use_chunking=True --set chunk_size=128 \\
      --length 2048 --chunks 4 --steps 1000 --output my-mega"""

DEFAULTS: dict[str, Any] = {
    **CORPUS_DEFAULTS, "model": None, "family": None, "tokenizer": None, "set": [], "output": None,
    "teacher": None, "teacher_weight": None, "batch_size": 32, "epochs": 1, "device": "cpu",
    "learning_rate": 5e-4,
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add TEXT, --model, --family, --tokenizer, --set, ... and the training options."""
    add_corpus_arguments(parser)
    parser.add_argument("--model", metavar="MODEL", help="start from the weights of this model")
    parser.add_argument("--family", metavar="NAME", help="start from fresh weights of this family")
    parser.add_argument("--tokenizer", metavar="FOLDER", help="default: that of --model")
    parser.add_argument(
        "--set", action="append", metavar="NAME=VALUE", help="an option of the model's config"
    )
    parser.add_argument(
        "--teacher", metavar="MODEL", help="also learn the sentence vectors of this model"
    )
    parser.add_argument(
        "--teacher-weight", type=float, metavar="X", help="weight of that loss (default: 4)"
    )
    add_training_arguments(parser)
    add_rank_arguments(parser, chunks=True)
    add_device_argument(parser, None)
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
    if options["teacher"] is not None and args.grid is not None:
        raise ValueError("--teacher is not supported on several ranks")
    tokenizer_folder = options["tokenizer"] or options["model"]
    if tokenizer_folder is None:
        raise ValueError("--family needs --tokenizer FOLDER; `tinybert train-tokenizer` makes one")
    check_output(options, args)
    tokenizer = AutoTokenizer.from_pretrained(resolve(tokenizer_folder))
    config = _config(options, tokenizer)
    if args.grid is not None:
        _check_chunks(config, options["length"], args.grid.chunks.size)
    task: Any = make_language_task(options, tokenizer, config)
    tokens, held_out = first_alone(args, lambda: read_corpus(options, tokenizer))
    model = _model(options, task, config)
    task.check_model(model)
    if options["teacher"] is not None:
        task = _with_teacher(options, task, tokens, held_out)
    return train(model, task, tokens, held_out, tokenizer, options, args)


def _check_chunks(config: Any, length: int, ranks: int) -> None:
    """Raise ValueError unless the ranks of --chunks can share a text in whole chunks."""
    if ranks == 1 or not getattr(config, "use_chunking", False):
        return
    unit = ranks * config.chunk_size
    if length % unit:
        raise ValueError(
            f"--length must be a multiple of --chunks {ranks} * chunk_size {config.chunk_size} = "
            f"{unit}, got {length}"
        )


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


def _model(options: dict[str, Any], task: LanguageModeling, config: Any) -> Any:
    """Return the model, with the weights of --model or fresh ones."""
    if options["model"] is not None:
        folder = resolve(options["model"])
        return task.auto.from_pretrained(folder, config=config, device=options["device"])
    with manual_seed(options["seed"]):
        return task.auto.from_config(config).to(device=options["device"])


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, on_ranks(run, earlier=earlier_grid), ranks=True)
