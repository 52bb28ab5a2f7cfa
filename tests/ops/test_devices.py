"""Shapes, reductions, indexing, spectra and losses give the same on every device as on the CPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.support import assert_close
from tests.tolerances import DEVICE_FLOAT64
from tinybert import functional as F
from tinybert.autograd import Tensor

X = np.random.default_rng(0).standard_normal((3, 4))
MASK = X > 0
NUMBERS = [[0, 1, -1, 2], [2, 2, 1, 0]]
WEIGHT = np.array([0.5, 2.0, 1.0, 1.5])
OPERATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "reshape": lambda x: x.reshape(2, -1),
    "permute": lambda x: x.permute(1, 0),
    "expand": lambda x: x.expand(2, -1, 4),
    "concat": lambda x: F.concat([x, x], 1),
    "stack": lambda x: F.stack([x, x], 1),
    "split": lambda x: x.split(3, 1)[1],
    "pad": lambda x: x.pad(((1, 0), (0, 2)), 7.0),
    "roll": lambda x: x.roll((1, -2), (0, 1)),
    "roll without an axis": lambda x: x.roll(5),
    "flip": lambda x: x.flip(0),
    "tril": lambda x: x.tril(-1),
    "triu": lambda x: x.triu(1),
    "sum": lambda x: x.sum(),
    "mean": lambda x: x.mean(0),
    "var": lambda x: x.var((0, 1), ddof=1),
    "max": lambda x: x.max(1),
    "min": lambda x: x.min(),
    "argmax": lambda x: x.argmax(0),
    "argmin": lambda x: x.argmin(),
    "cumsum": lambda x: x.cumsum(1),
    "a number": lambda x: x[1, -2],
    "a slice": lambda x: x[::-1, None, 1:3],
    "rows": lambda x: x[[1, 1, -3]],
    "columns": lambda x: x[:, [1, 1, -4]],
    "a mask": lambda x: x[MASK],
    "a mask on the device": lambda x: x[x > 0],
    "a mask and numbers": lambda x: x[MASK[:, 0], [1]],
    "gather": lambda x: x.gather(0, NUMBERS),
    "scatter_add": lambda x: x.scatter_add(0, NUMBERS, x),
    "scatter_add of integers": lambda x: x.argmax(0).scatter_add(0, [1, 1], x.argmin(0)),
    "rows of a spectrum": lambda x: x.rfft()[[0, 0, 1]].irfft(),
    "columns of a spectrum": lambda x: x.rfft(5)[:, [1, 1]].irfft(3, 0),
    "cross_entropy": lambda x: F.cross_entropy(x, [0, 3, -100]),
    "cross_entropy, smoothed": lambda x: F.cross_entropy(
        x, [0, 3, -100], WEIGHT, label_smoothing=0.1
    ),
    "cross_entropy, probabilities": lambda x: F.cross_entropy(x, X**2),
    "nll_loss": lambda x: F.nll_loss(x, [0, 3, -100], WEIGHT),
    "mse_loss": lambda x: F.mse_loss(x, X**2),
    "l1_loss": lambda x: F.l1_loss(x, X**2, "none"),
    "kl_div": lambda x: F.kl_div(x, X**2, "batchmean"),
    "binary_cross_entropy": lambda x: F.binary_cross_entropy_with_logits(
        x, MASK, WEIGHT, "sum", 2 * WEIGHT
    ),
}


def run(operation: Callable[[Tensor], Tensor], device: str) -> dict[str, np.ndarray]:
    """The value and, where there is one, the gradient."""
    x = Tensor(X, requires_grad=True, device=device)
    y = operation(x)
    results = {"value": y.numpy()}
    assert y.device.partition(":")[0] == device
    if y.requires_grad:
        y.backward(np.arange(1.0, 1 + y.size).reshape(y.shape))
        assert x.grad is not None
        assert x.grad.device == x.device
        results["gradient"] = x.grad.numpy()
    return results


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_the_same_on_every_device(operation: Callable[[Tensor], Tensor], device: str) -> None:
    expected = run(operation, "cpu")
    for name, actual in run(operation, device).items():
        assert actual.dtype == expected[name].dtype
        assert_close(actual, expected[name], rtol=DEVICE_FLOAT64, name=name)


@pytest.mark.parametrize("index", [[0, 3], (0, -5), (slice(None), [[4]]), 3])
def test_no_device_wraps_an_index_that_is_out_of_range(
    index: int | list[int] | tuple[object, ...], device: str
) -> None:
    x = Tensor(X, device=device)
    with pytest.raises(IndexError, match="is out of range for axis"):
        x[index]
    with pytest.raises(IndexError, match="is out of range for axis"):
        x[index] = 1
    with pytest.raises(IndexError, match="is out of range for axis"):
        x.gather(0, [[3]])
    with pytest.raises(ValueError, match="target must be from 0 to 3"):
        F.cross_entropy(x, [0, 4, 1])
