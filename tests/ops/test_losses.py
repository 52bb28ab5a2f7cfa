"""Every loss against torch: all options, reductions and shapes, values and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as torch_f

from tests.support import check_op
from tinybert import functional as F
from tinybert.autograd import Tensor

REDUCTIONS = ["none", "sum", "mean"]
LOGITS = [(5, 3), (4, 3, 2), (2, 3, 2, 4), (1, 1), (3,)]
WEIGHT = np.array([0.5, 2.0, 1.25])


def probabilities(normal: np.ndarray) -> np.ndarray:
    """Positive numbers that add up to 1 over the classes."""
    axis = min(1, normal.ndim - 1)
    e = np.exp(normal)
    return e / e.sum(axis=axis, keepdims=True)


def class_numbers(shape: tuple[int, ...], ignored: int | None = None) -> np.ndarray:
    """Random targets for logits of `shape`; the second one is `ignored`."""
    classes = shape[min(1, len(shape) - 1)]
    where = (*shape[:1], *shape[2:]) if len(shape) > 1 else ()
    target = np.random.default_rng(3).integers(0, classes, where)
    if ignored is not None and target.size > 1:
        target.reshape(-1)[1] = ignored
    return target


def torch_weight(weight: np.ndarray | None, like: torch.Tensor) -> torch.Tensor | None:
    return None if weight is None else torch.from_numpy(weight).to(like.dtype)


# --- cross entropy --------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", LOGITS)
def test_cross_entropy_of_class_numbers(
    shape: tuple[int, ...], reduction: str, weighted: bool, smoothing: float
) -> None:
    weight = WEIGHT[: shape[min(1, len(shape) - 1)]] if weighted else None
    check_op(
        lambda x, t: F.cross_entropy(x, t, weight, -7, reduction, smoothing),
        lambda x, t: torch_f.cross_entropy(
            x, t, torch_weight(weight, x), ignore_index=-7, reduction=reduction,
            label_smoothing=smoothing,
        ),
        shapes=[shape],
        arrays=[class_numbers(shape, ignored=-7)],
        differences=shape != (1, 1),  # with one class the gradient is 0
    )  # fmt: skip


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 2), (3,)])
def test_cross_entropy_of_probabilities(
    shape: tuple[int, ...], reduction: str, weighted: bool, smoothing: float
) -> None:
    weight = WEIGHT if weighted else None
    check_op(
        lambda x, t: F.cross_entropy(x, t, weight, -100, reduction, smoothing),
        lambda x, t: torch_f.cross_entropy(
            x, t, torch_weight(weight, x), reduction=reduction, label_smoothing=smoothing
        ),
        shapes=[shape, shape],
        domain=[None, probabilities],
    )


def test_an_ignored_class_number_can_be_a_class() -> None:
    check_op(
        lambda x, t: F.cross_entropy(x, t, ignore_index=0),
        lambda x, t: torch_f.cross_entropy(x, t, ignore_index=0),
        shapes=[(6, 3)],
        arrays=[np.array([0, 1, 2, 0, 1, 1])],
    )


@pytest.mark.parametrize("loss", ["cross_entropy", "nll_loss"])
@pytest.mark.parametrize("shape", [(0, 3), (2, 3), (2, 3, 0)])
def test_the_mean_over_no_targets_is_nan_and_moves_nothing(
    loss: str, shape: tuple[int, ...]
) -> None:
    target = np.full((*shape[:1], *shape[2:]), -100)
    x = Tensor(np.ones(shape, np.float32), requires_grad=True)
    mean = getattr(F, loss)(x, target)
    assert np.isnan(mean.item())
    mean.backward()
    assert getattr(F, loss)(x, target, reduction="sum").item() == 0
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), np.zeros(shape))
    assert torch.isnan(getattr(torch_f, loss)(torch.ones(shape), torch.from_numpy(target)))


def test_smoothing_with_all_targets_ignored_moves_nothing() -> None:
    x = Tensor(np.ones((2, 3)), requires_grad=True)
    y = F.cross_entropy(x, np.array([-100, -100]), label_smoothing=0.1)
    assert np.isnan(y.item())
    y.backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), 0)


def test_a_forbidden_class_costs_nothing_where_its_target_is_zero() -> None:
    x = Tensor([[0.5, -np.inf, 1.0]], requires_grad=True)
    target = np.array([[0.25, 0.0, 0.75]])
    y = F.cross_entropy(x, target)
    two = F.cross_entropy(Tensor([[0.5, 1.0]]), np.array([[0.25, 0.75]]))
    assert y.item() == pytest.approx(two.item())
    y.backward()
    assert x.grad is not None
    assert x.grad.numpy()[0, 1] == 0
    assert F.cross_entropy(x, np.array([2])).item() == pytest.approx(np.log(1 + np.exp(-0.5)))


def test_large_logits_do_not_overflow() -> None:
    x = Tensor(np.array([[1e4, -1e4, 0.0]], np.float32), requires_grad=True)
    y = F.cross_entropy(x, np.array([1]))
    assert y.item() == 2e4
    y.backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), [[1, -1, 0]])


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64])
def test_targets_may_be_any_integers(dtype: Any) -> None:
    x = np.random.default_rng(0).standard_normal((4, 3))
    target = np.array([0, 2, 1, 1], dtype)
    expected = torch_f.cross_entropy(torch.from_numpy(x), torch.from_numpy(target).long())
    assert F.cross_entropy(x, target).item() == pytest.approx(expected.item())
    assert F.cross_entropy(x, target.tolist()).item() == pytest.approx(expected.item())


# --- negative log-likelihood ----------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", LOGITS)
def test_nll_loss(shape: tuple[int, ...], reduction: str, weighted: bool) -> None:
    weight = WEIGHT[: shape[min(1, len(shape) - 1)]] if weighted else None
    check_op(
        lambda x, t: F.nll_loss(x, t, weight, -7, reduction),
        lambda x, t: torch_f.nll_loss(
            x, t, torch_weight(weight, x), ignore_index=-7, reduction=reduction
        ),
        shapes=[shape],
        arrays=[class_numbers(shape, ignored=-7)],
    )


def test_cross_entropy_is_nll_loss_of_log_softmax() -> None:
    x, target = np.random.default_rng(0).standard_normal((5, 4, 2)), class_numbers((5, 4, 2))
    one, two = F.cross_entropy(x, target), F.nll_loss(F.log_softmax(x, 1), target)
    assert one.item() == pytest.approx(two.item(), rel=1e-14)


# --- element by element ---------------------------------------------------------------------------

SHAPES = [(), (4,), (3, 5), (2, 3, 4), (1, 2, 1, 3)]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", ["mse_loss", "l1_loss"])
@pytest.mark.parametrize("shape", SHAPES)
def test_mse_and_l1(shape: tuple[int, ...], name: str, reduction: str) -> None:
    check_op(
        lambda x, t: getattr(F, name)(x, t, reduction),
        lambda x, t: getattr(torch_f, name)(x, t, reduction=reduction),
        shapes=[shape, shape],
    )


def test_l1_has_no_slope_where_equal() -> None:
    x = np.array([1.0, 2.0])
    check_op(
        lambda x, t: F.l1_loss(x, t, "sum"),
        lambda x, t: torch_f.l1_loss(x, t, reduction="sum"),
        arrays=[x, x.copy()],
        differences=False,
    )


@pytest.mark.parametrize("pos_weight", [None, np.array([0.5, 2.0, 1.0, 3.0])])
@pytest.mark.parametrize("weight", [None, np.array([[1.0], [2.0], [0.25]])])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4)])
def test_bce_with_logits(
    shape: tuple[int, ...], reduction: str, weight: Any, pos_weight: Any
) -> None:
    check_op(
        lambda x, t: F.binary_cross_entropy_with_logits(x, t, weight, reduction, pos_weight),
        lambda x, t: torch_f.binary_cross_entropy_with_logits(
            x, t, torch_weight(weight, x), reduction=reduction,
            pos_weight=torch_weight(pos_weight, x),
        ),
        shapes=[shape, shape],
        domain=[None, lambda normal: 1 / (1 + np.exp(-normal))],
    )  # fmt: skip


def test_bce_with_large_logits() -> None:
    x = Tensor(np.array([-1e4, 1e4, -1e4, 1e4, -30.0], np.float32), requires_grad=True)
    target = np.array([0, 1, 1, 0, 0])
    y = F.binary_cross_entropy_with_logits(x, target, reduction="none")
    np.testing.assert_allclose(y.numpy(), [0, 0, 1e4, 1e4, np.exp(-30)], rtol=1e-6)
    y.sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), [0, 0, -1, 1, np.exp(-30)], rtol=1e-6)


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize("log_target", [False, True])
@pytest.mark.parametrize("reduction", [*REDUCTIONS, "batchmean"])
@pytest.mark.parametrize("shape", [(4,), (3, 5), (2, 3, 4)])
def test_kl_div(shape: tuple[int, ...], reduction: str, log_target: bool) -> None:
    check_op(
        lambda x, t: F.kl_div(x, t, reduction, log_target),
        lambda x, t: torch_f.kl_div(x, t, reduction=reduction, log_target=log_target),
        shapes=[shape, shape],
        domain=[None, None if log_target else probabilities],
    )


def test_kl_div_with_zero_probabilities() -> None:
    x = np.log([[0.5, 0.25, 0.25]])
    t = Tensor([[0.5, 0.5, 0.0]], dtype=np.float64)
    assert F.kl_div(x, t, "sum").item() == pytest.approx(0.5 * np.log(2))
    leaf = Tensor(x, requires_grad=True)
    F.kl_div(leaf, t, "sum").backward()
    assert leaf.grad is not None
    np.testing.assert_array_equal(leaf.grad.numpy(), [[-0.5, -0.5, 0]])


@pytest.mark.parametrize(
    "name", ["mse_loss", "l1_loss", "kl_div", "binary_cross_entropy_with_logits"]
)
def test_elementwise_mean_of_nothing_is_nan(name: str) -> None:
    x = Tensor(np.zeros((0, 3), np.float32), requires_grad=True)
    y = getattr(F, name)(x, np.zeros((0, 3), np.float32))
    assert np.isnan(y.item())
    y.backward()
    assert getattr(F, name)(x, np.zeros((0, 3)), reduction="sum").item() == 0


# --- dtypes and errors ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_losses_and_gradients_keep_the_dtype(dtype: Any, reduction: str) -> None:
    numbers, same = np.array([1, 0]), np.full((2, 3), 0.25)  # float64 targets do not widen
    for name, target in [
        ("cross_entropy", numbers),
        ("cross_entropy", same),
        ("nll_loss", numbers),
        ("mse_loss", same),
        ("l1_loss", same),
        ("kl_div", same),
        ("binary_cross_entropy_with_logits", same),
    ]:
        x = Tensor(np.arange(6).reshape(2, 3).astype(dtype), requires_grad=True)
        y = getattr(F, name)(x, target, reduction=reduction)
        assert y.dtype == dtype
        y.backward(np.ones(y.shape))
        assert x.grad is not None
        assert x.grad.dtype == dtype


def test_float16_losses_are_added_up_in_float32() -> None:
    x = Tensor(np.full(100_000, 0.5, np.float16), requires_grad=True)
    y = F.mse_loss(x, np.zeros(100_000))
    assert y.item() == 0.25
    y.backward()
    assert x.grad is not None
    assert x.grad.numpy()[0] == np.float16(1e-5)


@pytest.mark.parametrize(
    ("run", "error", "message"),
    [
        (lambda x: F.cross_entropy(x, [0, 3]), ValueError, "target must be from 0 to 2.* got 3"),
        (lambda x: F.cross_entropy(x, [-1, 0]), ValueError, "ignore_index = -100, got -1"),
        (lambda x: F.nll_loss(x, [0, 3]), ValueError, "target must be from 0 to 2.* got 3"),
        (lambda x: F.cross_entropy(x, [0]), ValueError, r"integers of shape \(2,\) .* \(1,\)"),
        (lambda x: F.cross_entropy(x, [0.0, 1.0]), ValueError, "got float32 of shape"),
        (lambda x: F.cross_entropy(x, [0, 1], [1.0, 2.0]), ValueError, "weight must have one"),
        (lambda x: F.cross_entropy(x, [0, 1], reduction="avg"), ValueError, "'sum', got 'avg'"),
        (lambda x: F.cross_entropy(x, [0, 1], label_smoothing=1.5), ValueError, "0 to 1, got 1.5"),
        (lambda x: F.cross_entropy(x[:, :0], [0, 1]), ValueError, r"C > 0, got \(2, 0\)"),
        (lambda x: F.mse_loss(x, x[0]), ValueError, r"shape \(2, 3\) of input, got \(3,\)"),
        (lambda x: F.mse_loss(x, x, "batchmean"), ValueError, "reduction must be"),
        (lambda x: F.kl_div(x, x[:, :1]), ValueError, "kl_div: target must have the shape"),
        (
            lambda x: F.binary_cross_entropy_with_logits(x, x, weight=np.ones((4, 2, 3))),
            ValueError,
            r"weight of shape \(4, 2, 3\) does not broadcast to \(2, 3\)",
        ),
        (
            lambda x: F.binary_cross_entropy_with_logits(x, x, pos_weight=np.ones(2)),
            ValueError,
            "broadcast",
        ),
    ],
)
def test_wrong_arguments_are_named(run: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        run(Tensor(np.zeros((2, 3))))
