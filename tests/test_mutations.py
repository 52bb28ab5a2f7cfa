"""Do the tests see a wrong backward? Each is broken in the ways that have fooled others, and the
test has to fail: zeros, a sign, one hundredth too much, one wrong element, a missing term.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tests.support import assert_as_precise, check_op
from tests.test_devices import CASES, OPERATIONS
from tinybert import Function, Tensor, gradcheck
from tinybert import functional as F
from tinybert.ops.layer_norm import LayerNorm

Mutation = Callable[[np.ndarray], np.ndarray]


def one_element(dx: np.ndarray) -> np.ndarray:
    """The largest gradient a hundredth too large."""
    broken = np.array(dx)
    place = np.unravel_index(np.abs(broken).argmax(), broken.shape)
    broken[place] *= 1.01
    return broken


MUTATIONS: dict[str, Mutation] = {
    "zeros": np.zeros_like,
    "sign": np.negative,
    "x 1.01": lambda dx: dx * 1.01,
    "one element": one_element,
}
PIECEWISE_CONSTANT = {"ArgMax", "ArgMin", "Compare"}


def broken_backward(right: Callable[..., Any], position: int, mutation: Mutation) -> Any:
    def backward(self: Function, *dy: Any) -> Any:
        gradients = right(self, *dy)
        several = isinstance(gradients, tuple)
        listed = list(gradients) if several else [gradients]
        listed[position] = mutation(np.asarray(listed[position]))
        return tuple(listed) if several else listed[0]

    return backward


def differentiable(name: str) -> tuple[Callable[..., Any], list[Any], list[int]]:
    """Of the cases of an operation the first with finite gradients: the call, its inputs as
    Tensors, and the places of those that are differentiated.
    """
    for inputs, options in CASES[name]:
        tensors = [Tensor(x) if isinstance(x, np.ndarray) else x for x in inputs]
        places = [
            i for i, x in enumerate(tensors) if isinstance(x, Tensor) and x.dtype.kind in "fc"
        ]
        for i in places:
            tensors[i].requires_grad_()
        results = OPERATIONS[name].apply(*tensors, **options)
        first = results[0] if isinstance(results, tuple) else results
        if not first.requires_grad:
            continue
        first.backward(np.ones(first.shape))
        gradients = [tensors[i].grad for i in places]
        for tensor in (tensors[i] for i in places):
            tensor.requires_grad_(False)
        places = [
            i for i, g in zip(places, gradients, strict=True)
            if g is not None and g.size and np.isfinite(g.numpy()).all()
        ]  # fmt: skip
        if places and np.isfinite(first.numpy()).all() and first.dtype in ("float64", "complex128"):
            return lambda *xs, o=options: OPERATIONS[name].apply(*xs, **o), tensors, places
    raise AssertionError(f"{name} needs a case with finite gradients in tests/test_devices.py")


@pytest.mark.parametrize("name", [name for name in CASES if name not in PIECEWISE_CONSTANT])
def test_gradcheck_sees_a_wrong_backward(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    call, tensors, places = differentiable(name)
    right = OPERATIONS[name].backward
    for position in places:
        tensors[position].requires_grad_()
        assert gradcheck(call, tensors)
        for mutation in MUTATIONS.values():
            broken = broken_backward(right, position, mutation)
            with monkeypatch.context() as patch:
                patch.setattr(OPERATIONS[name], "backward", broken)
                with pytest.raises(AssertionError):
                    gradcheck(call, tensors)
        tensors[position].requires_grad_(False)


# --- check_op sees more than gradients ------------------------------------------------------------

T = torch.nn.functional
ORACLES: dict[str, tuple[Callable, Callable, list[tuple[int, ...]]]] = {
    "Exp": (Tensor.exp, torch.exp, [(2, 3)]),
    "MatMul": (lambda a, b: a @ b, lambda a, b: a @ b, [(2, 3), (3, 5)]),
    "Linear": (F.linear, T.linear, [(2, 3, 5), (4, 5), (4,)]),
    "LinearGelu": (
        F.linear_gelu,
        lambda x, w, b: T.gelu(T.linear(x, w, b)),
        [(2, 3, 5), (4, 5), (4,)],
    ),
    "Softmax": (lambda x: x.softmax(-1), lambda x: x.softmax(-1), [(3, 11)]),
    "LogSoftmax": (lambda x: x.log_softmax(-1), lambda x: x.log_softmax(-1), [(3, 11)]),
    "Gelu": (F.gelu, T.gelu, [(3, 11)]),
    "LayerNorm": (
        lambda x, w, b: F.layer_norm(x, (11,), w, b),
        lambda x, w, b: T.layer_norm(x, (11,), w, b),
        [(2, 3, 11), (11,), (11,)],
    ),
    "RMSNorm": (
        lambda x, w: F.rms_norm(x, (11,), w, 1e-5),
        lambda x, w: T.rms_norm(x, (11,), w, 1e-5),
        [(2, 3, 11), (11,)],
    ),
}


@pytest.mark.parametrize("differences", [True, False])
@pytest.mark.parametrize("name", ORACLES)
def test_check_op_sees_a_wrong_backward(
    name: str, differences: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs, shapes = ORACLES[name]
    check_op(ours, theirs, shapes=shapes)
    right = OPERATIONS[name].backward
    for position in range(len(shapes)):
        for mutation in MUTATIONS.values():
            with monkeypatch.context() as patch:
                broken = broken_backward(right, position, mutation)
                patch.setattr(OPERATIONS[name], "backward", broken)
                with pytest.raises(AssertionError, match=f"gradient of input {position}"):
                    check_op(ours, theirs, shapes=shapes, differences=differences)


def norm_without_terms(mean: bool, slope: bool) -> Callable[..., Any]:
    """The backward of layer norm, with or without the paths through the mean and the variance."""

    def backward(self: Any, dy: Any) -> Any:
        g = dy.reshape(self.x_hat.shape) * self.weight
        dx = g - mean * g.mean(-1, keepdims=True)
        dx = dx - slope * self.x_hat * (g * self.x_hat).mean(-1, keepdims=True)
        rows = dy.reshape(self.x_hat.shape)
        dweight, dbias = (rows * self.x_hat).sum(0), rows.sum(0)
        return (dx * self.rstd).reshape(self.shape), dweight, dbias

    return backward


MISSING_TERMS: list[tuple[str, Callable[..., Any]]] = [
    ("Softmax", lambda self, dy: self.y * dy),
    ("LogSoftmax", lambda self, dy: dy - np.exp(self.y) * dy),
    ("Gelu", lambda self, dy: dy * np.clip(self.slope, 0, 1)),
    ("LayerNorm", norm_without_terms(mean=False, slope=True)),
    ("LayerNorm", norm_without_terms(mean=True, slope=False)),
]


@pytest.mark.parametrize("differences", [True, False])
@pytest.mark.parametrize(("name", "backward"), MISSING_TERMS)
def test_check_op_sees_a_missing_term(
    name: str, backward: Callable[..., Any], differences: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs, shapes = ORACLES[name]
    monkeypatch.setattr(OPERATIONS[name], "backward", backward)
    with pytest.raises(AssertionError, match="gradient of input 0"):
        check_op(ours, theirs, shapes=shapes, differences=differences)


def test_the_whole_layer_norm_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The textbook formula with both terms is what the kernel computes."""
    whole = norm_without_terms(mean=True, slope=True)
    monkeypatch.setattr(LayerNorm, "backward", whole)
    ours, theirs, shapes = ORACLES["LayerNorm"]
    check_op(ours, theirs, shapes=shapes)


class Exp(OPERATIONS["Exp"]):
    """e^x with a fault in forward that the formula does not show."""

    fault: Callable[[Any], Any] = staticmethod(lambda x: x)

    def forward(self, x: Any) -> Any:
        self.y = np.exp(self.fault(x))
        return self.y


def writes_to_its_input(x: np.ndarray) -> np.ndarray:
    before = x.copy()
    x += 1
    return before


def rounds_float32(x: np.ndarray) -> np.ndarray:
    return x if x.dtype == np.float64 else x.astype(np.float16).astype(x.dtype)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda x: x * 1.0000001, r"output 0 \(float64\)"),
        (lambda x: x.astype(np.float64), "float32 inputs gave float64"),
        (rounds_float32, r"\(float32; torch"),
        (lambda x: x.ravel(order="K").reshape(x.shape), "Fortran order"),
        (lambda x: x if x.strides[-1] >= 0 else x[:, ::-1], "negative strides"),
        (writes_to_its_input, "was written to"),
    ],
    ids=["value", "widens", "imprecise", "memory order", "strides", "in place"],
)  # fmt: skip
def test_check_op_sees_a_fault_in_forward(
    fault: Callable[[Any], Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Exp, "fault", staticmethod(fault))
    with pytest.raises(AssertionError, match=message):
        check_op(Exp.apply, torch.exp, shapes=[(2, 3)], differences=False)


def test_check_op_compares_shapes_and_numbers_of_results() -> None:
    with pytest.raises(AssertionError, match=r"shapes \[\(2, 3\)\], torch's have \[\(3, 2\)\]"):
        check_op(lambda x: x + 0, lambda x: x.T + 0, shapes=[(2, 3)], differences=False)
    with pytest.raises(AssertionError, match="torch's have"):
        check_op(lambda x: (x + 0, x + 1), lambda x: x + 0, shapes=[(2, 3)], differences=False)


@pytest.mark.parametrize("fault", [1e-6, 1e-3, np.nan])
def test_assert_as_precise_sees_an_error(fault: float) -> None:
    rng = np.random.default_rng(0)
    exact, noise = rng.standard_normal((2, 8, 11))
    right = exact.astype(np.float32)
    assert_as_precise(right, right, exact)
    with pytest.raises(AssertionError, match="times that of the other"):
        assert_as_precise((exact * (1 + fault * noise)).astype(np.float32), right, exact)
