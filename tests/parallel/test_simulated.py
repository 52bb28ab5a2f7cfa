"""Simulated ranks: the operations of MPI, their errors, and the bytes that they count."""

import numpy as np
import pytest

from tinybert.parallel.communicator import Communicator, Traffic, bytes_sent
from tinybert.parallel.simulated import Aborted, run

ARRAYS = np.random.default_rng(0).normal(size=(3, 6, 2))


def test_collective_operations_agree_with_numpy():
    def job(world):
        own = ARRAYS[world.rank]
        return (
            world.allreduce(own),
            world.allreduce(own, "max"),
            world.allgather(own, axis=1),
            world.reduce_scatter(own),
            world.bcast(own if world.rank == 1 else None, root=1),
        )

    for rank, (total, largest, gathered, part, root) in enumerate(run(3, job)):
        np.testing.assert_array_equal(total, ARRAYS[0] + ARRAYS[1] + ARRAYS[2])
        np.testing.assert_array_equal(largest, ARRAYS.max(axis=0))
        np.testing.assert_array_equal(gathered, np.concatenate(list(ARRAYS), axis=1))
        np.testing.assert_array_equal(part, total[2 * rank : 2 * rank + 2])
        np.testing.assert_array_equal(root, ARRAYS[1])


def test_the_result_is_a_copy_and_so_is_a_message():
    def job(world):
        own = np.full(2, float(world.rank))
        request = world.iallreduce(own)
        world.send(own, to=1 - world.rank)
        received = world.recv((2,), float, source=1 - world.rank)
        alone = world.split(world.rank, 0).allreduce(own)
        own += 7
        return request.wait(), received, alone, request.wait()

    for rank, (total, received, alone, again) in enumerate(run(2, job)):
        np.testing.assert_array_equal(total, [1, 1])
        assert again is total
        np.testing.assert_array_equal(received, [1 - rank] * 2)
        np.testing.assert_array_equal(alone, [rank] * 2)


def test_messages_arrive_in_order_by_tag():
    def job(world):
        if world.rank == 0:
            for number in range(3):
                world.send(np.array([number]), to=1, tag=number % 2)
            return None
        return [int(world.recv((1,), int, 0, tag)[0]) for tag in (1, 0, 0)]

    assert run(2, job)[1] == [1, 0, 2]


def test_split_groups_by_color_and_orders_by_key():
    def job(world):
        group = world.split(world.rank % 2, -world.rank)
        return group.rank, group.size, group.gather_objects(world.rank)

    assert run(5, job) == [
        (2, 3, [4, 2, 0]), (1, 2, [3, 1]), (1, 3, [4, 2, 0]), (0, 2, [3, 1]), (0, 3, [4, 2, 0]),
    ]  # fmt: skip


def test_traffic_is_the_bytes_of_the_messages():
    def job(world):
        own = ARRAYS[world.rank]  # 96 bytes
        for _ in range(2):
            world.allreduce(own)
        world.allgather(own)
        world.reduce_scatter(own)
        world.bcast(own)
        world.send(own, to=world.rank)
        return world.traffic

    first, second, _ = run(3, job)
    one = Traffic(1, 96)
    expected = {"allreduce": Traffic(2, 192), "allgather": Traffic(1, 288), "reduce_scatter": one}
    assert second == {**expected, "send": one}
    assert first == {**expected, "send": one, "bcast": one}
    assert bytes_sent("allreduce", 96, 3) == pytest.approx(128)
    assert bytes_sent("allgather", 288, 3) == pytest.approx(192)
    assert bytes_sent("send", 96, 3) == 96


def test_one_rank_exchanges_nothing():
    world = run(1, lambda world: world)[0]
    for exchange in (world.allreduce, world.allgather, world.reduce_scatter):
        np.testing.assert_array_equal(exchange(ARRAYS), ARRAYS)
    assert world.traffic == {}


def test_an_error_on_one_rank_ends_all():
    ended = []

    def job(world):
        if world.rank == 1:
            raise KeyError("rank 1 has a fault")
        try:
            world.allreduce(np.ones(2))
        except Aborted as error:
            ended.append(str(error))
            raise

    with pytest.raises(KeyError, match="rank 1 has a fault"):
        run(3, job)
    assert ended == ["rank 1 failed: KeyError: 'rank 1 has a fault'"] * 2


def test_abort_ends_a_rank_that_waits_for_a_message():
    def job(world):
        if world.rank == 0:
            world.abort("no more")
        world.recv((1,), float, source=0)

    with pytest.raises(Aborted, match="no more"):
        run(2, job)


def test_a_missing_call_is_an_error_not_a_hang():
    with pytest.raises(TimeoutError, match="same operations in the same order"):
        run(2, lambda world: world.rank or world.barrier(), timeout=0.2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w: w.allreduce(np.ones(w.rank + 1)), "different arrays"),
        (lambda w: w.allreduce(np.ones(2), "product"), "op must be"),
        (lambda w: w.reduce_scatter(np.ones(3)), "cannot be divided among 2 ranks"),
        (lambda w: (w.send(np.ones(3), 1 - w.rank), w.recv((2,), float, 1 - w.rank)), "sent"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        run(2, call)


def test_the_interface_is_complete():
    with pytest.raises(TypeError, match="abstract"):
        Communicator()
    with pytest.raises(ValueError, match="at least 1"):
        run(0, lambda world: None)
