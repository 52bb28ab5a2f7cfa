"""Metrics: compare predictions with the right answers. Each returns Python floats.

Sources  Rajpurkar et al. 2016, arXiv:1606.05250 (exact match and F1 of answers, and the
         normalization of `squad_v1.1`'s evaluation script); Tjong Kim Sang and De Meulder 2003,
         "Introduction to the CoNLL-2003 Shared Task" (F1 of entities)
Oracles  scikit-learn, SciPy, seqeval
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


def accuracy(predictions: Any, labels: Any) -> float:
    """Return the share of predictions (N,) that are equal to the labels (N,)."""
    predictions, labels = _pair(predictions, labels)
    return float((predictions == labels).mean())


def f1(predictions: Any, labels: Any, average: str = "macro", classes: int | None = None) -> float:
    """Return the F1 score of class numbers (N,), or of a matrix of flags (N, C) (multi-label).

    F1 is the harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN) of a class; 0 if the
    class neither occurs nor is predicted.

    Args:
        average: "macro" for the mean over the classes that occur or are predicted, "micro" for the
            F1 of all decisions together, "binary" for class 1 alone.
        classes: count classes 0 to classes - 1, also those that never occur.
    """
    predictions, labels = _pair(predictions, labels)
    if predictions.ndim == 1:
        found = np.union1d(predictions, labels) if classes is None else np.arange(classes)
        if average == "binary":
            found = np.array([1])
        predictions, labels = (x[:, None] == found for x in (predictions, labels))
    predictions, labels = predictions.astype(bool), labels.astype(bool)
    hits = (predictions & labels).sum(axis=0)  # true positives of each class
    decisions = predictions.sum(axis=0) + labels.sum(axis=0)  # 2 TP + FP + FN
    if average == "micro":
        return _ratio(2 * hits.sum(), decisions.sum())
    return float(
        np.mean([_ratio(2 * hit, both) for hit, both in zip(hits, decisions, strict=True)])
    )


def perplexity(loss: float) -> float:
    """Return e to the mean cross-entropy in nats; infinity where that overflows."""
    return math.exp(loss) if loss < 709 else math.inf


def pearson(predictions: Any, labels: Any) -> float:
    """Return the linear correlation of two vectors (N,); nan if one is constant."""
    x, y = (np.asarray(v, np.float64) for v in _pair(predictions, labels))
    x, y = x - x.mean(), y - y.mean()
    norm = math.sqrt(float(x @ x)) * math.sqrt(float(y @ y))
    return float(x @ y) / norm if norm else math.nan


def spearman(predictions: Any, labels: Any) -> float:
    """Return the correlation of the ranks of two vectors (N,); equal values share their rank."""
    return pearson(_ranks(np.asarray(predictions)), _ranks(np.asarray(labels)))


def entity_f1(predictions: Sequence[Sequence[str]], labels: Sequence[Sequence[str]]) -> float:
    """Return the F1 of entities: kind, first and last word all have to be right.

    Args:
        predictions, labels: for each text the tag of each word, in the IOB2 scheme: `B-PER` begins
            an entity, `I-PER` continues it, `O` is outside. As in the script `conlleval` of
            CoNLL-2003, `I-PER` after another kind begins an entity, too.
    """
    found = {(row, *span) for row, tags in enumerate(predictions) for span in entities(tags)}
    right = {(row, *span) for row, tags in enumerate(labels) for span in entities(tags)}
    return _ratio(2 * len(found & right), len(found) + len(right))


def entities(tags: Iterable[str]) -> list[tuple[str, int, int]]:
    """Return (kind, first word, word after the last) of each entity in IOB2 tags."""
    spans: list[tuple[str, int, int]] = []
    for position, tag in enumerate(tags):
        prefix, _, kind = tag.partition("-")
        if not kind:
            continue
        if prefix == "I" and spans and spans[-1][0] == kind and spans[-1][2] == position:
            spans[-1] = (kind, spans[-1][1], position + 1)
        else:
            spans.append((kind, position, position + 1))
    return spans


def by_class(
    predictions: Sequence[Iterable[tuple[Any, ...]]], labels: Sequence[Iterable[tuple[Any, ...]]]
) -> dict[str, dict[str, float]]:
    """Return precision, recall, F1 and count (of the right decisions) of each class, in order.

    Args:
        predictions, labels: for each row its decisions, tuples that begin with the class: a class,
            or an entity with its position.
    """
    found, right = (
        {(name, row, *rest) for row, decisions in enumerate(rows) for name, *rest in decisions}
        for rows in (predictions, labels)
    )
    counts = [Counter(decision[0] for decision in part) for part in (found & right, found, right)]
    return {
        name: {
            "precision": _ratio(counts[0][name], counts[1][name]),
            "recall": _ratio(counts[0][name], counts[2][name]),
            "f1": _ratio(2 * counts[0][name], counts[1][name] + counts[2][name]),
            "count": counts[2][name],
        }
        for name in sorted(counts[1] | counts[2])
    }


def exact_match(predictions: Sequence[str], answers: Sequence[Sequence[str]]) -> float:
    """Return the share of answers that are right to the letter, after normalization.

    Args:
        predictions: one text for each question.
        answers: the right answers to each question; the best one counts. An unanswerable question
            has the answer "".
    """
    return _best(predictions, answers, lambda found, right: float(_words(found) == _words(right)))


def answer_f1(predictions: Sequence[str], answers: Sequence[Sequence[str]]) -> float:
    """Return the mean F1 of the words of each prediction and its best answer."""
    return _best(predictions, answers, _word_f1)


def _word_f1(found: str, right: str) -> float:
    words, expected = _words(found), _words(right)
    if not words or not expected:
        return float(words == expected)
    shared = sum((Counter(words) & Counter(expected)).values())
    return _ratio(2 * shared, len(words) + len(expected))


def _best(predictions: Sequence[str], answers: Sequence[Sequence[str]], score: Any) -> float:
    if len(predictions) != len(answers) or not len(answers):
        raise ValueError(
            f"predictions and answers must have one entry for each question, got "
            f"{len(predictions)} and {len(answers)}"
        )
    pairs = zip(predictions, answers, strict=True)
    return float(np.mean([max(score(found, one) for one in rights) for found, rights in pairs]))


def _words(text: str) -> list[str]:
    """Normalize an answer as SQuAD does: lower case, no punctuation, no articles."""
    text = "".join(char for char in text.lower() if char not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def _pair(predictions: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    if predictions.shape != labels.shape or not labels.size:
        raise ValueError(
            f"predictions and labels must have the same shape and not be empty, got "
            f"{predictions.shape} and {labels.shape}"
        )
    return predictions, labels


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the rank of each value; equal values get the mean of their ranks."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[group]


def _ratio(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else 0.0
