"""`tinybert tokenize`: the tokens of a text with their ids."""

from __future__ import annotations

import argparse
from typing import Any

from tinybert.cli.command import (
    Command,
    add_json_argument,
    add_model_argument,
    add_text_arguments,
    folder_or_file,
    read_texts,
)
from tinybert.cli.terminal import print_json, shorten, table, terminal_width, wrap
from tinybert.tokenizers import BertTokenizer

DETAILS = """\
Shows the WordPiece tokens of each text with their ids and token types. A token
that begins with ## continues the word before it. --pair adds a second
sequence; --explain shows the result of each step of the tokenizer."""

EXAMPLE = """\
  $ tinybert tokenize "Unbelievable!" --explain
  Unbelievable!

    text     unbelievable!
    cleaned  unbelievable!
    spaced   unbelievable!
    words    unbelievable · !
    pieces   unbelievable · !

  #  token            id  type
  0  [CLS]           101     0
  1  unbelievable  23653     0
  2  !               999     0
  3  [SEP]           102     0"""


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
    tokenizer = BertTokenizer.from_pretrained(folder_or_file(args.model))
    results = [_tokenized(tokenizer, text, args.pair, args.explain) for text in texts]
    if args.json:
        print_json(results)
    else:
        print("\n\n".join("\n".join(_shown(tokenizer, result)) for result in results))
    return 0


def _tokenized(
    tokenizer: BertTokenizer, text: str, pair: str | None, explain: bool
) -> dict[str, Any]:
    encoding = tokenizer(text, pair)
    ids = encoding["input_ids"]
    result: dict[str, Any] = {
        "text": text,
        "pair": pair,
        "tokens": tokenizer.convert_ids_to_tokens(ids),
        "input_ids": ids,
        "token_type_ids": encoding["token_type_ids"],
    }
    if explain:
        segments = [text] if pair is None else [text, pair]
        result["steps"] = [vars(step) for part in segments for step in tokenizer.explain(part)]
    return result


def _shown(tokenizer: BertTokenizer, result: dict[str, Any]) -> list[str]:
    """Return the lines for a text: text and pair, the steps of --explain, and the table."""
    width = terminal_width()
    lines = [shorten(text, width) for text in (result["text"], result["pair"]) if text is not None]
    for step in result.get("steps", ()):
        lines += ["", *_step(step, width)]
    columns = zip(result["tokens"], result["input_ids"], result["token_type_ids"], strict=True)
    rows = [[str(i), token, str(n), str(kind)] for i, (token, n, kind) in enumerate(columns)]
    lines += ["", *table(["#", "token", "id", "type"], rows, "rlrr")]
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
