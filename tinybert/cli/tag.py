"""`tinybert tag`: named entities and other token labels."""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from typing import Any

from tinybert.cli.command import Command, add_text_arguments, read_texts
from tinybert.cli.output import console
from tinybert.cli.pipeline_arguments import add_pipeline_arguments, load_pipeline
from tinybert.cli.terminal import print_json, shorten, table, terminal_width, wrap
from tinybert.display import visible
from tinybert.pipelines.token_classification import STRATEGIES

# Colours of the terminal's theme: readable on a light and on a dark background.
STYLES = ("bold cyan", "bold magenta", "bold green", "bold yellow", "bold blue", "bold red")

DETAILS = """\
Labels parts of speech, named entities, or other classes, with a model trained
for token classification (BertForTokenClassification). Without --model these
are parts of speech. start and end are character offsets. --strategy says how
tokens are grouped: simple merges adjacent tokens of the same class; first,
average and max first give each word one class; none does not group. The
default is simple. For a model without the label O the default is first, and
only simple merges adjacent words. A long text is split into overlapping
windows."""

EXAMPLE = """\
  $ tinybert tag "She will book a table."
  [She pronoun] [will auxiliary] [book verb] [a determiner] [table noun][.
  punctuation]

  start  end  class         score  text
      0    3  pronoun      0.9998  She
      4    8  auxiliary    0.9990  will
      9   13  verb         0.9982  book
     14   15  determiner   0.9986  a
     16   21  noun         0.9971  table
     21   22  punctuation  0.9999  .

  $ tinybert tag "Ada Lovelace lived in London." --model my-ner-model
  [Ada Lovelace PER] lived in [London LOC].

  start  end  class   score  text
      0   12  PER    0.9981  Ada Lovelace
     22   28  LOC    0.9994  London"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add TEXT, --file, --model, --strategy, --all, --device, --json."""
    add_text_arguments(parser)
    parser.add_argument("--strategy", choices=STRATEGIES, help="grouping (default: see above)")
    parser.add_argument("--all", action="store_true", help="also show the class O (no entity)")
    add_pipeline_arguments(parser, "token-classification")


def run(args: argparse.Namespace) -> int:
    """Label every text, and print it with its labels."""
    texts = read_texts(args)
    options: dict[str, Any] = {"ignore_labels": []} if args.all else {}
    tag = load_pipeline("token-classification", args, **options)
    has_o = "O" in tag.model.config.id2label.values()
    strategy = args.strategy or ("simple" if has_o or not tag.tokenizer.is_fast else "first")
    options |= {"aggregation_strategy": strategy, "join": has_o or strategy == "simple"}
    if strategy != "none" and tag.tokenizer.is_fast:
        options["stride"] = min(64, tag.max_length // 4)
    entities_of_texts = tag(texts, **options)
    results = list(zip(texts, entities_of_texts, strict=True))
    if args.json:
        as_dicts = [{"text": text, "entities": entities} for text, entities in results]
        print_json({"model": args.model, "results": as_dicts})
        return 0
    for number, (text, entities) in enumerate(results):
        if number:
            print()
        _print_marked(text, entities)
        if entities:
            print("\n" + "\n".join(_table(text, entities)))
    return 0


def _class(entity: dict[str, Any]) -> str:
    return entity["entity_group"] if "entity_group" in entity else entity["entity"]


def _parts(text: str, entities: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    """Split the text into parts with their class, or None."""
    parts: list[tuple[str, str | None]] = []
    end = 0
    for entity in entities:
        if entity["start"] is None:  # a tokenizer without offsets
            return [(text, None)]
        parts += [(text[end : entity["start"]], None), (_text_of(text, entity), _class(entity))]
        end = entity["end"]
    return [*parts, (text[end:], None)]


def _text_of(text: str, entity: dict[str, Any]) -> str:
    return entity["word"] if entity["start"] is None else text[entity["start"] : entity["end"]]


def _print_marked(text: str, entities: list[dict[str, Any]]) -> None:
    """Print the text with its entities: coloured in a terminal with rich, else in brackets."""
    parts = _parts(text, entities)
    if not (sys.stdout.isatty() and find_spec("rich")):
        marked = "".join(part if name is None else f"[{part} {name}]" for part, name in parts)
        print("\n".join(wrap(marked.split(), terminal_width())))
        return
    from rich.text import Text

    names = list(dict.fromkeys(name for _, name in parts if name is not None))
    style = {name: STYLES[i % len(STYLES)] for i, name in enumerate(names)}
    shown = Text()
    for part, name in parts:
        shown.append(visible(part, lines=True), None if name is None else style[name])
        if name is not None:
            shown.append(f" {visible(name)}", "dim")
    console(highlight=False).print(shown)


def _table(text: str, entities: list[dict[str, Any]]) -> list[str]:
    width = max(8, terminal_width() - 24 - max(len(_class(entity)) for entity in entities))
    rows = [
        [
            "" if entity["start"] is None else str(entity["start"]),
            "" if entity["end"] is None else str(entity["end"]),
            _class(entity),
            f"{entity['score']:.4f}",
            shorten(_text_of(text, entity), width),
        ]
        for entity in entities
    ]
    return table(["start", "end", "class", "score", "text"], rows, "rrlrl")


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, run)
