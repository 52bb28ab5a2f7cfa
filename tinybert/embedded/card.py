"""`Card`: what a model is, how it was made, how good it is and what it cannot do, as data.

To add a model to the package:

1. put its folder into `tinybert/embedded/`: the folder `tags` is the model "embedded-tags";
2. write its `card.json`, with the fields of `Card` (`encoder/card.json` is an example);
3. list in `default_of` the pipeline tasks whose default it is, and in `commands` the commands that
   follow from this, for display;
4. check it: `tinybert models embedded-tags`, then `tinybert evaluate card embedded-tags FOLDER`;
5. write its page: `tinybert models embedded-tags --markdown > tinybert/embedded/tags/README.md`.

`card.json` is an object with a member for each field of `Card`. A member is text, a number, a list
or again an object; one whose field has a default may be left out, any other member is an error. The
size and the shape of the model do not occur in it: `facts.py` reads them from the model's files.

In texts, `code` and [links](docs/file.md) are Markdown's; links are relative to the repository.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from tinybert import embedded
from tinybert.checks import is_integer, is_number
from tinybert.display import short_repr
from tinybert.files import read_regular


class CardError(ValueError):
    """A `card.json` that is not a card; the message names the file, the member and the fault."""


@dataclass(frozen=True)
class Source:
    """What a model was made from.

    Attributes:
        name: a data set, a text, a model.
        licence: its licence.
        where: the package that has it, with its version.
        share: its part in the model: "two thirds of the text", "first weights".
    """

    name: str
    licence: str
    where: str
    share: str


@dataclass(frozen=True)
class Recipe:
    """How the model is made again.

    Attributes:
        folder: the folder of the recipe, in the repository.
        commands: the command lines, in order.
    """

    folder: str
    commands: list[str]


@dataclass(frozen=True)
class Curve:
    """A picture of the training.

    Attributes:
        file: its path in the repository.
        shows: what can be seen, in words.
    """

    file: str
    shows: str


@dataclass(frozen=True)
class Data:
    """A file of held-out examples. The recipe makes it; it is not in the package.

    Attributes:
        file: its name, as in the commands of the scores.
        about: what it contains, and why the model has not seen it.
        sha256: its checksum.
        made_by: the command that makes it.
    """

    file: str
    about: str
    sha256: str
    made_by: str


@dataclass(frozen=True)
class Baseline:
    """What a much simpler method reaches on the same data.

    Attributes:
        name: the method: "the most frequent tag of each word".
        value: in the unit of the score.
        command: what computes it.
    """

    name: str
    value: float
    command: str


@dataclass(frozen=True)
class Score:
    """One figure of the model, which `tinybert evaluate card` computes again.

    Attributes:
        figure: what is measured, in words.
        metric: its name among the metrics that `command` prints.
        value: of the model of the package.
        decimals: how many decimals of the value are shown, and compared.
        command: `tinybert evaluate TASK NAME FILE ...`, where NAME is the card's name, and FILE a
            file of `Card.data`.
        spread: over several seeds, the largest value minus the smallest; null for one seed.
        seeds: how many models were trained, with different seeds.
        unit: "%", for a share from 0 to 1 that is shown in per cent, or "".
        baseline: null if none was measured.
    """

    figure: str
    metric: str
    value: float
    decimals: int
    command: str
    spread: float | None
    seeds: int
    baseline: Baseline | None
    unit: str = ""

    def show(self, value: float) -> str:
        """Return a value with the unit and decimals of this score."""
        return f"{value:,.{self.decimals}f}" + f" {self.unit}".rstrip()


@dataclass(frozen=True)
class Answer:
    """An answer of the model: a text, with its probability; a generated text has none."""

    text: str
    score: float | None = None


@dataclass(frozen=True)
class Example:
    """A fixed prompt, and what the model answers.

    Attributes:
        prompt: the text, or the question.
        answers: all that is shown, also what is wrong.
        context: the text in which the answer is to be found.
    """

    prompt: str
    answers: list[Answer]
    context: str | None = None


@dataclass(frozen=True)
class Examples:
    """Prompts that were chosen before the training.

    Attributes:
        about: how they were chosen, and what the numbers are.
        prompts: the examples.
    """

    about: str
    prompts: list[Example]


@dataclass(frozen=True)
class Card:
    """All that is said of a model.

    Attributes:
        name: "embedded-" and the name of the folder.
        summary: what it can do, in a few words.
        about: paragraphs: what it does, how it is built.
        usage: lines of a Python example.
        tasks: the tasks of `tinybert.pipeline` that it can do.
        default_of: those of them for which it is the default.
        commands: the commands that use it if no --model is given, for display.
        licence: of the weights, with the files that have attributions.
        sources: what it was made from.
        training: paragraphs: how it was trained, what was tried.
        recipe: how to make it again.
        curves: pictures of the training.
        evaluation: paragraphs: how the scores are measured.
        data: the files of held-out examples.
        scores: the figures, the most important one first.
        examples: prompts with the answers.
        limits: sentences: what it cannot do, and what it must not be used for.
    """

    name: str
    summary: str
    about: list[str]
    usage: list[str]
    tasks: list[str]
    default_of: list[str]
    commands: list[str]
    licence: str
    sources: list[Source]
    training: list[str]
    recipe: Recipe
    curves: list[Curve]
    evaluation: list[str]
    data: list[Data]
    scores: list[Score]
    examples: Examples
    limits: list[str]


def cards() -> list[Card]:
    """Return the cards of all models of the package."""
    folders = [embedded.folder_of(name) for name in embedded.names()]
    return [read_card(folder) for folder in folders if folder is not None]


def read_card(folder: Path) -> Card:
    """Read the `card.json` of a model's folder.

    Raises FileNotFoundError if there is none, CardError if it is not a card.
    """
    path = folder / embedded.CARD
    try:
        value = json.loads(read_regular(path).decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise CardError(f"{path}: {error}") from None
    try:
        card: Card = _read(Card, value, "")
        _check(card)
    except CardError as error:
        raise CardError(f"{path}: {error}") from None
    return card


def _check(card: Card) -> None:
    """Raise CardError for members that contradict each other."""
    for task in card.default_of:
        if task not in card.tasks:
            raise CardError(f"default_of: {task!r} is not one of tasks, {card.tasks}")
    if not card.scores:
        raise CardError("scores must have at least one member")
    files = {data.file for data in card.data}
    for i, score in enumerate(card.scores):
        words = score.command.split()
        begins = words[:2] == ["tinybert", "evaluate"] and words[3:4] == [card.name]
        if not (begins and files & set(words[4:])):
            raise CardError(
                f"scores[{i}].command must be `tinybert evaluate TASK {card.name}` with a file of "
                f"data, got {score.command!r}"
            )
        if (score.spread is None) != (score.seeds == 1):
            raise CardError(f"scores[{i}].spread must be null if seeds is 1, and only then")


_NAMES = {str: "text", float: "a number", int: "an integer"}


def _read(kind: Any, value: Any, where: str) -> Any:
    """Return a JSON value as what a type says: a dataclass, a list, text or a number."""
    if get_origin(kind) is UnionType:  # X | None
        (kind,) = (member for member in get_args(kind) if member is not NoneType)
        return None if value is None else _read(kind, value, where)
    if get_origin(kind) is list:
        if not isinstance(value, list):
            raise CardError(f"{where} must be a list, got {short_repr(value)}")
        (member,) = get_args(kind)
        return [_read(member, part, f"{where}[{i}]") for i, part in enumerate(value)]
    if is_dataclass(kind):
        return _read_object(kind, value, where)
    fits = {str: lambda x: isinstance(x, str), float: is_number, int: is_integer}[kind]
    if not fits(value):
        raise CardError(f"{where} must be {_NAMES[kind]}, got {short_repr(value)}")
    return value


def _read_object(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise CardError(f"{where or 'a card'} must be an object, got {short_repr(value)}")
    dot = f"{where}." if where else ""
    required = {field.name for field in fields(kind) if field.default is MISSING}
    types = _types(kind)
    for name in sorted(required - set(value)):
        raise CardError(f"{dot}{name} is missing")
    for name in sorted(set(value) - set(types)):
        raise CardError(f"{dot}{name} is unknown; the members are {', '.join(types)}")
    return kind(**{name: _read(types[name], part, f"{dot}{name}") for name, part in value.items()})


@cache
def _types(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)
