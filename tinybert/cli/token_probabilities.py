"""What a model thought at each step of a generation: how likely the token was that was chosen, what
else was likely, and which tokens it looked at. All is read off what `generate` returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinybert.pipelines.base import softmax

MARKS = ("Ġ", "▁")  # begin the tokens that begin a word, byte-level or of SentencePiece


@dataclass(frozen=True)
class Token:
    """A token and its probability, which is the model's own: no temperature, no top-k.

    Attributes:
        token: as the vocabulary writes it; label: as people can read it.
    """

    id: int
    token: str
    label: str
    probability: float


@dataclass(frozen=True)
class Choice:
    """The token that was chosen at a step, and the likeliest of the others."""

    chosen: Token
    alternatives: list[Token]


def new_ids(output: Any, i: int, ends: list[int]) -> list[int]:
    """The ids that sequence i was continued by; one of `ends` is the last, if it was reached."""
    steps = _steps(output)
    ids = output.sequences.numpy()[i].tolist()[-steps:]
    end = next((at for at, token in enumerate(ids) if token in ends), steps - 1)
    return ids[: end + 1]


def choices(output: Any, i: int, ids: list[int], tokenizer: Any, top: int = 0) -> list[Choice]:
    """The steps of sequence i, whose new ids are given, each with `top` alternatives.

    output: of `generate` with `output_logits`.
    """
    found = []
    for step, chosen in enumerate(ids):
        logits = output.logits[step].numpy()[_row(output, i, step)]
        chances = softmax(logits)
        likeliest = np.argsort(-chances, kind="stable")[: top + 1].tolist()
        tokens = [
            Token(k, _token(tokenizer, k), label(tokenizer, k), float(chances[k]))
            for k in (chosen, *[k for k in likeliest if k != chosen][:top])
        ]
        found.append(Choice(tokens[0], tokens[1:]))
    return found


def label(tokenizer: Any, token_id: int) -> str:
    """A token as people can read it: the letters that bytes stand for, and the mark of a space."""
    token = _token(tokenizer, token_id)
    text = tokenizer.decode([token_id], clean_up_tokenization_spaces=False)
    if not text.strip() or "\ufffd" in text:  # only white space, or a part of a letter
        return token
    return token[0] + text.lstrip() if token.startswith(MARKS) else text


def looks(output: Any, i: int, count: int, config: Any) -> np.ndarray:
    """Where the model looked when it chose each token of sequence i: (count, columns).

    output: of `generate` with `output_attentions` and `output_logits`.
    count: the steps.
    config: the model's.

    Row s has the weights of the last layer, averaged over its heads, with which the token read last
    looked at all that were read; those not read yet are NaN. Of an encoder-decoder it is the text
    read by the encoder that is looked at.
    """
    steps = output.cross_attentions if config.is_encoder_decoder else output.attentions
    last = [steps[step][-1].numpy()[_row(output, i, step)] for step in range(count)]
    if config.is_encoder_decoder:
        return np.stack([heads.mean(axis=0)[-1] for heads in last])
    prompt = output.sequences.shape[1] - _steps(output)
    found = np.full((count, prompt + count - 1), np.nan)
    for step, heads in enumerate(last):
        read = prompt + step
        found[step, :read] = 0
        if getattr(config, "use_chunking", False):  # MEGA: (chunks, queries, keys), padded
            begin = (read - 1) // config.chunk_size * config.chunk_size
            query = min(read - begin, heads.shape[1]) - 1
            found[step, begin:read] = heads[-1, query, : read - begin]
        else:
            found[step, :read] = heads.mean(axis=0)[-1]
    return found


def _steps(output: Any) -> int:
    """How many tokens the sequences were continued by; beams may have tried more."""
    return output.beam_indices.shape[1] if "beam_indices" in output else len(output.logits)


def _row(output: Any, i: int, step: int) -> int:
    """The row of a step's scores that sequence i went on from."""
    return int(output.beam_indices.numpy()[i, step]) if "beam_indices" in output else i


def _token(tokenizer: Any, token_id: int) -> str:
    token = tokenizer.convert_ids_to_tokens(token_id)
    return f"<{token_id}>" if token is None else token
