"""The processors of sampling: which tokens can be drawn, and how boldly.

Like all processors they map input_ids (B, T) and scores (B, V), raw arrays, to new scores.
"""

from __future__ import annotations

from tinybert import functional as F
from tinybert.autograd import as_tensor
from tinybert.backend import Array, array_module
from tinybert.generation.checks import positive_float, whole

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
        self.top_k = max(int(top_k), min_tokens_to_keep)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        xp = array_module(scores)
        worst = xp.sort(scores, axis=-1)[:, -min(self.top_k, scores.shape[1]), None]
        return xp.where(scores < worst, _NEVER, scores)


class TopPLogitsWarper:
    """Keeps the fewest best tokens whose probabilities add up to more than `top_p`.

    Source   Holtzman et al. 2019, arXiv:1904.09751, section 3.1 (nucleus sampling)
    """

    def __init__(self, top_p: float, min_tokens_to_keep: int = 1) -> None:
        if isinstance(top_p, bool) or not 0 <= top_p <= 1:
            raise ValueError(f"top_p must be from 0 to 1, got {top_p!r}")
        self.top_p, self.min_tokens_to_keep = float(top_p), min_tokens_to_keep

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        xp = array_module(scores)
        order = scores.argsort(axis=-1)  # worst first
        ordered = xp.take_along_axis(scores, order, -1)
        removed = F.softmax(as_tensor(ordered)).data.cumsum(axis=-1) <= 1 - self.top_p
        removed[:, -self.min_tokens_to_keep :] = False
        return xp.where(xp.take_along_axis(removed, order.argsort(axis=-1), -1), _NEVER, scores)
