"""`tinybert prune`: cut a model to its most important parts."""

from __future__ import annotations

import argparse
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

from tinybert.checks import check_integer
from tinybert.cli.command import Command, add_device_argument, add_json_argument
from tinybert.cli.corpus_arguments import CORPUS_DEFAULTS, make_language_task
from tinybert.cli.terminal import print_json
from tinybert.cli.training_arguments import check_output, say
from tinybert.compress.importance import (
    AGGREGATES,
    Importance,
    importance,
    layers_left_out,
)
from tinybert.compress.pruning import check_target, choose, cut
from tinybert.compress.structure import head_size, structure_of
from tinybert.hub import WEIGHT_FILES, resolve
from tinybert.models import AutoConfig
from tinybert.models.auto import class_of
from tinybert.tokenizers import AutoTokenizer
from tinybert.training import TokenFile

DETAILS = """\
Makes a smaller model of the most important layers, channels, attention heads
and neurons of a model (Minitron, arXiv:2407.14679). Importance is measured on
the activations of calibration text: a text file as for `tinybert pretrain`.
The result is an ordinary model folder of the same family. `tinybert distill`
then trains it, with the large model as its teacher.

A size that is not given stays as it is. Heads keep their size: in BERT and
MegatronBERT, --heads follows from --hidden. In a Nemotron with grouped queries,
each head of keys and values that stays (--groups) keeps the same number of
query heads. MEGA has one head; its values (--intermediate) and its feed-forward
part (--nffn) are pruned."""

EXAMPLE = """\
  $ tinybert prune embedded --output small --text LICENSE --layers 3 \\
      --hidden 192 --intermediate 768
  BertForMaskedLM: 6,682,104 of 21,388,536 parameters (31%)
    layers 3 of 6: 0, 1, 5
    hidden 192 of 384
    heads 6 of 12
    intermediate 768 of 1,536
  $ tinybert distill embedded small LICENSE --output small-distilled"""

SIZES = {
    "layers": ("num_hidden_layers", "layers"),
    "hidden": ("hidden_size", "channels of the hidden states"),
    "heads": ("num_attention_heads", "attention heads"),
    "groups": ("num_key_value_heads", "heads of keys and values (Nemotron)"),
    "intermediate": ("intermediate_size", "neurons of the feed-forward part"),
    "nffn": (
        "nffn_hidden_size",
        "neurons of MEGA's feed-forward part (for MEGA, --intermediate is the number of values)",
    ),
}
BATCH = 16  # texts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add MODEL, --output, --text, the sizes, and how importance is measured."""
    parser.add_argument("model", metavar="MODEL", help="a model's folder or name")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="where to write it")
    parser.add_argument(
        "--text", required=True, action="append", metavar="TEXT", help="calibration text"
    )
    for name, (_, text) in SIZES.items():
        parser.add_argument(f"--{name}", type=int, metavar="N", help=text)
    parser.add_argument(
        "--samples", type=int, default=1024, metavar="N",
        help="texts to use, rounded up to batches of 16 (default: 1024)",
    )  # fmt: skip
    parser.add_argument(
        "--length", type=int, default=128, metavar="N", help="tokens in a text (default: 128)"
    )
    parser.add_argument(
        "--over-tokens", choices=AGGREGATES, default="mean",
        help="aggregate activations over the tokens of a text (default: mean)",
    )  # fmt: skip
    parser.add_argument(
        "--over-texts", choices=AGGREGATES, default="l2", help="and over texts (default: l2)"
    )
    parser.add_argument(
        "--layers-by", choices=("angle", "perplexity"), default="angle",
        help="importance of a layer: the angle between its input and output, or the perplexity "
        "without it (default: angle)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the choice of texts")
    add_device_argument(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Prune, save, and say what is left."""
    check_integer("samples", args.samples, 1)
    check_output({"output": args.output}, argparse.Namespace(resume=False))
    folder = resolve(args.model, WEIGHT_FILES)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = _load(folder, args.device)
    if args.layers_by == "perplexity" and not hasattr(model, "word_logits"):
        raise ValueError(
            f"--layers-by perplexity needs a language model, got {type(model).__name__}"
        )
    target = _target(model, args)
    check_target(model.config, target, structure_of(model))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        tokens = TokenFile.build(Path(temporary) / "tokens", args.text, tokenizer)
        scores = _measure(model, tokenizer, tokens, args)
    kept = choose(scores, model.config, target)
    small = cut(model, target, kept)
    small.save_pretrained(args.output)
    tokenizer.save_pretrained(args.output)
    before, after = model.num_parameters(), small.num_parameters()
    sizes = {
        name: [getattr(target, option), getattr(model.config, option)]
        for name, (option, _) in SIZES.items()
        if hasattr(target, option)
    }
    say(f"saved {args.output}")
    if args.json:
        print_json({
            "output": args.output, "parameters": after, "parameters_before": before,
            "texts": scores.texts, "layers": kept.layers.tolist(),
            "importance_of_layers": scores["layers"].tolist(),
            "sizes": {name: pair[0] for name, pair in sizes.items()},
        })  # fmt: skip
        return 0
    print(f"{type(small).__name__}: {after:,} of {before:,} parameters ({after / before:.0%})")
    for name, (size, most) in sizes.items():
        which = f": {', '.join(map(str, kept.layers))}" if name == "layers" else ""
        print(f"  {name} {size:,} of {most:,}{which}")
    return 0


def _load(folder: Path, device: str) -> Any:
    """Return the model of a folder, of the class that saved it."""
    return class_of(AutoConfig.from_pretrained(folder)).from_pretrained(folder, device=device)


def _target(model: Any, args: argparse.Namespace) -> Any:
    """Return the config of the pruned model."""
    config, sizes = model.config, structure_of(model).sizes
    given = {}
    for name, (option, _) in SIZES.items():
        size = getattr(args, name)
        if size is not None and option not in sizes.values():
            allowed = ", ".join(f"--{n}" for n, (o, _) in SIZES.items() if o in sizes.values())
            raise ValueError(f"--{name} does not exist in {config.model_type}; it has {allowed}")
        if size is not None:
            given[option] = size
    if not given:
        raise ValueError("give the size to cut to: " + ", ".join(f"--{name}" for name in SIZES))
    follows = "heads" in sizes and not hasattr(config, "head_dim")
    if follows and args.hidden is not None and args.heads is None:
        given["num_attention_heads"] = args.hidden // head_size(config)
    groups = getattr(config, "num_key_value_heads", None)
    if args.groups is None and groups == config.num_attention_heads and args.heads is not None:
        given["num_key_value_heads"] = args.heads  # each query head has its own
    return type(config).from_dict(config.to_dict(), **given)


def _measure(model: Any, tokenizer: Any, tokens: TokenFile, args: argparse.Namespace) -> Importance:
    """Return the importance of all units on texts drawn from `tokens`."""
    options = {**CORPUS_DEFAULTS, "length": args.length}
    task = make_language_task(options, tokenizer, model.config)
    batches = task.batches(tokens, min(BATCH, args.samples), args.seed)
    count = min(-(-args.samples // BATCH), len(batches))
    found = importance(model, islice(batches, count), args.over_tokens, args.over_texts)
    if args.layers_by == "perplexity":
        found["layers"] = layers_left_out(
            model, lambda m: task.evaluate(m, tokens, BATCH, count)["perplexity"]
        )
    say(f"importance from {found.texts:,} texts of at most {args.length} tokens")
    return found


COMMAND = Command(
    DETAILS, EXAMPLE, add_arguments, run,
    flags={option: f"--{name}" for name, (option, _) in SIZES.items()},
)  # fmt: skip
