"""MEGA's classes against transformers' over the space of options: outputs, losses, gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers

import tinybert
from tests.models.mega_oracle import (
    DECODER,
    draw_call,
    draw_options,
    mega_config,
    mega_twins,
    theirs_in_float64,  # noqa: F401  (a fixture for every test here)
)
from tests.models.oracle import flat
from tests.models.test_heads import FLOAT32, assert_same, cotangents, members, theirs_of
from tests.support import assert_close, error
from tests.tolerances import MODEL_FLOAT64, MODEL_GRADIENT_FLOAT64
from tinybert.nn.packing import padded

CLASSES = (
    "MegaModel",
    "MegaForCausalLM",
    "MegaForMaskedLM",
    "MegaForSequenceClassification",
    "MegaForMultipleChoice",
    "MegaForTokenClassification",
    "MegaForQuestionAnswering",
)
SEEDS = range(40)


@pytest.mark.parametrize(
    "part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in (1, 2, 3))]
)
@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.filterwarnings("ignore:all .* are ignored")
def test_outputs_losses_and_gradients_agree(name: str, part: int) -> None:
    """Forty random configurations a class, in four parts."""
    for seed in SEEDS[part::4]:
        rng = np.random.default_rng([CLASSES.index(name), seed])
        ours, theirs = mega_twins(name, seed, **draw_options(name, rng))
        call = draw_call(name, ours.config, rng)
        expected = theirs(**theirs_of(call, torch.float64))
        with padded():
            found = ours(**call)
        assert list(found) == list(expected)
        assert_same(flat(found), flat(expected), MODEL_FLOAT64)
        # One number that depends on every number of the output, the loss among them.
        factors = cotangents(flat(expected), seed)
        products = ((t * torch.from_numpy(factors[n])).sum() for n, t in members(expected).items())
        sum(products).backward()
        sum((t * factors[n]).sum() for n, t in members(found).items()).backward()
        for key, parameter in theirs.named_parameters():
            mine = dict(ours.named_parameters())[key].grad
            if parameter.grad is None:
                assert mine is None or not mine.numpy().any(), key
                continue
            assert_close(
                np.zeros(parameter.shape) if mine is None else mine.numpy(),
                parameter.grad.numpy(),
                rtol=MODEL_GRADIENT_FLOAT64,
                atol=MODEL_GRADIENT_FLOAT64,
                name=f"{key}, seed {seed}",
            )
        exact = {field: array.detach().numpy() for field, array in members(expected).items()}
        narrow = flat(theirs.float()(**theirs_of(call, torch.float32)))
        with padded():
            found = ours.to(np.float32)(**call)
        for field, array in flat(found).items():
            assert array.dtype == np.float32
            size = max(1.0, float(np.nan_to_num(np.abs(narrow[field])).max()))
            theirs_is_off = float(np.max(error(narrow[field], exact[field])))
            allowed = max(FLOAT32 * size, 2 * theirs_is_off)
            assert np.max(error(array, narrow[field])) <= allowed, (field, seed)


@pytest.mark.parametrize("name", CLASSES)
def test_the_names_of_weights_are_those_of_transformers(name: str) -> None:
    variants: list[dict[str, Any]] = [
        {"normalization_type": norm, "relative_positional_bias": bias}
        for norm in ("scalenorm", "layernorm", "rmsnorm", "batchnorm", "syncbatchnorm")
        for bias in ("rotary", "simple")
    ]
    variants += [
        {"norm_affine": False, "add_token_type_embeddings": True},
        {"use_normalized_ffn": False, "add_lm_hidden_dense_layer": False},
    ]
    if name.endswith(("Model", "LM")):
        variants += [{**DECODER, "add_cross_attention": True}]
    for options in variants:
        ours, theirs = mega_twins(name, **options)
        shapes = {key: tuple(t.shape) for key, t in theirs.state_dict().items()}
        assert {key: t.shape for key, t in ours.state_dict().items()} == shapes
        assert list(ours.state_dict()) == list(shapes)
        assert list(dict(ours.named_parameters())) == list(dict(theirs.named_parameters()))


@pytest.mark.parametrize("name", CLASSES)
def test_a_saved_model_loads_on_the_other_side_and_back(name: str, tmp_path: Any) -> None:
    rng = np.random.default_rng(7)
    norm = ("scalenorm", "layernorm", "batchnorm")[CLASSES.index(name) % 3]
    ours, theirs = mega_twins(
        name, 7, num_labels=2, id2label={0: "no", 1: "yes"}, normalization_type=norm
    )
    call = draw_call(name, ours.config, rng)
    ours, theirs = ours.to(np.float32), theirs.float()
    expected = flat(ours(**call))
    ours.save_pretrained(tmp_path / "ours")
    there, info = getattr(transformers, name).from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert not any(info.values()), info
    assert there.config.id2label == {0: "no", 1: "yes"}
    assert_same(flat(there(**theirs_of(call, torch.float32))), expected, FLOAT32)
    there.save_pretrained(tmp_path / "theirs")
    back, report = getattr(tinybert, name).from_pretrained(
        tmp_path / "theirs", output_loading_info=True
    )
    assert str(report) == ""
    found = flat(back(**call))
    assert all((found[key] == array).all() for key, array in expected.items())


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("labelled", [False, True])
def test_a_plain_tuple_has_the_same_members(name: str, labelled: bool) -> None:
    rng = np.random.default_rng(8)
    ours, theirs = mega_twins(name, 8, num_labels=2)
    call = draw_call(name, ours.config, rng) | {"output_attentions": True, "return_dict": False}
    if not labelled:
        call = {k: v for k, v in call.items() if k != "labels" and "positions" not in k}
    expected = theirs(**theirs_of(call, torch.float64))
    found = ours(**call)
    assert isinstance(found, tuple)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        ones, others = (v if isinstance(v, tuple) else (v,) for v in (one, other))
        for mine, their in zip(ones, others, strict=True):
            if mine is not None:
                assert_close(mine.numpy(), their.detach().numpy(), rtol=MODEL_FLOAT64)


def test_multiple_choice_takes_types_before_the_mask() -> None:
    ours, theirs = mega_twins("MegaForMultipleChoice", add_token_type_embeddings=True)
    rng = np.random.default_rng(0)
    ids, types, mask = (rng.integers(n, size=(2, 3, 4)) for n in (23, 5, 2))
    expected = theirs(*(torch.from_numpy(a) for a in (ids, types, mask))).logits
    assert_close(ours(ids, types, mask).logits.numpy(), expected.detach().numpy(), rtol=1e-11)
    loss = theirs(*(torch.from_numpy(a) for a in (ids, types, mask, np.array([0, 1])))).loss
    assert_close(ours(ids, types, mask, [0, 1]).loss.numpy(), loss.detach().numpy(), rtol=1e-11)


def test_the_defaults_are_those_of_transformers() -> None:
    mine, theirs = tinybert.MegaConfig(), transformers.MegaConfig()
    for name, value in vars(mine).items():
        if name != "reference":
            assert getattr(theirs, name) == value, name
    numbers = range(2, 38)  # the order of the arguments
    mine, theirs = tinybert.MegaConfig(*numbers), transformers.MegaConfig(*numbers)
    given = [name for name, value in vars(mine).items() if value in numbers]
    assert len(given) == len(numbers)
    assert all(getattr(theirs, name) == getattr(mine, name) for name in given)


def test_fresh_weights_are_drawn_as_the_original_does() -> None:
    sizes = {"hidden_size": 64, "ema_projection_size": 8, "vocab_size": 200, "pad_token_id": 3}
    tinybert.manual_seed(0)
    torch.manual_seed(0)
    for norm in ("scalenorm", "layernorm", "rmsnorm", "batchnorm"):
        options = {"normalization_type": norm, "ema_beta_range": 0.05, "initializer_range": 0.1}
        ours = tinybert.MegaForMaskedLM(mega_config(**sizes, **options))
        plain = {k: v for k, v in ours.config.to_dict().items() if k != "model_type"}
        theirs = transformers.MegaForMaskedLM(transformers.MegaConfig(**plain))
        for name, tensor in theirs.state_dict().items():
            mine, their = ours.state_dict()[name].numpy(), tensor.numpy()
            if their.size < 60 or their.std() == 0:
                if their.std() == 0:
                    assert (mine == their).all(), name
                continue
            assert abs(mine.std() / their.std() - 1) < 0.35, name
            assert abs(mine.mean() - their.mean()) < 0.8 * their.std(), name  # 64 numbers
        assert not ours.get_input_embeddings().weight.numpy()[3].any()
        beta = ours.mega.layers[0].mega_layer.ema_gate.ema_expansion_matrix.numpy()[..., 0]
        assert_close(beta.mean(axis=0), np.tile([1.0, -1.0], 4), rtol=0.03)


def test_resizing_agrees_with_transformers() -> None:
    ids = np.random.default_rng(0).integers(4, 20, size=(2, 5))
    for name in ("MegaForMaskedLM", "MegaForCausalLM"):
        for tied in (True, False):
            ours, theirs = mega_twins(name, tie_word_embeddings=tied)
            before = ours(ids).logits.numpy()
            for size in (31, 20):
                ours.resize_token_embeddings(size)
                theirs.resize_token_embeddings(size, mean_resizing=False)
                shapes = {key: tuple(t.shape) for key, t in theirs.state_dict().items()}
                assert {key: t.shape for key, t in ours.state_dict().items()} == shapes
                assert_close(ours(ids).logits.numpy()[..., :20], before[..., :20], rtol=1e-11)
            head = ours.get_output_embeddings()
            assert (head.weight is ours.get_input_embeddings().weight) == tied
            assert ours.config.vocab_size == head.out_features == 20
