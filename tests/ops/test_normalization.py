"""Normalisations against torch, of ranks 1 to 4, and where the variance is tiny."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.support import check_op
from tinybert import Tensor
from tinybert import functional as F
from tinybert.ops.layer_norm import LayerNorm

T = torch.nn.functional


@pytest.mark.parametrize(
    ("shape", "width"),
    [((11,), 1), ((3, 11), 1), ((2, 3, 11), 1), ((2, 3, 5, 11), 1), ((2, 3, 5), 2)],
)
@pytest.mark.parametrize("parameters", [0, 1, 2])
def test_layer_norm(shape: tuple[int, ...], width: int, parameters: int) -> None:
    tail = shape[len(shape) - width :]
    check_op(
        lambda x, *p: F.layer_norm(x, tail, *p, eps=1e-3),
        lambda x, *p: T.layer_norm(x, tail, *p, eps=1e-3),
        shapes=[shape, *[tail] * parameters],
    )


def test_layer_norm_without_weight_but_with_bias() -> None:
    check_op(
        lambda x, b: F.layer_norm(x, (11,), None, b),
        lambda x, b: T.layer_norm(x, (11,), None, b),
        shapes=[(3, 11), (11,)],
    )


def test_layer_norm_of_rows_almost_constant() -> None:
    """B17: eps is inside the root and the variance is the biased one."""
    x = np.stack([np.full(8, 3.0), 3 + 3e-5 * np.arange(8), np.arange(8.0)])
    for eps in (1e-12, 1e-5):
        check_op(
            lambda x, eps=eps: F.layer_norm(x, (8,), eps=eps),
            lambda x, eps=eps: T.layer_norm(x, (8,), eps=eps),
            arrays=[x[1:] - 3, x[2]][:1],
            differences=False,
        )
    constant = F.layer_norm(Tensor(x[:1]), (8,), eps=1e-12)
    assert constant.tolist() == [[0.0] * 8]
    by_hand = (x[1] - x[1].mean()) / np.sqrt(x[1].var() + 1e-5)
    np.testing.assert_allclose(F.layer_norm(Tensor(x[1]), (8,)).numpy(), by_hand, rtol=1e-9)


def test_layer_norm_of_float16_is_computed_in_float32() -> None:
    x = (300 + 30 * np.random.default_rng(0).standard_normal((4, 512))).astype(np.float16)
    y = F.layer_norm(Tensor(x, requires_grad=True), (512,))
    assert y.dtype == np.float16
    exact = T.layer_norm(torch.from_numpy(x.astype(np.float64)), (512,)).numpy()
    assert np.abs(y.numpy() - exact).max() <= 2e-3  # half a unit of float16 at 4; x^2 overflows it


@pytest.mark.parametrize("shape", [(11,), (3, 11), (2, 3, 11), (2, 3, 5, 11)], ids=str)
@pytest.mark.parametrize("weight", [False, True])
def test_rms_norm(shape: tuple[int, ...], weight: bool) -> None:
    check_op(
        lambda x, *w: F.rms_norm(x, (11,), *w, eps=1e-3),
        lambda x, *w: T.rms_norm(x, (11,), *w, eps=1e-3),
        shapes=[shape, (11,)][: 1 + weight],
    )


def test_rms_norm_over_two_axes_and_with_torchs_default_eps() -> None:
    check_op(
        lambda x, w: F.rms_norm(x, (3, 5), w),
        lambda x, w: T.rms_norm(x, (3, 5), w),
        shapes=[(2, 3, 5), (3, 5)],
    )


@pytest.mark.parametrize("shape", [(11,), (2, 3, 11)], ids=str)
@pytest.mark.parametrize("scale", [(), (1,)], ids=str)
def test_scale_norm(shape: tuple[int, ...], scale: tuple[int, ...]) -> None:
    def theirs(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return scale * x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-3)

    check_op(lambda x, s: F.scale_norm(x, s, 1e-3), theirs, shapes=[shape, scale])


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 2), (2, 3, 5, 7)], ids=str)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("parameters", [0, 2])
def test_batch_norm(shape: tuple[int, ...], training: bool, parameters: int) -> None:
    mean, var = np.array([0.5, -1.0, 2.0]), np.array([1.5, 0.5, 2.0])

    def ours(x: Tensor, *p: Tensor) -> Tensor:
        running = (Tensor(mean, dtype=x.dtype), Tensor(var, dtype=x.dtype))
        return F.batch_norm(x, *running, *p, training=training, eps=1e-3)

    def theirs(x: torch.Tensor, *p: torch.Tensor) -> torch.Tensor:
        running = (torch.tensor(mean, dtype=x.dtype), torch.tensor(var, dtype=x.dtype))
        return T.batch_norm(x, *running, *p, training=training, eps=1e-3)

    check_op(ours, theirs, shapes=[shape, *[(3,)] * parameters])


def test_batch_norm_moves_its_running_statistics() -> None:
    x = np.random.default_rng(0).standard_normal((4, 3, 5))
    ours = Tensor(np.zeros(3)), Tensor(np.ones(3))
    theirs = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    for _ in range(3):
        F.batch_norm(Tensor(x), *ours, training=True, momentum=0.3)
        T.batch_norm(torch.from_numpy(x), *theirs, training=True, momentum=0.3)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-13)


@pytest.mark.parametrize("shape", [(3, 0), (0, 3)], ids=str)
@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_norms_without_elements(name: str, shape: tuple[int, ...]) -> None:
    check_op(
        lambda x, w: getattr(F, name)(x, w.shape, w),
        lambda x, w: getattr(T, name)(x, w.shape, w),
        shapes=[shape, shape[1:]],
        differences=False,
    )


@pytest.mark.parametrize("norm", [F.layer_norm, F.rms_norm], ids=["layer norm", "RMS norm"])
def test_norms_of_integers_are_those_of_floats(norm: Any) -> None:
    x = np.random.default_rng(0).integers(-9, 9, (3, 5))
    y = norm(x, (5,))
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y.numpy(), norm(x.astype(np.float32), (5,)).numpy())


def test_refused() -> None:
    x = Tensor(np.ones((2, 3)))
    with pytest.raises(ValueError, match="layer_norm"):
        F.layer_norm(x, (2,))
    with pytest.raises(ValueError, match=r"must end in the normalised shape \(4,\)"):
        LayerNorm.apply(x, Tensor(np.ones(4)), None, eps=1e-5)
    with pytest.raises(ValueError, match="running_mean and running_var are needed"):
        F.batch_norm(x, None, None)
    with pytest.raises(ValueError, match="more than one value a channel"):
        F.batch_norm(x[:1], None, None, training=True)
