"""Nemotron beyond its numbers: norms, positions, configs, files, vocabulary, Auto classes, memory
for time, bad input, devices.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import tinybert
from tests.models.nemotron_oracle import CLASSES, TOY, array, exact, flat, one_thread, twins
from tests.models.oracle import as_torch
from tests.models.test_nemotron import draw_call, theirs_of
from tests.support import assert_close
from tests.tolerances import DEVICE_FLOAT32, FLOAT32_EPS, MODEL_FLOAT64
from tinybert import NemotronConfig, NemotronForCausalLM, NemotronModel, Tensor
from tinybert.log import warn_once
from tinybert.models.nemotron.nemotron_config import PRESETS
from tinybert.models.nemotron.nemotron_layers import LayerNorm1P, rotary_angles
from tinybert.nn.init import hollow_init

rng = np.random.default_rng(0)
IDS = rng.integers(1, 23, size=(3, 7))


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    with one_thread():
        yield


def toy(**options: Any) -> NemotronConfig:
    return NemotronConfig(**{**TOY, **options})


# --- its own parts --------------------------------------------------------------------------------


def test_the_norm_scales_by_one_more_than_its_weight() -> None:
    x = Tensor(rng.standard_normal((3, 11)), dtype=np.float32)
    norm = LayerNorm1P(11, eps=1e-5)
    plain = tinybert.functional.layer_norm(x, (11,)).numpy()
    assert_close(norm(x).numpy(), 2 * plain, rtol=4 * FLOAT32_EPS)  # a fresh weight is 1
    with tinybert.no_grad():
        norm.weight.fill_(0.0)
    assert (norm(x).numpy() == plain).all()
    assert set(norm.state_dict()) == {"weight", "bias"}


def test_norm_weights_are_stored_as_they_are(tmp_path: Any) -> None:
    """Nothing is added on the way in or taken off on the way out."""
    model = NemotronModel(toy())
    with tinybert.no_grad():
        model.norm.weight.copy_(np.arange(14) / 7)
    model.save_pretrained(tmp_path)
    stored = tinybert.load_checkpoint(tmp_path)["norm.weight"]
    assert (stored == (np.arange(14) / 7).astype(np.float32)).all()
    assert (NemotronModel.from_pretrained(tmp_path).norm.weight.numpy() == stored).all()


def test_there_is_no_gate_and_the_head_is_untied() -> None:
    names = list(NemotronForCausalLM(toy()).state_dict())
    assert not [name for name in names if "gate" in name or name.endswith("proj.bias")]
    assert "lm_head.weight" in names
    tied = NemotronForCausalLM(toy(tie_word_embeddings=True))
    assert tied.lm_head.weight is tied.model.embed_tokens.weight


@pytest.mark.parametrize("theta", [10000.0, 500.0])
@pytest.mark.parametrize(
    ("size", "factor"), [(128, 0.5), (64, 1.0), (6, 0.7), (8, 0.0), (96, 0.25)]
)
def test_angles_are_those_of_transformers(size: int, factor: float, theta: float) -> None:
    config = toy(head_dim=size, partial_rotary_factor=factor, rope_theta=theta)
    twin = transformers.models.nemotron.modeling_nemotron.NemotronRotaryEmbedding(
        transformers.NemotronConfig(**config.to_dict())
    )
    positions = np.array([[0, 1, 2, 17, 4095]])
    expected = twin(torch.zeros(1), torch.from_numpy(positions))
    like = Tensor(np.zeros(1, np.float32))
    found = rotary_angles(config, Tensor(positions), 0, 5, like)
    # A rate may be off by its last bit in torch, which 4,095 makes an angle of 1e-4 times the rate.
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == (1, 1, *theirs.shape[1:])
        assert np.abs(ours.numpy()[0] - theirs.numpy())[:, :4].max(initial=0) < 4e-6
        assert np.abs(ours.numpy()[0] - theirs.numpy()).max(initial=0) < 3e-4
    counted = rotary_angles(config, None, 2, 3, like)
    assert (
        counted[0].numpy() == rotary_angles(config, Tensor([[2, 3, 4]]), 0, 3, like)[0].numpy()
    ).all()


def test_only_a_part_of_every_head_turns() -> None:
    """Applied, in both layers: features from R on are bit for bit those of position 0."""
    model = NemotronModel(toy(partial_rotary_factor=0.7)).eval()
    seen: list[np.ndarray] = []
    for layer in model.layers:
        layer.self_attn.k_proj.register_forward_hook(
            lambda module, args, output: seen.append(output.numpy().reshape(1, 7, 2, 6))
        )
    cache = model(IDS[:1]).past_key_values
    for (key, _), raw in zip(cache, seen, strict=True):
        turned = key.numpy().transpose(0, 2, 1, 3)
        assert (turned[..., 4:] == raw[..., 4:]).all()
        assert (turned[:, 0] == raw[:, 0]).all()
        assert (turned[:, 1:, :, :4] != raw[:, 1:, :, :4]).any(axis=(1, 2)).all()
        lengths = turned[..., :2] ** 2 + turned[..., 2:4] ** 2  # features i and i + 2 turn together
        assert_close(lengths, raw[..., :2] ** 2 + raw[..., 2:4] ** 2, rtol=1e-5)


def test_a_head_of_keys_serves_neighbours() -> None:
    """Queries of heads 0 and 1 look at head 0 of the keys, 2 and 3 at head 1."""
    model = NemotronModel(toy(num_hidden_layers=1)).eval()
    before = model(IDS, output_attentions=True).attentions[0].numpy()
    with tinybert.no_grad():
        model.layers[0].self_attn.k_proj.weight[:6] = 0.0
    after = model(IDS, output_attentions=True).attentions[0].numpy()
    assert (before[:, 2:] == after[:, 2:]).all()
    assert (before[:, :2] != after[:, :2]).any(axis=(0, 2, 3)).all()


# --- configs --------------------------------------------------------------------------------------


def test_the_defaults_are_those_of_the_documents() -> None:
    theirs = transformers.NemotronConfig().to_dict()
    found = NemotronConfig().to_dict()
    own = {k: v for k, v in found.items() if k in theirs and k != "num_key_value_heads"}
    assert own == {k: theirs[k] for k in own}
    assert (found["num_key_value_heads"], found["head_dim"]) == (48, 128)
    assert len(own) > 30
    with hollow_init():  # 15 billion numbers: only that it fits together
        model = NemotronModel(NemotronConfig())
    assert (
        model.num_parameters()
        == 256000 * 6144 + 32 * (4 * 6144 * 6144 + 2 * 6144 * 24576 + 4 * 6144) + 2 * 6144
    )


@pytest.mark.parametrize(
    ("name", "billions"),
    [("nemotron-3-8b", 8.5), ("nemotron-4-15b", 15.6), ("minitron-8b", 8.3), ("minitron-4b", 4.2)],
)
def test_presets_have_the_sizes_of_their_names(name: str, billions: float) -> None:
    with hollow_init():
        model = NemotronForCausalLM(NemotronConfig.preset(name))
    assert model.num_parameters() / 1e9 == pytest.approx(billions, abs=0.06)
    assert set(PRESETS) == {"nemotron-3-8b", "nemotron-4-15b", "minitron-8b", "minitron-4b"}
    assert NemotronConfig.preset(name, num_hidden_layers=2).num_hidden_layers == 2
    with pytest.raises(ValueError, match=r"name must be one of .*got 'nemotron'"):
        NemotronConfig.preset("nemotron")


@pytest.mark.parametrize("spelling", ["rope_percent", "rope_percentage", "rotary_percentage"])
def test_three_spellings_of_one_share(spelling: str, tmp_path: Any) -> None:
    options = {k: v for k, v in TOY.items() if k != "partial_rotary_factor"} | {"head_dim": 8}
    config = NemotronConfig(**options, **{spelling: 0.25})
    assert config == NemotronConfig(**options, partial_rotary_factor=0.25)
    assert config.features_to_turn == 2
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "nemotron", **options, spelling: 0.25})
    )
    assert tinybert.AutoConfig.from_pretrained(tmp_path) == config
    with pytest.raises(ValueError, match=f"several values.*{spelling}"):
        NemotronConfig(**options, **{spelling: 0.25}, partial_rotary_factor=0.75)
    with pytest.raises(ValueError, match=f"several values.*{spelling}"):
        NemotronConfig(**options, **{spelling: 0.25}, partial_rotary_factor=0.5)
    for unknown in ("rotary_pct", "rope_fraction", "rotary_factor", "partial_rope_percent"):
        with pytest.raises(ValueError, match=f"{unknown} is not known.*partial_rotary_factor"):
            NemotronConfig(**options, **{unknown: 0.25})


def test_a_file_of_transformers_with_two_shares_is_not_guessed_at(tmp_path: Any) -> None:
    theirs = transformers.NemotronConfig(**{**TOY, "head_dim": 8}, rope_percent=0.25)
    theirs.partial_rotary_factor = 0.5
    theirs.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"several values.*Choose one"):
        NemotronConfig.from_pretrained(tmp_path)
    for override in ({"partial_rotary_factor": 0.5}, {"rope_percent": 0.5}):
        assert NemotronConfig.from_pretrained(tmp_path, **override).partial_rotary_factor == 0.5


def test_options_of_the_documents_can_be_overridden(tmp_path: Any) -> None:
    toy(head_dim=6, partial_rotary_factor=0.5).save_pretrained(tmp_path)
    config = NemotronConfig.from_pretrained(
        tmp_path, reference="transformers", rope_scaling={"type": "linear"}, classifier_dropout=0.3
    )
    assert (config.reference, config.classifier_dropout) == ("transformers", 0.3)
    NemotronModel(config)
    with pytest.raises(ValueError, match=r"reference must be one of .*got 'fairseq'"):
        NemotronModel(NemotronConfig.from_pretrained(tmp_path, reference="fairseq"))


def test_sizes_may_be_numpy_integers(tmp_path: Any) -> None:
    config = toy(head_dim=np.int64(8), partial_rotary_factor=0.5)
    NemotronModel(config)
    config.save_pretrained(tmp_path)
    assert NemotronConfig.from_pretrained(tmp_path).head_dim == 8


def test_an_odd_share_is_refused_unless_transformers_is_to_be_followed() -> None:
    for options in ({"head_dim": 6, "partial_rotary_factor": 0.5}, {"partial_rotary_factor": 0.1}):
        with pytest.raises(ValueError, match=r"partial_rotary_factor .* even number from 2 to 6"):
            NemotronModel(toy(**options))
    ours, theirs = twins(
        "NemotronModel", partial_rotary_factor=0.5, head_dim=6, reference="transformers"
    )
    with exact():
        expected = theirs(as_torch(IDS)).last_hidden_state
    assert_close(ours(IDS).last_hidden_state.numpy(), array(expected), rtol=MODEL_FLOAT64)


def test_rope_scaling_is_kept_and_warned_of(caplog: Any) -> None:
    warn_once.cache_clear()
    plain, scaled = toy(), toy(rope_scaling={"type": "linear", "factor": 4.0})
    tinybert.manual_seed(3)
    first = NemotronModel(plain).eval()(IDS).last_hidden_state.numpy()
    tinybert.manual_seed(3)
    models = [NemotronModel(scaled).eval() for _ in range(2)]
    assert (models[0](IDS).last_hidden_state.numpy() == first).all()
    assert caplog.text.count("rope_scaling has no effect") == 1
    assert scaled.to_dict()["rope_scaling"]["factor"] == 4.0


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "groups": (
        {"num_key_value_heads": 3},
        "num_attention_heads 4 must be a multiple of num_key_value_heads 3",
    ),
    "no groups": ({"num_key_value_heads": 0}, "num_key_value_heads must be an integer >= 1"),
    "head size": ({"head_dim": 0}, "head_dim must be an integer >= 1, got 0"),
    "share": ({"partial_rotary_factor": 1.5}, "partial_rotary_factor must be .* from 0 to 1"),
    "dropout": ({"attention_dropout": -0.1}, "attention_dropout must be a number from 0 to 1"),
    "theta": ({"rope_theta": 0}, "rope_theta must be above 0"),
    "padding": (
        {"pad_token_id": 23},
        "pad_token_id must be .* from 0 to 22 or None, got 23",
    ),
    "activation": ({"hidden_act": "relu3"}, "hidden_act must be one of .*got 'relu3'"),
    "text": (
        {"num_attention_heads": "4", "head_dim": None},
        "num_attention_heads must be an integer >= 1, got '4'",
    ),
    "flag": ({"attention_bias": "false"}, "attention_bias must be True or False, got 'false'"),
    "layers": ({"num_hidden_layers": 1.5}, "num_hidden_layers must be an integer >= 0"),
}


@pytest.mark.parametrize(("options", "message"), WRONG.values(), ids=WRONG)
def test_configs_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NemotronModel(toy(**options))


# --- the last token of a text ---------------------------------------------------------------------


def test_a_batch_needs_a_padding_token() -> None:
    model = tinybert.NemotronForSequenceClassification(toy()).eval()
    assert model(IDS[:1]).logits.shape == (1, 2)
    with pytest.raises(ValueError, match=r"a batch of 3 texts needs pad_token_id"):
        model(IDS)


def test_the_last_token_that_is_no_padding(caplog: Any) -> None:
    ours, theirs = twins("NemotronForSequenceClassification", pad_token_id=0)
    ids = IDS.copy()
    ids[0, 4:], ids[1, :3], ids[2] = 0, 0, 0
    with exact():
        expected = array(theirs(as_torch(ids)).logits)
    assert_close(ours(ids).logits.numpy(), expected, rtol=MODEL_FLOAT64)
    every = ours.score(ours.model(ids).last_hidden_state).numpy()
    assert_close(expected, every[[0, 1, 2], [3, 6, 0]], rtol=MODEL_FLOAT64)
    embeds = ours.get_input_embeddings()(ids)
    assert_close(ours(inputs_embeds=embeds).logits.numpy(), every[:, -1], rtol=MODEL_FLOAT64)
    assert "inputs_embeds show no padding" in caplog.text


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASSES)
def test_a_saved_model_loads_on_the_other_side_and_back(name: str, tmp_path: Any) -> None:
    ours, theirs = twins(name, 7, num_labels=2, pad_token_id=1)
    call = draw_call(name, ours.config, rng)
    ours, theirs = ours.to(np.float32), theirs.float()
    expected = flat(ours(**call))
    ours.save_pretrained(tmp_path / "ours")
    there, info = getattr(transformers, name).from_pretrained(
        tmp_path / "ours", attn_implementation="eager", output_loading_info=True
    )
    assert not any(info.values()), info
    found = flat(there(**theirs_of(call, torch.float32)))
    assert list(found) == list(expected)
    for field, tensor in expected.items():
        assert np.abs(array(found[field]) - tensor.numpy()).max() < 1e-4, field
    there.save_pretrained(tmp_path / "theirs")
    for shards in ("ours", "theirs"):
        back, report = getattr(tinybert, name).from_pretrained(
            tmp_path / shards, output_loading_info=True
        )
        assert str(report) == ""
        again = flat(back(**call))
        assert all((again[key].numpy() == t.numpy()).all() for key, t in expected.items())
    plain, their_plain = (
        ours(**call, return_dict=False),
        theirs(**theirs_of(call, torch.float32), return_dict=False),
    )
    assert isinstance(plain, tuple)
    assert len(plain) == len(their_plain)


def test_a_checkpoint_of_another_head(tmp_path: Any, caplog: Any) -> None:
    """The base model is found under "model" and "transformer", as a question answerer calls it."""
    NemotronModel(toy()).save_pretrained(tmp_path / "base")
    NemotronForCausalLM(toy()).save_pretrained(tmp_path / "lm")
    load = tinybert.NemotronForQuestionAnswering.from_pretrained
    _, report = load(tmp_path / "base", output_loading_info=True)
    assert report.missing_keys == ["qa_outputs.bias", "qa_outputs.weight"]
    answerer, report = load(tmp_path / "lm", output_loading_info=True)
    assert report.missing_keys == ["qa_outputs.bias", "qa_outputs.weight"]
    assert report.unexpected_keys == ["lm_head.weight"]
    answerer.save_pretrained(tmp_path / "qa")
    back, report = NemotronForCausalLM.from_pretrained(tmp_path / "qa", output_loading_info=True)
    assert report.missing_keys == ["lm_head.weight"]
    expected = NemotronModel.from_pretrained(tmp_path / "lm").state_dict()
    for found in (answerer.base_model, back.base_model):
        assert all((found.state_dict()[n].numpy() == t.numpy()).all() for n, t in expected.items())
    base, report = NemotronModel.from_pretrained(tmp_path / "lm", output_loading_info=True)
    assert (report.missing_keys, report.unexpected_keys) == ([], ["lm_head.weight"])
    # angles of old checkpoints are passed over
    arrays = {name: t.numpy() for name, t in base.state_dict().items()}
    arrays["layers.0.self_attn.rotary_emb.inv_freq"] = np.zeros(2, np.float32)
    tinybert.save_file(arrays, tmp_path / "base" / "model.safetensors")
    _, report = NemotronModel.from_pretrained(tmp_path / "base", output_loading_info=True)
    assert str(report) == ""


@pytest.mark.parametrize("stored", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", CLASSES)
def test_half_the_size_loads_as_in_transformers(name: str, stored: str, tmp_path: Any) -> None:
    _, theirs = twins(name, 3)
    theirs.to(getattr(torch, stored)).save_pretrained(tmp_path)
    there = getattr(transformers, name).from_pretrained(tmp_path, torch_dtype=torch.float32)
    for options in (
        {},
        {"torch_dtype": torch.bfloat16},
        {"dtype": "float32", "device_map": "auto"},
    ):
        here = getattr(tinybert, name).from_pretrained(tmp_path, **options)
        assert here.dtype == np.float32
        for key, tensor in there.state_dict().items():
            assert (here.state_dict()[key].numpy() == tensor.numpy()).all(), key
    if name.endswith("CausalLM"):
        found = here(IDS).logits.numpy()
        assert np.abs(found - array(there(as_torch(IDS)).logits)).max() < 1e-4


def test_dtypes_and_devices_by_transformers_names(tmp_path: Any) -> None:
    NemotronModel(toy()).save_pretrained(tmp_path)
    load = NemotronModel.from_pretrained
    assert load(tmp_path, torch_dtype="float16").dtype == np.float16
    assert load(tmp_path, torch_dtype=torch.float64).dtype == np.float64
    assert load(tmp_path, torch_dtype="auto", device_map={"": "cpu"}).dtype == np.float32
    with pytest.raises(ValueError, match="dtype is 'float16', but torch_dtype is 'float32'"):
        load(tmp_path, dtype="float16", torch_dtype="float32")
    with pytest.raises(ValueError, match="device_map must put everything on one device"):
        load(tmp_path, device_map={"model": "cpu", "lm_head": "cuda"})
    with pytest.raises(ValueError, match="device must be 'cpu', 'cuda' or"):
        load(tmp_path, device_map="balanced")


AUTO = {
    "AutoModel": "NemotronModel",
    "AutoModelForCausalLM": "NemotronForCausalLM",
    "AutoModelForSequenceClassification": "NemotronForSequenceClassification",
    "AutoModelForTokenClassification": "NemotronForTokenClassification",
    "AutoModelForQuestionAnswering": "NemotronForQuestionAnswering",
}


@pytest.mark.parametrize("auto", AUTO)
def test_auto_classes_choose_what_transformers_chooses(auto: str, tmp_path: Any) -> None:
    NemotronForCausalLM(toy()).save_pretrained(tmp_path)
    found = getattr(tinybert, auto).from_pretrained(tmp_path)
    theirs = getattr(transformers, auto).from_pretrained(tmp_path)
    assert type(found).__name__ == AUTO[auto] == type(theirs).__name__


# --- changes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("size", [31, 20])
def test_the_vocabulary_is_resized(size: int, tied: bool) -> None:
    ours, theirs = twins("NemotronForCausalLM", tie_word_embeddings=tied, pad_token_id=1)
    before = ours(IDS % 20).logits.numpy()
    table = ours.resize_token_embeddings(size)
    theirs.resize_token_embeddings(size, mean_resizing=False)
    assert {n: t.shape for n, t in ours.state_dict().items()} == {
        n: tuple(t.shape) for n, t in theirs.state_dict().items()
    }
    assert (ours.lm_head.weight is table.weight) == tied
    assert ours.config.vocab_size == size
    kept = min(size, 23)
    assert_close(ours(IDS % 20).logits.numpy()[..., :kept], before[..., :kept], rtol=MODEL_FLOAT64)


def test_heads_cannot_be_pruned_and_parts_have_their_names() -> None:
    model = NemotronForCausalLM(toy())
    with pytest.raises(NotImplementedError, match="NemotronModel does not support prune_heads"):
        model.prune_heads({0: [1]})
    assert model.get_decoder() is model.model is model.base_model
    assert model.get_output_embeddings() is model.lm_head
    other = NemotronModel(toy())
    model.set_decoder(other)
    assert model.get_decoder() is other


def test_fresh_weights_are_drawn_as_in_transformers() -> None:
    model = NemotronForCausalLM(toy(vocab_size=2000, hidden_size=64, pad_token_id=5))
    for name, parameter in model.named_parameters():
        values = parameter.numpy()
        if "norm" in name:
            assert (values == float(name.endswith("weight"))).all(), name
        else:
            assert values.std() == pytest.approx(0.0134, rel=0.15), name
    assert not model.model.embed_tokens.weight.numpy()[5].any()


def test_layers_are_computed_again_instead_of_kept() -> None:
    model = NemotronForCausalLM(toy(attention_dropout=0.3)).train()
    gradients = []
    for again in (False, True):
        if again:
            model.gradient_checkpointing_enable()
        model.zero_grad()
        with tinybert.manual_seed(1):
            model(IDS, labels=IDS, use_cache=False).loss.backward()
        gradients.append({n: p.grad.numpy().copy() for n, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert_close(gradients[1][name], gradient, rtol=1e-5, atol=1e-8, name=name)
    with pytest.warns(UserWarning, match="use_cache is off"):
        assert model(IDS).past_key_values is None
    assert model.eval()(IDS).past_key_values is not None


def test_labels_and_a_cache_go_together() -> None:
    ours, theirs = twins("NemotronForCausalLM")
    found, expected = ours(IDS, labels=IDS), theirs(as_torch(IDS), labels=as_torch(IDS))
    assert list(found) == list(expected) == ["loss", "logits", "past_key_values"]
    assert found.loss.item() == pytest.approx(expected.loss.item(), rel=1e-5)


# --- devices --------------------------------------------------------------------------------------

LABELS: dict[str, dict[str, Any]] = {
    "NemotronForCausalLM": {"labels": IDS},
    "NemotronForSequenceClassification": {"labels": [0, 1, 1]},
    "NemotronForTokenClassification": {"labels": IDS % 2},
    "NemotronForQuestionAnswering": {"start_positions": [1, 2, 9], "end_positions": [2, 3, 4]},
}
MASK = np.array([[0, 0, 1, 1, 1, 1, 1], [1] * 7, [1, 1, 1, 1, 1, 0, 0]])


@pytest.mark.parametrize("weights", [False, True], ids=["blockwise", "weights"])
@pytest.mark.parametrize("name", LABELS)
def test_losses_and_gradients_are_those_of_the_cpu(name: str, weights: bool, device: str) -> None:
    make = getattr(tinybert, name)
    here, there = (make(toy(pad_token_id=1, classifier_dropout=0.0)) for _ in range(2))
    there.load_state_dict(here.state_dict())
    there.to(device)
    for model in (here, there):
        loss = model(IDS, MASK, output_attentions=weights, **LABELS[name]).loss
        assert loss.device == model.device
        loss.backward()
    expected = {n: p.grad.numpy() for n, p in here.named_parameters()}
    for parameter, tensor in there.named_parameters():
        assert np.allclose(tensor.grad.numpy(), expected[parameter], atol=DEVICE_FLOAT32), parameter


def test_it_generates_there(device: str) -> None:
    here, there = (NemotronForCausalLM(toy(initializer_range=0.5)).eval() for _ in range(2))
    there.load_state_dict(here.state_dict())
    there.to(device)
    for call in ({}, {"attention_mask": MASK, "num_beams": 3}, {"use_cache": False}):
        options = {"max_new_tokens": 5, "eos_token_id": None, **call}
        assert there.generate(IDS, **options).tolist() == here.generate(IDS, **options).tolist()
    cache = there.make_cache()
    there(IDS, past_key_values=cache)
    assert {part.device for pair in cache for part in pair} == {there.device}


def test_what_differs_from_the_default_of_the_family_is_saved(tmp_path: Any) -> None:
    """Tied weights are the default of other families, so their file could leave it out."""
    NemotronConfig(tie_word_embeddings=True).save_pretrained(tmp_path)
    assert NemotronConfig.from_pretrained(tmp_path).tie_word_embeddings
