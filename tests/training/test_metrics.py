"""Metrics against values computed by hand, and against NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tinybert.training import metrics


def test_accuracy_and_f1_by_hand() -> None:
    labels, found = [0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 0, 2]
    assert metrics.accuracy(found, labels) == pytest.approx(4 / 6)
    # class 0: TP 1, FP 1, FN 1; class 1: TP 2, FP 1, FN 0; class 2: TP 1, FP 0, FN 1
    each = [2 / 4, 4 / 5, 2 / 3]
    assert metrics.f1(found, labels) == pytest.approx(sum(each) / 3)
    assert metrics.f1(found, labels, "micro") == pytest.approx(4 / 6)
    assert metrics.f1(found, labels, "binary") == pytest.approx(each[1])
    assert metrics.f1(found, labels, classes=4) == pytest.approx(sum(each) / 4)


def test_multi_label_f1() -> None:
    labels = np.array([[1, 0, 1], [0, 1, 0]])
    found = np.array([[1, 1, 0], [0, 1, 0]])
    assert metrics.f1(found, labels, "micro") == pytest.approx(2 * 2 / (3 + 3))
    assert metrics.f1(found, labels) == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_correlations_against_numpy() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 50))
    assert metrics.pearson(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1])
    ranks = [np.argsort(np.argsort(v)) for v in (x, y)]
    assert metrics.spearman(x, y) == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert metrics.spearman([1, 2, 2, 3], [1, 2, 2, 9]) == pytest.approx(1)
    # by hand: ranks of [1, 1, 2] are [1.5, 1.5, 3]
    assert metrics.spearman([1, 1, 2], [1, 2, 3]) == pytest.approx(math.sqrt(3) / 2)
    assert math.isnan(metrics.pearson([1, 1], [1, 2]))


def test_entities() -> None:
    tags = ["B-PER", "I-PER", "O", "B-PER", "B-PER", "I-LOC", "I-LOC"]
    assert metrics.entities(tags) == [
        ("PER", 0, 2), ("PER", 3, 4), ("PER", 4, 5), ("LOC", 5, 7),
    ]  # fmt: skip
    found = [["B-PER", "O", "O", "B-PER", "B-PER", "I-LOC", "I-LOC"]]
    assert metrics.entity_f1(found, [tags]) == pytest.approx(2 * 3 / (4 + 4))
    assert metrics.entity_f1([["O"]], [["O"]]) == 0


def test_answers_are_normalized_as_squad_does() -> None:
    found = ["The Eiffel Tower!", "in 1999", "", "blue"]
    right = [["eiffel tower"], ["1999", "year 1999"], [""], ["red"]]
    assert metrics.exact_match(found, right) == 2 / 4
    assert metrics.answer_f1(found, right) == pytest.approx((1 + 2 / 3 + 1 + 0) / 4)
    assert metrics.answer_f1(["a"], [[""]]) == 1  # articles do not count


def test_perplexity() -> None:
    assert metrics.perplexity(math.log(7)) == pytest.approx(7)
    assert metrics.perplexity(1e6) == math.inf


def test_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="same shape"):
        metrics.accuracy([1, 2], [1])
    with pytest.raises(ValueError, match="one entry for each question, got 1 and 0"):
        metrics.exact_match(["a"], [])


def test_the_metrics_of_each_class_by_hand() -> None:
    labels, found = "aabbcc", "abbbac"
    ours = metrics.by_class([[(name,)] for name in found], [[(name,)] for name in labels])
    # a: TP 1, FP 1, FN 1; b: TP 2, FP 1, FN 0; c: TP 1, FP 0, FN 1
    assert [list(scores.values()) for scores in ours.values()] == [
        pytest.approx(row)
        for row in ([1 / 2, 1 / 2, 1 / 2, 2], [2 / 3, 1, 4 / 5, 2], [1, 1 / 2, 2 / 3, 2])
    ]
    assert list(ours) == ["a", "b", "c"]
    assert np.mean([scores["f1"] for scores in ours.values()]) == pytest.approx(
        metrics.f1(list(found), list(labels))
    )


def test_the_metrics_of_each_kind_of_entity() -> None:
    found = metrics.entities(["B-X", "I-X", "O", "B-Y"])
    right = metrics.entities(["B-X", "O", "O", "B-Y"])
    assert metrics.by_class([found, []], [right, [("Y", 0, 1)]]) == {
        "X": {"precision": 0, "recall": 0, "f1": 0, "count": 1},
        "Y": {"precision": 1, "recall": 0.5, "f1": 2 / 3, "count": 2},
    }
