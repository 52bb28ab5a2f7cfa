"""Logits processors: each changes the scores of the next token, given the tokens so far.

A processor is called with raw arrays, input_ids (B, T) and scores (B, V), and returns new scores; a
score of -inf excludes a token. Names, order and results are those of transformers, but for padding:
a padded row gets the scores that the row gets without padding. For the processors in this file an
id of -1 is padding (`RealTokens`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tinybert import functional as F
from tinybert.autograd import as_tensor
from tinybert.backend import Array, array_module
from tinybert.checks import check_integer
from tinybert.generation.config import GenerationConfig
from tinybert.generation.logits_warpers import (
    EpsilonLogitsWarper,
    EtaLogitsWarper,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
    positive_float,
)
from tinybert.generation.token_ids import read_token_id_lists, read_token_ids

LogitsProcessor = Callable[[Array, Array], Array]
_EXCLUDED = float("-inf")


class LogitsProcessorList(list[LogitsProcessor]):
    """A list of processors, applied in order; the list is a processor too."""

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        for processor in self:
            scores = processor(input_ids, scores)
        return scores


class RealTokens:
    """Calls processors with the tokens that the model reads; all others become -1 at the left.

    Args:
        mask: (B, T0), 0 for the tokens of the prompt that are masked.
        processors: called with ids (B, T) where only real tokens are >= 0.
    """

    def __init__(self, mask: Array, processors: LogitsProcessor) -> None:
        xp = array_module(mask)
        self.processors = processors
        self.order = xp.argsort(mask, axis=1, kind="stable")  # masked tokens first
        self.is_masked = xp.take_along_axis(mask, self.order, 1) == 0

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        xp, length = array_module(input_ids), self.order.shape[1]
        prompt = xp.take_along_axis(input_ids[:, :length], self.order, 1)
        prompt = xp.where(self.is_masked, -1, prompt)
        return self.processors(xp.concatenate([prompt, input_ids[:, length:]], axis=1), scores)


def _real_length(input_ids: Array) -> Array:
    """Return the number of tokens (B,) that are not padding."""
    return (input_ids >= 0).sum(axis=1)


# --- repetition -----------------------------------------------------------------------------------


class RepetitionPenaltyLogitsProcessor:
    """Divides the scores of tokens that have occurred by `penalty`; negative scores are multiplied.

    Source   Keskar et al. 2019, arXiv:1909.05858, section 4.1
    """

    def __init__(self, penalty: float) -> None:
        self.penalty = positive_float("repetition_penalty", penalty)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        xp = array_module(scores)
        # Padding, -1, marks an extra column at the end, which is removed again.
        seen = xp.zeros((len(scores), scores.shape[1] + 1), bool)
        seen[xp.arange(len(scores))[:, None], input_ids] = True
        penalised = xp.where(scores < 0, scores * self.penalty, scores / self.penalty)
        return xp.where(seen[:, :-1], penalised, scores)


class NoRepeatNGramLogitsProcessor:
    """Excludes every token that would repeat an n-gram.

    Source   Paulus et al. 2017, arXiv:1705.04304, section 2.5
    """

    def __init__(self, ngram_size: int) -> None:
        check_integer("no_repeat_ngram_size", ngram_size, 1)
        self.size = int(ngram_size)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        batch, length = input_ids.shape
        count = length - self.size + 1  # n-grams so far
        if count < 1:
            return scores
        xp = array_module(scores)
        repeats = xp.ones((batch, count), bool)  # n-grams that begin with the last n - 1 tokens
        for i in range(self.size - 1):
            repeats &= input_ids[:, i : i + count] == input_ids[:, count + i, None]
        # Other n-grams and padding, -1, mark an extra column, which is removed again.
        last_tokens = xp.where(repeats, input_ids[:, self.size - 1 :], scores.shape[1])
        excluded = xp.zeros((batch, scores.shape[1] + 1), bool)
        excluded[xp.arange(batch)[:, None], last_tokens] = True
        return xp.where(excluded[:, :-1], _EXCLUDED, scores)


class NoBadWordsLogitsProcessor:
    """Excludes the last token of every sequence in `bad_words_ids` whose other tokens precede it.

    A sequence that is a single end-of-sequence token is ignored.
    """

    def __init__(self, bad_words_ids: list[list[int]], eos_token_id: Any = None) -> None:
        allowed = [[i] for i in read_token_ids("eos_token_id", eos_token_id)]
        words = [w for w in read_token_id_lists("bad_words_ids", bad_words_ids) if w not in allowed]
        self.single = [word[0] for word in words if len(word) == 1]
        self.longer = [word for word in words if len(word) > 1]
        self.largest = max((i for word in words for i in word), default=0)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        if self.largest >= scores.shape[1]:
            raise ValueError(
                f"bad_words_ids must be ids < {scores.shape[1]}, the vocabulary size, got "
                f"{self.largest}"
            )
        xp = array_module(scores)
        scores = _without(scores, self.single).copy()
        for *before, last in self.longer:
            if len(before) <= input_ids.shape[1]:
                matches = (input_ids[:, -len(before) :] == xp.asarray(before)).all(axis=1)
                scores[:, last] = xp.where(matches, _EXCLUDED, scores[:, last])
        return scores


# --- begin and end of the sequence ----------------------------------------------------------------


class MinLengthLogitsProcessor:
    """Excludes end-of-sequence tokens before `min_length` tokens, prompt included.

    hidden: the number of tokens of the prompt that have no ids: an int, or one for each row (B,).
    """

    def __init__(
        self, min_length: int, eos_token_id: int | list[int], hidden: int | Array = 0
    ) -> None:
        check_integer("min_length", min_length, 0)
        self.min_length, self.eos = min_length, read_token_ids("eos_token_id", eos_token_id)
        self.hidden = hidden

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        is_short = _real_length(input_ids) + self.hidden < self.min_length
        return _in_rows(is_short, _without(scores, self.eos), scores)


class MinNewTokensLengthLogitsProcessor:
    """Excludes end-of-sequence tokens before `min_new_tokens` new tokens."""

    def __init__(
        self, prompt_length: int, min_new_tokens: int, eos_token_id: int | list[int]
    ) -> None:
        check_integer("min_new_tokens", min_new_tokens, 0)
        self.length = prompt_length + min_new_tokens
        self.eos = read_token_ids("eos_token_id", eos_token_id)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        return _without(scores, self.eos) if input_ids.shape[1] < self.length else scores


class ForcedBOSTokenLogitsProcessor:
    """Forces the second token to be `bos_token_id`."""

    def __init__(self, bos_token_id: int) -> None:
        self.bos = read_token_ids("forced_bos_token_id", bos_token_id)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        is_first = _real_length(input_ids) == 1
        return _in_rows(is_first, _only("forced_bos_token_id", scores, self.bos), scores)


class ForcedEOSTokenLogitsProcessor:
    """Forces the last token before `max_length` to be (one of) `eos_token_id`."""

    def __init__(self, max_length: int, eos_token_id: int | list[int]) -> None:
        self.max_length, self.eos = max_length, read_token_ids("forced_eos_token_id", eos_token_id)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        if input_ids.shape[1] != self.max_length - 1:
            return scores
        return _only("forced_eos_token_id", scores, self.eos)


# --- invalid values and excluded tokens -----------------------------------------------------------


class InfNanRemoveLogitsProcessor:
    """Replaces NaN by 0, infinity by the largest number of the dtype, -infinity by the smallest."""

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        xp = array_module(scores)
        largest = float(xp.finfo(scores.dtype).max)
        return xp.where(xp.isnan(scores), 0.0, scores).clip(-largest, largest)


class SuppressTokensLogitsProcessor:
    """Excludes `suppress_tokens`."""

    def __init__(self, suppress_tokens: Sequence[int]) -> None:
        self.ids = read_token_ids("suppress_tokens", suppress_tokens)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        return _without(scores, self.ids)


class SuppressTokensAtBeginLogitsProcessor:
    """Excludes `begin_suppress_tokens` when the sequence has `begin_index` tokens.

    begin_index: an int, or one for each row (B,); padding counts as well.
    """

    def __init__(self, begin_suppress_tokens: Sequence[int], begin_index: int | Array) -> None:
        self.ids = read_token_ids("begin_suppress_tokens", begin_suppress_tokens)
        self.begin_index = begin_index

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        begins = array_module(scores).asarray(input_ids.shape[1] == self.begin_index)
        return _in_rows(begins, _without(scores, self.ids), scores)


# --- normalization --------------------------------------------------------------------------------


class LogitNormalization:
    """Turns the scores into log-probabilities of the tokens that are not excluded."""

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        return F.log_softmax(as_tensor(scores)).data


# --- the processors of a config -------------------------------------------------------------------


def processors_for(
    config: GenerationConfig,
    prompt_length: int,
    custom: Sequence[LogitsProcessor] = (),
    mask: Array | None = None,
    hidden: int | Array = 0,
) -> LogitsProcessorList:
    """Return the processors for `config` in transformers' order; `custom` come before sampling.

    Args:
        config: its `max_length` is the final length, prompt included. `min_new_tokens` takes
            precedence over `min_length`.
        custom: called with all ids, padding included.
        mask: (B, prompt_length), 0 for masked tokens of the prompt; None if there are none.
        hidden: the number of tokens of the prompt that have no ids, see MinLengthLogitsProcessor.
    """
    found = LogitsProcessorList()
    eos = config.eos_ids
    if config.repetition_penalty != 1.0:
        found.append(RepetitionPenaltyLogitsProcessor(config.repetition_penalty))
    if config.no_repeat_ngram_size:
        found.append(NoRepeatNGramLogitsProcessor(config.no_repeat_ngram_size))
    if config.bad_words_ids is not None:
        found.append(NoBadWordsLogitsProcessor(config.bad_words_ids, eos))
    if config.min_new_tokens is not None and eos:
        found.append(MinNewTokensLengthLogitsProcessor(prompt_length, config.min_new_tokens, eos))
    elif config.min_length and eos:
        found.append(MinLengthLogitsProcessor(config.min_length, eos, hidden))
    if config.forced_bos_token_id is not None:
        found.append(ForcedBOSTokenLogitsProcessor(config.forced_bos_token_id))
    if config.forced_eos_token_id is not None:
        found.append(ForcedEOSTokenLogitsProcessor(config.max_length, config.forced_eos_token_id))
    if config.remove_invalid_values:
        found.append(InfNanRemoveLogitsProcessor())
    if config.suppress_tokens is not None:
        found.append(SuppressTokensLogitsProcessor(config.suppress_tokens))
    if config.begin_suppress_tokens is not None:
        begin: int | Array = prompt_length
        if config.forced_bos_token_id is not None:  # the first token that is not forced
            begin = begin + ((prompt_length if mask is None else (mask != 0).sum(axis=1)) <= 1)
        found.append(SuppressTokensAtBeginLogitsProcessor(config.begin_suppress_tokens, begin))
    if found and mask is not None:
        found = LogitsProcessorList([RealTokens(mask, found)])
    found.extend(custom)
    if config.do_sample:
        found.extend(_warpers_for(config))
    if config.renormalize_logits:
        found.append(LogitNormalization())
    return found


def _warpers_for(config: GenerationConfig) -> list[LogitsProcessor]:
    """Return the processors of sampling, without those whose value changes nothing."""
    # Beam search needs at least one token besides the end-of-sequence tokens.
    keep = 1 if config.num_beams == 1 else max(2, len(config.eos_ids) + 1)
    found: list[LogitsProcessor] = []
    if config.temperature not in (None, 1.0):
        found.append(TemperatureLogitsWarper(config.temperature))
    options: tuple[tuple[Callable[..., LogitsProcessor], float | None, float], ...] = (
        (TopKLogitsWarper, config.top_k, 0),
        (TopPLogitsWarper, config.top_p, 1.0),
        (MinPLogitsWarper, config.min_p, 0.0),
        (TypicalLogitsWarper, config.typical_p, 1.0),
        (EpsilonLogitsWarper, config.epsilon_cutoff, 0.0),
        (EtaLogitsWarper, config.eta_cutoff, 0.0),
    )
    for make, value, unused in options:
        if value is not None and value != unused:
            found.append(make(value, keep))
    return found


def _in_rows(selected: Array, new: Array, scores: Array) -> Array:
    """Return `new` (B, V) in the rows that are selected (B,) or (), and `scores` in the others."""
    return array_module(scores).where(selected.reshape(-1, 1), new, scores)


def _is_in(scores: Array, ids: list[int]) -> Array:
    """Return for each token (V,) whether it is in `ids`."""
    xp = array_module(scores)
    return xp.isin(xp.arange(scores.shape[1]), xp.asarray(ids, dtype="int64"))


def _without(scores: Array, ids: list[int]) -> Array:
    """Return the scores with -inf for `ids`."""
    return array_module(scores).where(_is_in(scores, ids), _EXCLUDED, scores)


def _only(name: str, scores: Array, ids: list[int]) -> Array:
    """Return 0 for `ids` and -inf for all other tokens; ValueError for ids out of range."""
    if not all(0 <= i < scores.shape[1] for i in ids):
        raise ValueError(f"{name} must be >= 0 and < {scores.shape[1]}, got {ids}")
    xp = array_module(scores)
    return xp.where(_is_in(scores, ids), xp.zeros_like(scores), _EXCLUDED)
