"""Greedy search and sampling: one token after the other, never going back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tinybert.backend import Array, array_module, to_host
from tinybert.generation.config import GenerationConfig
from tinybert.generation.incremental_decoding import Feed
from tinybert.generation.logits_processors import LogitsProcessor
from tinybert.generation.outputs import Record
from tinybert.generation.sampling import draw


@dataclass
class Plan:
    """What every strategy has to know.

    Attributes:
        config: with `max_length` as the final length of the sequences.
        processors: applied to the scores of every step.
        generator: of the draws.
        pad: the id that follows the end of a sequence.
    """

    config: GenerationConfig
    processors: LogitsProcessor
    generator: Any
    pad: int

    def ends(self, tokens: Array) -> Array:
        """Which tokens end their sequence."""
        xp = array_module(tokens)
        return xp.isin(tokens, xp.asarray(self.config.eos_ids, dtype="int64"))


def search(feed: Feed, ids: Array, plan: Plan, record: Record, streamer: Any = None) -> Any:
    """Continue ids (N, T) by the best token, or with `do_sample` one drawn, until all have ended.

    Returns what `record.result` makes of the ids. The streamer gets the ids first, then every new
    column of tokens (N,), on the host.
    """
    xp, config = array_module(ids), plan.config
    ended = xp.zeros(len(ids), bool)
    if streamer is not None:
        streamer.put(to_host(ids))
    while ids.shape[1] < config.max_length and not bool(ended.all()):
        output, logits = feed(ids)
        scores = plan.processors(ids, logits)
        record.add(output, logits, scores)
        if config.do_sample:
            tokens = draw(scores, 1, plan.generator)[:, 0]
        else:
            tokens = scores.argmax(axis=-1)
        tokens = xp.where(ended, plan.pad, tokens)
        ids = xp.concatenate([ids, tokens[:, None]], axis=1)
        if streamer is not None:
            streamer.put(to_host(tokens))
        ended |= plan.ends(tokens)
    if streamer is not None:
        streamer.end()
    return record.result(ids, feed.past_key_values)
