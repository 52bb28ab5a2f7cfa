"""`tinybert evaluate`: measure a model on labelled examples or on text."""

from __future__ import annotations

import argparse
import json
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tinybert.checks import check_integer
from tinybert.cli.card_scores import answers_now, check_data, is_equal, is_same, scores_now
from tinybert.cli.command import (
    Command,
    add_device_argument,
    add_json_argument,
    check_output_file,
)
from tinybert.cli.pipeline_arguments import add_untrained_argument, trained
from tinybert.cli.task_arguments import (
    DEFAULTS,
    ONLY,
    TASK_LIST,
    TASK_NAMES,
    add_task_arguments,
    describe,
    make_task,
    read_data,
)
from tinybert.cli.terminal import print_json, table
from tinybert.cli.training_arguments import RUN_NAME, finite, say
from tinybert.embedded.card import read_card
from tinybert.embedded.markdown import answers_of
from tinybert.embedding import SentenceEmbedder
from tinybert.hub import WEIGHT_FILES, resolve
from tinybert.models import AutoConfig
from tinybert.models.config import read_json_object
from tinybert.tokenizers import AutoTokenizer
from tinybert.training import Task
from tinybert.training.distillation import SentenceDistillation, SentenceVectors
from tinybert.training.metrics import by_class
from tinybert.training.tasks.classification import kind_of
from tinybert.weights import atomic_write

CARD = "card"

DETAILS = f"""\
Measures a model on examples that it was not trained on: .csv, .tsv, .jsonl or
.conll files, or text. Nothing is changed. The tasks and their columns:

{TASK_LIST}

MODEL is a folder, or a name on the Hub. If `tinybert finetune` or `pretrain`
made it, the columns and lengths of that run are the defaults. masked hides
the same words each time; causal cuts the text into windows, and predicts every
token of a window but the first. --predictions writes what the model answers to
each example, with the right answer, as JSON lines. --teacher compares the
similarities of sentence vectors with those of another model.

card computes all figures of a model's card again, from the folder with the
held-out files that the recipe makes; exit code 1 if one differs."""

EXAMPLE = """\
  $ tinybert evaluate classification my-model test.csv
  $ tinybert evaluate classification my-model test.csv \\
      --column text=review --predictions answers.jsonl
  $ tinybert evaluate masked my-bert held-out.txt --json
  $ tinybert evaluate card embedded work"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add TASK, MODEL, DATA, --predictions, --teacher, and the options of tasks."""
    names = (*TASK_NAMES, CARD)
    parser.add_argument("task", choices=names, metavar="TASK", help=", ".join(names))
    parser.add_argument("model", metavar="MODEL", help="a model's folder, or its name on the Hub")
    parser.add_argument(
        "data", nargs="+", metavar="DATA",
        help="a file with examples; for card, the folder of the held-out files",
    )  # fmt: skip
    add_task_arguments(parser)
    parser.add_argument(
        "--teacher", metavar="MODEL", help="of masked: compare similarities with this model's"
    )
    parser.add_argument(
        "--predictions", metavar="FILE", help="write the answers, one a line: .jsonl"
    )
    parser.add_argument(
        "--batch-size", type=int, default=32, metavar="N", help="examples at a time (default: 32)"
    )
    add_untrained_argument(parser)
    add_device_argument(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate, write the predictions, and print the metrics."""
    if args.task == CARD:
        return _check_card(args)
    path = None if args.predictions is None else Path(args.predictions)
    if path is not None:
        check_output_file("--predictions", path, (".jsonl",))
    counts, metrics, classes = measure(args, path)
    if path is not None:
        say(f"predictions: {path}")
    if args.json:
        found = {"metrics": finite(metrics)} | ({"classes": classes} if classes else {})
        print_json({"task": args.task, "model": args.model, "data": args.data, **counts, **found})
    else:
        _print(counts, metrics, classes)
    return 0


def measure(
    args: argparse.Namespace, path: Path | None = None
) -> tuple[dict[str, int], dict[str, float], dict[str, dict[str, float]]]:
    """Return counts, metrics and the metrics of each class; write the answers to a file."""
    check_integer("batch_size", args.batch_size, 1)
    if args.teacher is not None and args.task != "masked":
        raise ValueError(f"--teacher is an option of masked, not of {args.task}")
    folder = resolve(args.model, WEIGHT_FILES)
    options = _options(args, folder)
    task = make_task(options, AutoTokenizer.from_pretrained(folder))
    if isinstance(task, Task):
        task.read_labels(AutoConfig.from_pretrained(folder))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        data = read_data(args.data, options, task, Path(temporary) / "tokens")
        say(describe(args.data, data))
        model = trained(lambda: _load(task.auto, folder, args.device), args.task, args).model
        with nullcontext() if path is None else atomic_write(path, "w") as file:
            counts, metrics, classes = _evaluate(task, model, data, args.batch_size, file)
        if args.teacher is not None:
            metrics["similarity"] = _similarity(args, task, model, data, Path(temporary, "vectors"))
    return counts, metrics, classes


def _similarity(args: argparse.Namespace, task: Any, model: Any, tokens: Any, path: Path) -> float:
    """Return the correlation of similarities with those of --teacher, whose vectors `path` gets."""
    teacher = SentenceEmbedder.from_pretrained(resolve(args.teacher, WEIGHT_FILES), args.device)
    vectors = SentenceVectors.build(path, tokens, args.data, task.tokenizer, teacher)
    return SentenceDistillation(task, vectors).similarity(model, vectors)


def _evaluate(
    task: Any, model: Any, data: Any, batch_size: int, file: IO[str] | None
) -> tuple[dict[str, int], dict[str, float], dict[str, dict[str, float]]]:
    """Return counts, metrics and the metrics of each class; write the answers to a file."""
    if isinstance(task, Task):
        rows, unit, options = data.rows, "examples", {}
        counts = {unit: 0}
    else:
        task.check_model(model)
        rows, unit, options = None, "windows", {"most": None}
        counts = {unit: 0, "predicted_tokens": 0}
    decisions: tuple[list[Any], list[Any]] = [], []  # of the predictions, of the labels

    def record(answer: dict[str, Any]) -> None:
        inputs = {}
        if rows is None:
            counts["predicted_tokens"] += len(answer["label"])
        else:
            row = rows[counts[unit]]
            inputs = {name: row[name] for name in task.all_columns if name in row}
            for found, name in zip(decisions, ("prediction", "label"), strict=True):
                found.append(task.decisions(answer[name]))
        counts[unit] += 1
        if file is not None:
            line = {unit.removesuffix("s"): counts[unit], **inputs, **answer}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    metrics = task.evaluate(model, data, batch_size, record=record, **options)
    return counts, metrics, by_class(*decisions)


def _check_card(args: argparse.Namespace) -> int:
    """Compute the figures of a card again and print both; return 1 if one differs."""
    if len(args.data) != 1:
        raise ValueError(f"DATA must be one folder for a card, got {len(args.data)} names")
    parser = argparse.ArgumentParser(prog="tinybert evaluate")
    add_arguments(parser)
    kept = ("task", "model", "data", "device", "json")
    plain = vars(parser.parse_args([CARD, "MODEL", "DATA"]))
    others = [name for name in plain if name not in kept and getattr(args, name) != plain[name]]
    if others:
        flags = ", ".join(args.flags[name] for name in others)
        raise ValueError(f"card has the options --device and --json only: remove {flags}")
    model = resolve(args.model)
    card, folder = read_card(model), Path(args.data[0])
    check_data(card, folder)
    values = scores_now(
        card, str(model), folder, parser, lambda each: measure(each)[1], args.device
    )
    answers = answers_now(card, str(model), args.device)
    equal = [is_equal(s, v) for s, v in zip(card.scores, values, strict=True)]
    same = [is_same(e, found) for e, found in zip(card.examples.prompts, answers, strict=True)]
    if args.json:
        print_json({
            "model": args.model,
            "scores": [
                {"figure": s.figure, "card": s.value, "now": v, "equal": e}
                for s, v, e in zip(card.scores, values, equal, strict=True)
            ],
            "examples": [
                {"prompt": e.prompt, "now": [vars(answer) for answer in found], "equal": fits}
                for e, found, fits in zip(card.examples.prompts, answers, same, strict=True)
            ],
        })  # fmt: skip
    else:
        rows = [
            [s.figure, s.show(s.value), s.show(v), f"{v - s.value:+.{s.decimals + 1}f}",
             "" if e else "differs"]
            for s, v, e in zip(card.scores, values, equal, strict=True)
        ]  # fmt: skip
        print("\n".join(table(["figure", "card", "now", "difference", ""], rows, "lrrrl")))
        print(f"\nexamples: {sum(same)} of {len(same)} have the answers of the card")
        for example, found, fits in zip(card.examples.prompts, answers, same, strict=True):
            if not fits:
                print(f"  {example.prompt}\n    card: {answers_of(example.answers)}")
                print(f"    now:  {answers_of(found)}")
    return 0 if all(equal + same) else 1


def _options(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return the options of the task: from flags, else of the run that made the model.

    Raises ValueError if that run was of another task.
    """
    path = folder / RUN_NAME
    saved = read_json_object(path) if path.exists() else {}
    if saved.get("task", args.task) != args.task:
        raise ValueError(
            f"TASK: {args.model} was trained for {saved['task']} (see its {RUN_NAME}), not for "
            f"{args.task}"
        )
    saved.setdefault("max_length", saved.get("length"))
    options: dict[str, Any] = {}
    for name, default in DEFAULTS.items():
        former = saved.get(name) if ONLY.get(name, args.task) == args.task else None
        known = [getattr(args, name), former, default]
        options[name] = next((value for value in known if value is not None), None)
    options["column"] = [*(saved.get("column") or []), *(args.column or [])]
    if args.task == "classification" and options["kind"] is None:
        options["kind"] = kind_of(AutoConfig.from_pretrained(folder))
    return {**options, "task": args.task}


@dataclass
class _Loaded:
    """A model, and the parameters that its file lacked."""

    model: Any
    untrained: list[str]


def _load(auto: Any, folder: Path, device: str) -> _Loaded:
    model, report = auto.from_pretrained(folder, device=device, output_loading_info=True)
    return _Loaded(model, [*report.missing_keys, *(name for name, *_ in report.mismatched_keys)])


def _print(
    counts: dict[str, int], metrics: dict[str, float], classes: dict[str, dict[str, float]]
) -> None:
    rows = [[name.replace("_", " "), f"{count:,}"] for name, count in counts.items()]
    rows += [[name.replace("_", " "), f"{value:.4f}"] for name, value in metrics.items()]
    print("\n".join(table(rows[0], rows[1:], "lr")))
    if classes:
        lines = [
            [name, *(f"{scores[key]:.3f}" for key in ("precision", "recall", "f1")),
             f"{scores['count']:,}"]
            for name, scores in classes.items()
        ]  # fmt: skip
        print(
            "\n" + "\n".join(table(["class", "precision", "recall", "f1", "count"], lines, "lrrrr"))
        )


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, run)
