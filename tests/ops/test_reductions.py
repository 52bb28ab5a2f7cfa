"""Sums, means, variances, extremes and running sums against torch and NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.support import check_op, distinct
from tinybert.autograd import Tensor

AXES = [None, 0, -1, 1, (0, 2), (-1, 0), (0, 1, 2)]


def every(x: torch.Tensor, axis: Any) -> Any:
    """NumPy's None, spelled out for torch."""
    return tuple(range(x.ndim)) if axis is None else axis


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", AXES)
def test_sum_and_mean(axis: Any, keepdims: bool) -> None:
    for shape in [(2, 3, 11), (1, 4, 1)]:
        check_op(
            lambda x: x.sum(axis, keepdims),
            lambda x: x.sum(every(x, axis), keepdims),
            shapes=[shape],
        )
        check_op(
            lambda x: x.mean(axis, keepdims),
            lambda x: x.mean(every(x, axis), keepdims),
            shapes=[shape],
        )


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("axis", AXES)
def test_var_and_std(axis: Any, ddof: int) -> None:
    check_op(
        lambda x: x.var(axis, ddof=ddof),
        lambda x: torch.var(x, every(x, axis), correction=ddof),
        shapes=[(2, 3, 11)],
    )
    check_op(
        lambda x: x.std(axis, True, ddof),
        lambda x: torch.std(x, every(x, axis), correction=ddof, keepdim=True),
        shapes=[(2, 3, 11)],
    )


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", AXES)
def test_max_and_min(axis: Any, keepdims: bool) -> None:
    for ours, theirs in [(Tensor.max, torch.amax), (Tensor.min, torch.amin)]:
        check_op(
            lambda x, f=ours: f(x, axis, keepdims),
            lambda x, f=theirs: f(x, every(x, axis), keepdims),
            shapes=[(2, 3, 4)],
            domain=distinct,
        )


@pytest.mark.parametrize("axis", [None, 0, 1, (0, 1)])
def test_tied_extremes_share_the_gradient(axis: Any) -> None:
    x = np.array([[1.0, 3.0, 3.0], [3.0, 1.0, 1.0]])
    for ours, theirs in [(Tensor.max, torch.amax), (Tensor.min, torch.amin)]:
        check_op(
            lambda x, f=ours: f(x, axis),
            lambda x, f=theirs: f(x, every(x, axis)),
            arrays=[x],
            differences=False,
        )


def test_nan_is_the_extreme_and_takes_the_gradient() -> None:
    x = Tensor([[1.0, np.nan, 3.0], [1.0, 2.0, 3.0]], requires_grad=True)
    y = x.max(1)
    np.testing.assert_array_equal(y.numpy(), [np.nan, 3])
    y.backward([5.0, 7.0])
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), [[0, 5, 0], [0, 0, 7]])


@pytest.mark.parametrize("shape", [(), (1,), (4,)])
@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "var"])
def test_few_axes(name: str, shape: tuple[int, ...]) -> None:
    theirs = {"max": torch.amax, "min": torch.amin, "var": lambda x: torch.var(x, correction=0)}
    one_point = name == "var" and np.prod(shape) == 1  # its gradient is 0
    check_op(
        lambda x: getattr(x, name)(),
        theirs.get(name, lambda x: getattr(x, name)()),
        shapes=[shape],
        domain=distinct,
        differences=not one_point,
    )


def test_empty_axes() -> None:
    x = Tensor(np.zeros((0, 3), np.float32), requires_grad=True)
    np.testing.assert_array_equal(x.sum(0).numpy(), np.zeros(3))
    assert np.isnan(x.mean(0).numpy()).all()
    assert np.isnan(x.var(0).numpy()).all()
    assert x.mean(1).shape == x.max(1).shape == x.argmax(1).shape == (0,)
    for y in (x.sum(0), x.mean(0), x.var(0), x.max(1), x.cumsum(0), x.cumsum(1)):
        assert y.dtype == np.float32
        y.backward(np.ones(y.shape))
    for name in ("max", "min", "argmax", "argmin"):
        with pytest.raises(ValueError, match=rf"{name}: axis 0 of shape \(0, 3\) is empty"):
            getattr(x, name)(0)
        with pytest.raises(ValueError, match="is empty"):
            getattr(x, name)()


def test_variance_of_too_few_is_nan_or_infinite_as_in_torch() -> None:
    x = np.array([[1.0, 2.0]])
    with pytest.warns(UserWarning, match="degrees of freedom"):
        expected = torch.var(torch.from_numpy(x), 0, correction=1).numpy()
    np.testing.assert_array_equal(Tensor(x).var(0, ddof=1).numpy(), expected)
    assert Tensor(x).var(1, ddof=2).numpy()[0] == np.inf


def test_variance_survives_a_large_mean() -> None:
    x = np.random.default_rng(0).standard_normal(1000).astype(np.float32) + np.float32(3000)
    assert Tensor(x).var().item() == pytest.approx(x.astype(np.float64).var(), rel=1e-3)


def test_complex_variance_and_sum() -> None:
    rng = np.random.default_rng(0)
    z = rng.standard_normal((3, 4)) + 1j * rng.standard_normal((3, 4))
    check_op(lambda x: x.var(1), lambda x: torch.var(x, 1, correction=0), arrays=[z])
    check_op(lambda x: x.sum(0), lambda x: x.sum(0), arrays=[z])
    check_op(lambda x: x.mean(0), lambda x: x.mean(0), arrays=[z])


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [None, 0, -1, 1])
def test_argmax_and_argmin(axis: int | None, keepdims: bool) -> None:
    x = np.random.default_rng(0).integers(0, 4, (3, 4, 5))  # with ties: the first counts
    for array in (x, x.astype(np.float32), x > 1, x[::-1, :, ::2]):
        for name in ("argmax", "argmin"):
            y = getattr(Tensor(array), name)(axis, keepdims).numpy()
            expected = getattr(np, name)(array, axis=axis, keepdims=keepdims)
            np.testing.assert_array_equal(y, expected)
            assert y.dtype == np.int64
    assert not Tensor(x.astype(np.float32), requires_grad=True).argmax().requires_grad


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("shape", [(2, 3, 11), (1, 4, 1), (3, 0, 2)])
def test_cumsum(shape: tuple[int, ...], axis: int) -> None:
    check_op(lambda x: x.cumsum(axis), lambda x: x.cumsum(axis), shapes=[shape])


def test_cumsum_without_an_axis_flattens() -> None:
    check_op(lambda x: x.cumsum(), lambda x: x.reshape(-1).cumsum(0), shapes=[(2, 3)])
    check_op(lambda x: x.cumsum(), lambda x: x.reshape(-1).cumsum(0), shapes=[()])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.int32, np.int64])
def test_integers(dtype: Any) -> None:
    x = np.array([[1, 0, 1], [1, 1, 1]], dtype) * (1 if dtype is bool else 100)
    theirs = torch.from_numpy(x)
    for name, axis in [("sum", 0), ("sum", None), ("cumsum", 1), ("amax", 1), ("amin", 0)]:
        y = getattr(Tensor(x), name[-3:] if name[0] == "a" else name)(axis)
        expected = getattr(theirs, name)(axis) if axis is not None else getattr(theirs, name)()
        np.testing.assert_array_equal(y.numpy(), expected.numpy())
        assert y.dtype == expected.numpy().dtype
    assert Tensor(x).mean().dtype == Tensor(x).var(0).dtype == np.float32
    assert Tensor(x).mean(0).numpy() == pytest.approx(x.mean(0))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_values_and_gradients_keep_the_dtype(dtype: Any) -> None:
    for name in ("sum", "mean", "var", "max", "min", "cumsum"):
        x = Tensor(np.arange(6, dtype=dtype).reshape(2, 3), requires_grad=True)
        y = getattr(x, name)(1)
        assert y.dtype == dtype
        y.backward(np.ones(y.shape))
        assert x.grad is not None
        assert x.grad.dtype == dtype


def test_float16_is_added_up_in_float32() -> None:
    x = Tensor(np.ones((4096, 2), np.float16))
    assert x.sum(0).tolist() == [4096, 4096]  # a float16 sum stands still at 2048
    assert x.cumsum(0).numpy()[-1, 0] == 4096
    many = Tensor(np.full(100_000, 3, np.float16), requires_grad=True)
    many.mean().backward()
    assert many.mean().item() == 3
    assert many.grad is not None
    assert many.grad.numpy()[0] == np.float16(1e-5)


def test_torch_names_and_wrong_axes() -> None:
    x = Tensor(np.arange(6.0).reshape(2, 3))
    assert x.sum(dim=1, keepdim=True).shape == (2, 1)
    with pytest.raises(ValueError, match=r"axis must be from -2 to 1 .* got 2"):
        x.sum(2)
    with pytest.raises(ValueError, match="twice"):
        x.mean((0, -2))
    with pytest.raises(TypeError, match="axis must be an integer"):
        x.argmax((0, 1))
