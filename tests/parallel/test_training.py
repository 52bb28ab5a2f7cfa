"""Training on grids equals one process: losses, norms and weights after 20 steps."""

import itertools

import numpy as np
import pytest

from tests.parallel.models import make_batch, make_model, on_grid
from tinybert.nn import Linear
from tinybert.optim import SGD, Adam, AdamW, Lamb, decay_groups
from tinybert.parallel.grid import Grid
from tinybert.parallel.parallelize import parallelize
from tinybert.parallel.schedules import SCHEDULES, bubble
from tinybert.parallel.step import ParallelStep

MICRO = 4  # micro-batches of a step, over all data-parallel ranks


def batches(name, step, rows=2):
    return [make_batch(name, rows, seed=100 * step + number) for number in range(MICRO)]


def job(name, steps=20, sequence=False, kind=AdamW, recompute=False, **options):
    """Train on a grid; return losses, norms and this rank's weights."""

    def work(model, grid):
        part = parallelize(model, grid, sequence)
        if recompute:
            model.gradient_checkpointing_enable()
        optimizer = kind(decay_groups(model.parameters(), 0.1), lr=0.01)
        train = ParallelStep(part, optimizer, seed=7, max_grad_norm=0.5, **options)
        size = MICRO // grid.data.size
        own = slice(grid.data.rank * size, (grid.data.rank + 1) * size)
        shown = [train(batches(name, step)[own], step) for step in range(steps)]
        weights = {key: p.numpy().copy() for key, p in model.named_parameters()}
        return [tuple(s.values()) for s in shown], weights, part.placements, grid.place

    return work


def merged(results):
    """Return the curves and the full weights; check that equal ranks have equal weights."""
    curves, parts, (placements, *_), places = zip(*results, strict=True)
    for curve in curves[1:]:
        np.testing.assert_allclose(curve, curves[0], rtol=0, atol=1e-13)
    weights = {}
    for name, placement in placements.items():
        found = {place: part[name] for place, part in zip(places, parts, strict=True)
                 if name in part}  # fmt: skip
        for _, copies in itertools.groupby(sorted(found), key=lambda place: place[0]):
            first, *rest = (found[place] for place in copies)
            for other in rest:  # of other data-parallel ranks and stages
                np.testing.assert_allclose(other, first, rtol=0, atol=1e-13)
        own = {place[0]: array for place, array in found.items()}
        if not own:
            continue  # a second name of a tied parameter
        arrays = [own[rank] for rank in sorted(own)]
        axis = placement.axis
        weights[name] = arrays[0] if axis is None else np.concatenate(arrays, axis)
        assert weights[name].shape == placement.shape
    return np.array(curves[0]), weights


def check_equal(name, grid, tolerance=1e-10, alone=None, **options):
    model = make_model(name)
    shared = {k: v for k, v in options.items() if k in ("steps", "kind")}
    curve, weights = merged(on_grid(model, job(name, **shared)))
    found, parts = merged(on_grid(model, job(name, **options), **grid))
    np.testing.assert_allclose(found, curve, rtol=0, atol=tolerance)
    assert weights.keys() <= parts.keys()
    for key, array in weights.items():
        np.testing.assert_allclose(parts[key], array, rtol=0, atol=tolerance, err_msg=key)
    assert np.ptp(curve[:, 0]) > 0.01  # it does train


@pytest.mark.slow
def test_micro_batches_of_different_lengths_with_sequence_parallelism(monkeypatch):
    whole = make_batch

    def ragged(name, rows=2, seed=0):
        batch, tokens = whole(name, rows, seed), 5 + seed % 4
        return {k: x[:, :tokens] if x.ndim == 2 else x for k, x in batch.items()}

    monkeypatch.setitem(globals(), "make_batch", ragged)
    grid = {"tensor": 2, "pipeline": 2}
    check_equal("megatron-pretraining", grid, steps=3, sequence=True, recompute=True)


@pytest.mark.parametrize(
    ("name", "grid", "options"),
    [
        ("megatron-pretraining", {"tensor": 2, "pipeline": 2, "data": 2}, {"sequence": True}),
        ("bert-mlm", {"pipeline": 2, "data": 2}, {"schedule": "gpipe", "recompute": True}),
        ("nemotron", {"tensor": 2, "pipeline": 2, "data": 2}, {"zero": True, "sequence": True}),
        ("megatron-causal", {"data": 4}, {"zero": True, "kind": SGD}),
        ("megatron-causal", {"tensor": 2, "data": 2}, {"bucket": 3000}),
        ("mega", {"data": 2}, {"zero": True}),
    ],
)
def test_training_equals_one_process(name, grid, options):
    check_equal(name, grid, steps=3, **options)


@pytest.mark.parametrize("zero", [False, True])
def test_a_parameter_without_gradient_does_not_decay(zero):
    def work(model, grid):
        before = {name: p.numpy().copy() for name, p in model.named_parameters()}
        part = parallelize(model, grid)
        optimizer = AdamW(decay_groups(model.parameters(), 0.5), lr=0.01)
        train = ParallelStep(part, optimizer, zero=zero)
        for step in range(2):
            train(batches("mega", step)[grid.data.rank :: 2], step)
        return before, {name: p.numpy() for name, p in model.named_parameters()}

    model = make_model("mega")
    model.spare = Linear(2, 3).to(dtype="float64")
    results = on_grid(model, work, data=2)
    for before, after in results:
        same = [name for name in before if np.array_equal(before[name], after[name])]
        assert same == ["spare.weight", "spare.bias"]


def test_schedules_run_each_micro_batch_once_and_hold_few():
    for stages, count in itertools.product(range(1, 6), range(1, 9)):
        for stage in range(stages):
            for name, schedule in SCHEDULES.items():
                held, most, done = set(), 0, []
                for action, number in schedule(stage, stages, count):
                    if action == "forward":
                        held.add(number)
                    else:
                        held.remove(number)  # was forward before, and only once
                        done.append(number)
                    most = max(most, len(held))
                assert done == list(range(count))
                assert most == (count if name == "gpipe" else min(count, stages - stage))


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_bubble_is_p_minus_1_over_m(name):
    """Each action waits for those that it needs; a backward takes twice as long as a forward."""
    stages, count = 4, 6
    ends, clock = {}, [0] * stages
    queues = [list(SCHEDULES[name](stage, stages, count)) for stage in range(stages)]
    while any(queues):
        for stage, queue in enumerate(queues):
            if not queue:
                continue
            action, number = queue[0]
            before = stage - 1 if action == "forward" else stage + 1
            needs = (action, before, number)
            if 0 <= before < stages and needs not in ends:
                continue
            start = max(clock[stage], ends.get(needs, 0))
            clock[stage] = start + (1 if action == "forward" else 2)
            ends[action, stage, number] = clock[stage]
            queue.pop(0)
    assert max(clock) / (3 * count) - 1 == pytest.approx(bubble(stages, count))


def test_bytes_of_a_step_equal_the_formulas():
    name, size = "megatron-causal", 8

    def work(model, grid, zero):
        part = parallelize(model, grid)
        numbers = sum(p.size for p in model.parameters())
        train = ParallelStep(part, SGD(model.parameters(), lr=0.1), zero=zero)
        groups = {"pipeline": grid.pipeline, "data": grid.data}
        for group in groups.values():
            group.traffic.clear()
        train(batches(name, 0)[:2], 0)
        return {
            (key, operation): entry.bytes // size
            for key, group in groups.items()
            for operation, entry in group.traffic.items()
        }, numbers

    for found, numbers in on_grid(make_model(name), lambda m, g: work(m, g, False), data=2):
        assert found == {("data", "allreduce"): numbers + 2}  # and the count, and the loss
    for found, numbers in on_grid(make_model(name), lambda m, g: work(m, g, True), data=2):
        even = numbers + numbers % 2
        assert found == {
            ("data", "reduce_scatter"): even,
            ("data", "allgather"): even,
            ("data", "allreduce"): 3,  # and the norm
        }
    for found, _ in on_grid(make_model(name), lambda m, g: work(m, g, False), pipeline=2):
        states = 2 * 2 * 8 * 16  # two micro-batches of B T D
        assert found == {("pipeline", "send"): states, ("pipeline", "allreduce"): 1}


def test_zero_divides_the_state():
    def work(model, grid):
        part = parallelize(model, grid)
        optimizer = Adam(model.parameters(), lr=0.1)
        ParallelStep(part, optimizer, zero=True)(batches("bert-mlm", 0)[:1], 0)
        state = sum(t.size for s in optimizer.state.values() for t in s.values() if t is not None
                    and not isinstance(t, int))  # fmt: skip
        return state, sum(p.size for p in model.parameters())

    for state, weights in on_grid(make_model("bert-mlm"), work, data=4):
        assert state == 2 * -(-weights // 4)


def test_gradients_of_early_buckets_are_sent_before_backward_ends():
    """The overlap: an all-reduce starts while gradients of earlier layers are still missing."""
    starts = []

    def work(model, grid):
        part = parallelize(model, grid)
        train = ParallelStep(part, SGD(model.parameters(), lr=0.1), bucket=2000)
        first = model.bert.embeddings.position_embeddings.weight
        original = grid.data.iallreduce

        def watched(array, op="sum"):
            starts.append(first.grad is None)
            return original(array, op)

        grid.data.iallreduce = watched
        train.backward(batches("bert-mlm", 0)[:1], 0)

    on_grid(make_model("bert-mlm"), work, data=2)
    assert sum(starts) > len(starts) / 2


def test_wrong_options_are_refused():
    model = make_model("bert-mlm")
    with pytest.raises(ValueError, match="4 layers cannot be divided among 5 stages"):
        on_grid(model, parallelize, pipeline=5)
    with pytest.raises(ValueError, match="not lamb"):
        ParallelStep(parallelize(model, Grid()), Lamb(model.parameters()), zero=True)
    with pytest.raises(ValueError, match="tensor-parallel ranks divide"):
        on_grid(
            make_model("bert-mlm"),
            lambda m, g: ParallelStep(parallelize(m, g), Lamb(m.parameters())), tensor=2,
        )  # fmt: skip
    with pytest.raises(ValueError, match="schedule must be"):
        ParallelStep(
            parallelize(make_model("bert-mlm"), Grid()), SGD(model.parameters()), schedule="x"
        )
