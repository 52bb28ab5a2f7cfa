"""The record: what it holds, that it is exact, and that it stays what it was."""

from __future__ import annotations

import gc
import importlib
import pkgutil
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinybert
import tinybert.ops
from tests.models import mega_oracle, nemotron_oracle, oracle
from tinybert.autograd import Function
from tinybert.optim import SGD, AdamW
from tinybert.trace import Trace, Value, formulas, load_trace, record
from tinybert.weights import CheckpointError, save_file

IDS = np.random.default_rng(0).integers(5, 20, (2, 8))
MASK = np.array([[1] * 8, [1] * 5 + [0] * 3])
OFF = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def model_of(family: str) -> Any:
    """A tiny model with a head for words, of each family."""
    with tinybert.manual_seed(0):
        if family == "Nemotron":
            return tinybert.NemotronForCausalLM(
                tinybert.NemotronConfig(**{**nemotron_oracle.TOY, "num_key_value_heads": 2})
            )
        if family == "Mega":
            options = {**mega_oracle.TOY, "use_chunking": True, "chunk_size": 4}
            return tinybert.MegaForMaskedLM(tinybert.MegaConfig(**options))
        config = getattr(tinybert, f"{family}Config")(**oracle.TOY)
        return getattr(tinybert, f"{family}ForMaskedLM")(config)


FAMILIES = ["Bert", "MegatronBert", "Mega", "Nemotron"]


def recorded(family: str, train: bool = False, **options: Any) -> tuple[Any, Trace, Any]:
    """A model, the record of a forward and a backward, and the loss."""
    model = model_of(family).train(train)
    with record(model, **options) as trace:
        loss = model(IDS, attention_mask=MASK, labels=IDS).loss
        loss.backward()
    return model, trace, loss


# --- exact ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("train", [False, True], ids=["eval", "dropout"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_step_can_be_run_again(family: str, train: bool) -> None:
    _, trace, _ = recorded(family, train)
    results = trace.replay()
    verdicts = Counter((result.step.phase, result.verdict) for result in results)
    assert all(result.ok for result in results), [r for r in results if not r.ok]
    expected = {("forward", "equal"), ("backward", "agrees")}
    if train and family != "Nemotron":
        expected.add(("backward", "equal"))  # of dropout, whose mask is run again
    assert set(verdicts) == expected
    assert len(results) == len(trace)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_changed_number_is_found(family: str) -> None:
    """In every step, forward and backward, the first result changed by a thousandth."""
    _, trace, _ = recorded(family)
    missed = []
    for step in trace:
        value = step.outputs[0]
        before, value.array = value.array, value.array.copy()
        if value.array.dtype.kind not in "fc" or not value.array.any():
            value.array = before
            continue
        size = np.abs(value.array[np.abs(value.array) < 1e30]).max()  # not that of a mask
        noise = np.random.default_rng(1).standard_normal(value.shape).astype(value.dtype)
        value.array += 0.02 * size * noise
        found = Trace([trace.steps[step.partner], step] if step.phase == "backward" else [step])
        pair = step.partner
        if step.phase == "backward":
            step.partner = 0
        if all(result.ok for result in found.replay() if result.step is step):
            missed.append(step)
        step.partner, value.array = pair, before
    assert missed == []


@pytest.mark.parametrize("family", FAMILIES)
def test_recording_changes_nothing(family: str) -> None:
    """But for rounding: attention is computed in steps."""
    model, _, loss = recorded(family)
    other = model_of(family).eval()
    expected = other(IDS, attention_mask=MASK, labels=IDS).loss
    expected.backward()
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)
    for (name, ours), (_, theirs) in zip(
        model.named_parameters(), other.named_parameters(), strict=True
    ):
        assert (ours.grad is None) == (theirs.grad is None), name
        if ours.grad is not None:
            atol = 1e-5 * np.abs(theirs.grad.numpy()).max() + 1e-9
            assert np.allclose(ours.grad.numpy(), theirs.grad.numpy(), atol=atol), name


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_and_results_are_those_of_the_model(family: str) -> None:
    """The sum of the gradients that reached a parameter is its gradient; the last y is the loss."""
    model, trace, loss = recorded(family)
    assert trace.forward[-1].outputs[0].array == loss.numpy()
    total: dict[str, Any] = {}
    for step in trace.backward:
        forward = trace[step.partner]
        for value in step.outputs:
            name = next((v.parameter for v in forward.inputs if f"d{v.name}" == value.name), None)
            if name is not None:
                total[name] = total.get(name, 0) + value.array.astype(np.float64)
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            assert np.allclose(total[name], parameter.grad.numpy(), rtol=1e-5, atol=1e-7), name


# --- what it says --------------------------------------------------------------------------------


def test_steps_have_names_places_and_letters() -> None:
    _, trace, _ = recorded("Bert")
    (softmax,) = [
        s
        for s in trace["bert.encoder.layer.1.attention"]
        if s.operation == "Softmax" and s.phase == "forward"
    ]
    assert softmax.module == "bert.encoder.layer.1.attention.self"
    assert softmax.place.startswith("attention.py:")
    assert "softmax" in softmax.code
    assert softmax.outputs[0].axes == "BHTT"
    backward = trace[softmax.partner]
    assert (backward.phase, backward.partner) == ("backward", softmax.number)
    assert [value.name for value in backward.values()] == ["dy", "dx", "y"]
    linear = trace["bert.encoder.layer.0.intermediate.dense"][0]
    axes = [(value.name, value.axes) for value in linear.inputs]
    assert axes == [("x", "BTD"), ("weight", "FD"), ("bias", "F")]
    assert linear.inputs[1].parameter == "bert.encoder.layer.0.intermediate.dense.weight"
    source = linear.inputs[0].source
    assert source is not None
    assert trace[source[0]].outputs[source[1]].array is linear.inputs[0].array
    assert "not inside" not in str(trace)
    with pytest.raises(KeyError, match="no step has the path 'nowhere'"):
        trace["nowhere"]
    with pytest.raises(KeyError, match="has no 'z'; it has x, weight, bias, y"):
        linear.value("z")


def test_a_script_of_functions_alone() -> None:
    with record() as trace:
        x = tinybert.Tensor([1.0, 2.0], requires_grad=True)
        y = (x * x).sum()
        y.backward()
    assert [step.operation for step in trace] == ["Mul", "Sum", "Sum", "Mul"]
    assert trace[0].code == "y = (x * x).sum()"
    assert trace[0].place == f"test_record.py:{trace[0].line}"
    assert [v.name for v in trace[3].outputs] == ["da", "db"]
    # x got two gradients of one step, which it added up in its own memory.
    assert trace[3].outputs[0].array.tolist() == [1.0, 2.0]
    assert x.grad.tolist() == [2.0, 4.0]


def test_an_operation_of_ones_own() -> None:
    class Cube(Function):
        """y = x^3. dx = 3 x^2 dy."""

        def forward(self, x: Any) -> Any:
            self.x = x
            return x**3

        def backward(self, dy: Any) -> Any:
            return 3 * self.x**2 * dy

    class Wrong(Cube):
        backward_formula = "dx = x^2 dy"

        def backward(self, dy: Any) -> Any:
            return self.x**2 * dy

    x = tinybert.Tensor([1.0, -2.0], requires_grad=True)
    with record() as trace:
        Cube.apply(x).sum().backward()
        Wrong.apply(x).sum().backward()
    assert formulas(Cube) == ("y = x^3", "dx = 3 x^2 dy")
    assert formulas(Wrong).backward == "dx = x^2 dy"
    verdicts = {result.step.path: result.verdict for result in trace.replay() if not result.ok}
    assert verdicts == {"Wrong": "differs"}


def operations() -> Iterator[Any]:
    for module in pkgutil.iter_modules(tinybert.ops.__path__):
        importlib.import_module(f"tinybert.ops.{module.name}")
    pending = [Function]
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        if kind.__module__.startswith("tinybert."):
            yield kind


def test_every_operation_has_both_formulas() -> None:
    kinds = [kind for kind in operations() if kind is not Function]
    assert len(kinds) >= 80
    for kind in kinds:
        forward, backward = formulas(kind)
        assert len(forward) > 5, kind
        assert len(backward) > 5, kind
        assert "Oracle" not in forward + backward, (kind, forward, backward)
    exact = [kind for kind in kinds if "=" in formulas(kind).backward]
    assert len(exact) >= 64


def test_generation_with_a_cache() -> None:
    model = model_of("Nemotron").eval()
    with record(model) as trace:
        model.generate(IDS[:1, :3], max_new_tokens=3, do_sample=False)
    calls = {step.call for step in trace["model.layers.0.self_attn.q_proj"]}
    assert calls == {0, 1, 2}
    lengths = [step.outputs[0].shape[-1] for step in trace if step.operation == "Softmax"]
    assert lengths[:: model.config.num_hidden_layers] == [3, 4, 5]
    assert all(result.ok for result in trace.replay())


def test_the_update_of_a_parameter() -> None:
    model = model_of("Bert")
    optimizer = AdamW(model.parameters(), lr=0.1)
    before = {name: p.numpy().copy() for name, p in model.named_parameters()}
    with record(model) as trace:
        model(IDS, labels=IDS).loss.backward()
        optimizer.step()
        after = {name: p.numpy().copy() for name, p in model.named_parameters()}
        optimizer.step()
    assert len(trace.updates) == 2 * sum(p.grad is not None for p in model.parameters())
    step = trace.updates[0]
    name = step.outputs[0].parameter
    assert step.operation == "AdamW"
    assert (step.value("weight").array == before[name]).all()
    assert (step.outputs[0].array == after[name]).all()
    assert {value.name for value in step.saved} >= {"exp_avg", "exp_avg_sq"}
    used = next(v for s in trace.forward for v in s.inputs if v.parameter == name)
    assert (used.array == before[name]).all()


# --- it stays what it was ------------------------------------------------------------------------


def test_later_changes_do_not_reach_the_record() -> None:
    model, trace, _ = recorded("Bert")
    kept = [(value, value.array.copy()) for value in trace.values()]
    model(IDS, labels=IDS).loss.backward()  # adds to the gradients in place
    SGD(model.parameters(), lr=0.5).step()
    for parameter in model.parameters():
        with tinybert.no_grad():
            parameter.zero_()
    for value, before in kept:
        assert (value.array == before).all(), value


def test_results_changed_in_place() -> None:
    with record() as trace, tinybert.no_grad():
        x = tinybert.Tensor([1.0, 2.0])
        y = x + 1
        y.add_(5)
        x.zero_()
    assert trace[0].inputs[0].array.tolist() == [1.0, 2.0]
    assert trace[0].outputs[0].array.tolist() == [2.0, 3.0]


def test_recording_ends_with_the_block() -> None:
    x = tinybert.Tensor([1.0])
    with record() as trace:
        _ = x + 1
    _ = x + 2
    assert len(trace) == 1
    with pytest.raises(ZeroDivisionError), record() as trace:
        _ = 1 / 0
    _ = x + 3
    assert len(trace) == 0
    with record(), pytest.raises(RuntimeError, match="records already"), record():
        pass


def test_the_record_keeps_no_graph_alive() -> None:
    x = tinybert.Tensor([1.0], requires_grad=True)
    with record():
        y = x * 2
        node = weakref.ref(y.grad_fn)
        del y
    gc.collect()
    assert node() is None


def test_records_that_are_gone_leave_nothing_at_a_parameter() -> None:
    x = tinybert.Tensor([1.0], requires_grad=True)
    for _ in range(3):
        with record():
            _ = x * 2
        gc.collect()
    assert len(x._version.before_change) <= 2


def test_what_is_reduced_is_not_held() -> None:
    alive = []
    with record(limit=1000) as trace, tinybert.no_grad():
        x = tinybert.Tensor(np.ones(200))
        for _ in range(20):
            x = x + 1
            alive.append(weakref.ref(x.data))
        gc.collect()
        assert sum(reference() is not None for reference in alive) <= 2
    assert trace.shrunk > 10


# --- memory and files ----------------------------------------------------------------------------


def same_statistics(a: Value, b: Value) -> None:
    pairs = zip(astuple(a.statistics), astuple(b.statistics), strict=True)
    assert all(x == pytest.approx(y, rel=1e-9, abs=1e-15) for x, y in pairs)


def test_memory_is_bounded() -> None:
    _, whole, _ = recorded("Bert")
    _, trace, _ = recorded("Bert", limit=20_000)
    assert whole.shrunk == 0
    assert trace.shrunk > 100
    assert f"{trace.shrunk} arrays are thumbnails" in repr(trace)
    own = sum(v.nbytes for v in trace.values() if v.array is not None and v.parameter is None)
    assert own <= 20_000
    for small, large in zip(trace.values(), whole.values(), strict=True):
        assert (small.name, small.shape, small.dtype) == (large.name, large.shape, large.dtype)
        same_statistics(small, large)
    assert {result.verdict for result in trace.replay()} >= {"thumbnail"}


@pytest.mark.parametrize("family", FAMILIES)
def test_files(family: str, tmp_path: Path) -> None:
    _, trace, _ = recorded(family)
    trace.save(tmp_path / "trace")
    again = load_trace(tmp_path / "trace")
    assert str(again) == str(trace)
    for ours, other in zip(trace.values(), again.values(), strict=True):
        assert (ours.array == other.array).all()
        for name in ("name", "parameter", "source", "axes", "number"):
            assert getattr(ours, name) == getattr(other, name)
    assert all(result.ok for result in again.replay())
    assert [s.code for s in again] == [s.code for s in trace]


def test_a_file_says_what_it_is_of(tmp_path: Path) -> None:
    """A file without the three fields is as before."""
    _, trace, _ = recorded("Bert")
    trace.save(tmp_path / "bare")
    again = load_trace(tmp_path / "bare")
    assert (again.title, again.loss, again.tokens) == ("", None, [])
    trace.title, trace.loss, trace.tokens = "loss = 2", 2.0, [["[CLS]", "\u6771"]]
    trace.save(tmp_path / "named")
    again = load_trace(tmp_path / "named")
    assert (again.title, again.loss, again.tokens) == ("loss = 2", 2.0, [["[CLS]", "\u6771"]])


def test_a_file_of_thumbnails(tmp_path: Path) -> None:
    _, trace, _ = recorded("Bert", limit=20_000)
    trace.save(tmp_path / "trace")
    again = load_trace(tmp_path / "trace")
    assert again.shrunk == trace.shrunk
    for ours, other in zip(trace.values(), again.values(), strict=True):
        same_statistics(ours, other)
        assert (ours.array is None) == (other.array is None)


def test_files_that_are_refused(tmp_path: Path) -> None:
    save_file({"a": np.ones(3)}, tmp_path / "other")
    with pytest.raises(CheckpointError, match="is not a 'tinybert trace 1' file"):
        load_trace(tmp_path / "other")
    for text in (
        "",
        "[]",
        "{}",
        '{"shrunk": 0, "steps": [{}], "values": []}',
        '{"shrunk": 0, "steps": [], "values": [{"name": "x"}]}',
        "[" * 100_000,
        '{"shrunk": 0, "steps": [], "values": [], "tokens": [[1]]}',
        '{"shrunk": 0, "steps": [], "values": [], "tokens": 1}',
        '{"shrunk": 0, "steps": [], "values": [], "loss": "x"}',
    ):
        save_file({"a": np.ones(3)}, tmp_path / "bad", {"kind": "tinybert trace 1", "trace": text})
        with pytest.raises(CheckpointError, match="damaged record"):
            load_trace(tmp_path / "bad")


# --- why_nan -------------------------------------------------------------------------------------


def test_why_nan() -> None:
    _, trace, _ = recorded("Bert")
    assert trace.why_nan() is None
    with record() as trace, np.errstate(all="ignore"):
        x = tinybert.Tensor([[1.0, 2.0], [3.0, -1.0]])
        y = x.log()
        (y + 1).softmax(-1)
    cause = trace.why_nan()
    assert cause is not None
    assert (cause.step.operation, cause.index, cause.given) == ("Log", (1, 1), False)
    assert "y[1, 1] = nan" in str(cause)
    assert "x (2, 2): -1 to 3" in str(cause)


def test_why_nan_in_a_model() -> None:
    model = model_of("Bert").eval()
    name = "bert.encoder.layer.1.output.dense.weight"
    with tinybert.no_grad():
        model.state_dict()[name][2, 3] = np.inf
    with record(model) as trace, np.errstate(all="ignore"):
        model(IDS)
    cause = trace.why_nan()
    assert cause is not None
    assert cause.value.parameter == name
    assert cause.index == (2, 3)
    assert "given to it" in str(cause)
