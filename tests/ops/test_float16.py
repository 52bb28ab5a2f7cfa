"""float16: every operation rounds its results, not its sums, and overflows only where they do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import tinybert
from tests import support, tolerances
from tests.test_devices import ATTEND, CASES, CROSS, OPERATIONS, Case, converted
from tinybert import Tensor
from tinybert import functional as F

RNG = np.random.default_rng(11)
ROWS = 6000  # a float16 sum of as many numbers from 0.5 to 1 stands still at 1024 or 2048
WIDE = 4096  # the width of large models
LIMIT = 65520  # from here on float16 is infinite
TIES = 70_000  # more than float16 can count


def share(*shape: int) -> np.ndarray:
    """Numbers from 0.5 to 1."""
    return RNG.uniform(0.5, 1, shape)


def large(*shape: int) -> np.ndarray:
    """Numbers of both signs with a size of some hundreds: their squares overflow float16."""
    return 400 * RNG.standard_normal(shape)


def few(count: int, *shape: int) -> np.ndarray:
    """Integers from 0 to count - 1."""
    return RNG.integers(0, count, shape)


KEYS = share(1, 2, ROWS, 4)
NORM = {"eps": 1e-6}
ALL = {"axis": None, "keepdims": False}
LAST = {"axis": -1, "keepdims": False}
# Beside the small cases of tests/test_devices.py: sums over many rows, and large numbers.
LARGE: dict[str, list[Case]] = {
    "Add": [((share(ROWS, 3), share(3)), {}), ((share(1, 3), share(ROWS, 1)), {})],
    "Sub": [((share(ROWS, 3), share(3)), {})],
    "Mul": [((share(ROWS, 3), share(3)), {}), ((share(4, ROWS, 2), share(ROWS, 1)), {})],
    "Div": [((share(ROWS, 3), share(3)), {}), ((share(3), 60 * share(3)), {})],
    "Pow": [((share(ROWS, 3), share(3)), {}), ((share(3), -4), {}), ((large(3), 2), {})],
    "Where": [((share(ROWS, 3) > 0.6, share(3), share(ROWS, 1)), {})],
    "Expand": [((share(1, 3),), {"shape": (ROWS, 3)})],
    "Rsqrt": [((1e-3 * share(5),), {}), ((1e-6 * share(5),), {})],
    "Gelu": [((large(50),), {}), ((-4 * share(50),), {})],
    "GeluNew": [((large(50),), {}), ((-4 * share(50),), {})],
    "Silu": [((large(50),), {}), ((-9 * share(50),), {})],
    "Sigmoid": [((-9 * share(50),), {}), ((9 * share(50),), {})],
    "Tanh": [((5 * share(50),), {})],
    "Erf": [((2.5 * share(50),), {})],
    "Laplace": [
        ((large(50),), {"mu": 0.7071, "sigma": 0.2821}),
        ((share(50) - 1.5,), {"mu": 0.7071, "sigma": 0.2821}),
    ],
    "Relu2": [((share(50),), {})],
    "MatMul": [((share(5, ROWS, 2), share(2, 3)), {}), ((share(2, ROWS), share(ROWS, 3)), {})],
    "Linear": [((share(2, ROWS // 2, 3), share(4, 3), share(4)), {})],
    "LinearGelu": [
        ((share(2, ROWS // 2, 3), share(4, 3), share(4)), {}),
        ((large(9, 3), share(4, 3), share(4)), {}),
    ],
    "Einsum": [
        ((share(ROWS, 3), share(3)), {"equation": "ij,j->i"}),
        ((share(ROWS, 3), share(ROWS, 2)), {"equation": "bi,bj->ij"}),
    ],
    "ScaledDotProductAttention": [
        ((share(1, 2, 3, 4), KEYS, 50 * KEYS, None), ATTEND),
        ((share(1, 2, ROWS // 4, 4), share(1, 2, 5, 4), share(1, 2, 5, 3), None), ATTEND),
        (
            (
                share(1, 2, 3, 4),
                30 * share(1, 2, 9, 4),
                share(1, 2, 9, 4),
                np.array([0, 0, -65504] * 3).reshape(1, 1, 1, 9) * 1.0,
            ),
            ATTEND,
        ),
    ],
    "Softmax": [
        ((share(2, TIES) * 0.01,), {"axis": -1}),
        ((large(5, 7),), {"axis": 0}),
        ((share(ROWS, 3),), {"axis": 0}),
    ],
    "LogSoftmax": [((share(2, TIES),), {"axis": -1}), ((share(ROWS, 3),), {"axis": 0})],
    "LogSumExp": [((share(2, TIES),), LAST), ((share(ROWS, 3),), {**LAST, "axis": 0})],
    "LayerNorm": [
        ((large(3, WIDE), share(WIDE), share(WIDE)), {"eps": 1e-5}),
        ((large(ROWS, 3), share(3), share(3)), {"eps": 1e-5}),
    ],
    "RMSNorm": [
        ((large(3, WIDE), share(WIDE)), {"width": WIDE, **NORM}),
        ((4 * share(2, WIDE), None), {"width": WIDE, **NORM}),
        ((share(ROWS, 3), share(3)), {"width": 3, **NORM}),
        ((1e-4 * share(5, 3), share(3)), {"width": 3, "eps": 1e-12}),
    ],
    "ScaleNorm": [((large(3, WIDE), share(1)), NORM), ((share(ROWS, 3), share(1)), NORM)],
    "BatchNorm": [
        ((large(ROWS, 3), share(3), share(3)), NORM),
        ((large(20, 3, 300), share(3), share(3)), NORM),
    ],
    "Sum": [((share(ROWS, 3),), {**ALL, "axis": 0})],
    "Mean": [((share(ROWS, 3),), {**ALL, "axis": 0}), ((300 * share(ROWS),), ALL)],
    "Var": [
        ((share(ROWS, 3),), {**ALL, "ddof": 0, "axis": 0}),
        ((100 + share(ROWS),), {**ALL, "ddof": 1}),
    ],
    "Std": [
        ((large(ROWS, 3),), {**ALL, "ddof": 1, "axis": 0}),
        ((100 + share(ROWS),), {**ALL, "ddof": 1}),
    ],
    "Max": [((np.ones((2, TIES)),), LAST)],
    "Min": [((np.ones((2, TIES)),), LAST)],
    "CumSum": [((share(ROWS, 3),), {"axis": 0})],
    "GetItem": [
        ((share(5, 3),), {"index": few(5, ROWS)}),
        ((share(5, 3),), {"index": (slice(None), few(3, ROWS))}),
    ],
    "Gather": [((share(5, 3), few(5, ROWS, 3)), {"axis": 0})],
    "ScatterAdd": [((share(5, 3), few(5, ROWS, 3), share(ROWS, 3)), {"axis": 0})],
    "Embedding": [((few(5, ROWS), share(5, 3)), {"padding_idx": None, "name": "input_ids"})],
    "LongConvolution": [((share(2, 1000, 3), share(3, 1000)), {})],
    "PowerSums": [((share(3, 2), share(3, 2)), {"length": ROWS})],
    "Polynomials": [((share(3, ROWS), 1 - 0.001 * share(3, 2)), {})],
    "EMARecurrence": [((share(40, 60, 3), share(3, 2), share(3, 2), share(3, 2)), {})],
    "CrossEntropy": [
        ((share(3, TIES), few(5, 3), None), CROSS),
        ((large(ROWS, 5), few(5, ROWS), None), {**CROSS, "label_smoothing": 0.1}),
    ],
    "NLLLoss": [
        ((-share(ROWS, 5), few(5, ROWS), None), {"ignore_index": -100, "reduction": "sum"})
    ],
    "MSE": [((large(ROWS), large(ROWS)), {"reduction": "mean"})],
    "L1": [((share(ROWS), 2 + share(ROWS)), {"reduction": "sum"})],
    "BCEWithLogits": [((large(ROWS), share(ROWS), share(1), None), {"reduction": "mean"})],
    "KLDiv": [((-share(ROWS), share(ROWS)), {"reduction": "sum", "log_target": False})],
}


def test_the_large_cases_are_those_of_operations() -> None:
    assert set(LARGE) <= set(CASES)


def values_and_gradients(
    name: str, inputs: tuple[Any, ...], options: dict[str, Any], dtype: str
) -> dict[str, np.ndarray]:
    """The outputs, and the gradients for cotangents from 0.5 to 1, which float16 can hold."""
    leaves = [
        Tensor(x, requires_grad=x.dtype.kind in "fc") if isinstance(x, np.ndarray) else x
        for x in inputs
    ]
    result = OPERATIONS[name].apply(*leaves, **options)
    outputs = result if isinstance(result, tuple) else (result,)
    rng = np.random.default_rng(3)
    for y in outputs:
        u = rng.uniform(0.5, 1, y.shape).astype(np.float16).astype(dtype)
        if y.requires_grad:
            y.backward(u, retain_graph=True)
    named = {f"output {i}": y.numpy() for i, y in enumerate(outputs)}
    tensors = [(i, x) for i, x in enumerate(leaves) if isinstance(x, Tensor)]
    named |= {f"gradient {i}": x.grad.numpy() for i, x in tensors if x.grad is not None}
    return named


@pytest.mark.parametrize("device", ["cpu", "plain"])
@pytest.mark.parametrize("name", [name for name in CASES if name != "Cast"])
def test_results_are_rounded_once(name: str, device: str) -> None:
    """Against float64: no more than the rounding of a result, and of the terms of its sum."""
    for number, (inputs, options) in enumerate([*CASES[name], *LARGE.get(name, [])]):
        half = tuple(converted(x, "float16") for x in inputs)
        exact = tuple(converted(x, "float64") for x in half)
        halves = any(isinstance(x, np.ndarray) and x.dtype == np.float16 for x in half)
        with np.errstate(all="ignore"):
            expected = values_and_gradients(name, exact, options, "float64")
            if device == "plain":
                with tinybert.plain():
                    found = values_and_gradients(name, half, options, "float16")
            else:
                found = values_and_gradients(name, half, options, "float16")
        assert found.keys() == expected.keys()
        for what, want in expected.items():
            if halves:
                assert found[what].dtype.char in ("e" if want.dtype.kind == "f" else "?lF"), what
            if want.dtype.kind == "f":
                want = np.where(np.abs(want) >= LIMIT, np.copysign(np.inf, want), want)
            support.assert_close(
                found[what].astype(want.dtype),
                want,
                rtol=0 if want.dtype.kind in "biu" else tolerances.HALF_ROUNDING,
                atol=2.0**-24,  # the smallest step of float16
                name=f"{name}, case {number}, {what}",
            )


def scaled(x: Any, weight: Any) -> Any:
    """What a product with a weight of fewer axes does."""
    return x * weight


AGAINST_TORCH: dict[str, tuple[Any, Any, tuple[tuple[int, ...], ...]]] = {
    "linear": (F.linear, torch.nn.functional.linear, ((10_000, 5), (4, 5), (4,))),
    "rms_norm": (
        lambda x, w: F.rms_norm(x, (7,), w, 1e-5),
        lambda x, w: torch.nn.functional.rms_norm(x, (7,), w, 1e-5),
        ((10_000, 7), (7,)),
    ),
    "layer_norm": (
        lambda x, w, b: F.layer_norm(x, (7,), w, b),
        lambda x, w, b: torch.nn.functional.layer_norm(x, (7,), w, b),
        ((10_000, 7), (7,), (7,)),
    ),
    "batch_norm": (
        lambda x, w, b: F.batch_norm(x, None, None, w, b, True),
        lambda x, w, b: torch.nn.functional.batch_norm(x, None, None, w, b, True),
        ((10_000, 7), (7,), (7,)),
    ),
    "a weight of fewer axes": (scaled, scaled, ((10_000, 3), (3,))),
    "std": (lambda x: x.std(0, ddof=1), lambda x: x.std(0), ((10_000, 3),)),
    "log_softmax": (lambda x: x.log_softmax(0), lambda x: x.log_softmax(0), ((10_000, 3),)),
    "gelu": (F.gelu, torch.nn.functional.gelu, ((10_000,),)),
}


@pytest.mark.parametrize("factor", [1, 8])
@pytest.mark.parametrize("name", AGAINST_TORCH)
def test_the_error_is_no_larger_than_torchs(name: str, factor: float) -> None:
    ours, theirs, shapes = AGAINST_TORCH[name]
    inputs = [(share(*shape) - 0.2).astype(np.float16) for shape in shapes]
    inputs[0] = (inputs[0] * factor).astype(np.float16)
    results: dict[str, list[np.ndarray]] = {}
    for side in ("float64", "torch", "ours"):
        if side == "ours":
            leaves: list[Any] = [Tensor(x, requires_grad=True) for x in inputs]
            y = ours(*leaves)
        else:
            dtype = torch.float64 if side == "float64" else torch.float16
            leaves = [torch.tensor(x, dtype=dtype, requires_grad=True) for x in inputs]
            y = theirs(*leaves)
        u = np.random.default_rng(1).uniform(0.5, 1, tuple(y.shape)).astype(np.float16)
        y.backward(u if side == "ours" else torch.from_numpy(u).to(y.dtype))
        arrays = [y.detach().numpy(), *(leaf.grad.numpy() for leaf in leaves)]
        results[side] = [a.astype(np.float64) for a in arrays]
    for place, exact in enumerate(results["float64"]):
        errors = {side: np.abs(results[side][place] - exact).max() for side in ("torch", "ours")}
        allowed = 1.5 * errors["torch"] + tolerances.HALF_ROUNDING * np.abs(exact).max() / 2
        assert errors["ours"] <= allowed, f"result {place}: {errors}"


def test_std_of_equal_numbers_has_the_gradient_of_torch() -> None:
    for dtype in (np.float16, np.float32, np.float64):
        x = np.array([[3.0, 3, 3], [1, 2, 4]], dtype)
        ours = Tensor(x, requires_grad=True)
        ours.std(1, ddof=1).sum().backward()
        theirs = torch.tensor(x, requires_grad=True)
        theirs.std(1).sum().backward()
        assert ours.grad is not None
        assert theirs.grad is not None
        np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=2e-3)


def test_a_mixed_call_keeps_the_wider_dtype() -> None:
    half, single = Tensor(share(3).astype(np.float16)), Tensor(share(3).astype(np.float32))
    for y in (half**single, half / single, F.einsum("i,i->", half, single), single @ half):
        assert y.dtype == np.float32


def test_running_statistics_of_large_values() -> None:
    x = large(64, 3).astype(np.float16)
    mean, var = (Tensor(np.zeros(3, np.float16)) for _ in range(2))
    F.batch_norm(x, mean, var, training=True, momentum=0.1)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(mean.numpy(), 0.1 * wide.mean(0), rtol=2e-3)
    np.testing.assert_allclose(var.numpy(), 0.1 * wide.var(0, ddof=1), rtol=2e-3)
