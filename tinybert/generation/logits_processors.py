"""Logits processors: each looks at the tokens so far and changes the scores of the next one.

A processor is called with raw arrays, input_ids (B, T) and scores (B, V), and returns new scores; a
score of -inf rules a token out. Names, order and results are those of transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tinybert import functional as F
from tinybert.autograd import as_tensor
from tinybert.backend import Array, array_module
from tinybert.generation.checks import positive_float, token_lists, tokens, whole
from tinybert.generation.config import GenerationConfig
from tinybert.generation.logits_warpers import (
    EpsilonLogitsWarper,
    EtaLogitsWarper,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

LogitsProcessor = Callable[[Array, Array], Array]
_NEVER = float("-inf")


class LogitsProcessorList(list[LogitsProcessor]):
    """Processors that are applied one after the other; itself a processor."""

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        for processor in self:
            scores = processor(input_ids, scores)
        return scores


# --- what has been said already -------------------------------------------------------------------


class RepetitionPenaltyLogitsProcessor:
    """Scores of tokens that have occurred are divided by `penalty`, negative ones multiplied.

    Source   Keskar et al. 2019, arXiv:1909.05858, section 4.1
    """

    def __init__(self, penalty: float) -> None:
        self.penalty = positive_float("repetition_penalty", penalty)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        xp = array_module(scores)
        seen = xp.zeros(scores.shape, bool)
        seen[xp.arange(len(scores))[:, None], input_ids] = True
        penalised = xp.where(scores < 0, scores * self.penalty, scores / self.penalty)
        return xp.where(seen, penalised, scores)


class NoRepeatNGramLogitsProcessor:
    """Rules out every token that would complete an n-gram that has occurred.

    Source   Paulus et al. 2017, arXiv:1705.04304, section 2.5
    """

    def __init__(self, ngram_size: int) -> None:
        whole("no_repeat_ngram_size", ngram_size, 1)
        self.size = int(ngram_size)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        batch, length = input_ids.shape
        count = length - self.size + 1  # of the n-grams so far
        if count < 1:
            return scores
        xp = array_module(scores)
        repeats = xp.ones((batch, count), bool)  # those that begin as the sequence ends
        for i in range(self.size - 1):
            repeats &= input_ids[:, i : i + count] == input_ids[:, count + i, None]
        # The others point at a column that is cut off again.
        last_tokens = xp.where(repeats, input_ids[:, self.size - 1 :], scores.shape[1])
        banned = xp.zeros((batch, scores.shape[1] + 1), bool)
        banned[xp.arange(batch)[:, None], last_tokens] = True
        return xp.where(banned[:, :-1], _NEVER, scores)


class NoBadWordsLogitsProcessor:
    """Rules out the last token of every sequence in `bad_words_ids` whose other tokens precede it.

    An end-of-sequence token on its own is no bad word.
    """

    def __init__(self, bad_words_ids: list[list[int]], eos_token_id: Any = None) -> None:
        allowed = [[i] for i in tokens("eos_token_id", eos_token_id)]
        words = [w for w in token_lists("bad_words_ids", bad_words_ids) if w not in allowed]
        self.single = [word[0] for word in words if len(word) == 1]
        self.longer = [word for word in words if len(word) > 1]
        self.largest = max((i for word in words for i in word), default=0)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        if self.largest >= scores.shape[1]:
            raise ValueError(
                f"bad_words_ids must be ids below {scores.shape[1]}, got {self.largest}"
            )
        xp = array_module(scores)
        scores = _without(scores, self.single).copy()
        for *before, last in self.longer:
            if len(before) <= input_ids.shape[1]:
                matches = (input_ids[:, -len(before) :] == xp.asarray(before)).all(axis=1)
                scores[:, last] = xp.where(matches, _NEVER, scores[:, last])
        return scores


# --- when to begin and to end ---------------------------------------------------------------------


class MinLengthLogitsProcessor:
    """Rules out the end of a sequence, prompt included, before `min_length`."""

    def __init__(self, min_length: int, eos_token_id: int | list[int]) -> None:
        whole("min_length", min_length, 0)
        self.min_length, self.eos = min_length, tokens("eos_token_id", eos_token_id)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        return _without(scores, self.eos) if input_ids.shape[1] < self.min_length else scores


class MinNewTokensLengthLogitsProcessor(MinLengthLogitsProcessor):
    """Rules out the end before `min_new_tokens` tokens after the prompt."""

    def __init__(
        self, prompt_length: int, min_new_tokens: int, eos_token_id: int | list[int]
    ) -> None:
        whole("min_new_tokens", min_new_tokens, 0)
        super().__init__(prompt_length + min_new_tokens, eos_token_id)


class ForcedBOSTokenLogitsProcessor:
    """Only `bos_token_id` may follow the first token."""

    def __init__(self, bos_token_id: int) -> None:
        self.bos = tokens("forced_bos_token_id", bos_token_id)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        return _only("forced_bos_token_id", scores, self.bos) if input_ids.shape[1] == 1 else scores


class ForcedEOSTokenLogitsProcessor:
    """The last token before `max_length` is reached must be (one of) `eos_token_id`."""

    def __init__(self, max_length: int, eos_token_id: int | list[int]) -> None:
        self.max_length, self.eos = max_length, tokens("forced_eos_token_id", eos_token_id)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        if input_ids.shape[1] != self.max_length - 1:
            return scores
        return _only("forced_eos_token_id", scores, self.eos)


# --- which tokens at all --------------------------------------------------------------------------


class InfNanRemoveLogitsProcessor:
    """NaN becomes 0, infinity the largest number of the dtype, and -infinity the smallest."""

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        xp = array_module(scores)
        largest = float(xp.finfo(scores.dtype).max)
        return xp.where(xp.isnan(scores), 0.0, scores).clip(-largest, largest)


class SuppressTokensLogitsProcessor:
    """Rules out `suppress_tokens`, always."""

    def __init__(self, suppress_tokens: Sequence[int]) -> None:
        self.ids = tokens("suppress_tokens", suppress_tokens)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        return _without(scores, self.ids)


class SuppressTokensAtBeginLogitsProcessor:
    """Rules out `begin_suppress_tokens` while there are `begin_index` tokens."""

    def __init__(self, begin_suppress_tokens: Sequence[int], begin_index: int) -> None:
        self.ids = tokens("begin_suppress_tokens", begin_suppress_tokens)
        self.begin_index = begin_index

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        return _without(scores, self.ids) if input_ids.shape[1] == self.begin_index else scores


# --- at last --------------------------------------------------------------------------------------


class LogitNormalization:
    """Scores as log-probabilities of the tokens that are left."""

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        return F.log_softmax(as_tensor(scores)).data


# --- all together ---------------------------------------------------------------------------------


def processors_for(
    config: GenerationConfig, prompt_length: int, custom: Sequence[LogitsProcessor] = ()
) -> LogitsProcessorList:
    """The processors that `config` asks for, in transformers' order; `custom` before sampling's.

    `config.max_length` is where generation really ends. min_new_tokens wins over min_length.
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
        found.append(MinLengthLogitsProcessor(config.min_length, eos))
    if config.forced_bos_token_id is not None:
        found.append(ForcedBOSTokenLogitsProcessor(config.forced_bos_token_id))
    if config.forced_eos_token_id is not None:
        found.append(ForcedEOSTokenLogitsProcessor(config.max_length, config.forced_eos_token_id))
    if config.remove_invalid_values:
        found.append(InfNanRemoveLogitsProcessor())
    if config.suppress_tokens is not None:
        found.append(SuppressTokensLogitsProcessor(config.suppress_tokens))
    if config.begin_suppress_tokens is not None:
        # A forced first token is no choice: the ban is for the one after it.
        forced = prompt_length <= 1 and config.forced_bos_token_id is not None
        found.append(
            SuppressTokensAtBeginLogitsProcessor(
                config.begin_suppress_tokens, prompt_length + forced
            )
        )
    found.extend(custom)
    if config.do_sample:
        found.extend(_warpers_for(config))
    if config.renormalize_logits:
        found.append(LogitNormalization())
    return found


def _warpers_for(config: GenerationConfig) -> list[LogitsProcessor]:
    """What sampling adds to the processors, without those whose value leaves all scores alone."""
    # A beam search needs a token to go on with besides those that end the sequence.
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


def _among(scores: Array, ids: list[int]) -> Array:
    """(V,) whether each token is one of `ids`."""
    xp = array_module(scores)
    return xp.isin(xp.arange(scores.shape[1]), xp.asarray(ids, dtype="int64"))


def _without(scores: Array, ids: list[int]) -> Array:
    """The scores, -inf for `ids`."""
    return array_module(scores).where(_among(scores, ids), _NEVER, scores)


def _only(name: str, scores: Array, ids: list[int]) -> Array:
    """0 for `ids`, -inf for all other tokens. ValueError if one is no token."""
    if not all(0 <= i < scores.shape[1] for i in ids):
        raise ValueError(f"{name} must be below {scores.shape[1]} and not negative, got {ids}")
    xp = array_module(scores)
    return xp.where(_among(scores, ids), xp.zeros_like(scores), _NEVER)
