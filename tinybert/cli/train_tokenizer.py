"""`tinybert train-tokenizer`: learn the vocabulary of a tokenizer."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from tinybert.cli.command import Command, add_json_argument
from tinybert.cli.terminal import print_json
from tinybert.tokenizers import (
    BertTokenizerFast,
    MegaTokenizer,
    save_vocab,
    train_bpe,
    train_wordpiece,
)
from tinybert.tokenizers.base import Tokenizer
from tinybert.tokenizers.bpe_files import gpt2_json, save_bpe
from tinybert.tokenizers.config import TOKENIZER_FILE
from tinybert.tokenizers.from_json import TokenizerJSON
from tinybert.tokenizers.saving import write_text
from tinybert.training.readers import read_lines

END, PADDING = "<|endoftext|>", "<|padding|>"  # the special tokens of the kind gpt2

DETAILS = """\
Learns a vocabulary from text files and writes a tokenizer folder, for
`tinybert pretrain`. wordpiece is the tokenizer of BERT and MegatronBERT; bpe,
byte-level BPE, that of MEGA, for any language and for code; gpt2 is the same
without special tokens around a text, for decoders such as Nemotron."""

EXAMPLE = """\
  $ tinybert train-tokenizer corpus.txt --vocab-size 8000 --output my-tokenizer
  learnt 8,000 tokens from 1 file
  $ tinybert tokenize "A sentence." --model my-tokenizer"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add TEXT, --kind, --vocab-size, --min-frequency, --cased, --output, --json."""
    parser.add_argument("text", nargs="+", metavar="TEXT", help="a text file in UTF-8")
    parser.add_argument(
        "--kind",
        choices=("wordpiece", "bpe", "gpt2"),
        default="wordpiece",
        help="default: wordpiece",
    )
    parser.add_argument(
        "--vocab-size", type=int, default=8000, metavar="N", help="number of tokens (default: 8000)"
    )
    parser.add_argument(
        "--min-frequency", type=int, default=2, metavar="N",
        help="how often a pair must occur to become a token (default: 2)",
    )  # fmt: skip
    parser.add_argument("--cased", action="store_true", help="keep upper case (wordpiece)")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="where to write it")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Learn the vocabulary, write the folder, and say how many tokens there are."""
    folder = Path(args.output)
    options = {"min_frequency": args.min_frequency}
    tokenizer: Tokenizer
    if args.kind == "wordpiece":
        lower = not args.cased
        vocabulary = train_wordpiece(
            _lines(args.text), args.vocab_size, do_lower_case=lower, **options
        )
        folder.mkdir(parents=True, exist_ok=True)
        save_vocab(vocabulary, folder / "vocab.txt")
        tokenizer = BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=lower)
    elif args.kind == "gpt2":
        vocab, merges = train_bpe(
            _lines(args.text), args.vocab_size, special_tokens=(END, PADDING),
            add_prefix_space=True, **options,
        )  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        write_text(
            folder / TOKENIZER_FILE,
            json.dumps(gpt2_json(vocab, merges, (END, PADDING)), ensure_ascii=False),
        )
        tokenizer = TokenizerJSON(
            folder / TOKENIZER_FILE, bos_token=END, eos_token=END, pad_token=PADDING,
            model_input_names=["input_ids", "attention_mask"],
        )  # fmt: skip
    else:
        vocab, merges = train_bpe(_lines(args.text), args.vocab_size, **options)
        folder.mkdir(parents=True, exist_ok=True)
        vocab_file, merges_file = folder / "vocab.json", folder / "merges.txt"
        save_bpe(vocab, merges, vocab_file, merges_file)
        tokenizer = MegaTokenizer(str(vocab_file), str(merges_file))
    tokenizer.save_pretrained(folder)
    if args.json:
        print_json({"output": args.output, "kind": args.kind, "tokens": len(tokenizer)})
    else:
        files = "1 file" if len(args.text) == 1 else f"{len(args.text)} files"
        print(f"learnt {len(tokenizer):,} tokens from {files}")
    return 0


def _lines(names: list[str]) -> Iterator[str]:
    for name in names:
        for _, line in read_lines(name):
            yield line.strip()


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, run)
