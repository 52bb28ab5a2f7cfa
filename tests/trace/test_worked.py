"""Worked numbers: they are the recorded ones, and their text gives them too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinybert
from tests.trace.arithmetic_text import check_text, fits
from tests.trace.test_record import FAMILIES, recorded
from tinybert import Tensor
from tinybert import functional as F
from tinybert.autograd import Function
from tinybert.optim import SGD, Adam, AdamW, Lamb
from tinybert.trace import Step, Trace, load_trace, record
from tinybert.trace.arithmetic import terms
from tinybert.trace.worked import Worked, operations_without, worked

TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "int64": 0.0, "bool": 0.0}
RNG = np.random.default_rng(0)


def x(*shape: int, dtype: str = "float64", positive: bool = False) -> Tensor:
    array = RNG.standard_normal(shape)
    array = np.abs(array) + 0.1 if positive else array
    return Tensor(array.astype(dtype), requires_grad=True)


IDS = np.array([[1, 4, 1], [0, 1, 5]])
TARGETS = np.array([2, -100, 0, 3])
MASKED = np.array([[True, True, False, True], [False] * 4, [True] * 4])
# A name for each way to use an operation: what it is given, and how it is called.
CASES: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "Linear": (F.linear, {"input": (2, 3, 5), "weight": (4, 5), "bias": (4,)}),
    "Linear without bias": (F.linear, {"input": (3,), "weight": (2, 3)}),
    "MatMul": (F.matmul, {"input": (2, 1, 3, 5), "other": (4, 5, 2)}),
    "MatMul of a row": (F.matmul, {"input": (5,), "other": (2, 5, 3)}),
    "MatMul of a column": (F.matmul, {"input": (2, 3, 5), "other": (5,)}),
    "MatMul of vectors": (F.matmul, {"input": (3,), "other": (3,)}),
    "Softmax": (F.softmax, {"input": (2, 3, 4), "axis": -1}),
    "Softmax over another axis": (F.softmax, {"input": (2, 7, 3), "axis": 1}),
    "LogSoftmax": (F.log_softmax, {"input": (2, 7, 3), "axis": 1}),
    "CrossEntropy": (F.cross_entropy, {"input": (4, 5), "target": TARGETS}),
    "CrossEntropy with weights": (
        F.cross_entropy,
        {"input": (4, 4), "target": TARGETS, "weight": np.array([0.5, 1.0, 2.0, 3.0])},
    ),
    "CrossEntropy, smoothed": (
        F.cross_entropy,
        {"input": (4, 5), "target": TARGETS, "label_smoothing": 0.1, "reduction": "sum"},
    ),
    "CrossEntropy of probabilities": (
        F.cross_entropy, {"input": (2, 3, 2), "target": (2, 3, 2), "label_smoothing": 0.2},
    ),
    "CrossEntropy of each row": (
        F.cross_entropy,
        {"input": (2, 4, 3), "target": IDS % 4, "reduction": "none"},
    ),
    "CrossEntropy of one row": (F.cross_entropy, {"input": (4,), "target": np.array(2)}),
    "LayerNorm": (
        F.layer_norm, {"input": (2, 3, 4), "normalized_shape": [4], "weight": (4,), "bias": (4,)},
    ),
    "LayerNorm over two axes": (
        F.layer_norm, {"input": (2, 3, 4), "normalized_shape": [3, 4], "weight": (3, 4)},
    ),
    "RMSNorm": (F.rms_norm, {"input": (2, 3, 4), "normalized_shape": [4], "weight": (4,)}),
    "RMSNorm without weight": (F.rms_norm, {"input": (2, 3, 4), "normalized_shape": [3, 4]}),
    "ScaleNorm": (F.scale_norm, {"input": (2, 3, 5), "scale": (1,)}),
    "Gelu": (F.gelu, {"input": (2, 3)}),
    "GeluNew": (F.gelu_new, {"input": (2, 3)}),
    "Silu": (F.silu, {"input": (2, 3)}),
    "Sigmoid": (F.sigmoid, {"input": (2, 3)}),
    "Tanh": (F.tanh, {"input": (2, 3)}),
    "Relu": (F.relu, {"input": (2, 3)}),
    "Relu2": (F.relu2, {"input": (2, 3)}),
    "Laplace": (F.laplace, {"input": (2, 3)}),
    "Exp": (F.exp, {"input": (2, 3)}),
    "Neg": (F.neg, {"input": (2, 3)}),
    "Abs": (F.abs, {"input": (2, 3)}),
    "Log": (lambda x: F.log(x * x), {"x": (2, 3)}),
    "Sqrt": (lambda x: F.sqrt(x * x), {"x": (2, 3)}),
    "Rsqrt": (lambda x: F.rsqrt(x * x), {"x": (2, 3)}),
    "Pow": (lambda x, b: (x * x) ** b, {"x": (2, 3), "b": (3,)}),
    "Pow by a number": (lambda x: x**3, {"x": (2, 3)}),
    "Embedding": (F.embedding, {"input": IDS, "weight": (6, 2)}),
    "Embedding with padding": (F.embedding, {"input": IDS, "weight": (6, 2), "padding_idx": 1}),
    "Dropout": (F.dropout, {"input": (4, 5), "p": 0.4}),
    "Add": (F.add, {"input": (2, 3, 4), "other": (3, 1)}),
    "Add of a number": (lambda x: 2 + x, {"x": (3,)}),
    "Sub": (F.sub, {"input": (3, 1), "other": (2, 1, 4)}),
    "Mul": (F.mul, {"input": (4,), "other": (2, 3, 1)}),
    "Mul by a number": (lambda x: x * 0.125, {"x": (2, 3)}),
    "Div": (F.div, {"input": (2, 1, 3), "other": (4, 1)}),
    "Where": (
        F.where, {"condition": np.array([True, False, True]), "input": (2, 3), "other": (2, 1)},
    ),
    "MaskedFill": (
        F.masked_fill, {"input": (2, 3), "mask": np.array([True, False, True]), "value": -9.0},
    ),
    "RotaryEmbedding": (
        lambda x, cos, sin: F.rotary_embedding(x, cos.detach(), sin.detach()),
        {"x": (2, 3, 6), "cos": (3, 4), "sin": (3, 4)},
    ),
    "EMARecurrence": (
        lambda x, decay, enter, leave, state: _both(
            tinybert.ops.ema.ema_recurrence(x, decay, enter, leave, state)
        ),
        {"x": (2, 4, 3), "decay": (3, 2), "enter": (3, 2), "leave": (3, 2), "state": (2, 3, 2)},
    ),
    "EMARecurrence from nothing": (
        lambda x, decay, enter, leave: tinybert.ops.ema.ema_recurrence(x, decay, enter, leave)[0],
        {"x": (1, 3, 2), "decay": (2, 5), "enter": (2, 5), "leave": (2, 5)},
    ),
    "LongConvolution": (
        tinybert.ops.convolution.long_convolution,
        {"input": (2, 5, 3), "back": (3, 7), "ahead": (3, 7)},
    ),
    "PowerSums": (
        tinybert.ops.power_sums.power_sums, {"weight": (2, 3, 2), "base": (3, 2), "length": 5},
    ),
    "Sum": (F.sum, {"input": (2, 3, 4), "axis": (0, -1)}),
    "Mean": (F.mean, {"input": (2, 3, 4), "axis": 1, "keepdims": True}),
    "Mean of all": (F.mean, {"input": (2, 3)}),
    "Reshape": (F.reshape, {"input": (2, 6), "shape": (3, -1)}),
    "Permute": (lambda x: F.permute(x, 2, 0, 1), {"x": (2, 3, 4)}),
    "SplitHeads": (F.split_heads, {"input": (2, 3, 4), "heads": 2}),
    "MergeHeads": (F.merge_heads, {"input": (2, 2, 3, 2)}),
    "PackTokens": (F.pack_tokens, {"input": (2, 3, 2), "places": np.array([4, 0, 5])}),
    "UnpackTokens": (
        lambda x: F.unpack_tokens(x, np.array([4, 0, 5]), (2, 3)), {"x": (1, 3, 2)},
    ),
    "SegmentAttention": (
        lambda q, k, v: F.segment_attention(q, k, v, [(1, 1), (2, 2)], is_causal=True),
        {"q": (1, 4, 5, 2), "k": (1, 2, 5, 2), "v": (1, 2, 5, 3)},
    ),
    "GetItem": (lambda x: x[1:, None, 0], {"x": (3, 2, 4)}),
    "GetItem with repeats": (lambda x: x[[2, 0, 2, 2]], {"x": (3, 2)}),
    "Expand": (lambda x: F.expand(x, 5, 2, -1), {"x": (2, 1)}),
    "Concat": (lambda x, z: F.concat([x, z, x], 1), {"x": (2, 3), "z": (2, 1)}),
    "Stack": (lambda x, z: F.stack([x, z], 1), {"x": (2, 3), "z": (2, 3)}),
    "Split": (lambda x: _both(F.split(x, [1, 2], 1)), {"x": (2, 3)}),
    "Roll": (F.roll, {"input": (2, 3), "shifts": 1, "axis": 1}),
    "Flip": (F.flip, {"input": (2, 3), "axis": 1}),
    "Gather": (F.gather, {"input": (2, 3), "axis": 1, "index": np.array([[2, 0, 2, -1]])}),
    "ScatterAdd": (
        F.scatter_add,
        {"input": (2, 3), "axis": 1, "index": np.array([[2, 0, 2]]), "source": (2, 3)},
    ),
    "Pad": (lambda x: F.pad(x, ((1, 0), (0, 2)), 0.5), {"x": (2, 3)}),
    "Tril": (F.tril, {"input": (2, 3, 3)}),
    "Triu": (F.triu, {"input": (3, 3), "diagonal": 1}),
    "Clip": (F.clip, {"input": (4, 5), "min": -0.5, "max": 0.25}),
    "Clip from below": (F.clip, {"input": (4, 5), "min": 0.0}),
    "Erf": (F.erf, {"input": (2, 3)}),
    "Max": (F.max, {"input": (2, 3, 4), "axis": (0, -1)}),
    "Max with ties": (lambda x: F.max(F.relu(x), axis=1, keepdims=True), {"x": (3, 9)}),
    "Min": (F.min, {"input": (2, 3)}),
    "Var": (F.var, {"input": (2, 3, 4), "axis": (0, 2), "ddof": 1}),
    "Std": (F.std, {"input": (2, 3, 4), "axis": 1, "keepdims": True}),
    "Std of equal numbers": (lambda x: F.std(x * 0.0 + 1.0, axis=1), {"x": (2, 3)}),
    "LogSumExp": (F.logsumexp, {"input": (2, 3, 4), "axis": (0, 1)}),
    "CumSum": (F.cumsum, {"input": (2, 3, 4), "axis": 1}),
    "CumSum of all": (F.cumsum, {"input": (2, 3)}),
    "MSE": (F.mse_loss, {"input": (2, 3), "target": (2, 3)}),
    "MSE of each": (F.mse_loss, {"input": (2, 3), "target": (2, 3), "reduction": "none"}),
    "L1": (F.l1_loss, {"input": (2, 3), "target": (2, 3), "reduction": "sum"}),
    "KLDiv": (
        lambda x, t: F.kl_div(x, F.relu(t).detach(), reduction="batchmean"),
        {"x": (2, 9), "t": (2, 9)},
    ),
    "KLDiv of each": (
        lambda x, t: F.kl_div(x, t * t, reduction="none"), {"x": (2, 3), "t": (2, 3)},
    ),
    "KLDiv of logarithms": (
        lambda x, t: F.kl_div(x, t, log_target=True), {"x": (2, 3), "t": (2, 3)},
    ),
    "BCEWithLogits": (
        F.binary_cross_entropy_with_logits, {"input": (2, 3), "target": (2, 3)},
    ),
    "BCEWithLogits with weights": (
        F.binary_cross_entropy_with_logits,
        {
            "input": (2, 3), "target": (2, 3), "reduction": "none",
            "weight": np.array([[0.5], [2.0]]), "pos_weight": np.array([1.0, 2.0, 3.0]),
        },
    ),
    "NLLLoss": (F.nll_loss, {"input": (4, 5), "target": TARGETS}),
    "NLLLoss with weights": (
        F.nll_loss,
        {"input": (4, 4), "target": TARGETS, "weight": np.array([0.5, 1.0, 2.0, 3.0])},
    ),
    "NLLLoss of each row": (
        F.nll_loss, {"input": (2, 4, 3), "target": IDS % 4, "reduction": "none"},
    ),
    "BatchNorm": (
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        {"x": (4, 3, 2), "w": (3,), "b": (3,)},
    ),
    "BatchNorm in evaluation": (
        lambda x: F.batch_norm(x, Tensor(np.ones(3)), Tensor(np.full(3, 2.0))), {"x": (4, 3)},
    ),
    "LinearGelu": (
        tinybert.ops.gelu.linear_gelu, {"input": (2, 3, 5), "weight": (4, 5), "bias": (4,)},
    ),
    "ScaledDotProductAttention": (
        F.scaled_dot_product_attention, {"query": (2, 2, 3, 4), "key": (2, 2, 5, 4),
        "value": (2, 2, 5, 3)},
    ),
    "ScaledDotProductAttention of groups": (
        lambda q, k, v: F.scaled_dot_product_attention(
            q, k, v, attn_mask=MASKED, is_causal=True, enable_gqa=True, first=1
        ),
        {"q": (1, 4, 3, 2), "k": (1, 2, 4, 2), "v": (1, 2, 4, 2)},
    ),
    "ScaledDotProductAttention with a mask": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=MASKED * 0.5),
        {"q": (1, 2, 3, 2), "k": (1, 2, 4, 2), "v": (1, 2, 4, 2)},
    ),
    "Einsum": (
        lambda a, b: F.einsum("bqd,bkd->bkq", a, b), {"a": (2, 3, 4), "b": (2, 2, 4)},
    ),
    "Einsum of three": (
        lambda a, b, c: F.einsum("ij,jk,l->k", a, b, c), {"a": (2, 3), "b": (3, 2), "c": (2,)},
    ),
    "Einsum of one": (lambda a: F.einsum("ij->j", a), {"a": (2, 3)}),
    "Polynomials": (
        tinybert.ops.power_sums.polynomials, {"coefficient": (2, 3, 4), "base": (3, 2)},
    ),
    "Clone": (F.clone, {"input": (2, 3)}),
    "Cast": (lambda x: F.astype(x, "float32"), {"x": (2, 3)}),
}  # fmt: skip


def _both(outputs: Any) -> Any:
    """Both of two results, so that both get a gradient."""
    return (outputs[0] * outputs[0]).sum() + (outputs[1] * outputs[1] * 0.5).sum()


def steps_of(name: str, dtype: str) -> Trace:
    """The record of a case and of a backward from a random gradient."""
    function, given = CASES[name]
    arguments = {
        key: x(*value, dtype=dtype)
        if isinstance(value, tuple) and key not in ("axis", "shape")
        else value.astype(dtype) if isinstance(value, np.ndarray) and value.dtype == float
        else value
        for key, value in given.items()
    }  # fmt: skip
    with tinybert.manual_seed(3), record() as trace:
        if function is F.reshape:
            y = function(arguments["input"], arguments["shape"])
        else:
            y = function(**arguments)
        y.backward(Tensor(RNG.standard_normal(y.shape).astype(str(y.dtype))))
    return trace


def close(found: Worked, step: Step, tolerance: float) -> bool:
    """Whether the result is that of the step, but for rounding of the largest terms."""
    assert found.result is not None
    assert found.recorded is not None
    sizes = [np.abs(v.array).max(initial=0.0) for v in step.values() if v.array is not None]
    size = min(float(max(sizes, default=1.0)), 999.0) ** 2 + 1
    return bool(
        found.result == found.recorded
        or abs(found.result - found.recorded) <= tolerance * (size + abs(found.recorded))
    )


def checked(step: Step, indices: int) -> int:
    """Check some elements of all results of a step; return how many lines of text were read."""
    lines = 0
    for value in step.outputs:
        places: list[Any] = [None]
        for _ in range(indices if value.array is not None and value.array.size else 0):
            places.append(tuple(int(RNG.integers(n)) for n in value.shape))
        for place in places:
            found = worked(step, place, value.name)
            assert found is not None, step
            assert value.array is not None
            assert found.recorded == float(value.array[found.index])
            assert close(found, step, TOLERANCE[value.dtype]), (step, found.lines, found.recorded)
            assert place is None or found.index == place
            lines += check_text(found, step)
            assert all(len(line) <= 100 for line in str(found).splitlines())
    return lines


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_the_result_is_the_recorded_one(
    name: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what the text gives: of long sums all terms are shown here, so that it can be read."""
    monkeypatch.setattr(terms, "SHOWN", 1000)
    operation = name.split()[0].rstrip(",")
    trace = steps_of(name, dtype)
    steps = [step for step in trace if step.operation == operation]
    assert {step.phase for step in steps} == {"forward", "backward"}
    assert sum(checked(step, 6) for step in steps) > 0


def test_the_reader_of_texts_finds_mistakes() -> None:
    step = Step(0, "forward", "Mul")
    assert fits("0.12 * (0.031 - (-0.004))", "0.0042", step)
    for wrong in (
        "0.12 * (0.031 - 0.004)",
        "0.12 * 0.031 - (-0.004)",
        "0.13 * (0.031 - (-0.004))",
        "0.12 * (0.031 - (-0.005))",
    ):
        assert not fits(wrong, "0.0042", step), wrong
    assert fits("(-2)^2", "4", step)
    assert not fits("-2^2", "4", step)
    assert not fits("exp(1)", "2.721", step)


def test_parentheses() -> None:
    a, b, c = (terms.number(x) for x in (0.5, -2.0, 3e-5))
    expected = {
        "0.5 - (-2)": a - b,
        "0.5 - (-2 - 3e-05)": a - (b - c),
        "0.5 - (-2) - 3e-05": a - b - c,
        "0.5 - (-2) * 3e-05": a - b * c,
        "(0.5 - (-2)) * 3e-05": (a - b) * c,
        "0.5 / (-2 * 3e-05)": a / (b * c),
        "0.5 / 3e-05 / (-2)": a / c / b,
        "(-2)^2 + (-0.5)": b**2 + -a,
        "(0.5 + 3e-05)^2": (a + c) ** 2,
        "(0.5^2)^2": (a**2) ** 2,
        "-(-2)": -b,
        "1 - (-x[1])": 1 - -terms.Term(1.0, "x[1]"),
        "exp(-2 + 0.5)": terms.exp(b + a),
        "0.5 + nan": a + np.nan,
        "0.5 * (-inf)": a * -np.inf,
        "0 + 12345": terms.number(-0.0) + 12345,
        "1.235e+04": terms.number(12346.0),
    }  # fmt: skip
    for text, term in expected.items():
        assert term.text == text
    assert (a - (b - c)).value == 0.5 - (-2.0 - 3e-5)


@pytest.mark.parametrize("train", [False, True], ids=["eval", "dropout"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_step_of_a_model(family: str, train: bool) -> None:
    _, trace, _ = recorded(family, train)
    assert sum(checked(step, 0) for step in trace) > len(trace) / 2


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (AdamW, {"lr": 0.01}),
        (Adam, {"lr": 0.01, "weight_decay": 0.1}),
        (Adam, {"lr": 0.01, "betas": (0.0, 0.5)}),
        (SGD, {"lr": 0.1}),
        (SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True}),
        (SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}),
        (Lamb, {"lr": 0.1}),
        (Lamb, {"lr": 0.1, "weight_decay": 0.0}),
    ],
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_updates(kind: Any, options: dict[str, Any], dtype: str) -> None:
    weight = x(3, 4, dtype=dtype)
    optimizer = kind([weight], **options)
    with record() as trace:
        for _ in range(3):
            weight.grad = None
            (weight * x(3, 4, dtype=dtype)).sum().backward()
            optimizer.step()
    assert len(trace.updates) == 3
    first, found = trace.updates[0], worked(trace.updates[0])
    assert found is not None
    change = np.abs(first.outputs[0].array - first.inputs[0].array)
    assert change[found.index] == change.max()
    assert all(checked(step, 6) >= 6 for step in trace.updates)


def test_what_it_looks_like() -> None:
    with record() as trace:
        y = F.softmax(Tensor(np.log([0.6, 0.3, 0.1]), requires_grad=True))
        y.backward(Tensor([0.0, 0.5, -1.0]))
    (forward, backward) = trace.steps
    assert str(worked(forward)) == (
        "max = -0.5108\n"
        "sum = exp(-0.5108 - (-0.5108)) + exp(-1.204 - (-0.5108)) + exp(-2.303 - (-0.5108))"
        " = 1.667\n"
        "y[0] = exp(-0.5108 - (-0.5108)) / 1.667 = 0.6"
    )
    assert str(worked(backward, [1])) == (
        "sum = 0 * 0.6 + 0.5 * 0.3 + (-1) * 0.1 = 0.05\ndx[1] = 0.3 * (0.5 - 0.05) = 0.135"
    )


def test_long_sums_show_their_largest_terms() -> None:
    weight = np.zeros((1, 384))
    weight[0, [5, 100, 383]] = 3, -4, 0.5
    weight[0, 200] = 1e-3
    with record() as trace:
        F.linear(np.ones((1, 384)), Tensor(weight))
    assert str(worked(trace[0])) == "y[0,0] = 1 * (-4) + 1 * 3 + 1 * 0.5 + ... (381 more) = -0.499"


def test_a_difference_that_can_be_seen_is_said() -> None:
    with record() as trace:
        F.add(Tensor([1.0, 2.0]), Tensor([0.5, 0.25]))
    array = trace[0].outputs[0].array
    assert array is not None
    array[1] = 2.5
    assert str(worked(trace[0])) == "y[1] = 2 + 0.25 = 2.25 (recorded: 2.5)"


def test_nan_and_infinity_are_shown() -> None:
    with record() as trace, np.errstate(all="ignore"):
        a = Tensor([[1.0, np.inf, np.nan], [-np.inf] * 3], requires_grad=True)
        F.softmax(a).backward(np.ones((2, 3)))
        F.layer_norm(a, [3]).backward(np.ones((2, 3)))
        F.cross_entropy(a, np.array([1, 2])).backward()
        F.linear(a, x(4, 3))
    for step in trace:
        found = worked(step)
        assert found is not None
        assert found.result is not None
        assert np.isnan(found.result)
        assert found.lines[-1].endswith("= nan")
    found = worked(trace[0], (0, 0))
    assert found is not None
    assert found.lines[0] == "max = nan"


def test_thumbnails_are_said() -> None:
    _, trace, _ = recorded("Bert", limit=20_000)
    texts = [str(worked(step)) for step in trace]
    said = [text for text in texts if "only a thumbnail is kept" in text]
    assert len(said) > 50
    assert "of y only a thumbnail is kept; record with a larger limit" in said
    assert all(text.startswith("of ") for text in said)


def test_a_record_from_a_file(tmp_path: Path) -> None:
    _, trace, _ = recorded("Mega", train=True)
    trace.save(tmp_path / "trace")
    again = load_trace(tmp_path / "trace")
    assert [str(worked(step)) for step in again] == [str(worked(step)) for step in trace]
    with record() as trace:
        x(3)[np.array([2, 0])]
    trace.save(tmp_path / "array")
    text = str(worked(load_trace(tmp_path / "array")[0]))
    assert text == "the options of this step are not in the record"


def test_operations_without_a_gradient() -> None:
    with record() as trace:
        a = x(2, 3)
        _ = F.argmax(a, 1), F.argmin(a), a > 0.5, F.logical_not(a)
    assert [step.operation for step in trace] == ["ArgMax", "ArgMin", "Compare", "Compare"]
    assert all(checked(step, 6) >= 0 for step in trace)
    array = np.array([[1.0, 3.0, 2.0]])
    with record() as trace:
        F.argmax(array, 1)
        _ = Tensor(array) > 2.5
    assert str(worked(trace[0])) == "x[0,1] = 3\ny[0] = 1"
    assert str(worked(trace[1], (0, 2))) == "a = 2\nb = 2.5\ny[0,2] = 0"


def test_what_is_said_in_words() -> None:
    """Complex numbers, and a mask that is not recorded: words in place of the arithmetic."""
    assert operations_without() == ["IRFFT", "RFFT"]
    with record() as trace:
        F.irfft(F.rfft(x(4))).sum().backward()
        Tensor(np.array([1j])) * 2
    texts = {str(worked(step)) for step in trace if step.operation != "Sum"}
    assert texts == {"complex numbers are not worked out"}
    heads = [x(1, 1, 2, 2) for _ in range(3)]
    with record() as trace:
        F.scaled_dot_product_attention(*heads, dropout_p=0.5)
    assert str(worked(trace[0])) == "the weights that dropout set to 0 are not in the record"


def test_what_has_no_worker() -> None:
    class Softmax(Function):
        """y = 2 x. dx = 2 dy."""

        def forward(self, x: Any) -> Any:
            return 2 * x

        def backward(self, dy: Any) -> Any:
            return 2 * dy

    with record() as trace:
        Softmax.apply(x(3)).sum().backward()
    assert [worked(step) is None for step in trace] == [True, False, False, True]


def test_what_is_refused() -> None:
    with record() as trace:
        F.linear(x(2, 3), x(4, 3)).sum().backward()
    step = trace.backward[-1]
    with pytest.raises(KeyError, match="has no result 'dbias'; it has dx, dweight"):
        worked(step, value="dbias")
    for index in ((0,), (4, 0), (0, 0, 0), (-5, 0)):
        with pytest.raises(IndexError, match="is not in dweight of shape"):
            worked(step, index, "dweight")
    found = worked(step, (-1, 2), "dweight")
    assert found is not None
    assert found.index == (3, 2)


def test_results_without_elements() -> None:
    with record() as trace:
        F.add(np.zeros((0, 3)), 1.0)
    found = worked(trace[0])
    assert found is not None
    assert found.lines == ("y of shape (0, 3) has no elements",)
