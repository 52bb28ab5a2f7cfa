"""Compute the scores and the examples of a model's card again (`tinybert evaluate card`)."""

from __future__ import annotations

import argparse
import hashlib
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinybert.checks import check_choice
from tinybert.cli.training_arguments import say
from tinybert.embedded.card import Answer, Card, Example, Score
from tinybert.hub import resolve
from tinybert.pipelines import pipeline

MORE = 3  # answers that are asked for beyond those of the card: nearly equal ones may change places
DECIMALS = 2  # of the probability of an answer
SEED = 0  # of a generated text
NEW_TOKENS = 60  # of a generated text


def check_data(card: Card, folder: Path) -> None:
    """Raise ValueError if a folder lacks the held-out files of a card."""
    if not folder.is_dir():
        raise ValueError(f"DATA must be the folder with the card's held-out files, got {folder}")
    for data in card.data:
        path = folder / data.file
        if not path.is_file():
            raise ValueError(f"DATA: {folder} has no {data.file}; `{data.made_by}` makes it")
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != data.sha256:
            raise ValueError(
                f"DATA: {path} is not the held-out file of {card.name}: its SHA-256 is {found}, "
                f"expected {data.sha256}; `{data.made_by}` makes the file"
            )


def scores_now(
    card: Card,
    model: str,
    folder: Path,
    parser: argparse.ArgumentParser,
    measure: Callable[[argparse.Namespace], dict[str, float]],
    device: str = "cpu",
) -> list[float]:
    """Run the commands of a card's scores, each once, and return the value of each score.

    Args:
        model: the name or folder of the model, in place of the card's name in the commands.
        folder: the folder of the held-out files.
        parser, measure: read the arguments of `tinybert evaluate`, and return the metrics.

    Raises ValueError for a command that does not give its metric.
    """
    commands = {}
    for command in dict.fromkeys(score.command for score in card.scores):
        args = parser.parse_args([*shlex.split(command)[2:], "--device", device])
        args.model = model
        args.data = [str(folder / name) for name in args.data]
        commands[command] = args
        if args.teacher is not None:
            resolve(args.teacher)  # before anything is computed
    metrics = {}
    for command, args in commands.items():
        say(f"$ {command}")
        metrics[command] = measure(args)
    return [_value(score, metrics[score.command]) for score in card.scores]


def _value(score: Score, metrics: dict[str, float]) -> float:
    if score.metric not in metrics:
        raise ValueError(
            f"the card's score {score.figure!r} needs the metric {score.metric!r}; "
            f"{score.command!r} has {', '.join(metrics)}"
        )
    return metrics[score.metric] * (100 if score.unit == "%" else 1)


def is_equal(score: Score, value: float) -> bool:
    """Return whether a value is that of the card but for rounding: one unit of the last decimal."""
    return abs(value - score.value) <= 10.0**-score.decimals


def answers_now(card: Card, model: str, device: str = "cpu") -> list[list[Answer]]:
    """Return what the model answers to each example of its card, the most likely answer first.

    There are a few more answers than in the card.
    """
    task = card.tasks[0]
    check_choice("tasks[0] of a card with examples", task, tuple(_ANSWERS))
    answer, run = _ANSWERS[task], pipeline(task, model, device=device)
    return [answer(run, example, len(example.answers) + MORE) for example in card.examples.prompts]


def is_same(example: Example, found: list[Answer]) -> bool:
    """Return whether a model still gives the answers of an example, with equal scores, as its most
    likely ones.
    """
    rounding = 0.6 * 10.0**-DECIMALS  # half a unit, and a little for other processors
    if any(answer.score is None for answer in found):  # generated texts
        return list(example.answers) == found
    expected = {answer.text: answer.score or 0.0 for answer in example.answers}
    scores = {answer.text: answer.score or 0.0 for answer in found}
    are_equal = all(
        text in scores and abs(score - scores[text]) <= rounding for text, score in expected.items()
    )
    least = min(expected.values(), default=1.0)
    return are_equal and all(
        text in expected or score <= least + rounding for text, score in scores.items()
    )


def _words(fill: Any, example: Example, count: int) -> list[Answer]:
    return [Answer(w["token_str"], w["score"]) for w in fill(example.prompt, top_k=count)]


def _classes(classify: Any, example: Example, count: int) -> list[Answer]:
    return [Answer(c["label"], c["score"]) for c in classify(example.prompt, top_k=count)]


def _tags(tag: Any, example: Example, count: int) -> list[Answer]:
    """Return one answer, the words with their tags, and the probability of the least certain."""
    found = tag(example.prompt, aggregation_strategy="first", ignore_labels=[], join=False)
    words = [f"{example.prompt[e['start'] : e['end']]}/{e['entity_group']}" for e in found]
    return [Answer(" ".join(words), min(e["score"] for e in found))]


def _spans(answer: Any, example: Example, count: int) -> list[Answer]:
    found = answer(question=example.prompt, context=example.context, top_k=count)
    return [Answer(span["answer"], span["score"]) for span in found]


def _texts(generate: Any, example: Example, count: int) -> list[Answer]:
    """Return one answer, the text that the model samples with `SEED` to go on from the prompt."""
    options = {"max_new_tokens": NEW_TOKENS, "seed": SEED, "return_full_text": False}
    return [Answer(text["generated_text"]) for text in generate(example.prompt, **options)]


_ANSWERS: dict[str, Callable[[Any, Example, int], list[Answer]]] = {
    "fill-mask": _words,
    "text-classification": _classes,
    "token-classification": _tags,
    "question-answering": _spans,
    "text-generation": _texts,
}
