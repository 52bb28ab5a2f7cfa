"""Indexing, gather and scatter_add against torch and NumPy, with random indices of every kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import check_op
from tinybert.autograd import Tensor

MASK = np.array([[True, False, True, True], [False, False, True, False], [True] * 4])
INDICES: list[Any] = [
    0,
    -1,
    (1, 2),
    (2, -1, 3),
    ...,
    None,
    slice(None, None, 2),
    (slice(1, 0), slice(None)),
    (..., 1),
    (None, slice(None), None, -2, ...),
    (slice(None, 2), slice(1, None, 2), None),
    [1, 1, 1],
    [-1, 0, -1, 2],
    [[0, 1], [2, 0]],
    ([0, 0, 2], [1, 1, -1]),
    ([[0], [2]], [1, 1, -1]),
    (slice(None), [3, 3, 0]),
    (slice(None), slice(None), [-5, 1, 1]),
    ([0, 0], slice(None), [1, 1]),
    (slice(None), [0, 0], [1, 1]),
    (0, [1, 1, 2]),
    ([1, 1], None, [0, 0]),
    ([1, 1, 0], ...),
    (..., [0, 0]),
    np.array([1, 1], np.uint8),
    [],
    MASK,
    MASK[:, 0],
    (slice(None), MASK[0]),
    (MASK[:, 0], 1),
    (MASK, [0, 0, 1, 1, 2, 2, 0, 0]),
    ([0, 2, 2], MASK[0]),
    (MASK, slice(None, None, 2)),
    [True, False, True],
]


def for_torch(index: Any) -> Any:
    """The same index with torch's tensors in the place of lists and arrays."""
    if isinstance(index, tuple):
        return tuple(for_torch(part) for part in index)
    if isinstance(index, (list, np.ndarray)):
        array = np.asarray(index)
        return torch.from_numpy(array.astype(bool if array.dtype == bool else np.int64))
    return index


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_getitem(index: Any) -> None:
    theirs = for_torch(index)
    check_op(lambda x: x[index], lambda x: x[theirs], shapes=[(3, 4, 5)])


def test_negative_steps() -> None:
    x = np.random.default_rng(0).standard_normal((3, 4))
    leaf = Tensor(x, requires_grad=True)
    y = leaf[::-1, 3:0:-2]
    np.testing.assert_array_equal(y.numpy(), x[::-1, 3:0:-2])
    y.backward(np.arange(6.0).reshape(3, 2))
    assert leaf.grad is not None
    np.testing.assert_array_equal(leaf.grad.numpy()[::-1, 3:0:-2], np.arange(6.0).reshape(3, 2))


@pytest.mark.parametrize("wrap", [Tensor, np.asarray, list])
def test_tensors_arrays_and_lists_are_the_same_index(wrap: Any) -> None:
    x = np.arange(12.0).reshape(3, 4)
    ids, mask = [1, -1, 1], [True, False, True]
    np.testing.assert_array_equal(Tensor(x)[wrap(ids)].numpy(), x[ids])
    np.testing.assert_array_equal(Tensor(x)[wrap(mask)].numpy(), x[mask])
    np.testing.assert_array_equal(Tensor(x)[:, wrap(ids)].numpy(), x[:, ids])


def test_single_numbers_of_every_kind_give_a_view() -> None:
    x = Tensor(np.arange(12.0).reshape(3, 4))
    for one in (1, np.int64(1), np.array(1), Tensor(1), -2):
        row = x[one]
        np.testing.assert_array_equal(row.numpy(), [4, 5, 6, 7])
        assert np.shares_memory(row.data, x.data)
    assert np.shares_memory(x[1, 2].data, x.data)
    assert x[1, 2].shape == ()
    assert x[True].shape == (1, 3, 4)
    assert x[np.bool_(False)].shape == (0, 3, 4)
    assert Tensor(5.0)[...].item() == Tensor(5.0)[()].item() == Tensor(5.0)[None][0].item() == 5


def test_a_number_beside_an_array_counts_as_an_array_as_in_numpy() -> None:
    x = np.arange(60.0).reshape(3, 4, 5)
    index = (0, slice(None), [1, 1, 2])
    assert x[index].shape == (3, 4)  # torch gives (4, 3)
    np.testing.assert_array_equal(Tensor(x)[index].numpy(), x[index])


def test_an_index_that_is_changed_later_does_not_change_the_gradient() -> None:
    ids = np.array([0, 0, 2])
    x = Tensor(np.zeros((3, 2)), requires_grad=True)
    y = x[ids].sum()
    ids[:] = 1
    y.backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), [[2, 2], [0, 0], [1, 1]])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.complex64])
@pytest.mark.parametrize("index", [[1, 1, 1], (slice(None), [1, 1, 1]), 1, (..., [False, True])])
def test_repeated_numbers_accumulate_in_the_dtype(index: Any, dtype: Any) -> None:
    x = Tensor(np.zeros((2, 2), dtype), requires_grad=True)
    y = x[index]
    u = np.arange(1, 1 + y.size).reshape(y.shape).astype(dtype)
    u = u * dtype(1 - 2j) if dtype is np.complex64 else u
    y.backward(u)
    expected = np.zeros((2, 2), dtype)
    np.add.at(expected, index, u)
    assert x.grad is not None
    assert x.grad.dtype == dtype
    np.testing.assert_array_equal(x.grad.numpy(), expected)


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (3, IndexError, "index 3 is out of range for axis 0 of size 3"),
        ((0, -5), IndexError, "index -5 is out of range for axis 1 of size 4"),
        ([0, 3], IndexError, "index 3 is out of range for axis 0 of size 3"),
        ((..., [0, -5]), IndexError, "index -5 is out of range for axis 1 of size 4"),
        ((slice(None), [[4]]), IndexError, "index 4 is out of range for axis 1"),
        ((None, 0, [9]), IndexError, "index 9 is out of range for axis 1"),
        ((0, 0, 0), IndexError, r"3 axes are indexed, but shape \(3, 4\) has 2"),
        ((..., 0, ...), IndexError, "only once"),
        ([True, False], IndexError, r"mask of shape \(2,\) does not fit axes 0 to 0 of shape"),
        ((slice(None), MASK[:, 0]), IndexError, r"mask of shape \(3,\) does not fit axes 1 to 1"),
        ([0.5], TypeError, "integers or booleans, got float32"),
        ("a", TypeError, "got str"),
        (1.0, TypeError, "got float"),
    ],
)
def test_wrong_indices_are_named(index: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Tensor(np.zeros((3, 4)))[index]


@st.composite
def shapes_and_indices(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    """A shape of 1 to 4 axes and a mixed index; all its arrays broadcast to one shape."""
    shape = tuple(draw(st.lists(st.integers(0, 4), min_size=1, max_size=4)))
    common = draw(st.sampled_from([(1,), (3,), (2, 3), (0,)]))
    index: list[Any] = []
    for size in shape[: draw(st.integers(0, len(shape)))]:
        kinds = ["slice", "none"] + (["int", "array", "array"] if size else [])
        kind = draw(st.sampled_from(kinds))
        if kind == "none":
            index.append(None)
        if kind in ("slice", "none"):
            ends = st.one_of(st.none(), st.integers(-5, 5))
            step = draw(st.sampled_from([None, 1, 2, -1, -2]))
            index.append(slice(draw(ends), draw(ends), step))
        elif kind == "int":
            index.append(draw(st.integers(-size, size - 1)))
        else:
            at = draw(st.integers(0, len(common)))
            mine = tuple(draw(st.sampled_from([n, 1])) for n in common[at:])
            count = int(np.prod(mine))
            numbers = draw(st.lists(st.integers(-size, size - 1), min_size=count, max_size=count))
            index.append(np.array(numbers, np.int64).reshape(mine))
    if draw(st.booleans()):
        axes_left = len(shape) - sum(part is not None for part in index)
        index.append(...)
        if axes_left and shape[-1] and draw(st.booleans()):
            index.append(draw(st.integers(-shape[-1], shape[-1] - 1)))
    return shape, tuple(index)


@settings(max_examples=400, deadline=None)
@given(shapes_and_indices(), st.sampled_from([np.float32, np.float64]))
def test_random_indices_against_numpy(case: tuple[Any, Any], dtype: Any) -> None:
    shape, index = case
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    leaf = Tensor(x, requires_grad=True)
    y = leaf[tuple(Tensor(p) if isinstance(p, np.ndarray) else p for p in index)]
    np.testing.assert_array_equal(y.numpy(), x[index])
    u = np.random.default_rng(1).integers(-9, 10, y.shape).astype(dtype)  # sums are exact
    y.backward(u)
    expected = np.zeros_like(x)
    np.add.at(expected, index, u)
    assert leaf.grad is not None
    assert leaf.grad.dtype == dtype
    np.testing.assert_array_equal(leaf.grad.numpy(), expected)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_random_masks_against_numpy(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=3)))
    x = np.random.default_rng(0).standard_normal(shape)
    covered = shape[: data.draw(st.integers(1, len(shape)))]
    count = int(np.prod(covered))
    bits = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    mask = np.array(bits, bool).reshape(covered)
    leaf = Tensor(x, requires_grad=True)
    y = leaf[Tensor(mask)]
    np.testing.assert_array_equal(y.numpy(), x[mask])
    u = np.arange(1.0, 1 + y.size).reshape(y.shape)
    y.backward(u)
    expected = np.zeros_like(x)
    expected[mask] = u
    assert leaf.grad is not None
    np.testing.assert_array_equal(leaf.grad.numpy(), expected)


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_item_assignment(index: Any) -> None:
    x = np.zeros((3, 4, 5))
    tensor = Tensor(x)
    x[index] = 7
    tensor[index] = 7
    np.testing.assert_array_equal(tensor.numpy(), x)


def test_item_assignment_checks_its_index_before_it_writes() -> None:
    x = Tensor(np.zeros((3, 4)))
    with pytest.raises(IndexError, match="index 3 is out of range for axis 0 of size 3"):
        x[Tensor([0, 3])] = 1
    assert not x.numpy().any()


# --- gather and scatter_add -----------------------------------------------------------------------

PLACES: list[tuple[tuple[int, ...], int, Any]] = [
    ((3, 4), 0, [[0, 2, 1, 1], [1, 1, 1, 1]]),
    ((3, 4), 1, [[3, 3], [0, 1], [2, 2]]),
    ((3, 4), -1, [[0, 0, 0, 0, 0]]),
    ((5,), 0, [4, 4, 4, 0, 1, 2]),
    ((2, 3, 2), 1, np.arange(8).reshape(2, 2, 2) % 3),
    ((2, 3), 1, np.zeros((2, 0), np.int64)),
    ((2, 0), 0, np.zeros((3, 0), np.int64)),
    ((1, 2, 1, 3), 3, [[[[2, 2]], [[0, 1]]]]),
]


@pytest.mark.parametrize(("shape", "axis", "index"), PLACES)
def test_gather(shape: tuple[int, ...], axis: int, index: Any) -> None:
    numbers = np.asarray(index)
    check_op(
        lambda x, i: x.gather(axis, i),
        lambda x, i: x.gather(axis, i),
        shapes=[shape],
        arrays=[numbers],
    )
    negative = numbers - shape[axis]
    x = np.random.default_rng(0).standard_normal(shape)
    expected = Tensor(x).gather(axis, numbers).numpy()
    np.testing.assert_array_equal(Tensor(x).gather(axis, negative).numpy(), expected)


@pytest.mark.parametrize(("shape", "axis", "index"), PLACES)
@pytest.mark.parametrize("longer", [0, 1])
def test_scatter_add(shape: tuple[int, ...], axis: int, index: Any, longer: int) -> None:
    numbers = np.asarray(index)
    source = tuple(n + longer for n in numbers.shape)
    check_op(
        lambda x, s, i: x.scatter_add(axis, i, s),
        lambda x, s, i: x.scatter_add(axis, i, s[tuple(slice(n) for n in i.shape)]),
        shapes=[shape, source],
        arrays=[numbers],
    )


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float16, np.float32, np.complex64])
def test_scatter_add_keeps_the_dtype(dtype: Any) -> None:
    x = Tensor(np.array([2**40 + 1 if dtype is np.int64 else 1, 0, 0]).astype(dtype))
    y = x.scatter_add(0, [1, 1, -1], Tensor(np.array([3, 4, 5]).astype(dtype)))
    assert y.dtype == dtype
    np.testing.assert_array_equal(y.numpy(), x.numpy() + np.array([0, 7, 5]).astype(dtype))


def test_integers_beyond_53_bits_are_added_exactly() -> None:
    big = 2**60 + 1
    y = Tensor(np.zeros(2, np.int64)).scatter_add(0, [1, 1], Tensor(np.array([big, 2])))
    assert y.tolist() == [0, big + 2]


@pytest.mark.parametrize(
    ("run", "error", "message"),
    [
        (lambda x: x.gather(0, [[3]]), IndexError, "index 3 is out of range for axis 0 of size 3"),
        (
            lambda x: x.gather(1, [[-5]]),
            IndexError,
            "index -5 is out of range for axis 1 of size 4",
        ),
        (lambda x: x.gather(0, [0]), ValueError, r"gather: index of shape \(1,\) needs the axes"),
        (lambda x: x.gather(0, [[0] * 5]), ValueError, "no longer, except along axis 0"),
        (lambda x: x.gather(2, [[0]]), ValueError, "axis must be from -2 to 1"),
        (lambda x: x.gather(0, [[0.5]]), TypeError, "gather: index must be an integer tensor"),
        (lambda x: x.scatter_add(0, [[3]], x), IndexError, "index 3 is out of range for axis 0"),
        (lambda x: x.scatter_add(0, [[0]], x.float()), TypeError, "source must be float64"),
        (lambda x: x.scatter_add(0, [[0]], 1.0), TypeError, "got float"),
        (lambda x: x.scatter_add(0, [[0]] * 4, x), ValueError, "not be larger than source"),
    ],
)
def test_wrong_arguments_are_named(run: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        run(Tensor(np.zeros((3, 4))))
