"""Greedy search and sampling: generate token by token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tinybert.backend import Array, array_module, to_host
from tinybert.generation.config import GenerationConfig
from tinybert.generation.incremental_decoding import IncrementalDecoder
from tinybert.generation.logits_processors import LogitsProcessor
from tinybert.generation.outputs import OutputCollector
from tinybert.generation.sampling import sample


@dataclass
class SearchOptions:
    """What every decoding strategy needs.

    Attributes:
        config: `max_length` is the final length of the sequences.
        processors: logits processors, applied to the scores of every step.
        generator: the random generator for sampling.
        pad_token_id: the id that fills a sequence after its end.
    """

    config: GenerationConfig
    processors: LogitsProcessor
    generator: Any
    pad_token_id: int

    def is_eos(self, tokens: Array) -> Array:
        """Return which tokens are end-of-sequence tokens."""
        xp = array_module(tokens)
        return xp.isin(tokens, xp.asarray(self.config.eos_ids, dtype="int64"))


def greedy_search(
    decoder: IncrementalDecoder,
    ids: Array,
    options: SearchOptions,
    collector: OutputCollector,
    streamer: Any = None,
) -> Any:
    """Continue ids (N, T) until all sequences have ended or have `max_length` tokens.

    Each step takes the most likely token, or with `do_sample` a random sample. Returns what
    `collector.output` makes of the ids. The streamer gets the prompt's ids first, then each new
    column of tokens (N,), on the CPU.
    """
    xp, config = array_module(ids), options.config
    ended = xp.zeros(len(ids), bool)
    if streamer is not None:
        streamer.put(to_host(ids))
    while ids.shape[1] < config.max_length and not bool(ended.all()):
        output, logits = decoder(ids)
        scores = options.processors(ids, logits)
        collector.add(output, logits, scores)
        if config.do_sample:
            tokens = sample(scores, 1, options.generator)[:, 0]
        else:
            tokens = scores.argmax(axis=-1)
        tokens = xp.where(ended, options.pad_token_id, tokens)
        ids = xp.concatenate([ids, tokens[:, None]], axis=1)
        if streamer is not None:
            streamer.put(to_host(tokens))
        ended |= options.is_eos(tokens)
    if streamer is not None:
        streamer.end()
    return collector.output(ids, decoder.past_key_values)
