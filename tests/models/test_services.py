"""What the base class does for every model: vocabulary, pruning, tying, checkpointing, Auto."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import tinybert
from tests.models import mega_oracle, nemotron_oracle
from tests.models.oracle import TOY, as_torch, config, twin_heads
from tests.support import assert_close
from tests.tolerances import MODEL_FLOAT64
from tinybert import BertConfig, BertForMaskedLM, BertForPreTraining, BertModel, nn
from tinybert.models import auto
from tinybert.models.base import PreTrainedModel

rng = np.random.default_rng(0)
IDS = rng.integers(1, 20, size=(2, 6))


def logits(model: Any, **call: Any) -> np.ndarray:
    """Of ours or theirs, as an array."""
    if isinstance(model, torch.nn.Module):
        return model(as_torch(IDS), **call).logits.detach().numpy()
    return model(IDS, **call).logits.numpy()


# --- vocabulary -----------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("size", [31, 20, 23])
def test_resizing_keeps_rows_and_agrees_with_transformers(size: int, tied: bool) -> None:
    ours, theirs = twin_heads("BertForMaskedLM", 0, tie_word_embeddings=tied)
    before = logits(ours)
    table = ours.resize_token_embeddings(size)
    theirs.resize_token_embeddings(size, mean_resizing=False)
    assert table is ours.get_input_embeddings()
    assert table.weight.shape == (size, 12)
    assert (table.padding_idx, table.num_embeddings, ours.config.vocab_size) == (0, size, size)
    predictions = ours.cls.predictions
    assert (predictions.decoder.weight is table.weight) == tied
    assert predictions.bias is predictions.decoder.bias
    assert predictions.decoder.out_features == size
    shapes = {name: tuple(t.shape) for name, t in theirs.state_dict().items()}
    assert {name: t.shape for name, t in ours.state_dict().items()} == shapes
    kept = min(size, 23)
    found = logits(ours)
    assert_close(found[..., :kept], before[..., :kept], rtol=MODEL_FLOAT64)
    assert_close(found[..., :kept], logits(theirs)[..., :kept], rtol=MODEL_FLOAT64)
    assert not predictions.bias.numpy()[23:].any()
    assert ours.dtype == np.float64
    if size > 23:  # new rows are drawn, not zero, and of the size of fresh weights
        fresh = table.weight.numpy()[23:]
        assert 0.005 < fresh.std() < 0.05
        assert (predictions.decoder.weight.numpy()[23:] == fresh).all() == tied


def test_resizing_to_a_multiple_and_to_the_mean() -> None:
    model = BertForPreTraining(config())
    old = model.get_input_embeddings()
    assert model.resize_token_embeddings() is old
    assert model.resize_token_embeddings(pad_to_multiple_of=8).num_embeddings == 24
    model.resize_token_embeddings(30, pad_to_multiple_of=16, mean_resizing=True)
    table = model.get_input_embeddings().weight.numpy()
    assert table.shape == (32, 12)
    assert_close(table[24:], np.broadcast_to(table[:24].mean(0), (8, 12)), rtol=1e-6)
    model(IDS, labels=np.full((2, 6), 31), next_sentence_label=[0, 1]).loss.backward()
    for wrong in (0, -1, 2.5, "9"):
        with pytest.raises(ValueError, match=f"new_num_tokens .*{wrong!r}"):
            model.resize_token_embeddings(wrong)


@pytest.mark.parametrize("name", ["BertForMaskedLM", "MegaForCausalLM", "NemotronForCausalLM"])
@pytest.mark.parametrize(
    ("size", "multiple", "expected"),
    [(None, 8, 24), (24, 8, 24), (25, 8, 32), (23, 8, 24), (16, 8, 16), (17, 8, 24), (1, 8, 8),
     (30, 1, 30), (None, 23, 23), (None, 24, 24)],
)  # fmt: skip
def test_a_size_that_is_a_multiple_is_not_rounded_up(
    name: str, size: int | None, multiple: int, expected: int
) -> None:
    options = {"Mega": mega_oracle.DECODER, "Bert": {"is_decoder": False}}
    family = name.partition("For")[0]
    toy = {"Bert": TOY, "Mega": mega_oracle.TOY, "Nemotron": nemotron_oracle.TOY}[family]
    made = getattr(tinybert, f"{family}Config")(
        **{**toy, "vocab_size": 24, **options.get(family, {})}
    )
    model = getattr(tinybert, name)(made)
    if (size, multiple) == (None, 23):
        model.resize_token_embeddings(23)
    table = model.resize_token_embeddings(size, pad_to_multiple_of=multiple)
    head = model.get_output_embeddings()
    assert table.weight.shape[0] == table.num_embeddings == model.config.vocab_size == expected
    assert head.weight.shape[0] == head.out_features == expected


def test_a_resized_model_is_saved_and_loaded(tmp_path: Any) -> None:
    model = BertForMaskedLM(config()).eval()
    model.resize_token_embeddings(40)
    model.save_pretrained(tmp_path)
    back, report = BertForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not str(report)
    assert (logits(back) == logits(model)).all()


def test_embeddings_can_be_exchanged() -> None:
    model = BertForMaskedLM(config())
    fresh = nn.Embedding(23, 12)
    model.set_input_embeddings(fresh)
    assert model.get_input_embeddings() is fresh is model.bert.embeddings.word_embeddings
    assert model.get_output_embeddings().weight is not fresh.weight  # as in transformers
    model.tie_weights()
    assert model.get_output_embeddings().weight is fresh.weight
    head = nn.Linear(12, 23)
    model.set_output_embeddings(head)
    assert model.cls.predictions.decoder is head
    assert model.cls.predictions.bias is head.bias
    assert tinybert.BertForTokenClassification(config()).get_output_embeddings() is None


def test_numbers_of_parameters_are_those_of_transformers() -> None:
    for name in ("BertModel", "BertForPreTraining", "BertForQuestionAnswering"):
        ours, theirs = twin_heads(name, 0)
        for model in (ours, theirs):
            for p in model.base_model.pooler.parameters() if "QuestionA" not in name else ():
                p.requires_grad_(False)
        for flags in ({}, {"only_trainable": True}, {"exclude_embeddings": True}):
            assert ours.num_parameters(**flags) == theirs.num_parameters(**flags), flags


def test_fresh_weights_are_drawn_as_the_original_does() -> None:
    big = {"vocab_size": 300, "hidden_size": 48, "intermediate_size": 90, "pad_token_id": 7}
    model = BertForPreTraining(config(**big, initializer_range=0.05))
    words = model.get_input_embeddings().weight.numpy()
    assert not words[7].any()
    assert abs(words[8:].std() / 0.05 - 1) < 0.05
    for name, parameter in model.named_parameters():
        array = parameter.numpy()
        if name.endswith("bias"):
            assert not array.any(), name
        elif name.endswith("LayerNorm.weight"):
            assert (array == 1).all(), name
        elif array.size > 500:
            assert abs(array.std() / 0.05 - 1) < 0.2, name


# --- pruning --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["BertModel", "BertForTokenClassification", "MegatronBertForTokenClassification"]
)
def test_pruned_heads_are_masked_heads(name: str, tmp_path: Any) -> None:
    ours, theirs = twin_heads(name, 0, num_labels=2)
    mask = np.ones((2, 3))
    mask[0, [0, 2]] = mask[1, 1] = 0
    expected = ours(IDS, head_mask=mask, output_attentions=True)
    ours.prune_heads({0: [2]})
    ours.prune_heads({0: [0, 2], 1: [1]})  # 2 is pruned already; numbers are the original ones
    theirs.prune_heads({0: [2], 1: [1]})
    theirs.prune_heads({0: [0, 2]})
    theirs.double()  # what it prunes becomes float32
    assert ours.config.pruned_heads == {0: [0, 2], 1: [1]}
    found = ours(IDS, output_attentions=True)
    assert_close(found[0].numpy(), expected[0].numpy(), rtol=MODEL_FLOAT64)
    assert_close(found[0].numpy(), theirs(as_torch(IDS))[0].detach().numpy(), rtol=MODEL_FLOAT64)
    assert [weights.shape for weights in found.attentions] == [(2, 1, 6, 6), (2, 2, 6, 6)]
    halved = ours(IDS, head_mask=np.full((2, 3), 0.5), output_attentions=True)  # original numbers
    assert_close(halved.attentions[0].numpy(), found.attentions[0].numpy() / 2, rtol=1e-12)
    shapes = {key: tuple(t.shape) for key, t in theirs.state_dict().items()}
    assert {key: t.shape for key, t in ours.state_dict().items()} == shapes
    ours.to(np.float32).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["pruned_heads"] == {
        "0": [0, 2],
        "1": [1],
    }
    back, report = getattr(tinybert, name).from_pretrained(tmp_path, output_loading_info=True)
    assert not str(report)
    assert back.config.pruned_heads == ours.config.pruned_heads
    assert (back(IDS)[0].numpy() == ours(IDS)[0].numpy()).all()
    there = getattr(transformers, name).from_pretrained(tmp_path, attn_implementation="eager")
    assert_close(there(as_torch(IDS))[0].detach().numpy(), back(IDS)[0].numpy(), rtol=1e-5)


def test_pruning_what_is_not_there() -> None:
    model = BertModel(config())
    for heads, message in (
        ({2: [0]}, "heads_to_prune must name layers from 0 to 1, got 2"),
        ({0: [3]}, r"heads must be from 0 to 2, got \[3\]"),
        ({0: [0, 1, 2]}, "cannot prune all heads"),
    ):
        with pytest.raises(ValueError, match=message):
            model.prune_heads(heads)
    assert model.config.pruned_heads == {}
    model.prune_heads({0: [0]})
    model.prune_heads({0: [2]})
    assert model.config.pruned_heads == {0: [0, 2]}
    assert model.encoder.layer[0].attention.self.kept_heads == [1]


# --- gradient checkpointing -----------------------------------------------------------------------


def gradients(model: Any, seed: int, **call: Any) -> tuple[float, dict[str, np.ndarray]]:
    model.zero_grad()
    with tinybert.manual_seed(seed):
        loss = model(IDS, labels=IDS, **call).loss
        loss.backward()
    found = {n: p.grad.numpy().copy() for n, p in model.named_parameters() if p.grad is not None}
    return loss.item(), found


@pytest.mark.parametrize("cross", [False, True], ids=["encoder", "decoder with an encoder"])
def test_checkpointing_changes_no_number(cross: bool) -> None:
    options: dict[str, Any] = {
        "is_decoder": cross, "add_cross_attention": cross, "use_cache": False,
    }  # fmt: skip
    model = tinybert.BertForMaskedLM(config(**options)).to(np.float64).train()
    call: dict[str, Any] = {"output_attentions": True, "output_hidden_states": True}
    memory = tinybert.Tensor(rng.standard_normal((2, 3, 12)), requires_grad=True)
    if cross:
        call |= {"encoder_hidden_states": memory}
    expected = gradients(model, 1, **call)  # dropout is on
    memory_grad = memory.grad.numpy().copy() if cross else None
    memory.grad = None
    model.gradient_checkpointing_enable()
    assert model.is_gradient_checkpointing
    found = gradients(model, 1, **call)
    assert found[0] == expected[0]
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        assert_close(found[1][name], gradient, rtol=1e-12, atol=1e-14, name=name)
    if cross:
        assert_close(memory.grad.numpy(), memory_grad, rtol=1e-12)
    model.gradient_checkpointing_disable()
    assert not model.is_gradient_checkpointing


def test_checkpointing_adds_to_gradients_that_are_there_and_leaves_frozen_weights() -> None:
    model = BertForMaskedLM(config()).train()
    model.bert.embeddings.requires_grad_(False)  # the first layer's input needs no gradient then
    model.bert.encoder.layer[0].attention.requires_grad_(False)
    model.gradient_checkpointing_enable()
    _, once = gradients(model, 1)
    with tinybert.manual_seed(1):
        model(IDS, labels=IDS).loss.backward()
    name = "bert.encoder.layer.0.output.dense.weight"
    assert np.abs(once[name]).max() > 0
    twice = dict(model.named_parameters())[name].grad.numpy()
    assert_close(twice, 2 * once[name], rtol=1e-5)
    assert "bert.encoder.layer.0.attention.self.query.weight" not in once


def test_checkpointing_saves_memory() -> None:
    sizes = {"hidden_size": 48, "num_hidden_layers": 8, "intermediate_size": 192}
    model = BertForMaskedLM(config(**sizes, max_position_embeddings=128)).train()
    ids = rng.integers(1, 20, size=(4, 128))

    def peak() -> int:
        model.zero_grad()
        tracemalloc.start()
        model(ids, labels=ids).loss.backward()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    plain = peak()
    model.gradient_checkpointing_enable()
    assert peak() < 0.4 * plain


def test_checkpointing_is_for_training_and_keeps_no_cache() -> None:
    model = tinybert.BertLMHeadModel(config(is_decoder=True))
    model.gradient_checkpointing_enable()
    assert model.eval()(IDS).past_key_values is not None
    model.train()
    with pytest.warns(UserWarning, match="use_cache is off"):
        assert model(IDS).past_key_values is None
    with tinybert.no_grad():
        assert model(IDS).past_key_values is not None  # nothing to compute again

    class Plain(tinybert.BertModel):
        supports_gradient_checkpointing = False

    with pytest.raises(ValueError, match="Plain does not support gradient checkpointing"):
        Plain(config()).gradient_checkpointing_enable()


# --- loading heads, Auto classes ------------------------------------------------------------------


def test_a_head_from_a_base_and_a_base_from_a_head(tmp_path: Any, caplog: Any) -> None:
    base = BertModel(config()).eval()
    base.save_pretrained(tmp_path / "base")
    head, report = BertForMaskedLM.from_pretrained(tmp_path / "base", output_loading_info=True)
    assert sorted(report.missing_keys) == [
        "cls.predictions.bias",
        "cls.predictions.decoder.bias",
        "cls.predictions.transform.LayerNorm.bias",
        "cls.predictions.transform.LayerNorm.weight",
        "cls.predictions.transform.dense.bias",
        "cls.predictions.transform.dense.weight",
    ]
    assert "initialized at random" in caplog.text
    assert head.cls.predictions.decoder.weight is head.get_input_embeddings().weight
    expected = base(IDS).last_hidden_state.numpy()
    assert (head.bert(IDS).last_hidden_state.numpy() == expected).all()
    head.save_pretrained(tmp_path / "head")
    back, report = BertModel.from_pretrained(
        tmp_path / "head", add_pooling_layer=False, output_loading_info=True
    )
    assert not report.missing_keys
    assert (back(IDS).last_hidden_state.numpy() == expected).all()


AUTO = {
    "AutoModel": "BertModel",
    "AutoModelForPreTraining": "BertForPreTraining",
    "AutoModelForCausalLM": "BertLMHeadModel",
    "AutoModelForMaskedLM": "BertForMaskedLM",
    "AutoModelForNextSentencePrediction": "BertForNextSentencePrediction",
    "AutoModelForSequenceClassification": "BertForSequenceClassification",
    "AutoModelForMultipleChoice": "BertForMultipleChoice",
    "AutoModelForTokenClassification": "BertForTokenClassification",
    "AutoModelForQuestionAnswering": "BertForQuestionAnswering",
}


@pytest.mark.parametrize("family", ["Bert", "MegatronBert"])
@pytest.mark.parametrize("auto", AUTO)
def test_auto_classes_choose_what_transformers_chooses(
    auto: str, family: str, tmp_path: Any
) -> None:
    getattr(tinybert, f"{family}ForPreTraining")(config(family)).save_pretrained(tmp_path)
    found = getattr(tinybert, auto).from_pretrained(tmp_path)
    theirs = getattr(transformers, auto).from_pretrained(tmp_path)
    name = AUTO[auto].replace("Bert", family)
    name = name if family == "Bert" else name.replace("LMHeadModel", "ForCausalLM")
    assert type(found).__name__ == name == type(theirs).__name__
    assert not found.training
    assert type(getattr(tinybert, auto).from_config(config(family))).__name__ == name


def test_auto_config(tmp_path: Any) -> None:
    BertConfig(**TOY, oddity=[1]).save_pretrained(tmp_path)
    found = tinybert.AutoConfig.from_pretrained(tmp_path, num_labels=7)
    assert isinstance(found, BertConfig)
    assert (found.num_labels, found.oddity, found.hidden_size) == (7, [1], 12)
    assert tinybert.AutoConfig.for_model("bert", hidden_size=24).hidden_size == 24
    model = tinybert.AutoModelForTokenClassification.from_pretrained
    with pytest.raises(ValueError, match=r"model_type must be one of 'bert', .*got 'gpt'"):
        tinybert.AutoConfig.for_model("gpt")
    (tmp_path / "config.json").write_text('{"model_type": "gpt"}')
    with pytest.raises(ValueError, match=r"model_type must be one of .*got 'gpt'"):
        model(tmp_path)
    with pytest.raises(TypeError, match="AutoModel has no instances: call AutoModel"):
        tinybert.AutoModel()
    with pytest.raises(ValueError, match="AutoModel has no model for PretrainedConfig"):
        tinybert.AutoModel.from_config(tinybert.PretrainedConfig())
    (tmp_path / "config.json").write_text('{"model_type": []}')
    with pytest.raises(ValueError, match=r"model_type must be one of .*got \[\]"):
        tinybert.AutoConfig.from_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "model_config.yaml").write_text("")
    with pytest.raises(FileNotFoundError, match="`tinybert convert` turns a NeMo model"):
        tinybert.AutoConfig.from_pretrained(tmp_path)


def test_a_model_of_your_own_can_be_registered(monkeypatch: Any) -> None:
    class OwnConfig(BertConfig):
        model_type = "own"

    class OwnModel(BertModel):
        config_class = OwnConfig

    monkeypatch.setattr(tinybert.AutoConfig, "classes", dict(tinybert.AutoConfig.classes))
    monkeypatch.setattr(tinybert.AutoModel, "classes", dict(tinybert.AutoModel.classes))
    tinybert.AutoConfig.register("own", OwnConfig)
    tinybert.AutoModel.register(OwnConfig, OwnModel)
    made = tinybert.AutoModel.from_config(tinybert.AutoConfig.for_model("own", **TOY))
    assert isinstance(made, OwnModel)


def test_the_tables_of_the_auto_classes_follow_from_the_classes_of_a_family(
    monkeypatch: Any,
) -> None:
    class OwnConfig(BertConfig):
        model_type = "own"

    class OwnModel(BertModel):
        config_class = OwnConfig

    class OwnForMaskedLM(tinybert.BertForMaskedLM):
        config_class = OwnConfig
        base_class = OwnModel

    kinds = [getattr(auto, name) for name in auto.__all__]
    for kind in kinds:
        monkeypatch.setattr(kind, "classes", dict(kind.classes))
    auto.register_family([OwnConfig, OwnModel, OwnForMaskedLM, "a text", OwnConfig])
    own = tinybert.AutoConfig.for_model("own", **TOY)
    assert type(tinybert.AutoModel.from_config(own)) is OwnModel
    assert type(tinybert.AutoModelForMaskedLM.from_config(own)) is OwnForMaskedLM
    known = [kind.__name__ for kind in kinds[1:] if OwnConfig in kind.classes]
    assert known == ["AutoModel", "AutoModelForMaskedLM"]


def test_every_public_model_is_found_by_an_auto_class() -> None:
    found = {model for kind in auto.__all__[1:] for model in getattr(auto, kind).classes.values()}
    models = [getattr(tinybert, name) for name in tinybert.__all__]
    models = [m for m in models if isinstance(m, type) and issubclass(m, PreTrainedModel)]
    assert set(models) == found
    assert len(models) > 20


def test_a_model_by_its_name_in_the_cache(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    commit = tmp_path / "models--somebody--tiny" / "snapshots" / "abc123"
    (tmp_path / "models--somebody--tiny" / "refs").mkdir(parents=True)
    (tmp_path / "models--somebody--tiny" / "refs" / "main").write_text("abc123")
    model = BertModel(config()).eval()
    model.save_pretrained(commit)
    found = tinybert.AutoModel.from_pretrained("somebody/tiny")
    assert (found(IDS)[0].numpy() == model(IDS)[0].numpy()).all()
    with pytest.raises(FileNotFoundError, match="nobody/tiny"):
        tinybert.AutoModel.from_pretrained("nobody/tiny")


# --- generation_config.json -----------------------------------------------------------------------


def test_how_a_model_generates_is_saved_and_loaded(tmp_path: Any) -> None:
    model = tinybert.BertLMHeadModel(config(is_decoder=True, eos_token_id=5)).eval()
    model.generation_config.max_new_tokens = 3
    assert model.generate(IDS).shape == (2, 9)
    model.save_pretrained(tmp_path)
    back = tinybert.BertLMHeadModel.from_pretrained(tmp_path)
    assert back.generation_config.max_new_tokens == 3
    assert back.generate(IDS).tolist() == model.generate(IDS).tolist()
    theirs = transformers.BertLMHeadModel.from_pretrained(tmp_path, attn_implementation="eager")
    assert theirs.generation_config.max_new_tokens == 3
    assert theirs.generation_config.eos_token_id == 5
    (tmp_path / "generation_config.json").unlink()
    plain = tinybert.BertLMHeadModel.from_pretrained(tmp_path)
    plain.config.eos_token_id = 7  # until it is asked for, it follows the config
    assert plain.generation_config.eos_token_id == 7


def test_only_the_last_logits() -> None:
    model = tinybert.BertLMHeadModel(config(is_decoder=True)).eval()
    whole, last = model(IDS).logits.numpy(), model(IDS, logits_to_keep=2).logits.numpy()
    assert_close(last, whole[:, -2:], rtol=1e-6, atol=1e-7)
    with pytest.raises(ValueError, match="labels need all logits, got logits_to_keep=2"):
        model(IDS, labels=IDS, logits_to_keep=2)


# --- dtypes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", ["float16", "bfloat16"])
def test_a_model_in_half_the_size(stored: str, tmp_path: Any) -> None:
    model = BertModel(config(initializer_range=0.3)).eval()
    model.save_pretrained(tmp_path / "full")
    model.save_pretrained(tmp_path / "half", dtype=stored)
    sizes = [(tmp_path / n / "model.safetensors").stat().st_size for n in ("full", "half")]
    assert sizes[1] < 0.75 * sizes[0]
    back = BertModel.from_pretrained(tmp_path / "half")
    theirs = transformers.BertModel.from_pretrained(tmp_path / "half", torch_dtype=torch.float32)
    for name, tensor in theirs.state_dict().items():
        assert (back.state_dict()[name].numpy() == tensor.numpy()).all()
    assert back.dtype == np.float32
    assert BertModel.from_pretrained(tmp_path / "full", dtype="float64").dtype == np.float64
    assert BertModel.from_pretrained(tmp_path / "half", dtype=np.float16).dtype == np.float16
    with pytest.raises(ValueError, match=r"dtype must be None or one of .*got 'float99'"):
        model.save_pretrained(tmp_path / "odd", dtype="float99")
    assert not (tmp_path / "odd").exists()


def test_the_config_of_googles_own_checkpoints(tmp_path: Any) -> None:
    options = {k: v for k, v in TOY.items() if k != "vocab_size"} | {"vocab_size": 19}
    (tmp_path / "bert_config.json").write_text(json.dumps(options))
    assert BertConfig.from_pretrained(tmp_path).vocab_size == 19
    assert isinstance(tinybert.AutoConfig.from_pretrained(tmp_path), BertConfig)
