"""Pruning and distillation on every device, against the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import tolerances
from tests.compress.small_models import FAMILIES, TARGETS, make_batches, make_config, make_model
from tinybert.compress import Distillation, prune


class Words:
    """What a distillation asks of a language modeling, without a tokenizer."""

    best, count, evaluate = "-loss", None, None

    def __init__(self, objective: str) -> None:
        self.objective = objective

    def check_model(self, model: Any) -> None:
        """Every model is right."""


@pytest.mark.parametrize("family", FAMILIES)
def test_as_on_the_cpu(family: str, device: str) -> None:
    batch = make_batches()[0]
    ids = batch["input_ids"]
    causal = family == "nemotron"
    labels = ids if causal else np.where((ids + np.arange(ids.shape[1])) % 3 == 0, ids, -100)
    labels = np.where(batch["attention_mask"] == 0, -100, labels)
    found: list[Any] = []
    for where in ("cpu", device):
        teacher = make_model(family).to(device=where)
        student = prune(teacher, make_config(family, **TARGETS[family]), [batch])
        assert student.device == teacher.device
        task: Any = Words("causal" if causal else "masked")
        distillation = Distillation(task, teacher, student, 2.0, labels=1.0, hidden=1.0)
        assert distillation.projection is not None
        weight = distillation.projection.weight
        wide, narrow = weight.shape
        weight.data[...] = weight.data * 0 + 1 / narrow
        loss = distillation.loss(student, {**batch, "labels": labels})
        loss.backward()
        grads = [p.grad.numpy() for p in student.parameters() if p.grad is not None]
        found.append((float(loss), grads, distillation.projection.weight.grad.numpy()))
        assert wide > narrow
    (loss, grads, of_w), (there, others, of_w_there) = found
    assert there == pytest.approx(loss, rel=tolerances.DEVICE_FLOAT64)
    for here, other in zip([*grads, of_w], [*others, of_w_there], strict=True):
        np.testing.assert_allclose(other, here, rtol=0, atol=1e-10)
