"""`tinybert generate`: how a text may go on."""

from __future__ import annotations

import argparse
import textwrap
from typing import Any

from tinybert.cli.command import Command, add_text_arguments, read_texts
from tinybert.cli.layout import print_json, terminal_width
from tinybert.cli.tasks import add_task_arguments, load_task

DETAILS = """\
Continues each text with a model that was trained for it (BertLMHeadModel with
is_decoder). Each next token is drawn by its probability, at a --temperature:
below 1 likely ones are preferred. --seed makes a draw repeatable; --greedy
takes the likeliest token each time, --beams N follows the N best sequences."""

EXAMPLE = """\
  $ tinybert generate "Call me" --model my-decoder --max-new-tokens 6 --seed 1
  Call me ishmael. some years ago

  $ tinybert generate "Call me" --model my-decoder --count 3 --new-only
  $ tinybert generate "Call me" --model my-decoder --greedy"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """TEXT, --file, --model, the options of the search, --device, --json."""
    add_text_arguments(parser)
    parser.add_argument("--max-new-tokens", type=int, default=40, metavar="N", help="default: 40")
    parser.add_argument("--greedy", action="store_true", help="no chance")
    parser.add_argument("--temperature", type=float, metavar="X", help="default: 0.7")
    parser.add_argument("--top-k", type=int, metavar="N", help="draw from the N likeliest")
    parser.add_argument("--top-p", type=float, metavar="P", help="draw from the likeliest P of 1")
    parser.add_argument("--beams", type=int, default=1, metavar="N", help="default: 1")
    parser.add_argument("--count", type=int, default=1, metavar="N", help="texts (default: 1)")
    parser.add_argument("--seed", type=int, metavar="N", help="repeats a draw")
    parser.add_argument("--new-only", action="store_true", help="without the text given")
    add_task_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Continue every text, and print the results one after another."""
    texts = read_texts(args)
    found = load_task("text-generation", args)(texts, **_options(args))
    results = [[entry["generated_text"] for entry in entries] for entries in found]
    if args.json:
        shown = [{"prompt": t, "texts": r} for t, r in zip(texts, results, strict=True)]
        print_json({"model": args.model, "results": shown})
        return 0
    width = terminal_width()
    print("\n\n".join(_wrapped(text, width) for group in results for text in group))
    return 0


def _options(args: argparse.Namespace) -> dict[str, Any]:
    drawing = {"temperature": args.temperature, "top_k": args.top_k, "top_p": args.top_p}
    given = {name: value for name, value in drawing.items() if value is not None}
    if args.greedy and given:
        names = ", ".join("--" + name.replace("_", "-") for name in given)
        raise ValueError(f"--greedy draws nothing, so that {names} cannot be given")
    if args.greedy and args.count > 1 and args.beams == 1:
        raise ValueError("--greedy finds one text; for more add --beams, or leave it out")
    options: dict[str, Any] = {
        "max_new_tokens": args.max_new_tokens,
        "do_sample": not (args.greedy or (args.beams > 1 and not given)),
        "num_beams": args.beams,
        "num_return_sequences": args.count,
        "return_full_text": not args.new_only,
        **given,
    }
    return options if args.seed is None else {**options, "seed": args.seed}


def _wrapped(text: str, width: int) -> str:
    """Lines that fit; line breaks of the text stay."""
    return "\n".join(textwrap.fill(line, width) for line in text.strip("\n").split("\n"))


COMMAND = Command("generate", "Continue a text", DETAILS, EXAMPLE, add_arguments, run)
