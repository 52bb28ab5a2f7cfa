"""The damped moving average as a layer: against transformers, and three ways against each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import MegaConfig
from transformers.models.deprecated.mega.modeling_mega import MegaMultiDimensionDampedEma

import tinybert
from tests.support import assert_close
from tinybert.nn import DampedEMA

rng = np.random.default_rng(0)
D, N, T = 5, 3, 11
X = rng.standard_normal((2, T, D))
MASK = np.array([[1] * T, [0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0]])


def convolve_in_float64(self: Any, inputs: Any, kernel: Any, length: int) -> Any:
    spectra = (torch.fft.rfft(a, n=2 * length) for a in (inputs, kernel))
    return torch.fft.irfft(next(spectra) * next(spectra), n=2 * length)


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers' transform is in float32, whatever the model's dtype."""
    monkeypatch.setattr(MegaMultiDimensionDampedEma, "fft_convolution", convolve_in_float64)


def twins(bidirectional: bool, truncation: int | None) -> tuple[DampedEMA, Any]:
    config = MegaConfig(
        hidden_size=D, ema_projection_size=N, bidirectional=bidirectional, truncation=truncation
    )
    theirs = MegaMultiDimensionDampedEma(config).double()
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.from_numpy(rng.standard_normal(tuple(p.shape))))
    ours = DampedEMA(D, N, bidirectional, truncation).double()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("truncation", [None, 1, 4, 20])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_values_and_gradients_are_those_of_transformers(
    bidirectional: bool, truncation: int | None, masked: bool
) -> None:
    ours, theirs = twins(bidirectional, truncation)
    x = tinybert.Tensor(X, requires_grad=True)
    there = torch.tensor(X.swapaxes(0, 1), requires_grad=True)
    mask = MASK if masked else None
    y, state = ours(x, None if mask is None else mask[:, :, None])
    expected, _ = theirs(there, None if mask is None else torch.from_numpy(mask))
    assert state is None
    assert_close(y.numpy(), expected.detach().numpy().swapaxes(0, 1), rtol=1e-12)
    u = rng.standard_normal(X.shape)
    (y * u).sum().backward()
    (expected * torch.from_numpy(u.swapaxes(0, 1))).sum().backward()
    assert_close(x.grad.numpy(), there.grad.numpy().swapaxes(0, 1), rtol=1e-11)
    for name, p in theirs.named_parameters():
        found = dict(ours.named_parameters())[name].grad.numpy()
        assert_close(found, p.grad.numpy(), rtol=1e-11, name=name)


@pytest.mark.parametrize("truncation", [None, 1, 2, 4, 20])
@pytest.mark.parametrize("splits", [(11,), (1,) * 11, (4, 1, 6), (1, 10), (10, 1), (9, 2)], ids=str)
def test_step_by_step_equals_the_whole(splits: tuple[int, ...], truncation: int | None) -> None:
    ours, _ = twins(False, truncation)
    x = tinybert.Tensor(X, requires_grad=True)
    mask = MASK[:, :, None]
    whole, _ = ours(x, mask)
    u = rng.standard_normal(X.shape)
    (whole * u).sum().backward()
    expected = {n: p.grad.numpy().copy() for n, p in ours.named_parameters()} | {"x": x.grad}
    ours.zero_grad()
    x.grad = None
    state, parts, stop = None, [], 0
    for width in splits:
        start, stop = stop, stop + width
        y, state = ours(x[:, start:stop], mask[:, start:stop], state, want_state=True)
        parts.append(y)
    found = tinybert.concat(parts, axis=1)
    assert_close(found.numpy(), whole.numpy(), rtol=1e-12)
    (found * u).sum().backward()
    for name, gradient in expected.items():
        mine = x.grad if name == "x" else dict(ours.named_parameters())[name].grad
        assert_close(mine.numpy(), np.asarray(gradient), rtol=1e-11, name=name)
    wanted = (2, D, N) if truncation is None else (2, min(T, truncation - 1), D)
    assert state.shape == wanted


@pytest.mark.parametrize("length", [2, 9])
def test_the_state_is_that_of_transformers(length: int) -> None:
    ours, theirs = twins(False, None)
    there = torch.tensor(X.swapaxes(0, 1))
    _, first = theirs(there[:1], use_cache=True)
    expected, last = theirs(there[1 : 1 + length], prev_state=first, use_cache=True)
    _, state = ours(tinybert.Tensor(X[:, :1]), want_state=True)
    found, after = ours(tinybert.Tensor(X[:, 1 : 1 + length]), state=state, want_state=True)
    assert_close(found.numpy(), expected.detach().numpy().swapaxes(0, 1), rtol=1e-12)
    assert_close(after.numpy(), last.detach().numpy(), rtol=1e-12)


def test_truncation_counts_with_a_state_too() -> None:
    """transformers forgets the truncation as soon as it keeps a state."""
    ours, theirs = twins(False, 3)
    there = torch.tensor(X.swapaxes(0, 1))
    right, wrong = (theirs(there, use_cache=u)[0].detach().numpy() for u in (False, True))
    assert np.abs(right - wrong).max() > 0.01
    found, _ = ours(tinybert.Tensor(X), want_state=True)
    assert_close(found.numpy(), right.swapaxes(0, 1), rtol=1e-12)


def test_weights_changed_after_a_call_count() -> None:
    """transformers keeps the kernel of the first call in evaluation."""
    ours, theirs = twins(True, None)
    ours.eval(), theirs.eval()
    there = torch.tensor(X.swapaxes(0, 1))
    before, stale = ours(tinybert.Tensor(X))[0].numpy(), theirs(there)[0].detach().numpy()
    fresh, _ = twins(True, None)
    for model in (ours, theirs):
        arrays = {n: t.numpy() for n, t in fresh.state_dict().items()}
        arrays["residual_weight"] = ours.residual_weight.numpy().copy()
        if model is theirs:
            arrays = {n: torch.from_numpy(a) for n, a in arrays.items()}
        model.load_state_dict(arrays)
    assert (theirs(there)[0].detach().numpy() == stale).all()
    after = ours(tinybert.Tensor(X))[0].numpy()
    assert np.abs(after - before).max() > 0.1
    fresh.residual_weight.data[...] = ours.residual_weight.data
    assert (after == fresh(tinybert.Tensor(X))[0].numpy()).all()


def test_a_state_in_both_directions_is_refused() -> None:
    ours, _ = twins(True, None)
    with pytest.raises(ValueError, match="no state that could be carried"):
        ours(tinybert.Tensor(X), want_state=True)


def test_fresh_weights() -> None:
    layer = DampedEMA(200, 16, bidirectional=True)
    assert layer.kernel(7).shape == (400, 7)
    beta = layer.ema_expansion_matrix.numpy()[..., 0]
    assert_close(beta.mean(axis=0), np.tile([1.0, -1.0], 8), rtol=0.01)
    assert abs((beta - np.tile([1.0, -1.0], 8)).std() - 0.02) < 0.002
    for name, std in {
        "damping_factor": 0.2, "decay_factor": 0.2,
        "kernel_projection_matrix": 1, "residual_weight": 1,
    }.items():  # fmt: skip
        assert abs(getattr(layer, name).numpy().std() / std - 1) < 0.15, name
    assert "200, 16, bidirectional=True, truncation=None" in repr(layer)


def test_on_every_device(device: str) -> None:
    layer = DampedEMA(D, N)
    here = layer(tinybert.Tensor(X.astype("f")))[0].numpy()
    layer.to(device)
    x = tinybert.Tensor(X.astype("f"), device=device)
    parts, state = [], None
    for start, stop in ((0, 9), (9, 11)):
        y, state = layer(x[:, start:stop], state=state, want_state=True)
        parts.append(y)
    found = tinybert.concat(parts, axis=1)
    assert found.device.startswith(device)
    assert_close(found.numpy(), here, rtol=1e-5)
    found.sum().backward()
    assert layer.damping_factor.grad.device == layer.damping_factor.device


# --- norms ----------------------------------------------------------------------------------------


def test_batch_norm_keeps_statistics_as_torch_does(device: str) -> None:
    ours, theirs = tinybert.nn.BatchNorm(D).to(device), torch.nn.BatchNorm1d(D)
    for _ in range(3):
        x = rng.standard_normal((2, 7, D)).astype("f") * 3 + 1
        found = ours(tinybert.Tensor(x, device=device))
        expected = theirs(torch.from_numpy(x).transpose(1, 2)).transpose(1, 2)
        assert_close(found.numpy(), expected.detach().numpy(), rtol=1e-5)
    ours.eval(), theirs.eval()
    found = ours(tinybert.Tensor(x, device=device)).numpy()
    expected = theirs(torch.from_numpy(x).transpose(1, 2)).transpose(1, 2).detach().numpy()
    assert_close(found, expected, rtol=1e-5)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, tensor in theirs.state_dict().items():
        mine = ours.state_dict()[name]
        assert mine.dtype == tensor.numpy().dtype
        assert_close(mine.numpy(), tensor.numpy(), rtol=1e-5)
    with pytest.raises(ValueError, match=r"x must have shape \(B, T, 5\), got \(2, 5\)"):
        ours(tinybert.Tensor(x[:, 0], device=device))


def test_norms_by_size() -> None:
    x = tinybert.Tensor(X)
    rms = np.sqrt((X**2).mean(-1, keepdims=True) + 1e-5)
    norm, plain = tinybert.nn.ScaleNorm(), tinybert.nn.ScaleNorm(affine=False)
    norm.scalar.data[...] = 3
    assert_close(norm(x).numpy(), 3 * X / rms, rtol=1e-12)
    assert_close(plain(x).numpy(), X / rms, rtol=1e-12)
    assert not list(plain.parameters())
    norm, plain = tinybert.nn.RMSNorm(D), tinybert.nn.RMSNorm(D, affine=False)
    norm.weight.data[...] = np.arange(D)
    assert_close(norm(x).numpy(), X / rms * np.arange(D), rtol=1e-12)
    assert_close(plain(x).numpy(), X / rms, rtol=1e-12)
