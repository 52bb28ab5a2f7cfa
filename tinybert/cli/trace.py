"""`tinybert trace`: record a model on texts, and save every step as one HTML page."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from tinybert.backend import plain
from tinybert.cli.command import (
    Command,
    add_json_argument,
    add_model_argument,
    add_text_arguments,
    check_output_file,
    read_texts,
)
from tinybert.cli.terminal import human_size, print_json
from tinybert.embedding import SentenceEmbedder
from tinybert.pipelines.factory import find_folder
from tinybert.trace import Trace, record

DETAILS = """\
Records every operation of a model on one text or two, forwards and backwards,
and saves a page that shows them: formulas, arrays as heat maps and as numbers,
attention heads, the graph, and how the gradient comes down. The page is one
file, which any browser opens without a network.

The number that is differentiated is the cosine similarity of two texts; for one
text it is the length of its embedding."""

EXAMPLE = """\
  $ tinybert trace "The dog slept because it was tired." --html dog.html
  length of the embedding = 5.7012: 246 steps
  dog.html  6.1 MB"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add TEXT, --file, --html, --model, --json."""
    add_text_arguments(parser)
    parser.add_argument("--html", metavar="FILE", required=True, help="the page to save: .html")
    add_model_argument(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Record the model, and save the page."""
    texts = read_texts(args)
    path = Path(args.html)
    check_output_file("--html", path, (".html", ".htm"))
    trace, title, tokens = _recorded(args, texts)
    trace.html(path, " / ".join(texts), tokens)
    size = path.stat().st_size
    if args.json:
        print_json({"html": args.html, "bytes": size, "title": title, "steps": len(trace)})
    else:
        print(f"{title}: {len(trace)} steps\n{path}  {human_size(size)}")
    return 0


def _recorded(args: argparse.Namespace, texts: list[str]) -> tuple[Trace, str, list[list[str]]]:
    """Return a record, what was differentiated, and the tokens of each row of the batch."""
    if len(texts) > 2:
        raise ValueError(f"trace takes one text or two, got {len(texts)}")
    embedder = SentenceEmbedder.from_pretrained(find_folder(args.model))
    inputs = embedder.tokenizer(texts, padding=True, return_tensors="np")
    if inputs["input_ids"].shape[1] == 0:
        raise ValueError("the text has no tokens")
    with plain(), record(embedder.model) as trace:
        states = embedder.model(**inputs).last_hidden_state  # (B, T, D)
        weights = inputs["attention_mask"][:, :, None].astype(np.float32)
        vectors = (states * weights).sum(axis=1) / weights.sum(axis=1)
        lengths = (vectors * vectors).sum(axis=1).sqrt()
        loss = lengths[0]
        if len(texts) == 2:
            loss = (vectors[0] * vectors[1]).sum() / (lengths[0] * lengths[1])
        loss.backward()
    name = "cosine of two texts" if len(texts) == 2 else "length of the embedding"
    rows = [embedder.tokenizer.convert_ids_to_tokens(row.tolist()) for row in inputs["input_ids"]]
    return trace, f"{name} = {float(loss):.4f}", rows


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, run)
