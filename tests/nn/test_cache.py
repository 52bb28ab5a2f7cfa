"""The cache of keys and values: what it holds, what a step copies, what graphs keep."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from tinybert.autograd import Tensor, no_grad
from tinybert.nn import KeyValueCache

rng = np.random.default_rng(0)
KINDS = pytest.mark.parametrize("in_place", [True, False], ids=["in place", "joined"])


def pair(*shape: int, **options: Any) -> tuple[Tensor, Tensor]:
    """Random keys and values."""
    return tuple(Tensor(rng.standard_normal(shape), **options) for _ in range(2))  # type: ignore[return-value]


def test_a_step_copies_nothing_of_the_past() -> None:
    """2,000 tokens of 16 kB each: a step that copied them would hold 32 MB more."""
    cache, step = KeyValueCache(1), Tensor(np.ones((1, 2, 1, 1024), np.float32))
    with no_grad():
        cache.append(0, *(Tensor(np.zeros((1, 2, 2000, 1024), np.float32)),) * 2)
        room = cache[0][0].data.base
        tracemalloc.start()
        for _ in range(100):
            cache.append(0, step, step)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1 << 20
    assert cache[0][0].data.base is room
    assert cache[0][0].shape == (1, 2, 2100, 1024)
    assert (cache[0][1].numpy()[:, :, 2000:] == 1).all()


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (None, [2, 6, 14, 30, 62, 126, 254, 510]),
        (300, [2, 6, 14, 30, 62, 126, 254, 300]),
        (296, [2, 6, 14, 30, 62, 126, 254, 296, 297, 298, 299, 300]),  # more than was said
    ],
)
def test_room_is_doubled(limit: int | None, expected: list[int]) -> None:
    cache, rooms = KeyValueCache(1, limit=limit), set()
    with no_grad():
        for number in range(300):
            cache.append(0, *(Tensor(np.full((1, 1, 1, 2), number)),) * 2)
            rooms.add(cache[0][0].data.base.shape[2])
    assert sorted(rooms) == expected
    assert (cache[0][0].numpy()[0, 0, :, 0] == np.arange(300)).all()


@KINDS
def test_rows_are_reordered(in_place: bool) -> None:
    cache = KeyValueCache(2, in_place)
    with no_grad():
        cache.reorder(np.array([0]))  # nothing to reorder yet
        for number, layer in enumerate(cache.layers):
            layer.append(*(Tensor(np.arange(3.0).reshape(3, 1, 1, 1)),) * 2)
            if number:
                layer.cross = tuple(Tensor(np.full((3, 1, 4, 1), [[[[n]]] for n in range(3)]))
                                    for _ in range(2))  # fmt: skip
        cache.reorder(np.array([2, 0, 0]))
        for layer in cache.layers:
            layer.append(*(Tensor(np.full((3, 1, 1, 1), 9.0)),) * 2)
    assert [len(members) for members in cache] == [2, 4]
    for part in (*cache[0], *cache[1][:2]):
        assert part.numpy()[:, 0, :, 0].tolist() == [[2, 9], [0, 9], [0, 9]]
    for part in cache[1][2:]:
        assert part.numpy()[:, 0, :, 0].tolist() == [[2] * 4, [0] * 4, [0] * 4]


@KINDS
@pytest.mark.parametrize("shape", [(1, 3, 1, 4), (2, 2, 1, 4), (2, 3, 1, 5)], ids=str)
def test_what_does_not_fit_is_refused(in_place: bool, shape: tuple[int, ...]) -> None:
    cache = KeyValueCache(1, in_place)
    cache.append(0, *pair(2, 3, 5, 4))
    with pytest.raises(
        ValueError, match=r"past_key_values holds \(2, 3, length, 4\).*new keys are"
    ):
        cache.append(0, *pair(*shape))
    assert cache.length == 5


@KINDS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_of_another_dtype_is_refused(in_place: bool, dtype: Any) -> None:
    cache, other = KeyValueCache(1, in_place), np.float64 if dtype == np.float32 else np.float32
    with no_grad():
        cache.append(0, *(part.to(dtype) for part in pair(2, 3, 5, 4)))
        with pytest.raises(ValueError, match=r"holds float\d\d on cpu, but the new keys are float"):
            cache.append(0, *(part.to(other) for part in pair(2, 3, 1, 4)))
    assert cache.length == 5


@pytest.mark.parametrize("limit", [0, -3, 2.5, "a", True])
def test_limits_that_are_not_possible(limit: Any) -> None:
    with pytest.raises(ValueError, match=f"limit must be an integer >= 1 or None, got {limit!r}"):
        KeyValueCache(1, limit=limit)


@pytest.mark.parametrize("layers", [-1, 2.5, "a"])
def test_numbers_of_layers_that_are_not_possible(layers: Any) -> None:
    with pytest.raises(ValueError, match=f"layers must be an integer >= 0, got {layers!r}"):
        KeyValueCache(layers)


@KINDS
def test_rows_of_any_kind(in_place: bool) -> None:
    for rows in ([1, 0], (1, 0), np.array([1, 0], np.int32), Tensor(np.array([1, 0]))):
        cache = KeyValueCache(1, in_place)
        key, _ = cache.append(0, *pair(2, 3, 5, 4))
        before = key.numpy().copy()
        cache.reorder(rows)
        assert (cache[0][0].numpy() == before[[1, 0]]).all()
    for wrong, error, message in (
        ([0, 5], ValueError, "rows must be from 0 to 1, got 5"),
        ([-1, 0], ValueError, "rows must be from 0 to 1, got -1"),
        ([[0, 1]], ValueError, r"rows must have shape \(N,\), got \(1, 2\)"),
        ([0.5, 1], TypeError, "rows must be integers, got float"),
    ):
        with pytest.raises(error, match=message):
            cache.reorder(wrong)
    assert (cache[0][0].numpy() == before[[1, 0]]).all()


@pytest.mark.parametrize("trained", [(True, True), (True, False), (False, True)], ids=str)
def test_gradients_reach_what_is_in_the_cache(trained: tuple[bool, bool]) -> None:
    """Whichever of keys and values is recorded, and whatever comes before and after it."""
    cache = KeyValueCache(1)
    with no_grad():
        cache.append(0, *pair(1, 2, 3, 4))
    parts = pair(1, 2, 2, 4)
    for part, wanted in zip(parts, trained, strict=True):
        part.requires_grad = wanted
    cache.append(0, *parts)
    key, value = cache.append(0, *pair(1, 2, 1, 4))
    factors = rng.standard_normal((1, 2, 6, 4))
    ((key + value) * factors).sum().backward()
    for part, wanted in zip(parts, trained, strict=True):
        assert (part.grad is not None) == wanted
        if wanted:
            assert (part.grad.numpy() == factors[:, :, 3:5]).all()


def test_what_a_graph_has_saved_is_not_written_to() -> None:
    """Queries alone are recorded, as where all but them is frozen: the keys stay in place."""
    cache, query = KeyValueCache(1), Tensor(rng.standard_normal((2, 1, 1, 4)), requires_grad=True)
    key, _ = cache.append(0, *pair(2, 1, 3, 4))
    expected = key.numpy().sum(axis=2, keepdims=True)
    scores = query @ key.transpose(-1, -2)
    cache.append(0, *pair(2, 1, 2, 4))
    cache.reorder(np.array([1, 1]))
    cache.append(0, *pair(2, 1, 2, 4))
    scores.sum().backward()
    np.testing.assert_allclose(query.grad.numpy(), expected, rtol=1e-12)


def test_what_a_cache_goes_on_from_is_only_read() -> None:
    legacy = [(*pair(1, 2, 3, 4), *pair(1, 2, 5, 4)), pair(1, 2, 3, 4)]
    before = [part.numpy().copy() for layer in legacy for part in layer]
    cache = KeyValueCache.from_legacy(legacy)
    with no_grad():
        for layer in range(2):
            cache.append(layer, *pair(1, 2, 1, 4))
    assert [[part.shape[2] for part in layer] for layer in cache] == [[4, 4, 5, 5], [4, 4]]
    found = [part.numpy() for layer in legacy for part in layer]
    assert all((one == other).all() for one, other in zip(before, found, strict=True))
