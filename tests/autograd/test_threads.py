"""Threads that share a model: gradients, random numbers and modes do not mix."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from tinybert import BertConfig, BertModel, Tensor, backend
from tinybert import functional as F
from tinybert.autograd import checkpoint


def in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    """The results of `work(0)`, `work(1)`, ..., each in a thread, all at once."""
    barrier, results = threading.Barrier(count), [None] * count

    def run(number: int) -> None:
        barrier.wait()
        results[number] = work(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # what can happen between two steps of a thread, happens
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    return results


def test_no_addition_into_a_shared_leaf_is_lost() -> None:
    weight = Tensor(np.zeros(400_000, np.float32), requires_grad=True)

    def work(number: int) -> None:
        for _ in range(20):
            (weight * 1).backward(np.ones(weight.shape, np.float32))

    in_threads(8, work)
    assert weight.grad is not None
    np.testing.assert_array_equal(weight.grad.numpy(), np.full(weight.shape, 160))


def test_recomputation_leaves_the_gradients_of_others_in_place() -> None:
    weight = Tensor(np.ones((3, 3), np.float32), requires_grad=True)
    weight.grad = Tensor(np.full((3, 3), 5.0, np.float32))
    seen: list[Any] = []

    def layer(x: Tensor) -> tuple[Tensor]:
        seen.append(weight.grad)
        return (x @ weight,)

    (y,) = checkpoint(layer, Tensor(np.ones((2, 3), np.float32)), parameters=[weight])
    y.backward(np.ones(y.shape))
    assert seen == [weight.grad, weight.grad]
    np.testing.assert_array_equal(weight.grad.numpy(), np.full((3, 3), 7))


def test_recomputed_dropout_is_that_of_the_forward_in_every_thread() -> None:
    def work(number: int) -> list[bool]:
        same = []
        for _ in range(60):
            x = Tensor(np.ones((40, 50), np.float32), requires_grad=True)
            (y,) = checkpoint(lambda x: (F.dropout(x, 0.5),), x, parameters=[])
            F.dropout(x, 0.5)  # the stream goes on
            y.sum().backward()
            assert x.grad is not None
            same.append(np.array_equal(x.grad.numpy(), y.numpy()))
        return same

    assert all(all(same) for same in in_threads(8, work))


def test_the_same_seed_gives_each_thread_a_stream_of_its_own() -> None:
    def draw() -> list[float]:
        return backend.generator().random(3).tolist()

    def in_turn() -> list[list[float]]:
        """Drawn by this thread and then by two others."""
        found = [draw()]
        for _ in range(2):
            found += in_threads(1, lambda number: draw())
        return found

    with backend.manual_seed(5):
        first = in_turn()
    with backend.manual_seed(5):
        assert in_turn() == first
    assert len({tuple(numbers) for numbers in first}) == 3
    with backend.manual_seed(5):  # a thread that draws first has the stream of the seed
        assert in_threads(1, lambda number: draw()) == first[:1]


def test_backward_in_another_thread_draws_the_same_numbers() -> None:
    x = Tensor(np.ones((40, 50), np.float32), requires_grad=True)
    (y,) = checkpoint(lambda x: (F.dropout(x, 0.5),), x, parameters=[])
    in_threads(1, lambda number: y.sum().backward())
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy())


def test_a_checkpointed_model_in_threads() -> None:
    config = BertConfig(
        vocab_size=31, hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
        intermediate_size=16, max_position_embeddings=16,
    )  # fmt: skip
    model = BertModel(config).train()
    model.encoder.gradient_checkpointing = True
    ids = np.arange(12).reshape(2, 6)

    def loss(number: int) -> Tensor:
        with_own_rate = model(ids).last_hidden_state
        return (with_own_rate * with_own_rate).sum()

    for part in model.modules():
        if hasattr(part, "p"):
            part.p = 0.0
    loss(0).backward()
    expected = {n: p.grad.numpy().copy() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    in_threads(4, lambda number: [loss(number).backward() for _ in range(3)])
    for name, parameter in model.named_parameters():
        if name in expected:
            assert parameter.grad is not None
            wanted = 12 * expected[name]
            error = np.abs(parameter.grad.numpy() - wanted).max()
            assert error <= 1e-4 * (np.abs(wanted).max() + 1e-2), name
