"""The files of a byte-level BPE vocabulary: vocab.json and merges.txt."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from tinybert.tokenizer_json.vocabulary import Merges, checked_merges, checked_vocab
from tinybert.tokenizers.config import ErrorsName, read_json, read_text
from tinybert.tokenizers.saving import write_text

VOCAB_FILE = "vocab.json"
MERGES_FILE = "merges.txt"
HEADER = "#version: 0.2"
MOST_OTHERS = 1500  # tokens that need no merge: 256 bytes, special and reserved tokens

logger = logging.getLogger(__name__)


def load_bpe(
    vocab_file: str | PathLike[str], merges_file: str | PathLike[str]
) -> tuple[dict[str, int], Merges]:
    """Read a vocab.json (token -> id) and a merges.txt (two tokens a line, in learning order).

    Raises ValueError, naming the file, if one is missing or damaged.
    """
    paths = Path(vocab_file), Path(merges_file)
    for option, path in zip(("vocab_file", "merges_file"), paths, strict=True):
        if not path.is_file():
            raise ValueError(f"{option}: there is no file {str(path)!r}")
    with ErrorsName(paths[0]):
        vocab = checked_vocab(read_json(paths[0]))
    with ErrorsName(paths[1]):
        lines = read_text(paths[1]).split("\n")
        lines = lines[1:] if lines[0].startswith("#version") else lines
        merges = checked_merges([line for line in lines if line])
    if len(merges) + MOST_OTHERS < len(vocab):
        logger.warning(
            f"{paths[1]} has {len(merges)} merges, but {paths[0]} has {len(vocab)} tokens, and all "
            "but a few need a merge: the file may be truncated; compare its size with the original"
        )
    return vocab, merges


def save_bpe(
    vocab: Mapping[str, int],
    merges: Iterable[tuple[str, str]],
    vocab_file: str | PathLike[str],
    merges_file: str | PathLike[str],
) -> None:
    """Write the files that `load_bpe` reads, tokens in the order of their ids."""
    ordered = dict(sorted(vocab.items(), key=lambda item: item[1]))
    write_text(Path(vocab_file), json.dumps(ordered, ensure_ascii=False))
    lines = [HEADER, *(f"{left} {right}" for left, right in merges)]
    write_text(Path(merges_file), "\n".join(lines) + "\n")


def bpe_model(vocab: Mapping[str, int], merges: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the part "model" of a tokenizer.json, tokens in the order of their ids."""
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": dict(sorted(vocab.items(), key=lambda item: item[1])),
        "merges": [list(merge) for merge in merges],
    }


def gpt2_json(
    vocab: Mapping[str, int], merges: Iterable[tuple[str, str]], special_tokens: Iterable[str]
) -> dict[str, Any]:
    """Return the tokenizer.json of a byte-level BPE without special tokens around a text.

    A text that begins without a space gets one: sentences that are joined then have spaces between
    them, and a word has the same tokens at the beginning of a text as in it.
    """
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    byte_level = {
        "type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True,
    }  # fmt: skip
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": vocab[token], "content": token, **flags, "special": True}
            for token in special_tokens
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": bpe_model(vocab, merges),
    }
