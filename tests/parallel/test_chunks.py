"""Texts whose chunks are spread over ranks: equal to one process, with states alone exchanged."""

import numpy as np
import pytest

import tinybert
from tests.parallel import test_training
from tests.parallel.models import MODELS_OF_ONE_TEST, V, make_model, on_grid
from tests.parallel.test_training import check_equal
from tinybert.optim import SGD, Lamb
from tinybert.parallel import chunks
from tinybert.parallel.parallelize import parallelize
from tinybert.parallel.step import ParallelStep
from tinybert.training.losses import model_loss

T, CHUNK, D, N, LAYERS = 24, 2, 6, 3, 2
CAUSAL = {"is_decoder": True, "bidirectional": False}


def mega(kind="MaskedLM", **options):
    def make():
        family = getattr(tinybert, f"MegaFor{kind}")
        sizes = {
            "vocab_size": V, "hidden_size": D, "num_hidden_layers": LAYERS, "intermediate_size": 7,
            "ema_projection_size": N, "shared_representation_size": 4, "use_chunking": True,
            "chunk_size": CHUNK, "max_positions": T, "nffn_hidden_size": 5,
        }  # fmt: skip
        return family(tinybert.MegaConfig(**{**sizes, **options}))

    return make


KINDS = {
    "mega-chunks": mega(),
    "mega-causal": mega("CausalLM", **CAUSAL),
    "mega-laplace": mega(
        attention_activation="laplace",
        relative_positional_bias="simple",
        use_feature_dropout=True,
        normalization_type="layernorm",
    ),
    "mega-causal-laplace": mega("CausalLM", **CAUSAL, attention_activation="laplace"),
}


def batch(name, rows=2, seed=0, length=T):
    """Return a batch in which only some tokens have labels, and a row is shorter than half."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(2, V, (rows, length))
    real = np.arange(length) < rng.integers(3, length // 2, (rows, 1))
    real[0] = True
    labels = np.where(real & (rng.random(ids.shape) < 0.4), ids, -100)
    labels[:, :1] = -100  # a causal model predicts no first token
    labels[0, length // 2] = ids[0, length // 2]
    return {"input_ids": ids, "attention_mask": real.astype(int), "labels": labels}


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    monkeypatch.setattr(test_training, "make_batch", batch)
    for name, make in KINDS.items():
        monkeypatch.setitem(MODELS_OF_ONE_TEST, name, make)


@pytest.mark.parametrize(
    ("name", "grid", "options"),
    [
        ("mega-chunks", {"chunks": 3}, {}),
        ("mega-causal", {"chunks": 2, "data": 2}, {"zero": True}),
    ],
)
def test_training_equals_one_process(name, grid, options):
    check_equal(name, grid, steps=2, **options)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3, 4])
@pytest.mark.parametrize("name", KINDS)
def test_weights_equal_one_process_after_20_steps(name, ranks):
    check_equal(name, {"chunks": ranks}, steps=20)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("length", [8 * CHUNK, 5 * CHUNK])  # the second is padded
def test_every_gradient_equals_that_of_the_plain_loss(name, length):
    given, model = batch(name, 3, length=length), make_model(name).eval()  # no dropout

    def work(spread, grid):
        train = ParallelStep(parallelize(spread, grid), SGD(spread.parameters(), lr=0.1))
        return train.backward([given], 0), spread

    results = on_grid(model, work, chunks=4)
    loss = model_loss(model, given)
    loss.backward()
    for found, spread in results:
        assert found == pytest.approx(loss.item(), abs=1e-12)
        for (key, whole), own in zip(model.named_parameters(), spread.parameters(), strict=True):
            expected = whole.grad.numpy()
            np.testing.assert_allclose(own.grad.numpy(), expected, rtol=0, atol=1e-12, err_msg=key)
            assert np.abs(expected).max() > 0, key


@pytest.mark.parametrize("name", ["mega-chunks", "mega-causal"])
def test_bytes_of_a_step_equal_the_formula(name):
    rows, ranks = 2, 3

    def work(model, grid):
        part = parallelize(model, grid)
        train = ParallelStep(part, SGD(model.parameters(), lr=0.1))
        grid.chunks.traffic.clear()
        grid.replicas.traffic.clear()
        train([batch(name, rows)], 0)
        sent = {key: entry.bytes // 8 for key, entry in grid.chunks.traffic.items()}
        added = {key: entry.bytes // 8 for key, entry in grid.replicas.traffic.items()}
        return sent, added, sum(p.size for p in model.parameters())

    results = on_grid(make_model(name), work, chunks=ranks)
    states = LAYERS * rows * D * N * (2 if name == "mega-chunks" else 1)
    for rank, (sent, added, numbers) in enumerate(results):
        neighbours = (rank > 0) + (rank < ranks - 1)
        assert sent == {"send": neighbours * states}  # one forward or backward for each
        assert added == {"allreduce": numbers + 2}  # and the count, and the loss


def test_the_scan_is_the_recurrence():
    """States of 4 ranks, and gradients, of a sequence that is computed token by token."""
    rng = np.random.default_rng(0)
    own, cotangents = rng.normal(size=(2, 4, 3, 5, 2))
    decay = rng.uniform(0.2, 0.9, (5, 2))

    def plain(backwards):
        xs = [tinybert.Tensor(x, requires_grad=True) for x in own]
        q, state, total = tinybert.Tensor(decay, requires_grad=True), None, None
        found = {}
        for rank in reversed(range(4)) if backwards else range(4):
            found[rank] = np.zeros((3, 5, 2)) if state is None else state.numpy()
            if state is not None:
                term = (state * cotangents[rank]).sum()
                total = term if total is None else total + term
            state = xs[rank] if state is None else q * state + xs[rank]
        total.backward()
        grads = [np.zeros((3, 5, 2)) if x.grad is None else x.grad.numpy() for x in xs]
        return [found[rank] for rank in range(4)], grads, q.grad.numpy()

    def work(world, backwards):
        x = tinybert.Tensor(own[world.rank], requires_grad=True)
        q = tinybert.Tensor(decay, requires_grad=True)
        before = chunks.Scan.apply(x, q, group=world, backwards=backwards)
        (before * cotangents[world.rank]).sum().backward()
        return before.numpy(), x.grad.numpy(), q.grad.numpy()

    for backwards in (False, True):
        states, grads, of_decay = plain(backwards)
        results = tinybert.parallel.run(4, lambda world, way=backwards: work(world, way))
        for rank, (before, grad, _) in enumerate(results):
            np.testing.assert_allclose(before, states[rank], atol=1e-14)
            np.testing.assert_allclose(grad, grads[rank], atol=1e-14)
        np.testing.assert_allclose(sum(r[2] for r in results), of_decay, atol=1e-13)


def test_a_spread_model_computes_whole_texts_too():
    """Evaluation: each rank has all tokens."""
    given = batch("mega-chunks", 3)
    model = make_model("mega-chunks").eval()
    expected = model(**given).logits.numpy()

    def work(m, grid):
        parallelize(m, grid)
        with chunks.whole_texts(m):
            logits = m(**given).logits.numpy()
        own = m(**chunks.own_tokens(given, m, grid.chunks)).logits.numpy()
        return logits, own

    whole, parts = zip(*on_grid(model, work, chunks=4), strict=True)
    real = given["attention_mask"] == 1
    for logits in (*whole, np.concatenate(parts, axis=1)):
        np.testing.assert_allclose(logits[real], expected[real], rtol=0, atol=1e-12)


REFUSED = [
    (mega("SequenceClassification"), "not of MegaForSequenceClassification; use data"),
    (mega(use_chunking=False), "chunks=2 cannot be used with use_chunking=False: set"),
    (mega(truncation=4), "truncation=4: set truncation=None"),
    (mega(normalization_type="syncbatchnorm"), "'syncbatchnorm': choose another norm"),
    (mega("CausalLM", **CAUSAL, add_cross_attention=True), "set add_cross_attention=False"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_models_whose_chunks_depend_on_each_other_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        on_grid(make(), parallelize, chunks=2)


def test_wrong_uses_are_refused():
    with pytest.raises(ValueError, match="data=1 \\* chunks=3 = 3 ranks, but the job has 1"):
        tinybert.parallel.Grid(chunks=3)

    def twice(model, grid):
        parallelize(model, grid)
        parallelize(model, grid)

    with pytest.raises(ValueError, match="divided among ranks already"):
        on_grid(make_model("mega-chunks"), twice, chunks=2)

    def cached(model, grid):
        parallelize(model, grid)
        model(**chunks.own_tokens({"input_ids": np.ones((1, T), int)}, model, grid.chunks))

    with pytest.raises(
        ValueError, match="cannot keep a cache: call the model with use_cache=False"
    ):
        on_grid(make_model("mega-causal").eval(), cached, chunks=2)

    def another_loss(model, grid):
        part = parallelize(model, grid)
        ParallelStep(part, SGD(model.parameters()), loss=lambda m, b: m(**b).loss)

    with pytest.raises(ValueError, match="the loss of the model's own labels"):
        on_grid(make_model("mega-chunks"), another_loss, chunks=2)

    def ragged(model, grid):
        given = {"input_ids": np.ones((2, T), int), "labels": np.ones((2, T - 1), int)}
        chunks.own_tokens(given, model, grid.chunks)

    with pytest.raises(ValueError, match=r"labels must have the shape \(2, 24\) of input_ids"):
        on_grid(make_model("mega-chunks"), ragged, chunks=2)


@pytest.mark.slow
def test_lamb_is_the_same_with_chunks():
    """Every rank has whole matrices."""
    check_equal("mega-chunks", {"chunks": 2}, steps=2, kind=Lamb)
