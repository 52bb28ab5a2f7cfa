"""Reshaping, joining, splitting and shifting against torch and NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.support import check_op
from tinybert import functional as F
from tinybert.autograd import Tensor
from tinybert.ops.join import Concat, Stack


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((2, 3, 11), (6, 11)),
        ((2, 3, 11), (11, -1)),
        ((6,), (1, 2, 1, 3)),
        ((0, 3), (-1, 3)),
        ((2, 0), (0, 5)),
        ((), (1, 1)),
        ((1, 1), ()),
    ],
)
def test_reshape(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    check_op(lambda x: x.reshape(after), lambda x: x.reshape(after), shapes=[before])


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, -1, 0), (-1, -2, -3)])
def test_permute(axes: tuple[int, ...]) -> None:
    check_op(lambda x: x.permute(axes), lambda x: x.permute(axes), shapes=[(2, 3, 11)])
    check_op(lambda x: x.permute(axes), lambda x: x.permute(axes), shapes=[(2, 0, 1)])


def test_the_two_transposed_views() -> None:
    check_op(lambda x: x.mT, lambda x: x.mT, shapes=[(2, 3, 5)])
    check_op(lambda x: x.T, lambda x: x.T, shapes=[(3, 5)])
    assert Tensor(np.ones((2, 3, 5))).T.shape == (5, 3, 2)  # as in NumPy


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((1, 3), (4, 3)),
        ((1, 3), (5, -1, 3)),
        ((2, 1, 1), (-1, 3, -1)),
        ((), (2, 2)),
        ((1, 3), (0, 3)),
        ((3,), (3,)),
    ],
)
def test_expand(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    check_op(lambda x: x.expand(after), lambda x: x.expand(after), shapes=[before])


@pytest.mark.parametrize(
    ("shapes", "axis"),
    [
        ([(2, 3), (5, 3), (1, 3)], 0),
        ([(2, 3, 2), (2, 0, 2), (2, 1, 2)], -2),
        ([(4,)], 0),
        ([(0,), (3,)], -1),
        ([(1, 2, 1, 3), (1, 2, 1, 2)], 3),
    ],
)
def test_concat(shapes: list[tuple[int, ...]], axis: int) -> None:
    check_op(lambda *x: F.concat(x, axis), lambda *x: torch.cat(x, axis), shapes=shapes)


@pytest.mark.parametrize(
    ("shape", "axis"), [((2, 3), 0), ((2, 3), -1), ((2, 3), 1), ((), 0), ((0, 2), 1)]
)
def test_stack(shape: tuple[int, ...], axis: int) -> None:
    check_op(lambda *x: F.stack(x, axis), lambda *x: torch.stack(x, axis), shapes=[shape] * 3)


def test_the_same_tensor_joined_twice_collects_both_gradients() -> None:
    check_op(lambda x: F.concat([x, x], 1), lambda x: torch.cat([x, x], 1), shapes=[(2, 3)])
    check_op(lambda x: F.stack([x, x], 1), lambda x: torch.stack([x, x], 1), shapes=[(2, 3)])


def test_joining_integers_and_float32_gives_float32() -> None:
    parts = [np.arange(3), np.ones(2, np.float32)]
    assert F.concat(parts).dtype == np.float32
    assert F.stack([parts[0], np.ones(3, np.float16)]).dtype == np.float16
    assert F.concat([np.arange(3), np.array([True])]).dtype == np.int64


def test_joining_real_and_complex_gives_the_real_one_a_real_gradient() -> None:
    real, other = np.array([1.0, 2.0]), np.array([1j, 2 + 1j])
    check_op(lambda a, b: F.concat([a, b]), lambda a, b: torch.cat([a, b]), arrays=[real, other])


@pytest.mark.parametrize(
    ("sizes", "axis"), [(2, 0), (3, -1), (7, 1), ([1, 4], 0), ([2, 0, 1], 1), (1, 2)]
)
def test_split(sizes: Any, axis: int) -> None:
    check_op(lambda x: x.split(sizes, axis), lambda x: x.split(sizes, axis), shapes=[(5, 3, 4)])


def test_split_of_an_empty_axis() -> None:
    check_op(lambda x: x.split(2), lambda x: x.split(2), shapes=[(0, 3)])


def test_a_piece_that_is_not_used_gets_a_zero_gradient() -> None:
    check_op(lambda x: x.split(2, 1)[1], lambda x: x.split(2, 1)[1], shapes=[(3, 5)])
    check_op(lambda x: x.chunk(3, 1)[2], lambda x: x.chunk(3, 1)[2], shapes=[(3, 5)])


@pytest.mark.parametrize("value", [0, -2.5])
@pytest.mark.parametrize(
    ("shape", "widths"),
    [
        ((2, 3), ((1, 0), (2, 4))),
        ((2, 3), ((0, 2),)),
        ((2, 3), (2, 1)),
        ((2, 1, 3), 1),
        ((0, 2), ((1, 1), (0, 0))),
        ((), 0),
    ],
)
def test_pad(shape: tuple[int, ...], widths: Any, value: float) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    expected = np.pad(x, widths, constant_values=value) if shape else x
    np.testing.assert_array_equal(Tensor(x).pad(widths, value).numpy(), expected)
    pairs = np.broadcast_to(np.asarray(widths, int), (len(shape), 2))[::-1].reshape(-1).tolist()
    check_op(
        lambda x: x.pad(widths, value),
        lambda x: torch.nn.functional.pad(x, pairs, value=value) if pairs else x * 1,
        shapes=[shape],
    )


@pytest.mark.parametrize(
    ("shifts", "axis"), [(1, None), (-4, 0), (2, -1), ((1, -2), (0, 2)), ((1, 1), (1, 1)), (25, 2)]
)
def test_roll(shifts: Any, axis: Any) -> None:
    check_op(
        lambda x: x.roll(shifts, axis), lambda x: torch.roll(x, shifts, axis), shapes=[(2, 3, 4)]
    )
    check_op(
        lambda x: x.roll(shifts, axis), lambda x: torch.roll(x, shifts, axis), shapes=[(2, 0, 1)]
    )


@pytest.mark.parametrize("axis", [(0,), (-1,), (0, 2), (0, 1, 2)])
def test_flip(axis: tuple[int, ...]) -> None:
    check_op(lambda x: x.flip(axis), lambda x: torch.flip(x, axis), shapes=[(2, 3, 4)])
    check_op(lambda x: x.flip(axis), lambda x: torch.flip(x, axis), shapes=[(1, 0, 4)])


def test_flip_without_an_axis_reverses_all() -> None:
    x = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(Tensor(x).flip().numpy(), np.flip(x))
    assert Tensor(np.float32(3.0)).flip().item() == 3


@pytest.mark.parametrize("diagonal", [0, 1, -2, 5])
@pytest.mark.parametrize("shape", [(3, 4), (2, 5, 3), (2, 1, 1, 4), (0, 3)])
def test_triangles(shape: tuple[int, ...], diagonal: int) -> None:
    upper = np.triu(np.ones(shape[-2:]), diagonal).any()
    lower = np.tril(np.ones(shape[-2:]), diagonal).any()
    check_op(
        lambda x: x.tril(diagonal), lambda x: x.tril(diagonal), shapes=[shape], differences=lower
    )
    check_op(
        lambda x: x.triu(diagonal), lambda x: x.triu(diagonal), shapes=[shape], differences=upper
    )


def test_a_triangle_of_infinities_has_zeros_and_no_nan() -> None:
    x = np.full((2, 2), -np.inf)
    np.testing.assert_array_equal(Tensor(x).triu(1).numpy(), np.triu(x, 1))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_gradients_keep_the_dtype(dtype: Any) -> None:
    x = Tensor(np.ones((2, 3), dtype), requires_grad=True)
    a, b = F.concat([x, x.flip(0)], 1).pad(1).roll(1).tril().split([3, 5], 1)
    y = F.stack([a[:, :3], b[:, :3]]).permute(2, 0, 1).expand(2, -1, -1, -1).reshape(-1)
    assert y.dtype == dtype
    y.backward(np.ones(y.shape))
    assert x.grad is not None
    assert x.grad.dtype == dtype


def test_views_share_memory_and_their_in_place_changes_are_seen() -> None:
    x = Tensor(np.zeros((2, 3), np.float32))
    for view in (x.reshape(6), x.permute(1, 0), x.flip(), x.split(1)[0], x.expand(4, 2, 3)):
        assert np.shares_memory(x.data, view.data)
        assert view._version is x._version


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda x: x.reshape(4, 2), r"reshape: shape \(2, 3\) .* cannot become \(4, 2\)"),
        (lambda x: x.reshape(-1, -1), r"\(2, 3\) .* cannot become \(-1, -1\)"),
        (lambda x: x.reshape(-2, 3), r"cannot become \(-2, 3\)"),
        (lambda x: x.reshape(-1, 0), r"cannot become \(-1, 0\)"),
        (lambda x: x.permute(0, 0), r"axes must name each of the 2 axes .* got \(0, 0\)"),
        (lambda x: x.permute(0, 2), "axes must be from -2 to 1"),
        (lambda x: x.expand(2, 4), r"expand: shape \(2, 3\) cannot become \(2, 4\)"),
        (lambda x: x.expand(3), r"cannot become \(3,\)"),
        (lambda x: x.expand(-1, 2, 3), r"cannot become \(-1, 2, 3\)"),
        (lambda x: F.concat([x, x.T]), "tensor 1 has size 2 on axis 1"),
        (lambda x: F.concat([x, x[0]]), "same number of axes"),
        (lambda x: F.concat([x[0, 0], x[0, 0]]), "use stack"),
        (lambda x: F.stack([x, x.T]), "tensor 1 has size 3 on axis 0"),
        (lambda x: Concat.apply(axis=0), "at least one"),
        (lambda x: Stack.apply(axis=0), "at least one"),
        (lambda x: x.split([1, 2], 0), r"sizes \[1, 2\] must add up to 2"),
        (lambda x: x.split([3, -1], 0), "must add up to 2"),
        (lambda x: x.split(0), "at least 1"),
        (lambda x: x.pad(((1, 1),) * 3), "one pair"),
        (lambda x: x.pad(-1), "from 0"),
        (lambda x: x.pad(0.5), "integers"),
        (lambda x: x.roll((1, 2), 0), "equally many"),
        (lambda x: x.roll((1, 2)), "one shift"),
        (lambda x: x.flip(2), "axis must be from -2 to 1"),
        (lambda x: x[0].tril(), r"tril needs at least two axes, got shape \(3,\)"),
    ],
)
def test_wrong_arguments_are_named(run: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(Tensor(np.zeros((2, 3))))
