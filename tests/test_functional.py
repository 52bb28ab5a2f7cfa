"""The list of functions: each is there, takes torch's arguments in torch's order, and refuses bad
ones by name. The mathematics is tested in tests/ops.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch

import tinybert
from tests.support import assert_close, check_op
from tests.tolerances import OP_FLOAT64
from tinybert import functional as F
from tinybert.autograd import Tensor
from tinybert.backend import manual_seed

rng = np.random.default_rng(11)


def draw(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape)


X, W, B = draw(2, 3, 5), draw(4, 5), draw(4)
LOGITS, CLASSES = draw(6, 5), np.array([0, 4, -100, 2, 1, 2])
PROBABILITIES = np.exp(draw(6, 5)) / 40
LOG_PROBABILITIES = np.log(PROBABILITIES)
QUERY, KEY, VALUE = draw(2, 3, 5, 4), draw(2, 3, 7, 4), draw(2, 3, 7, 6)
IDS = np.array([[1, 0, 3], [3, 2, 1]])

# name: all the arguments of torch's function that ours has, in torch's order
CASES: dict[str, dict[str, Any]] = {
    "linear": {"input": X, "weight": W, "bias": B},
    "embedding": {"input": IDS, "weight": W, "padding_idx": 1},
    "layer_norm": {
        "input": X, "normalized_shape": (5,), "weight": W[0], "bias": W[1], "eps": 0.1,
    },
    "rms_norm": {"input": X, "normalized_shape": (5,), "weight": W[0], "eps": 0.1},
    "batch_norm": {
        "input": X, "running_mean": X[0, :, 0], "running_var": X[0, :, 1] ** 2 + 0.5,
        "weight": X[1, :, 0], "bias": X[1, :, 1], "training": False, "momentum": 0.3, "eps": 0.1,
    },
    "relu": {"input": X},
    "silu": {"input": X},
    "tanh": {"input": X},
    "softmax": {"input": X, "dim": 1},
    "log_softmax": {"input": X, "dim": 1},
    "dropout": {"input": X, "p": 0.5, "training": False},
    "cross_entropy": {
        "input": LOGITS, "target": CLASSES, "weight": PROBABILITIES[0], "ignore_index": -100,
        "reduction": "sum", "label_smoothing": 0.1,
    },
    "nll_loss": {
        "input": LOG_PROBABILITIES, "target": CLASSES, "weight": PROBABILITIES[0],
        "ignore_index": -100, "reduction": "sum",
    },
    "binary_cross_entropy_with_logits": {
        "input": LOGITS, "target": PROBABILITIES, "weight": PROBABILITIES[0], "reduction": "none",
        "pos_weight": PROBABILITIES[1],
    },
    "mse_loss": {"input": LOGITS, "target": PROBABILITIES, "reduction": "sum"},
    "l1_loss": {"input": LOGITS, "target": PROBABILITIES, "reduction": "sum"},
    "kl_div": {
        "input": LOG_PROBABILITIES, "target": LOGITS - 3, "reduction": "batchmean",
        "log_target": True,
    },
}  # fmt: skip

# torch has no signature to read for these, or other names: positions only
POSITIONAL: dict[str, tuple[Any, ...]] = {
    "gelu": (X,),
    "sigmoid": (X,),
    "scaled_dot_product_attention": (QUERY, KEY, VALUE, draw(5, 7), 0.0, False),
    "one_hot": (IDS, 6),
}

COS, SIN = np.cos(W[:3, :4]), np.sin(W[:3, :4])


def turned(x: torch.Tensor) -> torch.Tensor:
    """Features 0 with 2 and 1 with 3 turned by their angles; the last three pass."""
    cos, sin = torch.from_numpy(COS).to(x.dtype), torch.from_numpy(SIN).to(x.dtype)
    a, b, rest = x[..., :2], x[..., 2:4], x[..., 4:]
    return torch.cat(
        (a * cos[:, :2] - b * sin[:, :2], b * cos[:, 2:] + a * sin[:, 2:], rest), dim=-1
    )


# functions that torch lacks, by their formulas
OWN: dict[str, tuple[tuple[Any, ...], Any]] = {
    "gelu_new": ((X,), lambda x: torch.nn.functional.gelu(x, approximate="tanh")),
    "relu2": ((X,), lambda x: torch.relu(x) ** 2),
    "laplace": ((X,), lambda x: (1 + torch.erf((x - 0.707107) / (0.282095 * 2**0.5))) / 2),
    "scale_norm": (
        (X, np.array([1.7])),
        lambda x, g: g * x * torch.rsqrt((x**2).mean(-1, keepdim=True) + 1e-6),
    ),
    "rotary_embedding": ((draw(2, 3, 7),), turned),
}  # fmt: skip


def _torch(value: Any) -> Any:
    return torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value


def _ours(value: Any) -> Any:
    return Tensor(value) if isinstance(value, np.ndarray) else value


def test_every_function_of_the_contract_is_there_and_tested():
    names = """linear embedding layer_norm rms_norm scale_norm batch_norm gelu gelu_new relu relu2
        silu tanh softmax laplace dropout scaled_dot_product_attention rotary_embedding
        cross_entropy binary_cross_entropy_with_logits mse_loss l1_loss kl_div nll_loss one_hot"""
    assert set(names.split()) <= {*CASES, *POSITIONAL, *OWN}
    assert tinybert.functional is F
    assert all(callable(getattr(F, name)) for name in (*CASES, *POSITIONAL, *OWN))


@pytest.mark.parametrize("name", CASES)
def test_arguments_stand_in_the_order_of_torch(name):
    options, theirs = CASES[name], getattr(torch.nn.functional, name)
    if name not in ("linear", "tanh"):
        order = [p for p in inspect.signature(theirs).parameters if p in options]
        assert order == list(options)
    expected = theirs(**{key: _torch(value) for key, value in options.items()}).numpy()
    positional = getattr(F, name)(*map(_ours, options.values()))
    assert_close(positional.numpy(), expected, rtol=OP_FLOAT64)
    by_name = getattr(F, name)(**{key: _ours(value) for key, value in options.items()})
    np.testing.assert_array_equal(by_name.numpy(), positional.numpy())


@pytest.mark.parametrize("name", POSITIONAL)
def test_positional_arguments_are_those_of_torch(name):
    theirs = getattr(torch.nn.functional, name)
    expected = theirs(*map(_torch, POSITIONAL[name])).numpy()
    assert_close(getattr(F, name)(*map(_ours, POSITIONAL[name])).numpy(), expected, rtol=OP_FLOAT64)


@pytest.mark.parametrize("name", OWN)
def test_functions_that_torch_lacks(name):
    arrays, formula = OWN[name]

    def ours(x: Tensor, *more: Tensor) -> Tensor:
        angles = (COS.astype(x.dtype), SIN.astype(x.dtype)) if name == "rotary_embedding" else ()
        return getattr(F, name)(x, *more, *angles)

    check_op(ours, formula, arrays=arrays)


@pytest.mark.parametrize(
    "name", ["linear", "embedding", "layer_norm", "rms_norm", "softmax", "mse_loss"]
)
def test_the_first_argument_may_be_an_array_or_a_list(name):
    first, *rest = map(_ours, CASES[name].values())
    expected = getattr(F, name)(first, *rest).numpy()
    for given in (first.numpy(), first.tolist()):
        result = getattr(F, name)(given, *rest)
        assert isinstance(result, Tensor)
        np.testing.assert_allclose(result.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_defaults_are_those_of_torch():
    defaults = {
        name: {
            key: p.default
            for key, p in inspect.signature(getattr(torch.nn.functional, name)).parameters.items()
            if key in inspect.signature(getattr(F, name)).parameters
            and p.default is not inspect.Parameter.empty
        }
        for name in CASES
        if name not in ("linear", "tanh", "softmax", "log_softmax")
    }
    for name, expected in defaults.items():
        ours = inspect.signature(getattr(F, name)).parameters
        assert {key: ours[key].default for key in expected} == expected


def test_a_clone_is_memory_of_its_own() -> None:
    x = Tensor([1.0, 2.0])
    y = F.clone(x)
    y.fill_(3.0)
    assert x.tolist() == [1.0, 2.0]
    assert F.contiguous(x) is x


@pytest.mark.parametrize(("axis", "shape"), [(0, (1, 2, 3)), (2, (2, 3, 1)), (-1, (2, 3, 1)),
                                             (-2, (2, 1, 3)), (-3, (1, 2, 3))])  # fmt: skip
def test_a_new_axis_is_counted_from_both_ends(axis: int, shape: tuple[int, ...]) -> None:
    assert F.unsqueeze(np.ones((2, 3)), axis).shape == shape


def test_two_gelus_at_2():
    # x Phi(x) and its tanh approximation: two functions, not one
    assert F.gelu(Tensor([2.0])).item() == pytest.approx(1.954500, abs=1e-6)
    assert F.gelu_new(Tensor([2.0])).item() == pytest.approx(1.954598, abs=1e-6)
    assert F.gelu(Tensor([2.0]), approximate="tanh").item() == F.gelu_new(Tensor([2.0])).item()


# --- batch_norm -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7, 3), (4, 3, 5), (2, 3, 4, 5)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_batch_norm_in_training_moves_its_statistics_as_torch_does(shape, dtype):
    ours = [Tensor(np.full(3, value, dtype)) for value in (0, 1)]
    theirs = [torch.from_numpy(t.numpy().copy()) for t in ours]
    for _ in range(3):
        x = (draw(*shape) * 2 + 3).astype(dtype)
        y = F.batch_norm(x, *ours, training=True, momentum=0.2)
        z = torch.nn.functional.batch_norm(
            torch.from_numpy(x), *theirs, training=True, momentum=0.2
        )
        assert_close(y.numpy(), z.numpy(), rtol=8 * np.finfo(dtype).eps)
        assert y.dtype == dtype
        for a, b in zip(ours, theirs, strict=True):
            assert_close(a.numpy(), b.numpy(), rtol=8 * np.finfo(dtype).eps)
            assert a.dtype == dtype


def test_batch_norm_in_training_needs_no_statistics():
    weight, bias = draw(3), draw(3)
    check_op(
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        lambda x, w, b: torch.nn.functional.batch_norm(x, None, None, w, b, training=True),
        arrays=[draw(4, 3, 5), weight, bias],
    )


def test_batch_norm_in_evaluation_leaves_its_statistics_alone():
    mean, var = Tensor(draw(3)), Tensor(draw(3) ** 2)
    before = mean.numpy().copy(), var.numpy().copy()
    F.batch_norm(Tensor(draw(4, 3)), mean, var)
    np.testing.assert_array_equal(mean.numpy(), before[0])
    np.testing.assert_array_equal(var.numpy(), before[1])


# --- dropout and one_hot --------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean(p):
    y = F.dropout(np.ones(200_000), p).numpy()
    assert set(np.unique(y)) == {0.0, 1 / (1 - p)}
    assert abs((y == 0).mean() - p) < 4 * np.sqrt(p * (1 - p) / y.size)
    assert abs(y.mean() - 1) < 4 * np.sqrt(p / (1 - p) / y.size)
    manual_seed(3)
    first = F.dropout(np.ones(50), p).numpy()
    manual_seed(3)
    np.testing.assert_array_equal(F.dropout(np.ones(50), p).numpy(), first)


@pytest.mark.parametrize("shared", [-1, (1,), [-1]])
def test_dropout_drops_elements_of_shared_axes_together(shared):
    y = F.dropout(np.ones((200, 3)), 0.5, shared=shared).numpy()
    assert (y == y[:, :1]).all()
    assert 0 < (y == 0).mean() < 1
    with pytest.raises(ValueError, match="axis must be from -2 to 1"):
        F.dropout(np.ones((2, 3)), 0.5, shared=2)


def test_ids_may_have_another_byte_order():
    weight = np.arange(8.0).reshape(4, 2)
    np.testing.assert_array_equal(
        F.embedding(np.array([3, 0], ">i4"), T(weight)).numpy()[0], [6, 7]
    )
    with pytest.raises(ValueError, match="input must be from 0 to 3, got -1"):
        F.embedding(np.array([1, -1], ">i8"), T(weight))


def test_dropout_treats_elements_independently():
    keep = F.dropout(np.ones((400, 500)), 0.5).numpy() > 0
    rows, columns = keep.mean(1), keep.mean(0)
    assert rows.std() == pytest.approx(0.5 / np.sqrt(500), rel=0.2)
    assert columns.std() == pytest.approx(0.5 / np.sqrt(400), rel=0.2)
    assert abs((keep[:, 1:] == keep[:, :-1]).mean() - 0.5) < 0.005


@pytest.mark.parametrize("ids", [[0, 2, 1], [[3], [0]], np.zeros((2, 0), np.int64), 4])
def test_one_hot_counts_the_classes_itself(ids):
    theirs = torch.tensor(ids)
    if theirs.numel():
        expected = torch.nn.functional.one_hot(theirs).numpy()
        np.testing.assert_array_equal(F.one_hot(ids).numpy(), expected)
        assert F.one_hot(ids).dtype == expected.dtype
    np.testing.assert_array_equal(
        F.one_hot(ids, 7).numpy(), torch.nn.functional.one_hot(theirs, 7).numpy()
    )


# --- errors ---------------------------------------------------------------------------------------

T = Tensor
WRONG: dict[str, Any] = {
    r"linear.*weight|weight.*shape": lambda: F.linear(T(X), T(draw(4, 3))),
    r"linear: bias": lambda: F.linear(T(X), T(W), T(draw(5))),
    r"input must be from 0 to 3, got 4": lambda: F.embedding([0, 4], T(W)),
    r"layer_norm: .*normalized_shape \(4,\)": lambda: F.layer_norm(T(X), (4,)),
    r"layer_norm: .*weight of shape \(4,\)": lambda: F.layer_norm(T(X), (5,), T(B)),
    r"layer_norm: .*bias": lambda: F.layer_norm(T(X), (5,), T(W[0]), T(B)),
    r"rms_norm: .*normalized_shape \(3,\)": lambda: F.rms_norm(T(X), (3,)),
    r"batch_norm: input .*\(5,\)": lambda: F.batch_norm(T(W[0]), None, None, training=True),
    r"batch_norm: running_mean": lambda: F.batch_norm(T(X), None, None),
    r"batch_norm: more than one value": lambda: F.batch_norm(T(W[:1]), None, None, training=True),
    r"batch_norm: running_mean must have shape \(3,\), got \(4,\)": lambda: F.batch_norm(
        T(X), T(B), T(B)
    ),
    r"batch_norm: running_var must have shape \(3,\), got \(4,\)": lambda: F.batch_norm(
        T(X), T(B[:3]), T(B), training=True
    ),
    r"batch_norm: weight must have shape \(3,\), got \(4,\)": lambda: F.batch_norm(
        T(X), T(B[:3]), T(B[:3]), T(B)
    ),
    r"gelu: approximate .*'erf'": lambda: F.gelu(T(X), "erf"),
    r"dropout: p .*1.5": lambda: F.dropout(T(X), 1.5),
    r"axis .*3": lambda: F.softmax(T(X), 3),
    r"reduction .*'average'": lambda: F.mse_loss(T(X), T(X), reduction="average"),
    r"target.*5": lambda: F.cross_entropy(T(LOGITS), np.full(6, 5)),
    r"label_smoothing.*2": lambda: F.cross_entropy(T(LOGITS), CLASSES, label_smoothing=2),
    r"input must be from 0 to 2, got 3": lambda: F.one_hot([3], 3),
    r"input .*-1": lambda: F.one_hot([-1, 2]),
    r"attn_mask of shape \(2, 7\)": lambda: F.scaled_dot_product_attention(
        T(QUERY), T(KEY), T(VALUE), np.ones((2, 7))
    ),
    r"query \(\.\.\., Tq, K\)": lambda: F.scaled_dot_product_attention(T(QUERY), T(VALUE), T(KEY)),
}


@pytest.mark.parametrize(("message", "call"), WRONG.items(), ids=WRONG)
def test_bad_arguments_are_refused_by_name(message, call):
    with pytest.raises(ValueError, match=message):
        call()


def test_bad_statistics_are_refused_before_good_ones_move():
    mean = Tensor(np.zeros(3))
    with pytest.raises(ValueError, match="weight"):
        F.batch_norm(T(X), mean, Tensor(np.ones(3)), T(B), training=True)
    assert not mean.numpy().any()


@pytest.mark.parametrize("call", [lambda: F.concat([]), lambda: F.stack(T(X))])
def test_joining_needs_a_list(call):
    with pytest.raises(TypeError, match="tensors must be a list"):
        call()
