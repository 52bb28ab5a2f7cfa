"""Beam search: extend the K best sequences in parallel, and keep the best finished ones.

Each prompt has two pools of K sequences: running and finished. In each step, every running sequence
followed by every token is a candidate. The best candidates either end, and compete with the
finished sequences by score / length ** length_penalty, or become the new running sequences.

Oracle   transformers 4.57.6, including the order of float32 operations and the stopping rules
Shapes   B prompts, K beams, C candidates, V vocabulary, L final length
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinybert import functional as F
from tinybert.autograd import as_tensor
from tinybert.backend import Array, array_module
from tinybert.generation.greedy_search import SearchOptions
from tinybert.generation.incremental_decoding import IncrementalDecoder
from tinybert.generation.outputs import OutputCollector
from tinybert.generation.sampling import sample, top_indices

_MIN_SCORE = -1e9  # of an empty entry; finite, because scores are added to it


class Pool(NamedTuple):
    """n sequences for each prompt.

    Attributes:
        ids: (B, n, L), padded at the right.
        beam_indices: (B, n, L - T), for each new token the row of the batch that it extends, or -1.
        scores: (B, n), best first.
        flags: (B, n); for candidates: the sequence has ended; for finished sequences: the entry is
            filled.
    """

    ids: Array
    beam_indices: Array
    scores: Array
    flags: Array

    def take(self, indices: Array) -> Pool:
        """Return the sequences at indices (B, m)."""
        xp = array_module(indices)
        rows = xp.arange(len(indices))[:, None]
        return Pool(*(array[rows, indices] for array in self))


def beam_search(
    decoder: IncrementalDecoder, ids: Array, options: SearchOptions, collector: OutputCollector
) -> Any:
    """Continue ids (B * K, T), which hold every prompt K times in a row.

    Returns what `collector.output` makes of the best `num_return_sequences` for each prompt, with
    their scores and beam indices. Raises ValueError if the vocabulary is too small for C.
    """
    xp, config = array_module(ids), options.config
    beams, prompt = config.num_beams, ids.shape[1]
    running = _initial(ids, options)
    finished = running._replace(scores=xp.full(running.scores.shape, _MIN_SCORE, "float32"))
    improvable = xp.ones((len(running.ids), 1), bool)
    for length in range(prompt + 1, config.max_length + 1):
        flat = running.ids[:, :, : length - 1].reshape(len(ids), length - 1)
        output, logits = decoder(flat)
        log_probs = options.processors(flat, F.log_softmax(as_tensor(logits)).data)
        collector.add(output, logits, log_probs)

        candidates = _candidates(running, log_probs, length, prompt, options)
        new_length = length - prompt
        may_finish = improvable
        if config.early_stopping is True:
            may_finish = improvable & ~finished.flags.all(axis=1, keepdims=True)
        penalised = _length_penalised(candidates.scores, new_length, config.length_penalty)
        finished = _finish(finished, candidates._replace(scores=penalised), may_finish)
        scores = candidates.scores + candidates.flags.astype("float32") * _MIN_SCORE
        running = candidates._replace(scores=scores).take(top_indices(scores, beams))
        decoder.reorder_cache(running.beam_indices[:, :, new_length - 1].reshape(-1))

        if config.early_stopping == "never" and config.length_penalty > 0:
            new_length = config.max_length - prompt  # the length that is best for the bound
        bound = _length_penalised(running.scores[:, :1], new_length, config.length_penalty)
        worst = xp.where(finished.flags, finished.scores.min(axis=1, keepdims=True), _MIN_SCORE)
        improvable = improvable & (bound > worst).any(axis=1, keepdims=True)
        enough = config.early_stopping is True and bool(finished.flags.all())
        if enough or not bool(improvable.any()) or bool(candidates.flags.all()):
            break
    return _output(finished, prompt, decoder, options, collector)


def _initial(ids: Array, options: SearchOptions) -> Pool:
    """Return the prompts as running sequences; of the K copies only the first has a score of 0."""
    xp, config = array_module(ids), options.config
    beams, prompt = config.num_beams, ids.shape[1]
    batch = len(ids) // beams
    sequences = xp.full((batch, beams, config.max_length), options.pad_token_id, "int64")
    sequences[:, :, :prompt] = ids.reshape(batch, beams, prompt)
    scores = xp.full((batch, beams), _MIN_SCORE, "float32")
    scores[:, 0] = 0.0
    beam_indices = xp.full((batch, beams, config.max_length - prompt), -1, "int64")
    return Pool(sequences, beam_indices, scores, xp.zeros((batch, beams), bool))


def _candidates(
    running: Pool, log_probs: Array, length: int, prompt: int, options: SearchOptions
) -> Pool:
    """Return the best (or sampled) C extensions by one token, to `length` tokens, best first.

    C is large enough to leave K running sequences even if every end-of-sequence token is among the
    best tokens of every beam.
    """
    xp, config = array_module(log_probs), options.config
    batch, beams, _ = running.ids.shape
    vocab = log_probs.shape[-1]
    count = max(2, 1 + len(config.eos_ids)) * beams
    if count > beams * vocab:
        raise ValueError(
            f"beam search with {len(config.eos_ids)} eos_token_ids needs a vocabulary of at least "
            f"{count // beams} tokens, got {vocab}"
        )
    total = log_probs.reshape(batch, beams, vocab) + running.scores[:, :, None]
    total = total.reshape(batch, beams * vocab)
    if config.do_sample:
        indices = sample(total, count, options.generator)
        sampled = xp.take_along_axis(total, indices, 1)
        indices = xp.take_along_axis(indices, top_indices(sampled, count), 1)
    else:
        indices = top_indices(total, count)
    parents, tokens = indices // vocab, indices % vocab
    pool = running.take(parents)
    pool.ids[:, :, length - 1] = tokens
    pool.beam_indices[:, :, length - 1 - prompt] = parents + xp.arange(batch)[:, None] * beams
    ended = options.is_eos(tokens) | (length == config.max_length)
    return pool._replace(scores=xp.take_along_axis(total, indices, 1), flags=ended)


def _length_penalised(scores: Array, length: int, penalty: float) -> Array:
    """Compute score / length ** penalty."""
    with np.errstate(over="ignore"):  # a score may already be the smallest float32
        return scores / length**penalty


def _finish(finished: Pool, candidates: Pool, may_finish: Array) -> Pool:
    """Return the best K of the finished sequences and the candidates that have ended.

    Only the first K candidates can finish, and only for prompts that `may_finish` (B, 1).
    """
    xp = array_module(may_finish)
    beams = finished.scores.shape[1]
    first = xp.arange(candidates.scores.shape[1]) < beams
    new = candidates.flags & first & may_finish
    scores = xp.where(new, candidates.scores, _MIN_SCORE)
    merged = Pool(
        *(
            xp.concatenate([old, more], axis=1)
            for old, more in zip(
                finished, candidates._replace(scores=scores, flags=new), strict=True
            )
        )
    )
    return merged.take(top_indices(merged.scores, beams))


def _output(
    finished: Pool,
    prompt: int,
    decoder: IncrementalDecoder,
    options: SearchOptions,
    collector: OutputCollector,
) -> Any:
    """Return the best sequences of each prompt, cut to the length of the longest."""
    count = options.config.num_return_sequences
    ids, beam_indices, scores, _ = (array[:, :count] for array in finished)
    beam_indices = beam_indices.reshape(-1, beam_indices.shape[-1])
    longest = int((beam_indices >= 0).sum(axis=1).max())
    fields = {"beam_indices": beam_indices[:, :longest]}
    if options.config.output_scores:
        fields["sequences_scores"] = scores.reshape(-1)
    sequences = ids.reshape(-1, ids.shape[-1])[:, : prompt + longest]
    return collector.output(sequences, decoder.past_key_values, **fields)
