"""torch's names of arguments: every method takes the keywords that torch's method takes."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch

from tinybert import Tensor, functional

X = np.arange(6.0).reshape(2, 3)
INDEX, SOURCE = np.array([[2], [0]]), np.array([[10.0], [20.0]])
CALLS: dict[str, list[dict[str, Any]]] = {
    "reshape": [{"shape": (3, 2)}], "view": [{"size": (3, 2)}], "expand": [{"size": (4, 2, 3)}],
    "permute": [{"dims": (1, 0)}], "transpose": [{"dim0": 0, "dim1": 1}, {"dim1": -1, "dim0": 0}],
    "swapaxes": [{"axis0": 0, "axis1": 1}], "flatten": [{"start_dim": 0, "end_dim": 1}],
    "unsqueeze": [{"dim": 1}], "squeeze": [{"dim": 0}], "split": [{"split_size": 2, "dim": 1}],
    "chunk": [{"chunks": 2, "dim": 1}], "roll": [{"shifts": 1, "dims": 1}],
    "flip": [{"dims": (0, 1)}], "tril": [{"diagonal": 1}], "triu": [{"diagonal": 1}],
    "gather": [{"dim": 1, "index": INDEX}],
    "scatter_add": [{"dim": 1, "index": INDEX, "src": SOURCE}],
    "cumsum": [{"dim": 1}], "softmax": [{"dim": 1}], "log_softmax": [{"dim": 1}],
    "logsumexp": [{"dim": 1, "keepdim": True}], "sum": [{"dim": 1, "keepdim": True}, {"dim": 0}],
    "mean": [{"dim": (0, 1), "keepdim": True}], "argmax": [{"dim": 1, "keepdim": True}],
    "argmin": [{"dim": 0}], "var": [{"dim": 1, "correction": 1}, {"dim": 0, "unbiased": False}],
    "std": [{"dim": 1, "correction": 0, "keepdim": True}, {"dim": 0, "unbiased": True}],
    "clip": [{"min": 1, "max": 3}], "masked_fill": [{"mask": X > 2, "value": 7}],
    "where": [{"condition": X > 2, "other": X * 2}], "add_": [{"other": X}], "mul_": [{"other": X}],
    "copy_": [{"other": X * 2}], "fill_": [{"value": 3}],
}  # fmt: skip


def as_torch(value: Any) -> Any:
    return torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize(
    ("name", "given"), [(name, given) for name, calls in CALLS.items() for given in calls]
)
def test_methods(name: str, given: dict[str, Any]) -> None:
    results = getattr(Tensor(X), name)(**given)
    theirs = getattr(as_torch(X), name)(**{key: as_torch(value) for key, value in given.items()})
    results, theirs = ((r if isinstance(r, tuple) else (r,)) for r in (results, theirs))
    for result, expected in zip(results, theirs, strict=True):
        np.testing.assert_allclose(result.numpy(), expected.numpy(), rtol=1e-15)


def test_functions() -> None:
    x, t = Tensor(X), torch.from_numpy(X)
    pairs = [
        (functional.concat(tensors=[x, x], dim=1), torch.concat(tensors=[t, t], dim=1)),
        (functional.stack([x, x], dim=-1), torch.stack([t, t], dim=-1)),
        (functional.softmax(input=X, dim=0), torch.softmax(input=t, dim=0)),
        (functional.roll(X, shifts=1, dims=0), torch.roll(t, shifts=1, dims=0)),
        (functional.flip(X, dims=(0,)), torch.flip(t, dims=(0,))),
        (
            functional.split(X, split_size_or_sections=[1, 2], dim=1)[1],
            torch.split(t, split_size_or_sections=[1, 2], dim=1)[1],
        ),
        (functional.rfft(X, n=4, dim=1), torch.fft.rfft(t, n=4, dim=1)),
    ]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-15)


def test_backward_by_torchs_name() -> None:
    x = Tensor(X, requires_grad=True)
    (x * 2).backward(gradient=X)
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), 2 * X)


@pytest.mark.parametrize(
    ("name", "args", "given"),
    [
        ("sum", (), {"axis": 0, "dim": 0}), ("sum", (0,), {"dim": 0}),
        ("sum", (), {"keepdims": True, "keepdim": True}), ("softmax", (), {"axis": 0, "dim": 0}),
        ("softmax", (1,), {"dim": 1}), ("unsqueeze", (0,), {"dim": 0}),
        ("flip", (0,), {"dims": 0}), ("split", (1,), {"split_size": 1}),
        ("split", (), {"split_size": 1, "split_size_or_sections": 1}),
        ("var", (), {"correction": 1, "unbiased": True}), ("permute", (0, 1), {"dims": (1, 0)}),
        ("transpose", (0,), {"dim0": 0, "dim1": 1}), ("reshape", (6,), {"shape": (6,)}),
        ("sum", (), {"dims": 0}), ("softmax", (), {"dimension": 0}), ("permute", (), {"dim": 0}),
    ],
)  # fmt: skip
def test_two_names_or_a_wrong_one_are_refused(
    name: str, args: tuple[Any, ...], given: dict[str, Any]
) -> None:
    with pytest.raises(TypeError, match=name):
        getattr(Tensor(X), name)(*args, **given)


def test_help_shows_the_method_itself() -> None:
    signature = inspect.signature(Tensor.softmax)
    assert str(signature) == "(input: 'Any', axis: 'int' = -1) -> 'Tensor'"
    assert Tensor.mean.__doc__ == "Return the mean over `axis`."
