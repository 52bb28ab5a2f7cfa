"""Probabilities, alternatives and attention of each new token, from the output of `generate`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinybert.pipelines.base import softmax

WORD_MARKS = ("Ġ", "▁")  # the first character of a word, in byte-level BPE and SentencePiece


@dataclass(frozen=True)
class Token:
    """A token and its probability by the model itself: without temperature or top-k.

    Attributes:
        token: as in the vocabulary.
        label: readable text.
    """

    id: int
    token: str
    label: str
    probability: float


@dataclass(frozen=True)
class Step:
    """The token that was generated in a step, and the most likely other tokens."""

    chosen: Token
    alternatives: list[Token]


def new_token_ids(output: Any, i: int, eos_ids: list[int]) -> list[int]:
    """Return the new ids of sequence i, up to the first end-of-sequence token."""
    count = _new_tokens(output)
    ids = output.sequences.numpy()[i].tolist()[-count:]
    end = next((position for position, token in enumerate(ids) if token in eos_ids), count - 1)
    return ids[: end + 1]


def generation_steps(
    output: Any, i: int, ids: list[int], tokenizer: Any, top: int = 0
) -> list[Step]:
    """Return the steps of sequence i, each with `top` alternatives.

    Args:
        output: the output of `generate` with `output_logits`.
        ids: the new ids of the sequence.
    """
    steps = []
    for step, chosen in enumerate(ids):
        logits = output.logits[step].numpy()[_row(output, i, step)]
        probabilities = softmax(logits)
        most_likely = np.argsort(-probabilities, kind="stable")[: top + 1].tolist()
        tokens = [
            Token(k, _token(tokenizer, k), label(tokenizer, k), float(probabilities[k]))
            for k in (chosen, *[k for k in most_likely if k != chosen][:top])
        ]
        steps.append(Step(tokens[0], tokens[1:]))
    return steps


def label(tokenizer: Any, token_id: int) -> str:
    """Return a token as readable text: byte-level characters decoded, the word mark kept."""
    token = _token(tokenizer, token_id)
    text = tokenizer.decode([token_id], clean_up_tokenization_spaces=False)
    if not text.strip() or "\ufffd" in text:  # only whitespace, or a part of a character
        return token
    return token[0] + text.lstrip() if token.startswith(WORD_MARKS) else text


def attention_weights(output: Any, i: int, count: int, config: Any) -> np.ndarray:
    """Return the attention weights of the first `count` new tokens of sequence i: (count, T).

    Args:
        output: the output of `generate` with `output_attentions` and `output_logits`.
        config: the model's.

    Row s has the weights of the last layer, averaged over heads, of the query that predicts new
    token s; weights for later tokens are NaN. For an encoder-decoder these are the cross-attention
    weights, and T is the length of the encoder's input.
    """
    layers = output.cross_attentions if config.is_encoder_decoder else output.attentions
    last = [layers[step][-1].numpy()[_row(output, i, step)] for step in range(count)]
    if config.is_encoder_decoder:
        return np.stack([heads.mean(axis=0)[-1] for heads in last])
    prompt = output.sequences.shape[1] - _new_tokens(output)
    weights = np.full((count, prompt + count - 1), np.nan)
    for step, heads in enumerate(last):
        length = prompt + step
        weights[step, :length] = 0
        if getattr(config, "use_chunking", False):  # MEGA: (chunks, queries, keys), padded
            begin = (length - 1) // config.chunk_size * config.chunk_size
            query = min(length - begin, heads.shape[1]) - 1
            weights[step, begin:length] = heads[-1, query, : length - begin]
        else:
            weights[step, :length] = heads.mean(axis=0)[-1]
    return weights


def _new_tokens(output: Any) -> int:
    """Return the number of new tokens; with beam search there can be more steps."""
    return output.beam_indices.shape[1] if "beam_indices" in output else len(output.logits)


def _row(output: Any, i: int, step: int) -> int:
    """Return the row of a step's scores from which sequence i was extended."""
    return int(output.beam_indices.numpy()[i, step]) if "beam_indices" in output else i


def _token(tokenizer: Any, token_id: int) -> str:
    token = tokenizer.convert_ids_to_tokens(token_id)
    return f"<{token_id}>" if token is None else token
