"""Tensor and sequence parallelism equal the single process: loss, gradients, dropout."""

import numpy as np
import pytest

import tinybert
from tests.parallel.models import BERT, MODELS, T, make_batch, make_model, on_grid
from tinybert import functional as F
from tinybert.parallel.grid import Grid
from tinybert.parallel.parallelize import parallelize
from tinybert.parallel.simulated import run
from tinybert.parallel.streams import micro_batch


def job(name, sequence=False, seed=5, tokens=T):
    batch = {k: x[:, :tokens] if x.ndim == 2 else x for k, x in make_batch(name).items()}

    def work(model, grid):
        part = parallelize(model, grid, sequence)
        with micro_batch(grid, seed, 1, 2, "cpu"):
            output = part.model(**batch)
        output.loss.backward()
        for parameter in part.partial:
            parameter.grad.data[...] = grid.tensor.allreduce(parameter.grad.data)
        gradients = {}
        for key, parameter in part.model.named_parameters():
            zeros = np.zeros(parameter.shape)  # positions that are relative need no table
            gradients[key] = zeros if parameter.grad is None else parameter.grad.numpy()
        return float(output.loss), gradients, part.placements

    return work


def merged(results):
    """Return loss and full gradients, from those of each rank; check what is on several ranks."""
    losses, parts, (placements, *_) = zip(*results, strict=True)
    assert len(set(losses)) == 1
    gradients = {}
    for name, first in parts[0].items():
        axis = placements[name].axis
        if axis is None:
            for part in parts[1:]:
                np.testing.assert_allclose(part[name], first, rtol=0, atol=1e-13)
            gradients[name] = first
        else:
            gradients[name] = np.concatenate([part[name] for part in parts], axis=axis)
        assert gradients[name].shape == placements[name].shape
    return losses[0], gradients


SLOW = {
    ("bert-relative", False),
    ("nemotron-one-key", False),
    ("megatron-classes", True),
    ("megatron-untied", True),
}
CASES = [
    pytest.param(name, sequence, marks=[pytest.mark.slow] * ((name, sequence) in SLOW))
    for name in MODELS
    for sequence in (False, True)
]


@pytest.mark.parametrize(("name", "sequence"), CASES)
def test_loss_and_gradients_equal_one_process(name, sequence):
    model = make_model(name)
    loss, gradients = merged(on_grid(model, job(name)))
    found, parts = merged(on_grid(model, job(name, sequence), tensor=4))
    assert found == pytest.approx(loss, abs=1e-12)
    assert parts.keys() == gradients.keys()
    for key, gradient in gradients.items():
        np.testing.assert_allclose(parts[key], gradient, rtol=0, atol=1e-12, err_msg=key)
        assert np.abs(gradient).max() > 1e-9 or "key.bias" in key or "position" in key, key


@pytest.mark.parametrize(("name", "tokens"), [("nemotron", 7), ("bert-relative", 5)])
def test_tokens_that_are_no_multiple_of_the_ranks(name, tokens):
    model = make_model(name)
    loss, gradients = merged(on_grid(model, job(name, tokens=tokens)))
    found, parts = merged(on_grid(model, job(name, True, tokens=tokens), tensor=4))
    assert found == pytest.approx(loss, abs=1e-12)
    for key, gradient in gradients.items():
        np.testing.assert_allclose(parts[key], gradient, rtol=0, atol=1e-12, err_msg=key)


def test_dropout_of_long_texts_is_drawn_in_the_blocks_of_all_heads():
    """Fewer heads would fit larger blocks, whose random numbers are others."""
    rng = np.random.default_rng(0)
    query, key, value = rng.normal(size=(3, 2, 16, 70, 4))

    def attend(world):
        heads = slice(world.rank * 16 // world.size, (world.rank + 1) * 16 // world.size)
        own = (tinybert.Tensor(x[:, heads]) for x in (query, key, value))
        with micro_batch(Grid(tensor=world.size, world=world), 1, 0, 0, "cpu"):
            return F.scaled_dot_product_attention(*own, dropout_p=0.5).numpy()

    (whole,), parts = run(1, attend), run(4, attend)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=0, atol=1e-12)


def test_bytes_equal_the_formula():
    def work(model, grid, sequence):
        part = parallelize(model, grid, sequence)
        grid.tensor.traffic.clear()
        part.model(**make_batch("bert-mlm")).loss.backward()
        return {name: entry.bytes // 8 for name, entry in grid.tensor.traffic.items()}

    model = make_model("bert-mlm")
    states, tokens, layers = 4 * T * 16, 4 * T, 4  # B T D, B T, L
    ends = 2 * states + 3 * tokens  # the embedding, f of the scores, the loss
    for found in on_grid(model, lambda m, g: work(m, g, False), tensor=2):
        assert found == {"allreduce": layers * 4 * states + ends}
    for found in on_grid(model, lambda m, g: work(m, g, True), tensor=2):
        assert found == {
            # scatter's backward and collect's forward are an allgather each
            "allgather": layers * 4 * states + 2 * states,
            "reduce_scatter": layers * 4 * states,
            "allreduce": ends,
        }


def test_the_parts_are_contiguous_shares_of_the_weights():
    model = make_model("megatron-untied")
    full = {name: tensor.numpy() for name, tensor in model.named_state()}

    def work(model, grid):
        part = parallelize(model, grid)
        return {name: x.numpy() for name, x in model.named_state()}, part.placements

    parts = on_grid(model, work, tensor=8)  # 37 words among 8 ranks: 4 or 5 each
    for name, placement in parts[0][1].items():
        arrays = [part[name] for part, _ in parts]
        if placement.axis is None:
            np.testing.assert_array_equal(arrays[3], full[name])
        else:
            np.testing.assert_array_equal(np.concatenate(arrays, placement.axis), full[name])
    total = sum(x.size for x in full.values())
    assert all(sum(x.size for x in part.values()) < total / 3 for part, _ in parts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_attention_heads": 6, "hidden_size": 18}, "attention heads 6 must be a multiple"),
        ({"intermediate_size": 25}, "intermediate_size 25 must be a multiple of the 4"),
        ({"add_cross_attention": True, "is_decoder": True}, "cross-attention"),
    ],
)
def test_a_model_that_cannot_be_divided_is_refused(change, message):
    model = tinybert.BertModel(tinybert.BertConfig(**{**BERT, **change}))
    with pytest.raises(ValueError, match=message):
        on_grid(model, parallelize, tensor=4)


def test_ranks_with_different_weights_are_refused():
    def work(model, grid):
        model.base_model.encoder.ln.weight.data[0] += grid.world.rank
        parallelize(model, grid)

    with pytest.raises(ValueError, match="manual_seed with the same seed"):
        on_grid(make_model("megatron-causal"), work, tensor=2)


def test_wrong_grids_and_uses_are_refused():
    model = make_model("bert-mlm")
    with pytest.raises(ValueError, match="2 ranks, but the job has 1; start it with mpiexec -n 2"):
        Grid(tensor=2)
    with pytest.raises(ValueError, match="divided among ranks already"):
        on_grid(model, lambda m, g: [parallelize(m, g), parallelize(m, g)], tensor=2)
    mega = tinybert.MegaModel(tinybert.MegaConfig(vocab_size=9, hidden_size=4, num_hidden_layers=1))
    with pytest.raises(ValueError, match="use data parallelism"):
        on_grid(mega, parallelize, tensor=2)
    adapted = tinybert.add_adapters(make_model("nemotron"), tinybert.LoraConfig())
    with pytest.raises(ValueError, match="call merge_adapters first"):
        on_grid(adapted, parallelize, tensor=2)
    pair = tinybert.BertConfig(**BERT), tinybert.BertConfig(**BERT)
    both = tinybert.EncoderDecoderConfig.from_encoder_decoder_configs(*pair)
    with pytest.raises(ValueError, match="EncoderDecoderModel is not supported on several ranks"):
        on_grid(tinybert.EncoderDecoderModel(both), parallelize, tensor=2)


def test_logits_without_labels_are_complete_and_a_call_needs_no_stream():
    model = make_model("nemotron").eval()
    batch = {"input_ids": make_batch("nemotron")["input_ids"]}
    expected = model(**batch).logits.numpy()
    for logits in on_grid(
        model, lambda m, g: parallelize(m, g).model(**batch).logits.numpy(), tensor=4
    ):
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("ranks", [2, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["nemotron", "megatron-causal", "bert-causal"])
def test_generation_equals_one_process_token_for_token(name, ranks):
    model = make_model(name).eval()
    ids = make_batch(name)["input_ids"][:2, :4]
    mask = np.array([[0, 1, 1, 1], [1, 1, 1, 1]])  # the first prompt is shorter

    def work(model, grid):
        generate = parallelize(model, grid).model.generate
        greedy = generate(ids, max_new_tokens=5)
        beams = generate(ids, attention_mask=mask, max_new_tokens=5, num_beams=3)
        sampled = generate(ids, max_new_tokens=5, do_sample=True, seed=3)
        return [tokens.tolist() for tokens in (greedy, beams, sampled)]

    alone = work(make_model(name).eval(), Grid())
    assert on_grid(model, work, tensor=ranks) == [alone] * ranks
    assert alone[0] != alone[2]
