"""`tinybert tokenize`: what a model really reads: pieces of words, and their numbers."""

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
from tinybert.cli.terminal import fold, print_json, shorten, table, terminal_width
from tinybert.tokenizers import BertTokenizer

DETAILS = """\
Shows the tokens of each text with their ids and segment types. A piece that
begins with ## continues the word before it. --pair adds a second segment;
--explain shows what each step of the tokenizer makes of the text."""

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
    """TEXT, --file, --pair, --model, --explain, --json."""
    add_text_arguments(parser)
    parser.add_argument("--pair", metavar="TEXT", help="a second segment, the same for each text")
    add_model_argument(parser)
    parser.add_argument("--explain", action="store_true", help="show each step")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Tokenize every text and print the tables, or a JSON list with one object a text."""
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
    """Both texts, the steps if there are any, and the table."""
    width = terminal_width()
    lines = [shorten(text, width) for text in (result["text"], result["pair"]) if text is not None]
    for step in result.get("steps", ()):
        lines += ["", *_step(step, width)]
    columns = zip(result["tokens"], result["input_ids"], result["token_type_ids"], strict=True)
    rows = [[str(i), token, str(n), str(kind)] for i, (token, n, kind) in enumerate(columns)]
    lines += ["", *table(["#", "token", "id", "type"], rows, "rlrr")]
    limit, length = tokenizer.model_max_length, len(rows)
    if length > limit:
        lines.append(f"{length} tokens; the model reads {limit}: truncation cuts the rest")
    return lines


def _step(step: dict[str, Any], width: int) -> list[str]:
    """One stretch of text through all steps: the texts, the words, the pieces of each word."""
    margin = 11
    lines = []
    for name in ("text", "cleaned", "spaced"):
        lines += _margin(name, fold(step[name].split(), width - margin))
    lines += _margin("words", fold(step["words"], width - margin, " · "))
    pieces = [" ".join(parts) for parts in step["pieces"]]
    return lines + _margin("pieces", fold(pieces, width - margin, " · "))


def _margin(name: str, lines: list[str]) -> list[str]:
    heads = [name] + [""] * (len(lines) - 1)
    return [f"  {head:7}  {line}".rstrip() for head, line in zip(heads, lines, strict=True)]


COMMAND = Command(
    "tokenize", "Show how a text is cut into tokens", DETAILS, EXAMPLE, add_arguments, run
)
