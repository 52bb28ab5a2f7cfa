"""`tinybert tokenize`: the tokens of a text with their ids."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tinybert.cli.command import (
    Command,
    add_json_argument,
    add_model_argument,
    add_text_arguments,
    read_texts,
)
from tinybert.cli.terminal import print_json, shorten, table, terminal_width, wrap
from tinybert.tokenizers import AutoTokenizer, BertTokenizer

DETAILS = """\
Shows the tokens of each text with their ids and token types, if the model has
those. In WordPiece, a token that begins with ## continues the word before it.
--pair adds a second sequence; --explain shows the result of each step of
WordPiece. --model can also be a vocab.txt."""

EXAMPLE = """\
  $ tinybert tokenize "Unbelievable!" --explain
  Unbelievable!

    text     unbelievable!
    cleaned  unbelievable!
    spaced   unbelievable!
    words    unbelievable · !
    pieces   unbelievable · !

  #  token            id  type
  0  [CLS]             2     0
  1  unbelievable  21832     0
  2  !                 5     0
  3  [SEP]             3     0"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add TEXT, --file, --pair, --model, --explain, --json."""
    add_text_arguments(parser)
    parser.add_argument("--pair", metavar="TEXT", help="a second sequence for each text")
    add_model_argument(parser)
    parser.add_argument("--explain", action="store_true", help="show each step of the tokenizer")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Tokenize every text; print a table, or a JSON list with one object per text."""
    texts = read_texts(args)
    tokenizer = _load(args.model)
    if args.explain and not isinstance(tokenizer, BertTokenizer):
        raise ValueError(
            f"--explain shows the steps of WordPiece; this model has a {type(tokenizer).__name__}"
        )
    results = [_tokenized(tokenizer, text, args.pair, args.explain) for text in texts]
    if args.json:
        print_json(results)
    else:
        print("\n\n".join("\n".join(_shown(tokenizer, result)) for result in results))
    return 0


def _load(model: str) -> Any:
    """Return the tokenizer of a folder or a model's name; or that of a vocab.txt."""
    path = Path(model).expanduser()
    if path.is_file():
        return BertTokenizer.from_pretrained(path)
    return AutoTokenizer.from_pretrained(model, use_fast=False)


def _tokenized(tokenizer: Any, text: str, pair: str | None, explain: bool) -> dict[str, Any]:
    encoding = tokenizer(text, pair)
    ids = encoding["input_ids"]
    result: dict[str, Any] = {
        "text": text,
        "pair": pair,
        "tokens": tokenizer.convert_ids_to_tokens(ids),
        "input_ids": ids,
        "token_type_ids": encoding.get("token_type_ids"),
    }
    if explain:
        segments = [text] if pair is None else [text, pair]
        result["steps"] = [vars(step) for part in segments for step in tokenizer.explain(part)]
    return result


def _shown(tokenizer: Any, result: dict[str, Any]) -> list[str]:
    """Return the lines for a text: text and pair, the steps of --explain, and the table."""
    width = terminal_width()
    lines = [shorten(text, width) for text in (result["text"], result["pair"]) if text is not None]
    for step in result.get("steps", ()):
        lines += ["", *_step(step, width)]
    rows = [[str(i), token] for i, token in enumerate(result["tokens"])]
    header, alignment = ["#", "token"], "rl"
    for name, column in (("id", result["input_ids"]), ("type", result["token_type_ids"])):
        if column is not None:
            header, alignment = [*header, name], alignment + "r"
            rows = [[*row, str(number)] for row, number in zip(rows, column, strict=True)]
    lines += ["", *table(header, rows, alignment)]
    limit, length = tokenizer.model_max_length, len(rows)
    if length > limit:
        lines.append(f"{length} tokens exceed the model's limit of {limit}: use truncation")
    return lines


def _step(step: dict[str, Any], width: int) -> list[str]:
    """Return the lines for a part of the text: cleaned text, words, and tokens of each word."""
    margin = 11
    lines = []
    for name in ("text", "cleaned", "spaced"):
        lines += _margin(name, wrap(step[name].split(), width - margin))
    lines += _margin("words", wrap(step["words"], width - margin, " · "))
    pieces = [" ".join(parts) for parts in step["pieces"]]
    return lines + _margin("pieces", wrap(pieces, width - margin, " · "))


def _margin(name: str, lines: list[str]) -> list[str]:
    heads = [name] + [""] * (len(lines) - 1)
    return [f"  {head:7}  {line}".rstrip() for head, line in zip(heads, lines, strict=True)]


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, run)
