"""Beam search: the K best sequences are followed at once, and the best that ended are kept.

Each step of a row has two pools of K sequences: the running ones, and the finished ones. Every
running sequence with every token is a candidate; the best candidates either end (and compete for a
place among the finished, by score over length ** length_penalty) or run on.

Oracle   transformers 4.57.6, its order of float32 operations included, and when it stops
Shapes   B prompts, K beams, C candidates, V vocabulary, L the final length
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinybert import functional as F
from tinybert.autograd import as_tensor
from tinybert.backend import Array, array_module
from tinybert.generation.greedy_search import Plan
from tinybert.generation.incremental_decoding import Feed
from tinybert.generation.outputs import Record
from tinybert.generation.sampling import best, draw

_WORST = -1e9  # of a sequence that is not there; finite, so that it can be added to


class Pool(NamedTuple):
    """Some sequences of each row.

    Attributes:
        ids: (B, n, L), filled up with padding.
        origins: (B, n, L - T) for every new token the row of the batch it was chosen from, or -1.
        scores: (B, n), the best first.
        flags: (B, n), of candidates: it has ended; of the finished: there is one in this place.
    """

    ids: Array
    origins: Array
    scores: Array
    flags: Array

    def take(self, places: Array) -> Pool:
        """The members at places (B, m)."""
        xp = array_module(places)
        rows = xp.arange(len(places))[:, None]
        return Pool(*(array[rows, places] for array in self))


def beam_search(feed: Feed, ids: Array, plan: Plan, record: Record) -> Any:
    """Continue ids (B * K, T), every prompt K times in a row.

    Returns what `record.result` makes of the best `num_return_sequences` of each prompt, with their
    scores and beam indices. Raises ValueError if the vocabulary is too small for the candidates.
    """
    xp, config = array_module(ids), plan.config
    beams, prompt = config.num_beams, ids.shape[1]
    running = _start(ids, plan)
    finished = running._replace(scores=xp.full(running.scores.shape, _WORST, "float32"))
    improvable = xp.ones((len(running.ids), 1), bool)
    for length in range(prompt + 1, config.max_length + 1):
        flat = running.ids[:, :, : length - 1].reshape(len(ids), length - 1)
        output, logits = feed(flat)
        log_probs = plan.processors(flat, F.log_softmax(as_tensor(logits)).data)
        record.add(output, logits, log_probs)

        candidates = _candidates(running, log_probs, length, prompt, plan)
        new_length = length - prompt
        may_finish = improvable
        if config.early_stopping is True:
            may_finish = improvable & ~finished.flags.all(axis=1, keepdims=True)
        values = _per_length(candidates.scores, new_length, config.length_penalty)
        finished = _finish(finished, candidates._replace(scores=values), may_finish)
        scores = candidates.scores + candidates.flags.astype("float32") * _WORST
        places = best(scores, beams)
        running = candidates._replace(scores=scores).take(places)
        feed.reorder(running.origins[:, :, new_length - 1].reshape(-1))

        if config.early_stopping == "never" and config.length_penalty > 0:
            new_length = config.max_length - prompt  # a running sequence may get that long
        hope = _per_length(running.scores[:, :1], new_length, config.length_penalty)
        least = xp.where(finished.flags, finished.scores.min(axis=1, keepdims=True), _WORST)
        improvable = improvable & (hope > least).any(axis=1, keepdims=True)
        enough = config.early_stopping is True and bool(finished.flags.all())
        if enough or not bool(improvable.any()) or bool(candidates.flags.all()):
            break
    return _result(finished, prompt, feed, plan, record)


def _start(ids: Array, plan: Plan) -> Pool:
    """The prompts as running sequences; only the first of each K equal ones counts."""
    xp, config = array_module(ids), plan.config
    beams, prompt = config.num_beams, ids.shape[1]
    batch = len(ids) // beams
    sequences = xp.full((batch, beams, config.max_length), plan.pad, "int64")
    sequences[:, :, :prompt] = ids.reshape(batch, beams, prompt)
    scores = xp.full((batch, beams), _WORST, "float32")
    scores[:, 0] = 0.0
    origins = xp.full((batch, beams, config.max_length - prompt), -1, "int64")
    return Pool(sequences, origins, scores, xp.zeros((batch, beams), bool))


def _candidates(running: Pool, log_probs: Array, length: int, prompt: int, plan: Plan) -> Pool:
    """The best (or drawn) C continuations by one token, best first, to sequences of `length`.

    C leaves K that run on even if every end-of-sequence token is among the best of every beam.
    """
    xp, config = array_module(log_probs), plan.config
    batch, beams, _ = running.ids.shape
    vocab = log_probs.shape[-1]
    count = max(2, 1 + len(config.eos_ids)) * beams
    if count > beams * vocab:
        raise ValueError(
            f"a beam search with {len(config.eos_ids)} eos_token_ids needs a vocabulary of "
            f"{count // beams} at least, got {vocab}"
        )
    total = log_probs.reshape(batch, beams, vocab) + running.scores[:, :, None]
    total = total.reshape(batch, beams * vocab)
    if config.do_sample:
        places = draw(total, count, plan.generator)
        drawn = xp.take_along_axis(total, places, 1)
        places = xp.take_along_axis(places, best(drawn, count), 1)
    else:
        places = best(total, count)
    parents, tokens = places // vocab, places % vocab
    pool = running.take(parents)
    pool.ids[:, :, length - 1] = tokens
    pool.origins[:, :, length - 1 - prompt] = parents + xp.arange(batch)[:, None] * beams
    ended = plan.ends(tokens) | (length == config.max_length)
    return pool._replace(scores=xp.take_along_axis(total, places, 1), flags=ended)


def _per_length(scores: Array, length: int, penalty: float) -> Array:
    """What a sequence is worth."""
    with np.errstate(over="ignore"):  # a score may be the smallest number already
        return scores / length**penalty


def _finish(finished: Pool, candidates: Pool, may_finish: Array) -> Pool:
    """The best K of the finished and of the candidates that ended; of these only the K likeliest,
    and only in rows that `may_finish` (B, 1).
    """
    xp = array_module(may_finish)
    beams = finished.scores.shape[1]
    likeliest = xp.arange(candidates.scores.shape[1]) < beams
    new = candidates.flags & likeliest & may_finish
    scores = xp.where(new, candidates.scores, _WORST)
    merged = Pool(
        *(
            xp.concatenate([old, more], axis=1)
            for old, more in zip(
                finished, candidates._replace(scores=scores, flags=new), strict=True
            )
        )
    )
    return merged.take(best(merged.scores, beams))


def _result(finished: Pool, prompt: int, feed: Feed, plan: Plan, record: Record) -> Any:
    """The best sequences of each row, cut where the longest ends."""
    wanted = plan.config.num_return_sequences
    ids, origins, scores, _ = (array[:, :wanted] for array in finished)
    origins = origins.reshape(-1, origins.shape[-1])
    longest = int((origins >= 0).sum(axis=1).max())
    fields = {"beam_indices": origins[:, :longest]}
    if plan.config.output_scores:
        fields["sequences_scores"] = scores.reshape(-1)
    sequences = ids.reshape(-1, ids.shape[-1])[:, : prompt + longest]
    return record.result(sequences, feed.past_key_values, **fields)
