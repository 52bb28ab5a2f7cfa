"""`tinybert distill`: train a small language model with a large one as its teacher."""

from __future__ import annotations

import argparse
import re
from typing import Any

from tinybert.backend import manual_seed
from tinybert.cli.command import Command, add_device_argument, add_json_argument
from tinybert.cli.corpus_arguments import (
    CORPUS_DEFAULTS,
    add_corpus_arguments,
    make_language_task,
    read_corpus,
)
from tinybert.cli.training_arguments import (
    add_training_arguments,
    check_output,
    read_options,
    train,
)
from tinybert.compress import Distillation
from tinybert.hub import resolve
from tinybert.models import AutoConfig
from tinybert.tokenizers import AutoTokenizer

DETAILS = """\
Trains a language model, the STUDENT, to compute what a larger one computes,
the TEACHER: for each masked word, or each next token, the teacher's
probabilities of all words. Both have the same vocabulary. `tinybert prune`
makes a student of the teacher's most important parts; any other model can be a
student too.

The loss is the sum of these parts, with their weights:

--logits      KL divergence of the student's probabilities from the teacher's
--labels      cross-entropy of the words themselves
--hidden      squared difference of the hidden states of pairs of layers, those
              at the same depth or --pairs; a projection is learned where the
              widths differ
--embeddings  the same of the embeddings

The weights of the last two are relative: with 1, the part has the same size as
the loss of the logits. --pairs needs --hidden. TEXT is read as by
`tinybert pretrain` (whose --teacher is a model of sentence embeddings).
`tinybert distill --resume --output FOLDER` continues a run after an
interruption."""

EXAMPLE = """\
  $ tinybert prune embedded --output small --text corpus.txt --layers 3 \\
      --hidden 192 --intermediate 768
  $ tinybert distill embedded small corpus.txt --validation held-out.txt \\
      --steps 1000 --output small-distilled
  $ tinybert distill embedded small corpus.txt --hidden 1 --pairs 4:2,6:3 \\
      --embeddings 1 --steps 1000 --output small-hidden
  $ tinybert fill-mask "The [MASK] of the ship." --model small-distilled"""

WEIGHTS = {"logits": 1.0, "labels": 0.0, "hidden": 0.0, "embeddings": 0.0}
DEFAULTS: dict[str, Any] = {
    **CORPUS_DEFAULTS, **WEIGHTS, "teacher": None, "student": None, "temperature": 1.0,
    "pairs": None, "output": None, "batch_size": 32, "epochs": 1, "device": "cpu",
    "learning_rate": 5e-4,
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add TEACHER, STUDENT, TEXT, the weights of the loss, and the training options."""
    parser.add_argument("teacher", nargs="?", metavar="TEACHER", help="a large language model")
    parser.add_argument("student", nargs="?", metavar="STUDENT", help="the model to start from")
    add_corpus_arguments(parser)
    parser.add_argument(
        "--temperature", type=float, metavar="T",
        help="divide the logits by it, so that unlikely words count more (default: 1)",
    )  # fmt: skip
    for name, weight in WEIGHTS.items():
        parser.add_argument(
            f"--{name}", type=float, metavar="X", help=f"weight of this part (default: {weight:g})"
        )
    parser.add_argument(
        "--pairs", metavar="T:S,...",
        help="layers of TEACHER and STUDENT that --hidden compares, such as 4:2,6:3; 0 is the "
        "embeddings (default: each layer of STUDENT with that at the same depth)",
    )  # fmt: skip
    add_training_arguments(parser)
    add_device_argument(parser, None)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Train, and print the last metrics."""
    options = read_options(args, DEFAULTS)
    for name in ("teacher", "student", "text"):
        if not options[name]:
            raise ValueError(f"{name.upper()} is required; see `tinybert distill --help`")
    pairs = read_pairs(options["pairs"])
    if pairs and not options["hidden"]:
        raise ValueError("--pairs needs --hidden X, the weight of the hidden states")
    check_output(options, args)
    teacher_folder, folder = (resolve(options[name]) for name in ("teacher", "student"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.get_vocab() != AutoTokenizer.from_pretrained(teacher_folder).get_vocab():
        raise ValueError(
            f"TEACHER and STUDENT must have the same tokens: the tokenizers of {teacher_folder} "
            f"and {folder} differ"
        )
    words = make_language_task(options, tokenizer, AutoConfig.from_pretrained(folder))
    teacher, student = (
        words.auto.from_pretrained(path, device=options["device"])
        for path in (teacher_folder, folder)
    )
    weights = {name: options[name] for name in WEIGHTS}
    with manual_seed(options["seed"]):
        task = Distillation(words, teacher, student, options["temperature"], **weights, pairs=pairs)
    tokens, held_out = read_corpus(options, tokenizer)
    return train(student, task, tokens, held_out, tokenizer, options, args)


def read_pairs(text: str | None) -> list[tuple[int, int]] | None:
    """Return [(4, 2), (6, 3)] for "4:2,6:3"; None for None. Raises ValueError for other text."""
    if text is None:
        return None
    if not isinstance(text, str) or not re.fullmatch(r"[0-9]+:[0-9]+(,[0-9]+:[0-9]+)*", text):
        raise ValueError(f"--pairs must be TEACHER:STUDENT layers such as 4:2,6:3, got {text!r}")
    return [(int(a), int(b)) for a, b in (pair.split(":") for pair in text.split(","))]


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, run)
