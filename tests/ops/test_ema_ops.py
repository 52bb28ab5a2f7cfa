"""The moving average's operations: sums of powers, long convolutions, the recurrence."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch

from tests.support import assert_close, check_op
from tests.tolerances import FLOAT32_EPS
from tinybert import functional as F
from tinybert.autograd import Tensor, no_grad
from tinybert.backend import plain
from tinybert.ops.convolution import good_length

SHAPES = [(3, 2), (3, 2)]


def decays(normal: np.ndarray) -> np.ndarray:
    """Numbers between 0.05 and 0.95."""
    return 0.05 + 0.9 / (1 + np.exp(-normal))


# --- sums of powers -------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 2, 5, 9, 11, 16])
@pytest.mark.parametrize("lead", [(), (4,), (2, 1)])
def test_power_sums(lead: tuple[int, ...], length: int) -> None:
    def theirs(weight: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        table = base[..., None] ** torch.arange(length)
        return torch.einsum("...dn,dnt->...dt", weight, table)

    check_op(
        lambda weight, base: F.power_sums(weight, base, length),
        theirs,
        shapes=[(*lead, 3, 2), (3, 2)],
        domain=[None, decays],
    )


@pytest.mark.parametrize("length", [1, 2, 5, 9, 11, 16])
@pytest.mark.parametrize("lead", [(), (4,)])
def test_polynomials(lead: tuple[int, ...], length: int) -> None:
    def theirs(coefficient: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        table = base[..., None] ** torch.arange(length)
        return torch.einsum("...dt,dnt->...dn", coefficient, table)

    check_op(F.polynomials, theirs, shapes=[(*lead, 3, length), (3, 2)], domain=[None, decays])


def test_a_memory_that_keeps_nothing() -> None:
    """decay 0: 0^0 is 1, and the gradient is finite (by logarithms both would be nan)."""
    base = Tensor([[0.0, 0.5]], requires_grad=True)
    y = F.power_sums([[2.0, 4.0]], base, 4)
    assert y.tolist() == [[6.0, 2.0, 1.0, 0.5]]
    y.backward(np.array([[1, 1, 1, 1]], np.float32))
    assert base.grad.tolist() == [[2.0, 4 + 4 + 3]]


def test_power_sums_need_no_table_of_all_powers() -> None:
    """65,536 steps of 64 memories for 4 features: the table would be 67 MB, the result is 1 MB."""
    import tracemalloc

    weight, base = Tensor(np.ones((4, 64), np.float32)), np.full((4, 64), 0.999, np.float32)
    tracemalloc.start()
    F.power_sums(weight, base, 65536)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 6e6


# --- long convolutions ----------------------------------------------------------------------------


def directly(x: Any, back: Any, ahead: Any, zeros: Any) -> Any:
    """The definition, a loop over the lags; of arrays or torch tensors."""
    length = x.shape[1]
    y = zeros
    for j in range(back.shape[1]):
        for t in range(length):
            row = y[:, t].clone() if isinstance(y, torch.Tensor) else y[:, t].copy()
            if t - j >= 0:
                row = row + back[:, j] * x[:, t - j]
            if ahead is not None and t + j < length:
                row = row + ahead[:, j] * x[:, t + j]
            y = replaced(y, t, row)
    return y


def replaced(y: Any, t: int, row: Any) -> Any:
    if isinstance(y, torch.Tensor):
        return torch.cat([y[:, :t], row[:, None], y[:, t + 1 :]], dim=1)
    y[:, t] = row
    return y


@pytest.mark.parametrize(("length", "width"), [(1, 1), (5, 5), (7, 3), (2, 6), (6, 1)])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("both", [False, True], ids=["back", "back and ahead"])
def test_long_convolution(length: int, width: int, batch: int, both: bool) -> None:
    shapes = [(batch, length, 5), (5, width), (5, width)][: 2 + both]  # 5: a block and one more
    check_op(
        F.long_convolution,
        lambda x, back, ahead=None: directly(x, back, ahead, x * 0),
        shapes=shapes,
    )


def test_the_step_itself_counts_in_both_directions() -> None:
    y = F.long_convolution([[[1.0], [0.0], [0.0]]], [[2.0, 1.0]], [[3.0, 7.0]])
    np.testing.assert_allclose(y.numpy()[0, :, 0], [5, 1, 0], atol=1e-6)
    y = F.long_convolution([[[0.0], [0.0], [1.0]]], [[2.0, 1.0]], [[3.0, 7.0]])
    np.testing.assert_allclose(y.numpy()[0, :, 0], [0, 7, 5], atol=1e-6)


def test_an_empty_sequence_has_no_effect_on_the_gradients_of_kernels() -> None:
    x, *kernels = (
        Tensor(np.ones(shape), requires_grad=True) for shape in ((2, 0, 3), (3, 4), (3, 4))
    )
    for mode in (nullcontext(), plain()):
        with mode:
            F.long_convolution(x, *kernels).backward(np.ones((2, 0, 3)))
    assert x.grad.shape == (2, 0, 3)
    assert not any(kernel.grad.numpy().any() for kernel in kernels)


def test_kernels_in_float16_may_have_a_sum_that_it_cannot_hold() -> None:
    x = Tensor(np.full((1, 3, 1), 0.5, "float16"), requires_grad=True)
    kernels = [Tensor([[4e4]], dtype="float16", requires_grad=True) for _ in range(2)]
    with np.errstate(over="raise", invalid="raise"):
        y = F.long_convolution(x, *kernels)
        y.backward(np.full(y.shape, 6e4, "float16"))
    np.testing.assert_allclose(y.numpy(), 4e4, rtol=1e-3)
    assert np.isinf([g.grad.numpy().max() for g in (x, *kernels)]).all()


def test_good_lengths() -> None:
    good = sorted(
        2**a * 3**b * 5**c for a in range(13) for b in range(9) for c in range(6)
        if 2**a * 3**b * 5**c <= 5000
    )  # fmt: skip
    for least in range(1, 4000):
        assert good_length(least) == next(n for n in good if n >= least)


def test_wrong_shapes_are_refused() -> None:
    for call in ((np.ones((2, 3)), np.ones((3, 4))), (np.ones((1, 2, 3)), np.ones((2, 4)))):
        with pytest.raises(ValueError, match=r"expected input \(B, T, D\) and kernels \(D, M\)"):
            F.long_convolution(*call)
    with pytest.raises(ValueError, match=r"kernels \(D, M\), got \(1, 2, 3\), \(3, 4\), \(3, 5\)"):
        F.long_convolution(np.ones((1, 2, 3)), np.ones((3, 4)), np.ones((3, 5)))


# --- the recurrence -------------------------------------------------------------------------------


def steps(x: Any, decay: Any, enter: Any, leave: Any, state: Any = None) -> Any:
    """The recurrence in torch."""
    state = x.new_zeros(len(x), *decay.shape) if state is None else state
    ys = []
    for t in range(x.shape[1]):
        state = decay * state + enter * x[:, t, :, None]
        ys.append((leave * state).sum(-1))
    return torch.stack(ys, 1), state


@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("length", [1, 4])
def test_recurrence(length: int, with_state: bool) -> None:
    shapes = [(2, length, 3), (3, 5), (3, 5), (3, 5), (2, 3, 5)][: 4 + with_state]
    domain = [None, decays, None, None, None][: 4 + with_state]
    check_op(F.ema_recurrence, steps, shapes=shapes, domain=domain)


def ema(length: int, features: int, memories: int, seed: int = 0) -> list[np.ndarray]:
    """Inputs (1, T, D), decays, and factors on the way in and out, float64."""
    rng = np.random.default_rng(seed)
    shape = (features, memories)
    return [
        rng.standard_normal((1, length, features)),
        decays(rng.standard_normal(shape)),
        rng.standard_normal(shape),
        rng.standard_normal(shape) / memories**0.5,
    ]


def by_fft(x: Tensor, decay: Tensor, enter: Tensor, leave: Tensor) -> Tensor:
    return F.long_convolution(x, F.power_sums(enter * leave, decay, x.shape[1]))


@pytest.mark.parametrize("length", [1, 33, 1024])
def test_both_ways_are_equal_to_rounding_with_their_gradients(length: int) -> None:
    arrays = ema(length, 6, 4)
    cotangent = np.random.default_rng(1).standard_normal((1, length, 6))
    results = {}
    for dtype in (np.float64, np.float32):
        for way in (by_fft, lambda *a: F.ema_recurrence(*a)[0]):
            leaves = [Tensor(a.astype(dtype), requires_grad=True) for a in arrays]
            y = way(*leaves)
            y.backward(cotangent.astype(dtype))
            results[dtype, way is by_fft] = [y.numpy(), *(leaf.grad.numpy() for leaf in leaves)]
    exact = results[np.float64, False]
    for found, expected in zip(results[np.float64, True], exact, strict=True):
        assert_close(found, expected, rtol=1e-12)
    for fft in (False, True):
        for found, expected in zip(results[np.float32, fft], exact, strict=True):
            assert found.dtype == np.float32
            assert_close(found, expected, rtol=64 * FLOAT32_EPS)


def test_causal_to_the_last_bit_by_recurrence_and_to_rounding_by_fft() -> None:
    x, *factors = (a.astype(np.float32) for a in ema(200, 6, 4))
    changed = x.copy()
    changed[:, 150:] += 1000.0
    with no_grad():
        before, after = (F.ema_recurrence(v, *factors)[0].numpy() for v in (x, changed))
        assert (before[:, :150] == after[:, :150]).all()
        assert (before[:, 150:] != after[:, 150:]).all()
        weights = [Tensor(f) for f in factors]
        before, after = (by_fft(Tensor(v), *weights).numpy() for v in (x, changed))
    leak = np.abs(before[:, :150] - after[:, :150]).max()
    assert leak < 16 * FLOAT32_EPS * 1000 * np.abs(after).max() / 1000
    assert np.abs(before[:, 150:] - after[:, 150:]).min() > 1e-3


def test_the_state_goes_on_where_it_stopped() -> None:
    x, *factors = ema(11, 3, 2)
    whole, last = F.ema_recurrence(x, *factors)
    state, parts = None, []
    for start, stop in ((0, 1), (1, 4), (4, 11)):
        part, state = F.ema_recurrence(x[:, start:stop], *factors, state)
        parts.append(part.numpy())
    assert (np.concatenate(parts, axis=1) == whole.numpy()).all()
    assert (state.numpy() == last.numpy()).all()
