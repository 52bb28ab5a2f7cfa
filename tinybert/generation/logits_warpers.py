"""Logits warpers: the logits processors of sampling (temperature, top-k, top-p, ...).

Like all logits processors they map input_ids (B, T) and scores (B, V), raw arrays, to new scores.
A score of -inf excludes a token from sampling.
"""

from __future__ import annotations

import numpy as np

from tinybert import functional as F
from tinybert.autograd import as_tensor
from tinybert.backend import Array, array_module
from tinybert.checks import check, check_integer, check_number, is_number
from tinybert.generation.sampling import top_indices

_EXCLUDED = float("-inf")


class TemperatureLogitsWarper:
    """Divides scores by `temperature`: below 1, likely tokens become even more likely."""

    def __init__(self, temperature: float) -> None:
        hint = " (do_sample=False always takes the most likely token)"
        self.temperature = positive_float("temperature", temperature, hint)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        return scores / self.temperature


class TopKLogitsWarper:
    """Keeps the `top_k` most likely tokens, and those that tie with the last of them.

    Source   Fan et al. 2018, arXiv:1805.04833, section 5.4
    """

    def __init__(self, top_k: int, min_tokens_to_keep: int = 1) -> None:
        check_integer("top_k", top_k, 1)
        self.top_k = max(int(top_k), _tokens_to_keep(min_tokens_to_keep))

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        xp = array_module(scores)
        threshold = xp.sort(scores, axis=-1)[:, -min(self.top_k, scores.shape[1]), None]
        return xp.where(scores < threshold, _EXCLUDED, scores)


class TopPLogitsWarper:
    """Keeps the smallest set of most likely tokens whose probabilities add up to more than `top_p`.

    Source   Holtzman et al. 2019, arXiv:1904.09751, section 3.1 (nucleus sampling)
    """

    def __init__(self, top_p: float, min_tokens_to_keep: int = 1) -> None:
        check_number("top_p", top_p, most=1)
        self.top_p = float(top_p)
        self.min_tokens_to_keep = _tokens_to_keep(min_tokens_to_keep)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        xp = array_module(scores)
        order = xp.argsort(scores, axis=-1, kind="stable")  # least likely first
        ordered = xp.take_along_axis(scores, order, -1)
        removed = F.softmax(as_tensor(ordered)).data.cumsum(axis=-1) <= 1 - self.top_p
        removed[:, -self.min_tokens_to_keep :] = False
        excluded = xp.empty_like(removed)
        excluded[xp.arange(len(scores))[:, None], order] = removed
        return xp.where(excluded, _EXCLUDED, scores)


class MinPLogitsWarper:
    """Keeps the tokens that are at least `min_p` times as likely as the most likely one.

    Source   Nguyen et al. 2024, arXiv:2407.01082 (min-p sampling)
    """

    def __init__(self, min_p: float, min_tokens_to_keep: int = 1) -> None:
        check_number("min_p", min_p, most=1)
        self.min_p = float(min_p)
        self.min_tokens_to_keep = _tokens_to_keep(min_tokens_to_keep)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        xp = array_module(scores)
        p = F.softmax(as_tensor(scores)).data
        removed = p < self.min_p * p.max(axis=-1, keepdims=True)
        kept = top_indices(scores, min(self.min_tokens_to_keep, scores.shape[1]))
        removed[xp.arange(len(scores))[:, None], kept] = False
        return xp.where(removed, _EXCLUDED, scores)


class TypicalLogitsWarper:
    """Keeps the most typical tokens until their probabilities add up to `mass`, and those that tie
    with the last of them.

    A token is typical if its information -log p is close to the entropy H = -sum p log p, the
    expected information.

    Source   Meister et al. 2022, arXiv:2202.00666 (locally typical sampling)
    """

    def __init__(self, mass: float, min_tokens_to_keep: int = 1) -> None:
        self.mass = _open_probability("typical_p", mass)
        self.min_tokens_to_keep = _tokens_to_keep(min_tokens_to_keep)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        xp = array_module(scores)
        rows = xp.arange(len(scores))[:, None]
        log_p, p, entropy = _entropy(scores)
        distance = xp.abs(-log_p - entropy)
        order = xp.argsort(distance, axis=-1, kind="stable")
        before = (p[rows, order].cumsum(axis=-1) < self.mass).sum(axis=-1, keepdims=True)
        last = order[rows, xp.minimum(before, scores.shape[1] - 1)]
        removed = distance > distance[rows, last]
        removed[rows, order[:, : self.min_tokens_to_keep]] = False
        return xp.where(removed, _EXCLUDED, scores)


class EpsilonLogitsWarper:
    """Keeps the tokens with a probability of at least `epsilon`.

    Source   Hewitt et al. 2022, arXiv:2210.15191 (epsilon sampling)
    """

    def __init__(self, epsilon: float, min_tokens_to_keep: int = 1) -> None:
        self.epsilon = _open_probability("epsilon_cutoff", epsilon)
        self.min_tokens_to_keep = _tokens_to_keep(min_tokens_to_keep)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        likely = F.softmax(as_tensor(scores)).data >= self.epsilon
        return _keep_likely_and_top(scores, likely, self.min_tokens_to_keep)


class EtaLogitsWarper:
    """Keeps the tokens with a probability of at least eta = min(epsilon, sqrt(epsilon) exp(-H)).

    The larger the entropy H of the distribution, the less likely tokens are kept.

    Source   Hewitt et al. 2022, arXiv:2210.15191 (eta sampling, alpha = sqrt(epsilon))
    """

    def __init__(self, epsilon: float, min_tokens_to_keep: int = 1) -> None:
        self.epsilon = _open_probability("eta_cutoff", epsilon)
        self.min_tokens_to_keep = _tokens_to_keep(min_tokens_to_keep)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        xp = array_module(scores)
        _, p, entropy = _entropy(scores)
        eta = xp.minimum(self.epsilon, self.epsilon**0.5 * xp.exp(-entropy))
        return _keep_likely_and_top(scores, p >= eta, self.min_tokens_to_keep)


def positive_float(name: str, value: float, hint: str = "") -> float:
    """Return `value` if it is a finite float > 0; an integer is refused, as in transformers."""
    fits = isinstance(value, (float, np.floating)) and 0 < value < float("inf")
    check(name, value, fits, f"a float > 0{hint}")
    return float(value)


def _open_probability(name: str, value: float) -> float:
    check(name, value, is_number(value) and 0 < value < 1, "a number > 0 and < 1")
    return float(value)


def _tokens_to_keep(min_tokens_to_keep: int) -> int:
    check_integer("min_tokens_to_keep", min_tokens_to_keep, 1)
    return min_tokens_to_keep


def _entropy(scores: Array) -> tuple[Array, Array, Array]:
    """Return log p and p (B, V) of softmax(scores), and the entropy (B, 1), where 0 log 0 is 0."""
    xp = array_module(scores)
    log_p = F.log_softmax(as_tensor(scores)).data
    p = xp.exp(log_p)
    return log_p, p, -(p * xp.where(p > 0, log_p, 0)).sum(axis=-1, keepdims=True)


def _keep_likely_and_top(scores: Array, likely: Array, count: int) -> Array:
    """Keep the tokens that are `likely` (B, V) or among the top `count`, ties included."""
    top_k = TopKLogitsWarper(count)(scores, scores)
    return array_module(scores).where(likely, scores, top_k)
