"""The files of a byte-level BPE vocabulary: vocab.json and merges.txt."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from tinybert.tokenizers.config import Blame, read_json, read_text, write_text
from tinybert.tokenizers.json_fields import MAX_ID

VOCAB_FILE = "vocab.json"
MERGES_FILE = "merges.txt"
HEADER = "#version: 0.2"

Merges = list[tuple[str, str]]


def load_bpe(
    vocab_file: str | PathLike[str], merges_file: str | PathLike[str]
) -> tuple[dict[str, int], Merges]:
    """Read a vocab.json (token -> id) and a merges.txt (two tokens a line, first learnt first).

    Raises ValueError, naming the file, if one is missing or damaged.
    """
    paths = Path(vocab_file), Path(merges_file)
    for option, path in zip(("vocab_file", "merges_file"), paths, strict=True):
        if not path.is_file():
            raise ValueError(f"{option}: there is no file {str(path)!r}")
    with Blame(paths[0]):
        vocab = checked_vocab(read_json(paths[0]))
    with Blame(paths[1]):
        lines = read_text(paths[1]).split("\n")
        lines = lines[1:] if lines[0].startswith("#version") else lines
        merges = checked_merges([line for line in lines if line])
    return vocab, merges


def save_bpe(
    vocab: Mapping[str, int],
    merges: Iterable[tuple[str, str]],
    vocab_file: str | PathLike[str],
    merges_file: str | PathLike[str],
) -> None:
    """Write what `load_bpe` reads, tokens in the order of their ids."""
    ordered = dict(sorted(vocab.items(), key=lambda item: item[1]))
    write_text(Path(vocab_file), json.dumps(ordered, ensure_ascii=False))
    lines = [HEADER, *(f"{left} {right}" for left, right in merges)]
    write_text(Path(merges_file), "\n".join(lines) + "\n")


def checked_vocab(vocab: Any, where: str = "the vocabulary") -> dict[str, int]:
    """A vocabulary from a file; ValueError unless it gives each token an id of its own."""
    if not isinstance(vocab, dict) or not vocab:
        raise ValueError(f"{where} must be an object from tokens to ids, not empty")
    demand = f"{where} must give each token an id of its own, an int from 0 to {MAX_ID}"
    for token, token_id in vocab.items():
        if type(token_id) is not int or not 0 <= token_id <= MAX_ID:
            raise ValueError(f"{demand}, but {token!r:.80} has {token_id!r:.80}")
    token_of = {token_id: token for token, token_id in vocab.items()}
    if len(token_of) < len(vocab):
        first, last, i = next((t, token_of[i], i) for t, i in vocab.items() if token_of[i] != t)
        raise ValueError(f"{demand}, but {first!r:.80} and {last!r:.80} both have {i}")
    return vocab


def checked_merges(merges: Any) -> Merges:
    """Merges from a file, each "a b" or ["a", "b"], as pairs; ValueError for anything else."""
    if not isinstance(merges, list):
        raise ValueError("the merges must be a list")
    pairs: Merges = []
    for number, merge in enumerate(merges, start=1):
        pair: Sequence[Any] = merge.split(" ") if isinstance(merge, str) else merge
        if (
            not isinstance(pair, (list, tuple))
            or len(pair) != 2
            or not all(isinstance(token, str) and token for token in pair)
        ):
            raise ValueError(f"merge {number} must be two tokens with a space between: {merge!r}")
        pairs.append((pair[0], pair[1]))
    return pairs
