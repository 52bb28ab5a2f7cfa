"""Greedy and beam search in plain Python: a full pass for every token, lists for sequences.

An oracle for models whose reference has no `generate`. Nothing of tinybert is used, and nothing is
kept from one step to the next: no cache, no padding, no batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

NextLogits = Callable[[list[int]], list[float]]  # of the token after those given


@dataclass
class Rules:
    """The options of `generate` by their names there."""

    max_length: int
    eos: Sequence[int] = ()
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | str = False


def processed(scores: list[float], ids: list[int], rules: Rules) -> list[float]:
    """The scores of the next token, after what `ids` have said already."""
    scores = list(scores)
    for token in set(ids):
        p = rules.repetition_penalty
        scores[token] = scores[token] * p if scores[token] < 0 else scores[token] / p
    n = rules.no_repeat_ngram_size
    if n:
        said = {tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)}
        ending = tuple(ids[len(ids) - n + 1 :])
        for token in range(len(scores)):
            if (*ending, token) in said:
                scores[token] = -math.inf
    return scores


def greedy(logits: NextLogits, ids: list[int], rules: Rules) -> list[int]:
    """The ids, continued by the best token until one ends the sequence or it is long enough."""
    while len(ids) < rules.max_length:
        scores = processed(logits(ids), ids, rules)
        best = max(range(len(scores)), key=lambda token: scores[token])
        ids = [*ids, best]
        if best in rules.eos:
            break
    return ids


def log_softmax(logits: list[float]) -> list[float]:
    """Logits as log-probabilities."""
    top = max(logits)
    total = math.log(sum(math.exp(x - top) for x in logits)) + top
    return [x - total for x in logits]


def beam_search(
    logits: NextLogits, prompt: list[int], rules: Rules
) -> list[tuple[float, list[int]]]:
    """The finished sequences, best first, each with its score."""
    beams = rules.num_beams
    candidates = beams * max(2, 1 + len(rules.eos))
    running: list[tuple[float, list[int]]] = [(0.0, prompt)]
    finished: list[tuple[float, list[int]]] = []

    def worth(total: float, length: int) -> float:
        return total / (length - len(prompt)) ** rules.length_penalty

    while True:
        longer = []
        for total, ids in running:
            scores = processed(log_softmax(logits(ids)), ids, rules)
            longer += [(total + s, [*ids, token]) for token, s in enumerate(scores)]
        longer = sorted(longer, key=lambda pair: -pair[0])[:candidates]
        length = len(longer[0][1])
        full = length == rules.max_length
        ended = [full or ids[-1] in rules.eos for _, ids in longer]
        for (total, ids), end in zip(longer[:beams], ended[:beams], strict=True):
            if end:
                finished.append((worth(total, length), ids))
        finished = sorted(finished, key=lambda pair: -pair[0])[:beams]
        running = [pair for pair, end in zip(longer, ended, strict=True) if not end][:beams]
        if full or (len(finished) == beams and not improvable(running, finished, rules, worth)):
            return finished


def improvable(running: list, finished: list, rules: Rules, worth: Callable) -> bool:
    """Whether to go on once there are as many finished sequences as beams."""
    if rules.early_stopping is True:
        return False
    total, ids = running[0]
    length = len(ids)
    if rules.early_stopping == "never" and rules.length_penalty > 0:
        length = rules.max_length  # the longer, the more a negative sum is worth
    return worth(total, length) > finished[-1][0]
