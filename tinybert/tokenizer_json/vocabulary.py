"""Checks of the vocabularies and merges that files hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinybert.tokenizer_json.fields import MAX_ID

Merges = list[tuple[str, str]]


def checked_vocab(vocab: Any, where: str = "the vocabulary") -> dict[str, int]:
    """Return a vocabulary from a file; ValueError unless each token has a unique id."""
    if not isinstance(vocab, dict) or not vocab:
        raise ValueError(f"{where} must be a non-empty object from tokens to ids")
    demand = f"{where} must give each token a unique id, an integer from 0 to {MAX_ID}"
    for token, token_id in vocab.items():
        if type(token_id) is not int or not 0 <= token_id <= MAX_ID:
            raise ValueError(f"{demand}, but {token!r:.80} has {token_id!r:.80}")
    token_of = {token_id: token for token, token_id in vocab.items()}
    if len(token_of) < len(vocab):
        first, last, i = next((t, token_of[i], i) for t, i in vocab.items() if token_of[i] != t)
        raise ValueError(f"{demand}, but {first!r:.80} and {last!r:.80} both have {i}")
    return vocab


def checked_merges(merges: Any) -> Merges:
    """Return merges from a file, each "a b" or ["a", "b"], as pairs; ValueError otherwise."""
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
            raise ValueError(
                f"merge {number} must be two tokens with a space between, got {merge!r:.80}"
            )
        pairs.append((pair[0], pair[1]))
    return pairs
