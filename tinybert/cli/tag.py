"""`tinybert tag`: names and other things in a text."""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from typing import Any

from tinybert.cli.command import Command, add_text_arguments, read_texts
from tinybert.cli.pipeline_arguments import add_task_arguments, load_task
from tinybert.cli.terminal import fold, print_json, shorten, table, terminal_width
from tinybert.pipelines.token_classification import STRATEGIES

# Colours of the terminal's own theme, so that light and dark ones are both readable.
STYLES = ("bold cyan", "bold magenta", "bold green", "bold yellow", "bold blue", "bold red")

DETAILS = """\
Marks what a model finds in each text: names, parts of speech, or whatever it
was trained for (BertForTokenClassification). --strategy says how tokens are
joined: simple (neighbours of one class), first, average or max (words first,
by one of their tokens), or none. Long texts are read in windows."""

EXAMPLE = """\
  $ tinybert tag "Ada Lovelace lived in London." --model my-ner-model
  [Ada Lovelace PER] lived in [London LOC].

  start  end  class   score  text
      0   12  PER    0.9981  Ada Lovelace
     22   28  LOC    0.9994  London"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """TEXT, --file, --model, --strategy, --all, --device, --json."""
    add_text_arguments(parser)
    parser.add_argument("--strategy", choices=STRATEGIES, default="simple", help="default: simple")
    parser.add_argument("--all", action="store_true", help="also show the class O, nothing")
    add_task_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Tag every text, and show it with its tags."""
    texts = read_texts(args)
    options: dict[str, Any] = {"aggregation_strategy": args.strategy}
    if args.all:
        options["ignore_labels"] = []
    tag = load_task("token-classification", args, **options)
    if args.strategy != "none" and tag.tokenizer.is_fast:
        options["stride"] = min(64, tag.max_length // 4)
    found = tag(texts, **options)
    if args.json:
        results = [{"text": t, "entities": e} for t, e in zip(texts, found, strict=True)]
        print_json({"model": args.model, "results": results})
        return 0
    for number, (text, entities) in enumerate(zip(texts, found, strict=True)):
        if number:
            print()
        _print_marked(text, entities)
        if entities:
            print("\n" + "\n".join(_table(text, entities)))
    return 0


def _class(entity: dict[str, Any]) -> str:
    return entity["entity_group"] if "entity_group" in entity else entity["entity"]


def _parts(text: str, entities: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    """The text in parts: (a part, its class or None)."""
    parts: list[tuple[str, str | None]] = []
    at = 0
    for entity in entities:
        if entity["start"] is None:  # the tokenizer does not know places
            return [(text, None)]
        parts += [(text[at : entity["start"]], None), (_written(text, entity), _class(entity))]
        at = entity["end"]
    return [*parts, (text[at:], None)]


def _written(text: str, entity: dict[str, Any]) -> str:
    return entity["word"] if entity["start"] is None else text[entity["start"] : entity["end"]]


def _print_marked(text: str, entities: list[dict[str, Any]]) -> None:
    """The text with its classes: coloured with rich in a terminal, else in brackets."""
    parts = _parts(text, entities)
    if not (sys.stdout.isatty() and find_spec("rich")):
        marked = "".join(part if name is None else f"[{part} {name}]" for part, name in parts)
        print("\n".join(fold(marked.split(), terminal_width())))
        return
    from rich.console import Console
    from rich.text import Text

    names = list(dict.fromkeys(name for _, name in parts if name is not None))
    style = {name: STYLES[i % len(STYLES)] for i, name in enumerate(names)}
    shown = Text()
    for part, name in parts:
        shown.append(part, None if name is None else style[name])
        if name is not None:
            shown.append(f" {name}", "dim")
    Console(highlight=False).print(shown)


def _table(text: str, entities: list[dict[str, Any]]) -> list[str]:
    room = max(8, terminal_width() - 24 - max(len(_class(entity)) for entity in entities))
    rows = [
        [
            "" if entity["start"] is None else str(entity["start"]),
            "" if entity["end"] is None else str(entity["end"]),
            _class(entity),
            f"{entity['score']:.4f}",
            shorten(_written(text, entity), room),
        ]
        for entity in entities
    ]
    return table(["start", "end", "class", "score", "text"], rows, "rrlrl")


COMMAND = Command(
    "tag", "Mark names and other things in a text", DETAILS, EXAMPLE, add_arguments, run
)
