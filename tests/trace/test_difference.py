"""Two records: equal, apart by rounding, or apart by a bug that is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinybert
from tests.models import oracle
from tests.trace.test_record import FAMILIES, IDS, MASK, model_of, recorded
from tinybert.ops.gelu import Gelu
from tinybert.ops.layer_norm import LayerNorm
from tinybert.ops.softmax import Softmax
from tinybert.optim import SGD, AdamW
from tinybert.trace import Trace, load_trace, record


def trained(
    family: str = "Bert", dtype: Any = np.float32, optimizer: Any = AdamW, steps: int = 2
) -> Trace:
    """The record of some steps of training, dropout included."""
    model = model_of(family).train().to(dtype=dtype)
    update = optimizer(model.parameters(), lr=0.01)
    with tinybert.manual_seed(3), tinybert.set_default_dtype(dtype), record(model) as trace:
        for _ in range(steps):
            model(IDS, attention_mask=MASK, labels=IDS).loss.backward()
            update.step()
            update.zero_grad()
    return trace


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_run_twice_is_equal(family: str) -> None:
    found = trained(family).compare(trained(family))
    assert found.ok
    assert {step.verdict for step in found.steps} == {"equal"}
    assert str(found).endswith("the largest difference of a forward is 0.0e+00")


@pytest.mark.parametrize("optimizer", [AdamW, SGD])
@pytest.mark.parametrize("family", FAMILIES)
def test_precision_is_noise(family: str, optimizer: Any) -> None:
    """Also dropout, gradients that are nothing but rounding, and what Adam makes of their signs."""
    single, double = (trained(family, dtype, optimizer) for dtype in (np.float32, np.float64))
    found = single.compare(double)
    assert found.ok, found
    assert len(found.steps) == len(single)
    assert {step.verdict for step in found.steps} == {"equal", "noise"}
    assert double.compare(single).ok


@pytest.mark.parametrize("planted_first", [True, False])
@pytest.mark.parametrize(
    ("kind", "method", "where"),
    [
        (Softmax, "forward", "bert.encoder.layer.0.attention.self"),
        (LayerNorm, "backward", "cls.predictions.transform.LayerNorm"),
        (Gelu, "backward", "cls.predictions.transform"),
        (Gelu, "forward", "bert.encoder.layer.0.intermediate"),
    ],
)
def test_a_planted_bug_is_named(
    monkeypatch: pytest.MonkeyPatch, kind: Any, method: str, where: str, planted_first: bool
) -> None:
    """A ten-thousandth, against a record in another precision: the operation, and which record."""
    double = trained(dtype=np.float64, steps=1)
    right = getattr(kind, method)

    def wrong(self: Any, *args: Any, **options: Any) -> Any:
        found = right(self, *args, **options)
        if isinstance(found, tuple):
            return (found[0] * 1.0001, *found[1:])
        return found * 1.0001

    with monkeypatch.context() as planted:
        planted.setattr(kind, method, wrong)
        single = trained(steps=1)
    found = single.compare(double) if planted_first else double.compare(single)
    first = found.first
    assert first is not None
    assert not found.ok
    assert (first.verdict, first.step.operation, first.step.phase) == ("bug", kind.__name__, method)
    assert first.step.module.startswith(where)
    assert first.errors is not None
    ours, theirs = first.errors if planted_first else first.errors[::-1]
    assert ours == pytest.approx(5e-5, rel=0.9)
    assert theirs < 1e-13
    assert first.step.path in str(found)
    assert "this record differs from float64 by" in str(found)


def test_a_wrong_update(monkeypatch: pytest.MonkeyPatch) -> None:
    good = trained()
    right = AdamW.__init__
    monkeypatch.setattr(
        AdamW, "__init__", lambda self, p, lr: right(self, p, lr=lr, betas=(0.9, 0.99))
    )
    first = good.compare(trained()).first
    assert first is not None
    assert (first.verdict, first.step.phase) == ("options", "update")
    assert "betas = (0.9, 0.999), in the other record (0.9, 0.99)" in str(first)
    monkeypatch.undo()
    other = trained()
    updated: Any = other.updates[3].outputs[0]
    updated.array = updated.array * np.float32(1.001)
    first = good.compare(other).first
    assert first is not None
    assert (first.verdict, first.step) == ("bug", good.updates[3])


def test_other_weights_and_inputs() -> None:
    _, trace, _ = recorded("Bert")
    model = model_of("Bert").eval()
    name = "bert.encoder.layer.1.output.dense.weight"
    with tinybert.no_grad():
        model.state_dict()[name][2, 3] += 0.01
    with record(model) as other:
        model(IDS, attention_mask=MASK, labels=IDS).loss.backward()
    first = trace.compare(other).first
    assert first is not None
    assert (first.verdict, first.step.operation) == ("input", "Linear")
    assert f"{name}, which was given" in first.detail
    with record(model) as other:
        model(IDS[:, ::-1].copy(), attention_mask=MASK, labels=IDS).loss.backward()
    first = trace.compare(other).first
    assert first is not None
    assert (first.verdict, first.step.number) == ("input", 0)


def test_another_mask_of_dropout() -> None:
    model = model_of("Bert").train()
    traces = []
    for seed in (0, 1):
        with tinybert.manual_seed(seed), record(model) as trace:
            model(IDS)
        traces.append(trace)
    first = traces[0].compare(traces[1]).first
    assert first is not None
    assert (first.verdict, first.step.operation) == ("random", "Dropout")


def test_records_that_part() -> None:
    _, trace, _ = recorded("Bert")
    config = tinybert.BertConfig(**{**oracle.TOY, "hidden_size": 24})
    model = tinybert.BertForMaskedLM(config).eval()
    with record(model) as other:
        model(IDS, attention_mask=MASK, labels=IDS).loss.backward()
    found = trace.compare(other)
    assert not found.ok
    assert found.first is None
    assert "weight (23, 12), in the other record weight (23, 24)" in found.parted
    with record(model_of("Bert").eval()) as other:
        pass
    assert "only this record has step 0, forward bert.embeddings" in str(trace.compare(other))
    assert "only the other one has step 0" in str(other.compare(trace))
    assert "in the other record" in trace.compare(recorded("Nemotron")[1]).parted
    assert Trace().compare(Trace()).ok
    with pytest.raises(TypeError, match="other must be a Trace, got str"):
        trace.compare("other")  # type: ignore[arg-type]


def test_thumbnails_and_files(tmp_path: Path) -> None:
    _, whole, _ = recorded("Bert")
    _, small, _ = recorded("Bert", limit=20_000)
    assert whole.compare(small).ok
    _, other, _ = recorded("Bert", limit=20_000, train=True)
    assert not small.compare(other).ok
    whole.save(tmp_path / "trace")
    assert whole.compare(load_trace(tmp_path / "trace")).ok
    double = trained(dtype=np.float64)
    double.save(tmp_path / "double")
    assert trained().compare(load_trace(tmp_path / "double")).ok
