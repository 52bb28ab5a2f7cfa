"""Blockwise attention: equal to torch's for every block size, and without the whole matrix."""

from __future__ import annotations

import tracemalloc
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from tests import tolerances
from tests.support import check_op, rms
from tinybert import functional as F
from tinybert.autograd import Tensor, gradcheck
from tinybert.backend import manual_seed
from tinybert.ops import attention

SHAPES = [(2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6)]  # query, key, value: all sizes differ
torch_attention = torch.nn.functional.scaled_dot_product_attention
rng = np.random.default_rng(1)
ADDED = rng.standard_normal((2, 1, 5, 7))
ALLOWED = rng.random((2, 1, 1, 7)) < 0.6


@pytest.fixture(params=[(1, 1), (2, 3), (7, 2), (100, 100)])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """How many queries and keys a block holds, from the least to all."""
    monkeypatch.setattr(attention, "BLOCK", request.param)
    monkeypatch.setattr(attention, "FEW_SCORES", 0)
    return request.param


def check(block: tuple[int, int], ours: Any, theirs: Any, shapes: list[tuple[int, ...]]) -> None:
    """Compare with torch and with finite differences: for one size of blocks all 1,000 of them, for
    the others along one random direction of each input.
    """
    check_op(ours, theirs, shapes=shapes, differences=block == (2, 3))
    draw = np.random.default_rng(2).standard_normal
    lines = [(Tensor(draw(shape)), Tensor(draw(shape))) for shape in shapes]

    def along(*steps: Tensor) -> Tensor:
        points = (x + step * line for (x, line), step in zip(lines, steps, strict=True))
        return ours(*points)

    assert gradcheck(along, [Tensor(0.0, dtype="float64", requires_grad=True) for _ in shapes])


def both(mask: np.ndarray | None = None, **options: object) -> tuple:
    """Our function and torch's with the same mask and options."""

    def theirs(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        given = None if mask is None else torch.from_numpy(mask)
        if given is not None and given.dtype != torch.bool:
            given = given.to(q.dtype)
        return torch_attention(q, k, v, attn_mask=given, **options)

    return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, mask, **options), theirs


def test_plain(block: tuple[int, int]) -> None:
    check(block, *both(), SHAPES)


def test_scale(block: tuple[int, int]) -> None:
    check(block, *both(scale=0.3), SHAPES)


def test_added_mask(block: tuple[int, int]) -> None:
    check(block, *both(ADDED), SHAPES)


def test_boolean_mask(block: tuple[int, int]) -> None:
    check(block, *both(np.concatenate([ALLOWED[:1], np.ones((1, 1, 1, 7), bool)])), SHAPES)


def test_integers_count_as_floats(block: tuple[int, int]) -> None:
    draw = np.random.default_rng(3).integers
    numbers = [draw(-3, 3, shape) for shape in SHAPES]
    y = F.scaled_dot_product_attention(*map(Tensor, numbers))
    assert y.dtype == np.float32
    floats = [Tensor(x.astype(np.float32)) for x in numbers]
    np.testing.assert_array_equal(y.numpy(), F.scaled_dot_product_attention(*floats).numpy())
    query = Tensor(floats[0].numpy(), requires_grad=True)
    for others in (floats[1:], map(Tensor, numbers[1:])):
        F.scaled_dot_product_attention(query, *others).sum().backward()
    once = Tensor(floats[0].numpy(), requires_grad=True)
    F.scaled_dot_product_attention(once, *floats[1:]).sum().backward()
    np.testing.assert_array_equal(query.grad.numpy(), 2 * once.grad.numpy())


def test_causal(block: tuple[int, int]) -> None:
    check(block, *both(is_causal=True), SHAPES)


@pytest.mark.parametrize(
    ("heads", "mask"), [(2, ALLOWED), (1, None), (3, rng.standard_normal((2, 6, 5, 7)))]
)
def test_several_queries_share_a_key(
    block: tuple[int, int], heads: int, mask: np.ndarray | None
) -> None:
    shapes = [(2, 6, 5, 4), (2, heads, 7, 4), (2, heads, 7, 3)]
    if mask is not None and mask.dtype == bool:
        mask = mask | (np.arange(7) == 2)  # torch gives nan where nothing may be seen
    check(block, *both(mask, enable_gqa=True), shapes)


def test_causal_after_others(block: tuple[int, int]) -> None:
    """Query i is token first + i: what it may see is a band of the whole square."""
    band = np.tril(np.ones((5, 7), bool), 2)
    ours, _ = both(is_causal=True, first=2, enable_gqa=True)
    check(block, ours, both(band, enable_gqa=True)[1], [(2, 6, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6)])


def test_heads_that_do_not_fit_are_refused() -> None:
    q, k = Tensor(np.zeros((2, 5, 3, 4))), Tensor(np.zeros((2, 2, 3, 4)))
    with pytest.raises(
        ValueError, match=r"the 5 heads of query must be a multiple of the 2 of key"
    ):
        F.scaled_dot_product_attention(q, k, k, enable_gqa=True)
    with pytest.raises(ValueError, match=r"expected query"):
        F.scaled_dot_product_attention(q, k, k)


@pytest.mark.parametrize("shape", [(), (4,), (5, 4)])
def test_a_vector_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected query .* and value .*, got \("):
        F.scaled_dot_product_attention(np.zeros(shape), np.zeros(4), np.zeros(4))


@pytest.mark.parametrize("lead", [(), (3,), (2, 1, 3)])
def test_other_ranks(lead: tuple[int, ...]) -> None:
    check_op(*both(), shapes=[(*lead, 5, 4), (*lead, 7, 4), (*lead, 7, 6)])


def test_a_query_that_may_look_nowhere_gives_zeros() -> None:
    q, k, v = (Tensor(rng.standard_normal(shape), requires_grad=True) for shape in SHAPES)
    allowed = np.ones((1, 1, 5, 7), bool)
    allowed[0, 0, 2] = False
    y = F.scaled_dot_product_attention(q, k, v, allowed)
    y.backward(rng.standard_normal(y.shape))
    assert (y.numpy()[:, :, 2] == 0).all()
    assert (q.grad.numpy()[:, :, 2] == 0).all()
    assert np.isfinite(k.grad.numpy()).all()


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_floating_mask_of_minus_infinity_gives_zeros(dtype: str) -> None:
    mask = np.zeros((5, 7), dtype)
    mask[2] = -np.inf
    q, k, v = (Tensor(rng.standard_normal(shape).astype(dtype)) for shape in SHAPES)
    y = F.scaled_dot_product_attention(q, k, v, mask).numpy()
    assert (y[:, :, 2] == 0).all()
    assert (y[:, :, 3] != 0).all()


@pytest.mark.slow
def test_float32_is_as_precise_as_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """RMS errors against float64, in the mean over lengths, head sizes, masks and blocks."""
    ratios: dict[str, list[float]] = {name: [] for name in ("y", "dquery", "dkey", "dvalue")}
    draw = np.random.default_rng(3).standard_normal
    for length, size, masked, causal in product(
        (12, 128, 512, 2048), (32, 64, 128), (False, True), (False, True)
    ):
        shape = (1, length, 2, size)  # as models have them: the heads of a token side by side
        inputs = [draw(shape).astype(np.float32).swapaxes(1, 2) for _ in range(4)]
        mask = np.arange(length) < 0.7 * length if masked else np.ones(length, bool)
        exact = _torch_results(inputs, mask, causal, torch.float64)
        theirs = _torch_results(inputs, mask, causal, torch.float32)
        for block in (attention.BLOCK, (64, 256), (33, 48)):
            monkeypatch.setattr(attention, "BLOCK", block)
            leaves = [Tensor(x, requires_grad=True) for x in inputs[:3]]
            y = F.scaled_dot_product_attention(*leaves, mask, is_causal=causal)
            y.backward(inputs[3])
            ours = [x.numpy() for x in (y, *(leaf.grad for leaf in leaves))]
            for found, other, right, ratio in zip(
                ours, theirs, exact, ratios.values(), strict=True
            ):
                ratio.append(rms(found - right) / rms(other - right))
            monkeypatch.undo()
    means = {name: float(np.exp(np.log(ratio).mean())) for name, ratio in ratios.items()}
    print(means)
    assert np.mean([*means.values()]) <= tolerances.ATTENTION_FLOAT32_MEAN_RATIO, means
    assert max(means.values()) <= tolerances.MODEL_FLOAT32_MEAN_RATIO, means


def _torch_results(
    inputs: list[np.ndarray], mask: np.ndarray, causal: bool, dtype: torch.dtype
) -> list[np.ndarray]:
    """Return y and the gradients of query, key and value."""
    *leaves, dy = (torch.from_numpy(x).to(dtype) for x in inputs)
    leaves = [leaf.requires_grad_() for leaf in leaves]
    seen = torch.from_numpy(mask).expand(len(mask), -1)
    if not mask.all():
        seen = seen.tril() if causal else seen
        y = torch_attention(*leaves, attn_mask=seen)
    else:
        y = torch_attention(*leaves, is_causal=causal)
    return [x.detach().numpy() for x in (y, *torch.autograd.grad(y, leaves, dy))]


def test_memory_is_linear_in_the_length() -> None:
    length, heads = 4096, 4
    q = Tensor(rng.standard_normal((1, heads, length, 8)).astype(np.float32), requires_grad=True)
    tracemalloc.start()
    F.scaled_dot_product_attention(q, q, q).backward(np.ones(q.shape, np.float32))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    full_matrix = heads * length * length * 4
    assert peak < full_matrix / 20


def test_dropout_drops_the_share_and_keeps_the_mean() -> None:
    q = Tensor(np.zeros((1, 1, 400, 2), np.float32))
    v = Tensor(np.eye(400, dtype=np.float32)[None, None])
    weights = F.scaled_dot_product_attention(q, q, v, dropout_p=0.25).numpy()  # v is the identity
    assert abs((weights == 0).mean() - 0.25) < 0.01
    assert abs(weights.sum(-1).mean() - 1) < 0.01
    kept = weights[0, 0] != 0  # each block of queries and keys draws a mask of its own
    queries, keys = attention.BLOCK
    first = kept[:queries, :keys]
    for other in (kept[:queries, keys : 2 * keys], kept[queries : 2 * queries, :keys]):
        assert abs((first == other).mean() - (0.75**2 + 0.25**2)) < 0.03


def test_dropout_is_the_same_in_backward(block: tuple[int, int]) -> None:
    """With value as input, y is linear in it: <u, y(v)> == <dv, v> only if the mask is the same."""
    q, k, v = (Tensor(rng.standard_normal(shape), requires_grad=True) for shape in SHAPES)
    u = rng.standard_normal((2, 3, 5, 6))
    y = F.scaled_dot_product_attention(q, k, v, dropout_p=0.5)
    y.backward(u)
    assert np.isclose((u * y.numpy()).sum(), (v.grad.numpy() * v.numpy()).sum())

    def loss(query: np.ndarray) -> float:
        with manual_seed(7):
            out = F.scaled_dot_product_attention(query, k.detach(), v.detach(), dropout_p=0.5)
        return float((u * out.numpy()).sum())

    with manual_seed(7):
        again = Tensor(q.numpy(), requires_grad=True)
        F.scaled_dot_product_attention(again, k, v, dropout_p=0.5).backward(u)
    step = rng.standard_normal(q.shape)
    h = 1e-6
    slope = (loss(q.numpy() + h * step) - loss(q.numpy() - h * step)) / (2 * h)
    assert np.isclose(slope, (again.grad.numpy() * step).sum(), rtol=1e-5)


@pytest.mark.parametrize(
    ("shapes", "mask"),
    [
        ([(2, 3, 5, 4), (2, 3, 7, 5), (2, 3, 7, 6)], None),
        ([(2, 3, 5, 4), (2, 2, 7, 4), (2, 2, 7, 6)], None),
        ([(2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 8, 6)], None),
        (SHAPES, np.ones((2, 1, 5, 6))),
    ],
)
def test_shapes_that_do_not_fit_are_named(shapes: list, mask: np.ndarray | None) -> None:
    q, k, v = (Tensor(np.ones(shape)) for shape in shapes)
    with pytest.raises(ValueError, match=r"scaled_dot_product_attention.*\(2, "):
        F.scaled_dot_product_attention(q, k, v, mask)
