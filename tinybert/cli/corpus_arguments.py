"""What the commands that train language models on text share: the text, and how it is masked."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinybert.cli.training_arguments import say
from tinybert.training import TokenFile
from tinybert.training.examples import column_names
from tinybert.training.language_modeling import OBJECTIVES, LanguageModeling

CORPUS_DEFAULTS: dict[str, Any] = {
    "text": [], "validation": [], "column": [], "objective": None, "length": 128,
    "mask_share": 0.15, "plain_masks": False,
}  # fmt: skip


def add_corpus_arguments(parser: argparse.ArgumentParser) -> None:
    """Add TEXT, --validation, --column, --objective, --length, --mask-share, --plain-masks."""
    parser.add_argument("text", nargs="*", metavar="TEXT", help="a text file in UTF-8")
    parser.add_argument("--validation", action="append", metavar="TEXT", help="text to measure on")
    parser.add_argument(
        "--column", action="append", metavar="text=NAME", help="of CSV and JSON lines files"
    )
    parser.add_argument(
        "--objective", choices=OBJECTIVES, help="default: causal for decoders, else masked"
    )
    parser.add_argument("--length", type=int, metavar="N", help="tokens in a row (default: 128)")
    parser.add_argument(
        "--mask-share", type=float, metavar="X", help="share of masked tokens (default: 0.15)"
    )
    parser.add_argument(
        "--plain-masks", action="store_const", const=True, help="mask tokens, not whole words"
    )


def make_language_task(options: Mapping[str, Any], tokenizer: Any, config: Any) -> LanguageModeling:
    """Return the language modeling of the options, by default causal for decoders, else masked."""
    objective = options["objective"]
    if objective is None:
        causal = config.is_decoder or config.model_type == "nemotron"
        objective = "causal" if causal else "masked"
    return LanguageModeling(
        tokenizer, objective, options["length"], options["mask_share"], not options["plain_masks"]
    )


def read_corpus(options: Mapping[str, Any], tokenizer: Any) -> tuple[TokenFile, TokenFile | None]:
    """Tokenize TEXT and --validation into --output; the second is None without --validation."""
    folder = Path(options["output"])
    folder.mkdir(parents=True, exist_ok=True)
    column = column_names(options["column"], ("text",)).get("text", "text")
    tokens = TokenFile.build(folder / "tokens.safetensors", options["text"], tokenizer, column)
    say(f"{len(tokens):,} tokens, number of documents: {len(tokens.documents) - 1:,}")
    if not options["validation"]:
        return tokens, None
    path = folder / "validation.safetensors"
    return tokens, TokenFile.build(path, options["validation"], tokenizer, column)
