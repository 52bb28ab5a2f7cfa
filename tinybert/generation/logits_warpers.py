"""The processors of sampling: which tokens can be drawn, and how boldly.

Like all processors they map input_ids (B, T) and scores (B, V), raw arrays, to new scores.
"""

from __future__ import annotations

from tinybert import functional as F
from tinybert.autograd import as_tensor
from tinybert.backend import Array, array_module
from tinybert.generation.checks import positive_float, share, whole
from tinybert.generation.sampling import best

_NEVER = float("-inf")


class TemperatureLogitsWarper:
    """Scores divided by `temperature`: below 1 the likely tokens become likelier still."""

    def __init__(self, temperature: float) -> None:
        hint = "; for the likeliest token always, use do_sample=False"
        self.temperature = positive_float("temperature", temperature, hint)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        return scores / self.temperature


class TopKLogitsWarper:
    """Keeps the `top_k` best tokens, and those that tie with the last of them.

    Source   Fan et al. 2018, arXiv:1805.04833, section 5.4
    """

    def __init__(self, top_k: int, min_tokens_to_keep: int = 1) -> None:
        whole("top_k", top_k, 1)
        self.top_k = max(int(top_k), _count(min_tokens_to_keep))

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        xp = array_module(scores)
        worst = xp.sort(scores, axis=-1)[:, -min(self.top_k, scores.shape[1]), None]
        return xp.where(scores < worst, _NEVER, scores)


class TopPLogitsWarper:
    """Keeps the fewest best tokens whose probabilities add up to more than `top_p`.

    Source   Holtzman et al. 2019, arXiv:1904.09751, section 3.1 (nucleus sampling)
    """

    def __init__(self, top_p: float, min_tokens_to_keep: int = 1) -> None:
        self.top_p = share("top_p", top_p)
        self.min_tokens_to_keep = _count(min_tokens_to_keep)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        xp = array_module(scores)
        order = xp.argsort(scores, axis=-1, kind="stable")  # worst first
        ordered = xp.take_along_axis(scores, order, -1)
        removed = F.softmax(as_tensor(ordered)).data.cumsum(axis=-1) <= 1 - self.top_p
        removed[:, -self.min_tokens_to_keep :] = False
        return xp.where(xp.take_along_axis(removed, order.argsort(axis=-1), -1), _NEVER, scores)


class MinPLogitsWarper:
    """Keeps the tokens that are at least `min_p` times as likely as the likeliest.

    Source   Nguyen et al. 2024, arXiv:2407.01082 (min-p sampling)
    """

    def __init__(self, min_p: float, min_tokens_to_keep: int = 1) -> None:
        self.min_p = share("min_p", min_p)
        self.min_tokens_to_keep = _count(min_tokens_to_keep)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        xp = array_module(scores)
        p = F.softmax(as_tensor(scores)).data
        removed = p < self.min_p * p.max(axis=-1, keepdims=True)
        places = best(scores, min(self.min_tokens_to_keep, scores.shape[1]))
        removed[xp.arange(len(scores))[:, None], places] = False
        return xp.where(removed, _NEVER, scores)


class TypicalLogitsWarper:
    """Keeps the most typical tokens until their probabilities add up to `mass`, and those that tie
    with the last of them. The typical ones surprise as much as is to be expected: the distance of
    -log p from the entropy H = -sum p log p is small.

    Source   Meister et al. 2022, arXiv:2202.00666 (locally typical sampling)
    """

    def __init__(self, mass: float, min_tokens_to_keep: int = 1) -> None:
        self.mass = share("typical_p", mass, ends=False)
        self.min_tokens_to_keep = _count(min_tokens_to_keep)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        xp = array_module(scores)
        rows = xp.arange(len(scores))[:, None]
        log_p, p, entropy = _surprise(scores)
        distance = xp.abs(-log_p - entropy)
        order = xp.argsort(distance, axis=-1, kind="stable")
        before = (p[rows, order].cumsum(axis=-1) < self.mass).sum(axis=-1, keepdims=True)
        last = order[rows, xp.minimum(before, scores.shape[1] - 1)]
        removed = distance > distance[rows, last]
        removed[rows, order[:, : self.min_tokens_to_keep]] = False
        return xp.where(removed, _NEVER, scores)


class EpsilonLogitsWarper:
    """Keeps the tokens with a probability of at least `epsilon`.

    Source   Hewitt et al. 2022, arXiv:2210.15191 (epsilon sampling)
    """

    def __init__(self, epsilon: float, min_tokens_to_keep: int = 1) -> None:
        self.epsilon = share("epsilon_cutoff", epsilon, ends=False)
        self.min_tokens_to_keep = _count(min_tokens_to_keep)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        likely = F.softmax(as_tensor(scores)).data >= self.epsilon
        return _likely_or_best(scores, likely, self.min_tokens_to_keep)


class EtaLogitsWarper:
    """Keeps the tokens with a probability of at least eta = min(epsilon, sqrt(epsilon) exp(-H)).
    Where much is possible (the entropy H is large), less likely tokens stay.

    Source   Hewitt et al. 2022, arXiv:2210.15191 (eta sampling, alpha = sqrt(epsilon))
    """

    def __init__(self, epsilon: float, min_tokens_to_keep: int = 1) -> None:
        self.epsilon = share("eta_cutoff", epsilon, ends=False)
        self.min_tokens_to_keep = _count(min_tokens_to_keep)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        xp = array_module(scores)
        _, p, entropy = _surprise(scores)
        eta = xp.minimum(self.epsilon, self.epsilon**0.5 * xp.exp(-entropy))
        return _likely_or_best(scores, p >= eta, self.min_tokens_to_keep)


def _count(min_tokens_to_keep: int) -> int:
    whole("min_tokens_to_keep", min_tokens_to_keep, 1)
    return min_tokens_to_keep


def _surprise(scores: Array) -> tuple[Array, Array, Array]:
    """log p and p (B, V) of the scores' softmax, and its entropy (B, 1), where 0 log 0 is 0."""
    xp = array_module(scores)
    log_p = F.log_softmax(as_tensor(scores)).data
    p = xp.exp(log_p)
    return log_p, p, -(p * xp.where(p > 0, log_p, 0)).sum(axis=-1, keepdims=True)


def _likely_or_best(scores: Array, likely: Array, count: int) -> Array:
    """The scores of tokens that are likely (B, V), or among the best `count`, ties included."""
    top_k = TopKLogitsWarper(count)(scores, scores)
    return array_module(scores).where(likely, scores, top_k)
