"""`tinybert models`: the models of the package, and the card of one."""

from __future__ import annotations

import argparse
import os
import re
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tinybert import embedded
from tinybert.cli.command import Command, add_json_argument
from tinybert.cli.terminal import human_size, print_json, table, terminal_width
from tinybert.embedded.card import Card, cards, read_card
from tinybert.embedded.facts import facts_of, size_of
from tinybert.embedded.markdown import (
    answers_of,
    baseline_of,
    commands_of,
    markdown_of,
    prompt_of,
    shell,
    spread_of,
)
from tinybert.hub import resolve

DETAILS = """\
Lists the models of the package: what each can do, its size, its main score,
and the score of a baseline (a simpler method). With NAME, prints the card of
that model: shape, scores, examples, training, limits, sources and licences.
NAME can also be a folder with a card.json. `tinybert evaluate card NAME FOLDER`
computes the scores again."""

EXAMPLE = """\
  $ tinybert models
  $ tinybert models embedded
  $ tinybert models embedded --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add NAME, --markdown, --json."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="a model, to see its card")
    parser.add_argument("--markdown", action="store_true", help="print the card as Markdown")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print the list of models, or the card of one."""
    if args.name is None:
        if args.markdown:
            raise ValueError("--markdown needs NAME, the model whose card to print")
        _list(args.json)
        return 0
    folder = embedded.folder_of(args.name) or Path(os.path.expanduser(args.name))
    if not (folder / embedded.CARD).is_file():
        raise ValueError(
            f"NAME: {args.name} has no {embedded.CARD}; the models with one are "
            f"{', '.join(embedded.names())}"
        )
    card, facts = read_card(folder), facts_of(folder)
    if args.json:
        print_json({"folder": str(folder), "facts": facts, **asdict(card)})
    elif args.markdown:
        print(markdown_of(card, facts), end="")
    else:
        print("\n".join(_card(card, facts, folder, terminal_width())))
    return 0


def _list(as_json: bool) -> None:
    models = [(card, resolve(card.name)) for card in cards()]
    if as_json:
        print_json([_entry(card, folder) for card, folder in models])
        return
    rows = [(card.name, human_size(size_of(folder)), card.summary) for card, folder in models]
    print("\n".join(table(("model", "size", "what it can do"), rows, "lrl")))
    for card, _ in models:
        main = card.scores[0]
        beside = f" (baseline {main.show(main.baseline.value)})" if main.baseline else ""
        print(f"\n{card.name}\n  {main.figure}: {main.show(main.value)}{beside}")
        if card.commands:
            print(_filled(f"default of {', '.join(card.commands)}", terminal_width(), "  "))
    print("\nThe card of one: tinybert models NAME")


def _entry(card: Card, folder: Path) -> dict[str, Any]:
    kept = ("name", "summary", "tasks", "default_of", "commands")
    members = {name: getattr(card, name) for name in kept}
    return {
        **members,
        "folder": str(folder),
        "bytes": size_of(folder),
        "score": asdict(card)["scores"][0],
    }


def _card(card: Card, facts: dict[str, str], folder: Path, width: int) -> Iterator[str]:
    """Yield the lines of a card."""
    yield f"{card.name}: {card.summary}"
    for text in card.about:
        yield from ("", _filled(text, width))
    if card.commands:
        yield from ("", _filled(f"Default of {', '.join(card.commands)}.", width))
    yield ""
    yield from table(("", ""), [*facts.items(), ("folder", str(folder))], "ll")[1:]

    yield from ("", "SCORES", "")
    for score in card.scores:
        yield f"  {score.show(score.value):>8}  {score.figure}, {spread_of(score)}"
        if score.baseline is not None:
            yield _filled(f"baseline {baseline_of(score)}", width, " " * 12)
    for text in card.evaluation:
        yield from ("", _filled(text, width))
    for data in card.data:
        yield from ("", _filled(f"{data.file}: {data.about} Made by {data.made_by}.", width))
    yield from ("", "In the folder of these files, the first line computes all values again:", "")
    yield from (f"  $ {shell(command, width - 4)}" for command in commands_of(card))

    yield from ("", "EXAMPLES", "", _filled(card.examples.about, width), "")
    for example in card.examples.prompts:
        yield _filled(prompt_of(example), width, "  ")
        yield _filled(answers_of(example.answers), width, "      ")

    yield from ("", "TRAINING")
    for text in card.training:
        yield from ("", _filled(text, width))
    for curve in card.curves:
        yield from ("", _filled(f"{curve.file}: {curve.shows}", width))
    yield from ("", f"The recipe is in {card.recipe.folder}:", "")
    yield from (f"  $ {shell(command, width - 4)}" for command in card.recipe.commands)

    yield from ("", "LIMITS", "")
    yield from (_filled(f"- {limit}", width, "", "  ") for limit in card.limits)

    yield from ("", "SOURCES AND LICENCES", "", _filled(card.licence, width), "")
    for source in card.sources:
        yield _filled(
            f"- {source.name} ({source.licence}): {source.share}; {source.where}", width, "", "  "
        )


def _filled(text: str, width: int, indent: str = "", hanging: str | None = None) -> str:
    """Wrap a text; of Markdown's links and `code`, the text remains."""
    text = re.sub(r"\[([^\]]*)\]\([^)\s]*\)", r"\1", text).replace("`", "")
    return textwrap.fill(
        text, width, initial_indent=indent, break_on_hyphens=False,
        subsequent_indent=indent if hanging is None else hanging,
    )  # fmt: skip


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, run)
