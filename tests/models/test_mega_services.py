"""MEGA's config, files and services, and everything on every device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import transformers

import tinybert
from tests import tolerances
from tests.models.mega_oracle import DECODER, NO_DROPOUT, TOY, mega_config
from tests.models.oracle import config as bert_config
from tinybert import nn
from tinybert.models.mega.feed_forward import FeatureDropout
from tinybert.weights import load_file, save_file

rng = np.random.default_rng(0)
IDS = rng.integers(3, 23, size=(2, 6))
MASK = np.array([[1] * 6, [1, 1, 1, 1, 0, 0]])
MEMORY = rng.standard_normal((2, 3, 12))

# --- options --------------------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "size": ({"hidden_size": 0}, "hidden_size must be an integer >= 1, got 0"),
    "layers": ({"num_hidden_layers": -1}, "num_hidden_layers must be an integer >= 0"),
    "type": ({"ema_projection_size": 2.5}, "ema_projection_size .*got 2.5"),
    "truncation": ({"truncation": 0}, "truncation must be an integer >= 1 or None, got 0"),
    "chunk size": ({"chunk_size": 0}, "chunk_size must be -1 or >= 1, got 0"),
    "dropout": ({"dropout_prob": 1.5}, "dropout_prob must be a number from 0 to 1, got 1.5"),
    "classifier": (
        {"classifier_dropout": "a"},
        "classifier_dropout must be a number from 0 to 1 or None",
    ),
    "range": ({"ema_beta_range": -1.0}, "ema_beta_range must be a number >= 0"),
    "norm": (
        {"normalization_type": "groupnorm"},
        "normalization_type must be one of .*'groupnorm'",
    ),
    "attention": ({"attention_activation": "sigmoid"}, "attention_activation must be one of"),
    "bias": ({"relative_positional_bias": "alibi"}, "relative_positional_bias must be one of"),
    "activation": ({"activation": "gelo"}, "activation must be one of .*'gelo'"),
    "padding": (
        {"pad_token_id": 23},
        "pad_token_id must be .* from 0 to 22 or None, got 23",
    ),
    "odd": ({"shared_representation_size": 5}, "shared_representation_size must be even .*got 5"),
    "table": (
        {"relative_positional_bias": "simple", "chunk_size": 18},
        "chunk_size 18 must be at most max_positions 17",
    ),
    "encoder": ({"add_cross_attention": True}, "add_cross_attention=True is for decoders"),
}


@pytest.mark.parametrize(("options", "message"), WRONG.values(), ids=WRONG)
def test_options_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tinybert.MegaModel(mega_config(**options))


def test_an_odd_size_does_for_a_simple_bias() -> None:
    sizes = {"shared_representation_size": 5, "hidden_size": 7}
    simple = tinybert.MegaModel(mega_config(**sizes, relative_positional_bias="simple")).eval()
    assert simple(IDS).last_hidden_state.shape == (2, 6, 7)
    tinybert.MegaModel(mega_config(hidden_size=7))  # a rotary bias only looks at Z
    with pytest.raises(ValueError, match=r"numbers for 17 positions .*got 18"):
        simple(np.zeros((1, 18), int))


@pytest.mark.parametrize("chunked", [True, False], ids=["chunks", "whole"])
def test_a_simple_bias_has_rows_for_max_positions_and_uses_those_of_a_chunk(chunked: bool) -> None:
    """Pitfall M11: as in transformers' files; the original's table has 2 * 4 - 1 rows."""
    options = {"relative_positional_bias": "simple", "use_chunking": chunked, "chunk_size": 4}
    config = mega_config(**options, max_positions=17, add_cross_attention=False)
    model = tinybert.MegaModel(config).eval()
    theirs = transformers.MegaModel(transformers.MegaConfig(**config.to_dict()))
    name = "layers.0.mega_layer.rel_pos_bias.rel_pos_bias"
    assert model.state_dict()[name].shape == tuple(theirs.state_dict()[name].shape) == (33,)
    assert config.bias_positions == 4
    ids = np.arange(4)[None] + 3
    model(ids).last_hidden_state.sum().backward()
    used = model.layers[0].mega_layer.rel_pos_bias.rel_pos_bias.grad.numpy() != 0
    assert used.tolist() == [True] * 7 + [False] * 26


def test_longer_than_max_positions_with_token_types() -> None:
    """transformers fails here: its default types are a buffer of that length."""
    model = tinybert.MegaModel(mega_config(add_token_type_embeddings=True, max_positions=4)).eval()
    found = model(IDS).last_hidden_state.numpy()
    assert (found == model(IDS, token_type_ids=np.zeros_like(IDS)).last_hidden_state.numpy()).all()


def test_the_config_is_saved_whole(tmp_path: Any) -> None:
    for reference in (None, "transformers"):
        config = mega_config(truncation=5, reference=reference, classifier_dropout=0.3)
        config.save_pretrained(tmp_path)
        assert tinybert.MegaConfig.from_pretrained(tmp_path) == config
        assert tinybert.AutoConfig.from_pretrained(tmp_path) == config
        theirs = transformers.AutoConfig.from_pretrained(tmp_path)
        assert (theirs.model_type, theirs.truncation, theirs.num_attention_heads) == ("mega", 5, 1)
        theirs.save_pretrained(tmp_path / "theirs")
        back = tinybert.MegaConfig.from_pretrained(tmp_path / "theirs")
        assert back.reference == reference
        assert all(getattr(back, name) == value for name, value in TOY.items())


# --- files ----------------------------------------------------------------------------------------

AUTO = {
    "AutoModel": "MegaModel",
    "AutoModelForCausalLM": "MegaForCausalLM",
    "AutoModelForMaskedLM": "MegaForMaskedLM",
    "AutoModelForSequenceClassification": "MegaForSequenceClassification",
    "AutoModelForMultipleChoice": "MegaForMultipleChoice",
    "AutoModelForTokenClassification": "MegaForTokenClassification",
    "AutoModelForQuestionAnswering": "MegaForQuestionAnswering",
}


@pytest.mark.parametrize("auto", AUTO)
def test_auto_classes(auto: str, tmp_path: Any) -> None:
    tinybert.MegaForMaskedLM(mega_config()).save_pretrained(tmp_path)
    found = getattr(tinybert, auto).from_pretrained(tmp_path)
    assert type(found).__name__ == AUTO[auto]
    assert not found.training
    assert type(getattr(tinybert, auto).from_config(mega_config())).__name__ == AUTO[auto]


def test_a_decoder_from_an_encoders_weights(tmp_path: Any) -> None:
    """The documents' recipe: the moving average of one direction is drawn anew, and it is said."""
    tinybert.MegaForMaskedLM(mega_config()).save_pretrained(tmp_path)
    config = tinybert.AutoConfig.from_pretrained(tmp_path)
    config.is_decoder, config.bidirectional = True, False
    with pytest.raises(ValueError, match=r"ema_gate\.\w+ has shape \(24, 3"):
        tinybert.MegaForCausalLM.from_pretrained(tmp_path, config=config)
    model, report = tinybert.MegaForCausalLM.from_pretrained(
        tmp_path, config=config, ignore_mismatched_sizes=True, output_loading_info=True
    )
    names = {name.rpartition(".")[2] for name, _, _ in report.mismatched_keys}
    assert names == {
        "damping_factor", "decay_factor", "ema_expansion_matrix", "kernel_projection_matrix"
    }  # fmt: skip
    assert len(report.mismatched_keys) == 8
    assert "8 of another shape in the file, initialized at random" in str(report)
    beta = model.mega.layers[1].mega_layer.ema_gate.ema_expansion_matrix.numpy()[..., 0]
    assert np.abs(beta - [1, -1, 1]).max() < 0.15
    assert model(IDS).logits.shape == (2, 6, 23)


def test_a_buffer_that_holds_nothing_may_be_missing(tmp_path: Any) -> None:
    model = tinybert.MegaModel(mega_config()).eval()
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = {name: np.array(array) for name, array in load_file(file).items()}
    assert tensors["layers.0.mega_layer.rel_pos_bias._float_tensor"].tolist() == [0.0]
    save_file({n: a for n, a in tensors.items() if "_float" not in n}, file, {"format": "pt"})
    back, report = tinybert.MegaModel.from_pretrained(tmp_path, output_loading_info=True)
    assert str(report) == ""
    assert (back(IDS)[0].numpy() == model(IDS)[0].numpy()).all()
    assert back.layers[0].mega_layer.rel_pos_bias._float_tensor.tolist() == [0.0]


def test_names_with_beta_are_left_as_they_are(tmp_path: Any) -> None:
    """`b_param` and the moving average's beta are no biases of a norm."""
    model = tinybert.MegaModel(mega_config(normalization_type="layernorm"))
    model.save_pretrained(tmp_path)
    _, report = tinybert.MegaModel.from_pretrained(tmp_path, output_loading_info=True)
    assert (str(report), report.renamed) == ("", {})


def test_weights_loaded_after_a_call_count() -> None:
    """transformers keeps the kernels of the first call in evaluation."""
    first, second = (tinybert.MegaModel(mega_config(initializer_range=0.3)).eval() for _ in "12")
    before = first(IDS).last_hidden_state.numpy()
    first.load_state_dict(second.state_dict())
    after = first(IDS).last_hidden_state.numpy()
    assert (after == second(IDS).last_hidden_state.numpy()).all()
    assert (after != before).any()


def test_embeddings_heads_and_pruning() -> None:
    model = tinybert.MegaForMaskedLM(mega_config())
    fresh = nn.Embedding(23, 12)
    model.set_input_embeddings(fresh)
    assert model.mega.embedding_layer.word_embeddings is fresh
    model.tie_weights()
    assert model.get_output_embeddings().weight is fresh.weight
    head = nn.Linear(12, 23)
    model.set_output_embeddings(head)
    assert model.mlm_head is head
    assert tinybert.MegaForTokenClassification(mega_config()).get_output_embeddings() is None
    with pytest.raises(NotImplementedError, match="MegaModel does not support prune_heads"):
        model.prune_heads({0: [0]})
    assert model.base_model is model.mega


def test_an_encoder_of_another_family() -> None:
    """The documents' sequence-to-sequence recipe, which fails in transformers."""
    decoder = mega_config(**DECODER, add_cross_attention=True, hidden_size=18)
    both = tinybert.EncoderDecoderConfig.from_encoder_decoder_configs(
        bert_config(), decoder, decoder_start_token_id=0, pad_token_id=1
    )
    model = tinybert.EncoderDecoderModel(both).eval()
    loss = model(IDS, MASK, labels=IDS).loss
    loss.backward()
    assert model.enc_to_dec_proj.weight.grad.numpy().any()
    call: dict[str, Any] = {"attention_mask": MASK, "max_new_tokens": 5, "eos_token_id": None}
    cached = model.generate(IDS, **call).tolist()
    assert model.generate(IDS, use_cache=False, **call).tolist() == cached


# --- devices --------------------------------------------------------------------------------------

CALLS: dict[str, dict[str, Any]] = {
    "MegaForMaskedLM": {"labels": np.where(MASK, IDS, -100), "output_attentions": True},
    "MegaForSequenceClassification": {"labels": rng.random((2, 2))},
    "MegaForTokenClassification": {"labels": IDS % 2},
    "MegaForQuestionAnswering": {"start_positions": [1, 5], "end_positions": [2, 3]},
    "MegaForCausalLM": {
        "labels": IDS,
        "encoder_hidden_states": MEMORY,
        "encoder_attention_mask": MASK[:, :3],
    },
}
VARIANTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "laplace": {
        "attention_activation": "laplace", "relative_positional_bias": "simple",
        "normalization_type": "batchnorm", "truncation": 2, "add_token_type_embeddings": True,
    },
    "chunks": {
        "use_chunking": True, "chunk_size": 3, "attention_activation": "softmax",
        "normalization_type": "layernorm", "normalize_before_mega": False,
        "normalize_before_ffn": False,
    },
    "relu2": {
        "attention_activation": "relu2", "normalization_type": "rmsnorm", "use_chunking": True,
        "chunk_size": 6,
    },
}  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", CALLS)
def test_losses_and_gradients_are_those_of_the_cpu(name: str, variant: str, device: str) -> None:
    options = {**NO_DROPOUT, **VARIANTS[variant]}
    if name == "MegaForCausalLM":
        options |= {**DECODER, "add_cross_attention": True}
    make = getattr(tinybert, name)
    here, there = make(mega_config(**options)), make(mega_config(**options))
    there.load_state_dict(here.state_dict())
    there.to(device)
    losses = []
    for model in (here, there):
        output = model(IDS, attention_mask=MASK, **CALLS[name])
        output.loss.backward()
        assert output.loss.device == model.device
        losses.append(output.loss.item())
    assert losses[0] == pytest.approx(losses[1], abs=tolerances.DEVICE_FLOAT32)
    expected = {n: p.grad for n, p in here.named_parameters() if p.grad is not None}
    found = {n: p.grad for n, p in there.named_parameters() if p.grad is not None}
    assert expected.keys() == found.keys()
    for parameter, gradient in expected.items():
        assert found[parameter].device == there.device
        close = np.allclose(
            found[parameter].numpy(), gradient.numpy(), atol=tolerances.DEVICE_FLOAT32
        )
        assert close, parameter


def test_a_cache_stays_on_the_device(device: str) -> None:
    for options in VARIANTS.values():
        cross = {**DECODER, "add_cross_attention": True, **options}
        if cross.get("relative_positional_bias") == "simple":
            cross["add_cross_attention"] = False
        extra = {"encoder_hidden_states": MEMORY} if cross["add_cross_attention"] else {}
        model = tinybert.MegaForCausalLM(mega_config(**cross)).eval().to(device)
        whole = model(IDS, **extra).logits.numpy()
        first = model(IDS[:, :4], **extra)
        parts = [part for layer in first.past_key_values for part in layer if part is not None]
        assert {part.device for part in parts} == {model.device}
        step = model(IDS[:, 4:], past_key_values=first.past_key_values, **extra).logits.numpy()
        assert np.allclose(step, whole[:, 4:], atol=tolerances.DEVICE_FLOAT32)
        longer = model.generate(IDS, max_new_tokens=3, eos_token_id=None, num_beams=2, **extra)
        assert longer.device == model.device


def test_dropout_is_drawn_on_the_device(device: str) -> None:
    model = tinybert.MegaModel(mega_config(use_feature_dropout=True)).to(device).train()
    with tinybert.manual_seed(1):
        first = model(IDS).last_hidden_state.numpy()
    with tinybert.manual_seed(1):
        assert (model(IDS).last_hidden_state.numpy() == first).all()


def test_feature_dropout_drops_a_feature_of_a_row_for_all_its_tokens() -> None:
    dropped = FeatureDropout(0.25, by_feature=True)(tinybert.Tensor(np.ones((50, 3, 40)))).numpy()
    assert (dropped == dropped[:, :1]).all()
    kept = dropped[:, 0] != 0  # (rows, features)
    assert abs(kept.mean() - 0.75) < 0.05
    assert (kept[0] != kept[1]).any()
    assert (kept[:, 0] != kept[:, 1]).any()
