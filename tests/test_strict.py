"""The strict double refuses what CuPy refuses, and errs where CuPy silently does."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.cupy_signatures import ARGUMENTS
from tests.launches import counting
from tests.strict import strict
from tests.strict_array import StrictArray
from tinybert.backend import DeviceError, parse_device

X = StrictArray(np.arange(6.0).reshape(2, 3))
HOST = np.ones((2, 3))


@pytest.mark.parametrize(
    "mixture",
    [
        lambda: X + HOST, lambda: HOST + X, lambda: [1.0, 2.0, 3.0] * X, lambda: X @ HOST.T,
        lambda: X.copy().__iadd__(HOST), lambda: X.copy().__setitem__(0, HOST[0]),
        lambda: strict.exp(HOST), lambda: strict.maximum(X, HOST), lambda: strict.exp([1.0]),
        lambda: strict.where(HOST > 0, X, X), lambda: strict.concatenate([X, HOST]),
        lambda: strict.zeros_like(HOST), lambda: strict.asarray(HOST),
        lambda: X[np.array([0])], lambda: X[[0, 1]],
        lambda: np.asarray(X), lambda: np.exp(X), lambda: np.sum(X), lambda: np.stack([X]),
        lambda: X.max(axis=0, initial=0), lambda: strict.sum(X, where=X > 0),
        lambda: strict.concatenate([X, X], axis=0, where=True), lambda: strict.tril(X, 0, 1),
        lambda: strict.searchsorted(X[0], X[0], "left", None, 1), lambda: strict.zeros(2, device=0),
    ],
)  # fmt: skip
def test_refuses(mixture: Callable[[], Any]) -> None:
    with pytest.raises(TypeError):
        mixture()


def test_has_no_more_functions_than_cupy() -> None:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    assert all(hasattr(cupy, name) for name in vars(strict))
    assert all(hasattr(cupy.fft, name) for name in vars(strict.fft))
    public = {name for name in dir(StrictArray) if not name.startswith("_")}
    assert public <= set(dir(cupy.ndarray))


def test_the_table_of_arguments_is_that_of_cupy() -> None:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    for name, arguments in ARGUMENTS.items():
        function = operator.attrgetter(name)(cupy)
        found = inspect.signature(function).parameters.values()
        names = ["**" if p.kind is p.VAR_KEYWORD else p.name for p in found]
        assert " ".join(names) == arguments, name


def test_memory_that_nobody_wrote_to_is_garbage() -> None:
    assert np.isnan(strict.empty((2, 3), dtype="float32").get()).all()
    assert (strict.empty_like(StrictArray(np.zeros(3, int))).get() == 77).all()


def test_flags_are_those_of_cupy() -> None:
    with pytest.raises(AttributeError):
        _ = X.flags.writeable
    assert X.flags.c_contiguous
    assert X.T.flags.f_contiguous


def test_launches_and_waits_are_counted() -> None:
    x = StrictArray(np.ones((2, 3), np.float32))
    with counting() as counts:
        y = strict.exp(x + 1).sum(axis=0)
        y.reshape(3, 1)[1:]
        x.T.reshape(-1)  # has to be copied
        float(y[0])
    assert counts.launches == {"__add__": 1, "exp": 1, "sum": 1, "copy": 1}
    assert counts.waits == {"float": 1}
    with counting() as counts:
        x @ x.T  # two axes: the transpose is read in place
        x[None] @ x[None].swapaxes(1, 2)  # three: it is copied
        x[x > 0]
    assert counts.launches == {
        "__matmul__": 2, "copy for matmul": 1, "__gt__": 1, "nonzero": 4, "take": 1
    }  # fmt: skip
    assert counts.waits == {"mask": 1}


def test_numbers_mix_and_reductions_stay_on_the_device() -> None:
    total = (2 * X + np.float64(1)).sum()
    assert isinstance(total, StrictArray)
    assert total.shape == ()
    assert float(total) == 36.0
    assert (StrictArray(np.ones(2, np.float32)) * 2.0).dtype == np.float32


def test_index_out_of_range_wraps() -> None:
    x = StrictArray(np.arange(3))
    assert x[StrictArray(np.array([4, -4]))].get().tolist() == [1, 2]
    assert x.take(StrictArray(np.array([3]))).get().tolist() == [0]


def test_repeated_assignment_leaves_garbage() -> None:
    x = StrictArray(np.zeros(4))
    x[StrictArray(np.array([0, 0, 2, 2]))] = StrictArray(np.array([1.0, 2.0, 5.0, 5.0]))
    np.testing.assert_array_equal(x.get(), [np.nan, 0.0, 5.0, 0.0])
    x = StrictArray(np.zeros(3))
    x[StrictArray(np.array([1, 1]))] += StrictArray(np.array([1.0, 2.0]))
    assert np.isnan(x.get()[1])


def test_views_know_their_base() -> None:
    whole = StrictArray(np.zeros((2, 3)))
    view = whole.T[1:].reshape(-1)
    assert whole.base is None
    assert whole[0].base is whole
    assert whole.T[1:].base is whole
    assert whole.astype(np.float64, copy=False) is whole
    assert (whole + 1).base is None
    view += 1
    assert whole.flags.c_contiguous
    assert not whole.T.flags.c_contiguous


def test_devices_are_parsed() -> None:
    assert parse_device("strict")[0].name == "strict"
    with pytest.raises(ValueError, match="device must be 'cpu', 'cuda'"):
        parse_device("gpu")
    with pytest.raises(ValueError, match="got 'cuda:x'"):
        parse_device("cuda:x")
    assert issubclass(DeviceError, RuntimeError)
