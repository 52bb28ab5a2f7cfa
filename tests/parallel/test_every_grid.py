"""Every grid of up to 8 ranks equals one process: random models and options, 20 steps, dropout."""

import copy
import itertools
import math
from collections import Counter

import numpy as np
import pytest

import tinybert
from tests.parallel.models import fill, on_grid
from tests.parallel.test_training import merged
from tinybert.models import heads
from tinybert.nn.packing import padded
from tinybert.optim import SGD, Adam, AdamW, clip_grad_norm_, decay_groups
from tinybert.parallel.grid import Grid
from tinybert.parallel.parallelize import parallelize
from tinybert.parallel.schedules import SCHEDULES
from tinybert.parallel.step import ParallelStep
from tinybert.parallel.streams import micro_batch
from tinybert.training.losses import model_loss
from tinybert.training.trainer import count_labels

STEPS, SEED, LIMIT = 20, 7, 0.5
DRAW = 3  # chosen so that every option is used with every family on every kind of grid
GRIDS = [
    dict(zip(("tensor", "pipeline", "data"), sizes, strict=True))
    for sizes in itertools.product(range(1, 9), repeat=3)
    if 1 < math.prod(sizes) <= 8
]
KINDS = [
    tinybert.BertForMaskedLM, tinybert.MegatronBertForPreTraining, tinybert.NemotronForCausalLM,
    tinybert.BertForPreTraining, tinybert.MegatronBertForMaskedLM, tinybert.NemotronForCausalLM,
    tinybert.BertLMHeadModel, tinybert.MegatronBertForCausalLM, tinybert.NemotronForCausalLM,
]  # fmt: skip
OPTIMIZERS = [AdamW, Adam, SGD]


class Case:
    """A random model that a grid can divide, with random data and options of training."""

    def __init__(self, number):
        self.grid, self.kind = GRIDS[number], KINDS[number % len(KINDS)]
        self.family = self.kind.config_class.__name__.removesuffix("Config")
        ranks, stages, copies = self.grid.values()
        rng = self.rng = np.random.default_rng((number, DRAW))
        self.words = int(rng.integers(max(11, ranks), 30))
        self.rows = int(rng.integers(1, 3))
        self.tokens = ranks * -(-int(rng.integers(4, 8)) // ranks)
        self.micro = copies * int(rng.integers(1, 3 if stages == 1 else 4))
        self.sequence = bool(rng.integers(2))
        self.options = {
            "schedule": str(rng.choice(list(SCHEDULES))),
            "zero": bool(rng.integers(2)),
            "bucket": int(rng.choice([1, 2000, 10**6])),
        }
        self.optimizer = OPTIMIZERS[rng.integers(len(OPTIMIZERS))]
        self.recompute = bool(rng.integers(4) == 0)

    def model(self):
        """Return the model, in float64."""
        ranks, stages, _ = self.grid.values()
        rng, nemotron = self.rng, self.family == "Nemotron"
        groups = ranks * int(rng.integers(1, 3 if ranks < 4 else 2))
        count = groups * int(rng.integers(1, 3)) if nemotron else groups
        size = 2 * max(int(rng.integers(1, 3)), -(-4 // count))  # of a head; 8 features or more
        options = {
            "vocab_size": self.words, "hidden_size": count * size,
            "num_attention_heads": count, "num_hidden_layers": stages + int(rng.integers(2)),
            "intermediate_size": ranks * int(rng.integers(2, 5)),
            "max_position_embeddings": self.tokens, "tie_word_embeddings": bool(rng.integers(2)),
        }  # fmt: skip
        if nemotron:
            flags = {f"{part}_bias": bool(rng.integers(2)) for part in ("mlp", "attention")}
            options |= {
                "num_key_value_heads": groups,
                "attention_dropout": 0.1,
                "partial_rotary_factor": 1.0,
                **flags,
            }
        else:
            options["is_decoder"] = issubclass(self.kind, heads.CausalLM)
        if self.family == "Bert":
            positions = ("absolute", "relative_key", "relative_key_query")
            options["position_embedding_type"] = str(rng.choice(positions))
        with tinybert.set_default_dtype("float64"), tinybert.manual_seed(3):
            model = self.kind(self.kind.config_class(**options))
        return fill(model).train()

    def batches(self, step):
        """Return all micro-batches of a step, of all data-parallel ranks."""
        return [self._batch(np.random.default_rng((step, i))) for i in range(self.micro)]

    def _batch(self, rng):
        shape = self.rows, self.tokens
        ids = rng.integers(1, self.words, shape)
        mask = np.arange(self.tokens) < rng.integers(3, self.tokens + 1, (self.rows, 1))
        labels = np.where((rng.random(shape) < 0.6) & mask, ids, -100)
        labels[:, 1] = ids[:, 1]
        batch = {"input_ids": ids, "attention_mask": mask.astype(int), "labels": labels}
        if issubclass(self.kind, heads.PreTraining):
            batch["next_sentence_label"] = rng.integers(0, 2, self.rows)
            batch["token_type_ids"] = (np.arange(self.tokens) > 2) * np.ones_like(ids)
        return batch

    def optimizer_of(self, model):
        # Adam divides by |g| + eps. Where g is zero but for rounding, as that of a key's bias, a
        # small eps would make steps of any size from it, of one process too.
        options = {"momentum": 0.9} if self.optimizer is SGD else {"eps": 1e-3}
        return self.optimizer(decay_groups(model.parameters(), 0.1), lr=0.01, **options)


def train_alone(case, model):
    """The plain loop of one process, with the streams of dropout that ranks have.

    Returns losses and norms, the gradients of the first and the last step, and the weights.
    """
    parallelize(model, grid := Grid())  # no part is taken away: it starts the streams
    optimizer, parameters, curve = case.optimizer_of(model), list(model.parameters()), []
    gradients = {}
    for step in range(STEPS):
        batches = case.batches(step)
        counts, loss = [count_labels(batch) for batch in batches], 0.0
        for number, (batch, count) in enumerate(zip(batches, counts, strict=True)):
            with padded(), micro_batch(grid, SEED, step, number, "cpu"):
                part = model_loss(model, batch) * (count / sum(counts))
            part.backward()
            loss += float(part)
        if step in (0, STEPS - 1):
            gradients |= {(step, name): gradient(p) for name, p in model.named_parameters()}
        curve.append((loss, float(clip_grad_norm_(parameters, LIMIT))))
        optimizer.step()
        optimizer.zero_grad()
    return np.array(curve), gradients, weights_of(model)


def train_on_grid(case):
    """Return the job of a rank: what `train_alone` returns, of this rank's part, and the traffic
    of the first step."""

    def work(model, grid):
        part = parallelize(model, grid, case.sequence)
        if case.recompute:
            model.gradient_checkpointing_enable()
        train = ParallelStep(
            part, case.optimizer_of(model), seed=SEED, max_grad_norm=LIMIT, **case.options
        )
        size, curve, gradients = case.micro // grid.data.size, [], {}
        own, sent = slice(grid.data.rank * size, (grid.data.rank + 1) * size), ()
        for step in range(STEPS):
            groups = clear_traffic(grid)
            loss = train.backward(case.batches(step)[own], step)
            found = {name: gradient(p) for name, p in model.named_parameters()}
            curve.append((loss, train.update()))
            sent = sent or (traffic(groups), expected_traffic(case, part))
            if step not in (0, STEPS - 1):
                continue
            for name, array in found.items():  # with ZeRO the sum is only taken in the update
                total = grid.data.allreduce(array) if case.options["zero"] else array
                gradients[step, name] = total
        return curve, gradients, weights_of(model), part.placements, grid.place, sent

    return work


def clear_traffic(grid):
    names = ("tensor", "pipeline", "data", "model", "ends")
    groups = {name: getattr(grid, name) for name in names if getattr(grid, name) is not None}
    for group in groups.values():
        group.traffic.clear()
    return groups


def traffic(groups):
    """Return the bytes of each group and operation; what is not used is not there."""
    return {
        (name, operation): entry.bytes
        for name, group in groups.items()
        for operation, entry in group.traffic.items()
        if entry.bytes
    }


def expected_traffic(case, part):
    """Return the bytes of a step by the formulas in the docstrings of `tinybert.parallel`."""
    model, grid, number = part.model, part.grid, 8  # bytes of a number
    micro, sequence = case.micro // grid.data.size, part.sequence
    states = case.rows * case.tokens * model.config.hidden_size * number * micro
    layers = len(list(model.base_model.stack._modules)) * (3 if case.recompute else 2) * 2 * states
    labels = case.rows * (case.tokens - (issubclass(case.kind, heads.CausalLM))) * number * micro
    sent = Counter()
    if grid.tensor.size > 1:
        for operation in ("allgather", "reduce_scatter") if sequence else ("allreduce",):
            sent["tensor", operation] += layers  # shard.py
        if sequence:  # conjugate.py: scatter backward, collect forward
            sent["tensor", "allgather"] += states * (grid.is_first + grid.is_last)
        sent["tensor", "allreduce"] += states * grid.is_first  # embedding.py
        sent["tensor", "allreduce"] += (states + 3 * labels) * grid.is_last  # cross_entropy.py
        sent["tensor", "allreduce"] += number * sum(p.size for p in part.partial)  # gradients.py
    if grid.pipeline.size > 1:
        neighbours = (not grid.is_first) + (not grid.is_last)
        share = grid.tensor.size if sequence else 1
        sent["pipeline", "send"] = states * neighbours // share  # step.py
        sent["pipeline", "allreduce"] = number  # the loss
    if grid.data.size > 1:
        sizes = [[p.size for p in model.parameters() if (p.ndim > 1) == deep] for deep in (0, 1)]
        sent["data", "allreduce"] = 2 * number  # the count of labels, the loss
        if case.options["zero"]:  # zero.py: each group is filled up to equal parts
            equal = sum(-(-sum(group) // grid.data.size) * grid.data.size for group in sizes)
            sent["data", "reduce_scatter"] = sent["data", "allgather"] = equal * number
            sent["data", "allreduce"] += number  # the norm
        else:  # buckets.py
            sent["data", "allreduce"] += sum(map(sum, sizes)) * number
    if grid.model.size > 1:
        sent["model", "allreduce"] = number  # the norm
    if part.tied is not None:
        sent["ends", "allreduce"] = part.tied.size * number  # gradients.py
    return {key: count for key, count in sent.items() if count}


def gradient(parameter):
    return np.zeros(parameter.shape) if parameter.grad is None else parameter.grad.numpy().copy()


def weights_of(model):
    return {name: p.numpy().copy() for name, p in model.named_parameters()}


def full(results):
    """Return curves, gradients and weights of the whole model, under the first name of each."""
    first = {name: placement.name for name, placement in results[0][3].items()}
    curve, weights = merged([(r[0], *r[2:5]) for r in results])
    gradients = {}
    for step in (0, STEPS - 1):
        own = [{name: x for (at, name), x in r[1].items() if at == step} for r in results]
        parts = [(r[0], part, *r[3:5]) for r, part in zip(results, own, strict=True)]
        gradients |= {(step, name): x for name, x in merged(parts)[1].items()}
    return curve, gradients, weights, first


def assert_close(found, expected, first, tolerance=1e-10):
    assert {first[name] for name in found} == expected.keys()
    for name, array in found.items():  # also the second copy of tied embeddings
        np.testing.assert_allclose(
            array, expected[first[name]], rtol=0, atol=tolerance, err_msg=str(name)
        )


def test_the_grids_have_all_options_among_them():
    assert len(GRIDS) == 37
    cases = [Case(number) for number in range(len(GRIDS))]
    assert {case.kind for case in cases} == set(KINDS)
    used = {
        "tensor": lambda case: [case.sequence, case.recompute],
        "pipeline": lambda case: [case.options["schedule"], case.recompute],
        "data": lambda case: [case.options["zero"], case.optimizer],
    }
    for name, options in used.items():
        divided = [case for case in cases if case.grid[name] > 1]
        for family in ("Bert", "MegatronBert", "Nemotron"):
            own = [options(case) for case in divided if case.family == family]
            assert all(len(set(values)) > 1 for values in zip(*own, strict=True)), (name, family)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(GRIDS)))
def test_loss_gradients_and_weights_equal_one_process(number):
    case = Case(number)
    model = case.model()
    curve, gradients, weights = train_alone(case, copy.deepcopy(model))
    results = on_grid(model, train_on_grid(case), **case.grid)
    found, parts, after, first = full(results)
    np.testing.assert_allclose(found, curve, rtol=0, atol=1e-10)
    assert_close(after, weights, first)
    both = {(step, name): (step, first[name]) for step in (0, STEPS - 1) for name in first}
    assert_close(parts, gradients, both)
    assert np.ptp(curve[:, 0]) > 0.01  # it does train
    for *_, (sent, expected) in results:
        assert sent == expected


def distances(found, expected):
    """Return the root mean square of what differs: in losses, norms, gradients and weights."""
    (curve, *parts), (exact, *whole) = found, expected
    yield from np.sqrt(np.square(curve - exact).mean(axis=0))
    for arrays, others in zip(parts, whole, strict=True):
        rows = [np.ravel(arrays[key] - other) for key, other in others.items()]
        yield np.sqrt(np.square(np.concatenate(rows)).mean())


@pytest.mark.slow
@pytest.mark.parametrize("number", range(0, len(GRIDS), 4))
def test_float32_has_the_rounding_errors_of_one_process(number):
    """Errors are distances to float64. Another order of sums gives other errors of the same size:
    their ratio is near 1. A number that is wrong in the fourth digit would make it about 1000.
    """
    case = Case(number)
    model = case.model().to(dtype="float32")
    exact = train_alone(case, copy.deepcopy(model).to(dtype="float64"))
    alone = train_alone(case, copy.deepcopy(model))
    *found, _ = full(on_grid(model, train_on_grid(case), **case.grid))
    names = ("loss", "norm", "gradients", "weights")
    for name, error, own in zip(
        names, distances(found, exact), distances(alone, exact), strict=True
    ):
        assert 0 < own < 1e-4, name
        assert error <= 4 * own, name
