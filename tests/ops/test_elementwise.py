"""Arithmetic and other elementwise operations against torch, and their edge cases."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import check_op, nonzero, positive
from tinybert import Tensor, where
from tinybert.ops.exponential import Exp

SHAPES = [
    [(2, 3, 11), (2, 3, 11)], [(2, 3, 11), (11,)], [(3, 1), (2, 1, 11)], [(2, 3), ()], [(), ()],
    [(1, 1), (2, 3)], [(0, 3), (1, 3)],
]  # fmt: skip
MIXED = np.array([[-2.0, 0.0, 3.0], [1.0, 0.5, -0.5]])


def complex_array(*shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("operation", [operator.add, operator.sub, operator.mul])
def test_add_sub_mul(operation: Callable[[Any, Any], Any], shapes: list[tuple[int, ...]]) -> None:
    check_op(operation, operation, shapes=shapes, differences=0 not in shapes[0])


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_div(shapes: list[tuple[int, ...]]) -> None:
    check_op(
        operator.truediv, operator.truediv, shapes=shapes, domain=[None, nonzero],
        differences=0 not in shapes[0],
    )  # fmt: skip


@pytest.mark.parametrize("shapes", SHAPES[:4], ids=str)
def test_pow(shapes: list[tuple[int, ...]]) -> None:
    check_op(operator.pow, operator.pow, shapes=shapes, domain=[positive, None])


@pytest.mark.parametrize(
    "function",
    [
        lambda x: 2.5 + x, lambda x: x - 2, lambda x: 2 - x, lambda x: x * -1.5, lambda x: x / 3,
        lambda x: 2 / x, lambda x: x**2, lambda x: x**3, lambda x: x**-1, lambda x: x**0.0 + x,
        lambda x: 2.5**x, lambda x: -x, lambda x: x + x, lambda x: x * x / (x + 9) - x,
    ],
)  # fmt: skip
def test_with_numbers(function: Callable[[Any], Any]) -> None:
    check_op(function, function, shapes=[(2, 3)], domain=nonzero)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Tensor.exp, torch.exp), (Tensor.log, torch.log), (Tensor.sqrt, torch.sqrt),
        (Tensor.rsqrt, torch.rsqrt), (Tensor.abs, torch.abs), (Tensor.clone, torch.clone),
        (Tensor.contiguous, torch.clone),
    ],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(2, 3, 11), (7,), ()], ids=str)
def test_unary(ours: Callable, theirs: Callable, shape: tuple[int, ...]) -> None:
    check_op(ours, theirs, shapes=[shape], domain=positive)


def test_abs_of_both_signs_and_zero() -> None:
    check_op(Tensor.abs, torch.abs, shapes=[(3, 4)], domain=nonzero)
    check_op(Tensor.abs, torch.abs, arrays=[MIXED], differences=False)


@pytest.mark.parametrize(("low", "high"), [(-0.5, 0.7), (None, 0.1), (-0.2, None)])
def test_clip(low: float | None, high: float | None) -> None:
    check_op(lambda x: x.clip(low, high), lambda x: x.clip(low, high), shapes=[(3, 11)])


def test_clip_at_its_limits_passes_the_gradient() -> None:
    check_op(
        lambda x: x.clip(-0.5, 3.0), lambda x: x.clip(-0.5, 3.0), arrays=[MIXED], differences=False
    )
    with pytest.raises(ValueError, match="clip needs min or max"):
        Tensor([1.0]).clip()


@pytest.mark.parametrize("mask_shape", [(2, 3), (3,), (2, 1), (4, 2, 3)], ids=str)
def test_where(mask_shape: tuple[int, ...]) -> None:
    mask = np.random.default_rng(0).standard_normal(mask_shape) > 0
    chosen = torch.from_numpy(mask)
    check_op(
        lambda a, b: where(mask, a, b),
        lambda a, b: torch.where(chosen, a, b),
        shapes=[(2, 3), (3,)],
    )
    check_op(lambda a: where(mask, a, 2.5), lambda a: torch.where(chosen, a, 2.5), shapes=[(2, 3)])
    check_op(
        lambda a, b: a.where(Tensor(mask), b), lambda a, b: a.where(chosen, b), shapes=[(2, 3), ()]
    )


def test_masked_fill() -> None:
    mask = np.array([[True], [False]])
    for value in (-7.5, float("-inf")):
        check_op(
            lambda x, value=value: x.masked_fill(mask, value),
            lambda x, value=value: x.masked_fill(torch.from_numpy(mask), value),
            shapes=[(4, 2, 3)],
            differences=np.isfinite(value),
        )


def test_cast() -> None:
    x = Tensor(np.array([1.5, 2.5], np.float32), requires_grad=True)
    y = x.astype("float64")
    y.backward(np.array([0.1, 0.2]))
    assert (y.dtype, x.grad.dtype) == (np.float64, np.float32)
    assert x.grad.tolist() == np.float32([0.1, 0.2]).tolist()
    assert Tensor([1.7, -1.7]).astype(np.int64).tolist() == [1, -1]
    with pytest.raises(TypeError, match="dtype must be a numeric NumPy dtype"):
        x.astype("U1")


# --- complex values -------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", [operator.add, operator.sub, operator.mul, operator.truediv])
@pytest.mark.parametrize("real", [None, 0, 1])
def test_complex(operation: Callable[[Any, Any], Any], real: int | None) -> None:
    arrays = [complex_array(2, 3) + 1, complex_array(3, seed=1) + 1]
    if real is not None:
        arrays[real] = arrays[real].real
    check_op(operation, operation, arrays=arrays)


@pytest.mark.parametrize("function", [lambda z: z.exp(), lambda z: z.log(), lambda z: -z * 2])
def test_complex_unary(function: Callable[[Any], Any]) -> None:
    check_op(function, function, arrays=[complex_array(2, 3) + 2])


# --- corners --------------------------------------------------------------------------------------


def test_pow_at_zero_and_of_negative_bases() -> None:
    """G12: values and gradients as torch gives them, without a warning."""
    a = np.array([0.0, 0.0, 0.0, -2.0, -2.0, 2.0])
    b = np.array([0.0, 2.0, 1.0, 3.0, 2.0, 0.0])
    check_op(operator.pow, operator.pow, arrays=[a, b], differences=False)
    for exponent in (0, 1, 2, 3, 0.0, 2.0):
        check_op(
            lambda x, e=exponent: x**e, lambda x, e=exponent: x**e, arrays=[a], differences=False
        )
    for base in (0.0, 1.0, 2.0):
        check_op(lambda x, b=base: b**x, lambda x, b=base: b**x, arrays=[b], differences=False)
    assert (Tensor([2, 4]) ** -1).tolist() == [0.5, 0.25]
    assert (Tensor([2, 3]) ** 2).tolist() == [4, 9]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: 1 / x, lambda x: x.log(), lambda x: x.sqrt(), lambda x: x.rsqrt(),
        lambda x: x / x, lambda x: x**-1, lambda x: x**0.5,
    ],
)  # fmt: skip
def test_infinities_come_without_a_warning(function: Callable[[Any], Any]) -> None:
    zeros = np.array([0.0, 0.0, 4.0])
    check_op(function, function, arrays=[zeros], differences=False)


def test_comparisons_carry_no_gradient() -> None:
    x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    mask = x > 1.5
    assert not mask.requires_grad
    (x * mask).sum().backward()
    assert x.grad.tolist() == [0.0, 1.0, 1.0]


def test_integers_give_floats_where_they_must() -> None:
    n = Tensor([1, 4])
    assert (n / 2).dtype == (n / n).dtype == n.sqrt().dtype == n.exp().dtype == np.float32
    assert (n / n).tolist() == [1.0, 1.0]
    assert (n + n).dtype == (n * 2).dtype == np.int64


def shapes_that_broadcast() -> st.SearchStrategy[tuple[tuple[int, ...], tuple[int, ...]]]:
    sides = st.lists(st.tuples(st.integers(1, 4), st.sampled_from("=ab")), max_size=4)

    def cut(pairs: list[tuple[int, str]], front: int, which: bool) -> tuple[Any, Any]:
        a = tuple(1 if kind == "a" else n for n, kind in pairs)
        b = tuple(1 if kind == "b" else n for n, kind in pairs)
        return (a[front:], b) if which else (a, b[front:])

    return st.builds(cut, sides, st.integers(0, 4), st.booleans())


@settings(max_examples=60, deadline=None)
@given(shapes_that_broadcast())
def test_gradients_of_broadcast_operands(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    a, b = (np.random.default_rng(0).standard_normal(shape) for shape in shapes)
    x, y = Tensor(a, requires_grad=True), Tensor(b, requires_grad=True)
    z = x * y
    assert z.shape == np.broadcast_shapes(*shapes)
    u = np.random.default_rng(1).standard_normal(z.shape)
    z.backward(u)
    for tensor, other, array in ((x, b, a), (y, a, b)):
        full = np.broadcast_to(u * other, z.shape)
        expected = np.zeros_like(array)
        for index in itertools.product(*map(range, z.shape)):  # add every copy back, one by one
            tail = zip(index[z.ndim - array.ndim :], array.shape, strict=True)
            own = tuple(i if n > 1 else 0 for i, n in tail)
            expected[own] += full[index]
        np.testing.assert_allclose(tensor.grad.numpy(), expected, rtol=1e-12, atol=1e-12)


def test_shapes_that_do_not_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match="do not broadcast"):
        Tensor(np.ones((2, 3))) + Tensor(np.ones(2))


def test_an_operation_can_be_called_on_arrays() -> None:
    """Forward and backward stand side by side and can be tried without a tensor."""
    node = Exp()
    y = node.forward(np.array([0.0, 1.0]))
    np.testing.assert_allclose(node.backward(np.array([1.0, 2.0])), y * [1.0, 2.0])
