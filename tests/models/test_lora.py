"""Adapters in models of all families: only they move, and a folder of them gives the model back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinybert
from tests.models import mega_oracle, nemotron_oracle, oracle
from tests.support import assert_close
from tinybert import LoraConfig, add_adapters, merge_adapters
from tinybert.nn import LowRankLinear
from tinybert.optim import AdamW

IDS = np.random.default_rng(0).integers(1, 23, size=(2, 7))
LABELS = [0, 2]
# Sizes, and the names of the layers with adapters by default.
FAMILIES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "Bert": (oracle.TOY, {"query", "value"}),
    "MegatronBert": (oracle.TOY, {"query", "value"}),
    "Mega": (mega_oracle.TOY, {"v_proj", "mx_proj"}),
    "Nemotron": ({**nemotron_oracle.TOY, "pad_token_id": 0}, {"q_proj", "v_proj"}),
}


def base(family: str, folder: Path) -> Any:
    """A classifier of the family over a saved model without a head, in evaluation mode."""
    with tinybert.manual_seed(1):
        config = getattr(tinybert, f"{family}Config")(
            **FAMILIES[family][0], num_labels=3, initializer_range=0.3
        )
        getattr(tinybert, f"{family}Model")(config).save_pretrained(folder)
        auto = tinybert.AutoModelForSequenceClassification
        return auto.from_pretrained(folder, num_labels=3)


def head(family: str) -> str:
    return "score" if family == "Nemotron" else "classifier"


def adapted(family: str, folder: Path, **options: Any) -> Any:
    model = base(family, folder)
    return add_adapters(model, LoraConfig(r=3, modules_to_save=[head(family)], **options))


def train(model: Any, labels: Any = LABELS, steps: int = 2) -> None:
    optimizer = AdamW((p for p in model.parameters() if p.requires_grad), lr=0.05)
    for _ in range(steps):
        model(IDS, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("family", FAMILIES)
def test_only_adapters_and_the_head_move(family: str, tmp_path: Path) -> None:
    model = base(family, tmp_path / "base")
    expected = model(IDS).logits.numpy()
    before = {name: p.numpy().copy() for name, p in model.named_parameters()}
    add_adapters(model, LoraConfig(r=3, modules_to_save=[head(family)]))
    layers = {n for n, m in model.named_modules() if isinstance(m, LowRankLinear)}
    assert {name.rpartition(".")[2] for name in layers} == FAMILIES[family][1]
    assert (model(IDS).logits.numpy() == expected).all()  # B is 0
    train(model)
    moved = {
        n for n, p in model.named_parameters() if n in before and (p.numpy() != before[n]).any()
    }
    assert moved == {name for name in before if name.startswith(head(family))}
    assert all(np.abs(m.lora_B.weight.numpy()).min() > 0 for m in model.modules()
               if isinstance(m, LowRankLinear))  # fmt: skip
    frozen = [p for n, p in model.named_parameters() if n in before and n not in moved]
    assert all(p.grad is None and not p.requires_grad for p in frozen)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_head_gives_the_model_back(family: str, tmp_path: Path) -> None:
    model = adapted(family, tmp_path / "base")
    train(model)
    model.save_pretrained(tmp_path / "head")
    assert {path.name for path in (tmp_path / "head").iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors", "config.json"
    }  # fmt: skip
    loaded, report = type(model).from_pretrained(tmp_path / "head", output_loading_info=True)
    assert report.missing_keys == []
    expected = model(IDS).logits.numpy()
    assert_close(loaded(IDS).logits.numpy(), expected, rtol=1e-5)
    assert all(p.requires_grad for p in loaded.parameters())
    assert not any(isinstance(m, LowRankLinear) for m in loaded.modules())
    merge_adapters(model)
    assert_close(model(IDS).logits.numpy(), expected, rtol=1e-5)
    assert not any(isinstance(m, LowRankLinear) for m in model.modules())
    assert all(p.requires_grad for p in model.parameters())
    model.save_pretrained(tmp_path / "merged")  # plain again
    again = type(model).from_pretrained(tmp_path / "merged")
    assert (again(IDS).logits.numpy() == model(IDS).logits.numpy()).all()


def test_the_base_can_be_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = adapted("Bert", tmp_path / "base")
    train(model)
    expected = model(IDS).logits.numpy()
    config = tmp_path / "head" / "adapter_config.json"
    model.save_pretrained(tmp_path / "head")
    absolute = config.read_text()
    for place, current in (("../base", tmp_path / "head"), ("base", tmp_path)):
        config.write_text(absolute.replace(str(tmp_path / "base"), place))
        monkeypatch.chdir(current)
        loaded = tinybert.AutoModelForSequenceClassification.from_pretrained(tmp_path / "head")
        assert_close(loaded(IDS).logits.numpy(), expected, rtol=1e-5)


def test_options_of_single_layers_and_float16(tmp_path: Path) -> None:
    patterns = {"rank_pattern": {"layer.1.attention.self.query": 2}, "alpha_pattern": {"value": 5}}
    model = adapted("Bert", tmp_path / "base", use_rslora=True, lora_alpha=6, **patterns)
    layers = [layer.attention.self for layer in model.bert.encoder.layer]
    assert [layer.query.rank for layer in layers] == [3, 2]
    assert layers[0].query.scaling == pytest.approx(6 / 3**0.5)
    assert layers[1].query.scaling == pytest.approx(6 / 2**0.5)
    assert layers[1].value.scaling == pytest.approx(5 / 3**0.5)
    train(model)
    model.save_pretrained(tmp_path / "head", dtype="float16")
    stored = tinybert.load_file(tmp_path / "head" / "adapter_model.safetensors")
    assert {array.dtype for array in stored.values()} == {np.dtype("float16")}
    loaded = type(model).from_pretrained(tmp_path / "head")
    assert_close(loaded(IDS).logits.numpy(), model(IDS).logits.numpy(), rtol=2e-3)


def test_numbers_of_numpy_are_saved() -> None:
    config = LoraConfig(r=np.int64(8), rank_pattern={"query": np.int64(2)})
    assert json.loads(config.to_json_string())["rank_pattern"] == {"query": 2}


def test_a_scaling_of_0_is_the_base_model(tmp_path: Path) -> None:
    model = adapted("Bert", tmp_path / "base", lora_alpha=0)
    for parameter in model.parameters():
        parameter.data[...] += parameter.requires_grad  # B is 1
    model.save_pretrained(tmp_path / "head")
    loaded = type(model).from_pretrained(tmp_path / "head")
    base = type(model).from_pretrained(tmp_path / "base", num_labels=3)
    base.classifier.load_state_dict(model.classifier.state_dict())
    assert_close(loaded(IDS).logits.numpy(), base(IDS).logits.numpy(), rtol=1e-6)


def test_a_pattern_is_the_end_of_a_name_in_whole_words() -> None:
    """As in PEFT, where it is the expression `(.*\\.)?(pattern)$`."""
    config = LoraConfig(r=8, rank_pattern={"^a.value": 1, "value": 2, "self.key": 3})
    names = ("a.value", "b.a.value", "my_value", "a.self.key", "a.itself.key", "value.dense")
    assert [config.rank(name) for name in names] == [1, 2, 8, 3, 8, 8]


def test_adapters_over_adapters(tmp_path: Path) -> None:
    model = adapted("Bert", tmp_path / "base")
    train(model)
    model.save_pretrained(tmp_path / "first")
    second = type(model).from_pretrained(tmp_path / "first")
    options = {"target_modules": ["key", "dense"], "modules_to_save": ["classifier"]}
    add_adapters(second, LoraConfig(r=2, **options))
    train(second)
    trained = {n: p.numpy() for n, p in second.named_parameters() if "lora_B" in n}
    assert all(array.any() for array in trained.values())  # also where GELU is fused
    second.save_pretrained(tmp_path / "second")
    loaded = type(model).from_pretrained(tmp_path / "second")
    assert_close(loaded(IDS).logits.numpy(), second(IDS).logits.numpy(), rtol=1e-5)
    lean = type(model).from_pretrained(tmp_path / "second", low_memory=True)
    assert_close(lean(IDS).logits.numpy(), second(IDS).logits.numpy(), rtol=1e-5)


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no such layer": (
        {"target_modules": ["queri"]},
        "target_modules: no linear layer of BertForSequenceClassification has a name that ends in "
        "'queri'; there are query, key, value, dense, classifier",
    ),
    "no linear layer": ({"target_modules": ["LayerNorm"]}, "no linear layer"),
    "no such module": ({"modules_to_save": ["qa_outputs"]}, "modules_to_save: no module"),
    "only the head": (
        {"target_modules": ["classifier"], "modules_to_save": ["classifier"]},
        "target_modules must name a layer that is not in modules_to_save",
    ),
    "rank": ({"r": 0}, "r must be an integer >= 1, got 0"),
    "alpha": ({"lora_alpha": float("nan")}, "lora_alpha must be a number >= 0"),
    "a text": ({"target_modules": "query"}, "target_modules must be a list of names of modules"),
    "a pattern": (
        {"rank_pattern": {"(a+)+$": 2}}, "rank_pattern must be a dict whose keys are names"
    ),
    "a rank in a pattern": ({"rank_pattern": {"query": -1}}, "rank_pattern['query'] must be"),
}  # fmt: skip


@pytest.mark.parametrize(("options", "message"), FAULTS.values(), ids=FAULTS)
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    model = tinybert.BertForSequenceClassification(oracle.config())
    with pytest.raises(ValueError) as caught:
        add_adapters(model, LoraConfig(**options))
    assert message in str(caught.value)
    assert all(p.requires_grad for p in model.parameters())


def test_shared_weights_second_adapters_and_an_unknown_base_are_refused(tmp_path: Path) -> None:
    model = tinybert.BertForMaskedLM(oracle.config())
    with pytest.raises(ValueError, match=r"decoder.weight is shared with another module"):
        add_adapters(model, LoraConfig(target_modules=["decoder"]))
    add_adapters(model, LoraConfig())
    with pytest.raises(ValueError, match="has adapters already"):
        add_adapters(model, LoraConfig())
    with pytest.raises(ValueError, match="base_model_name_or_path of LoraConfig is needed"):
        model.save_pretrained(tmp_path / "head")
    assert not (tmp_path / "head").exists()


def test_changes_of_the_base_are_refused() -> None:
    model = add_adapters(tinybert.BertForSequenceClassification(oracle.config()), LoraConfig())
    for change in (lambda: model.resize_token_embeddings(29), lambda: model.prune_heads({0: [1]})):
        with pytest.raises(ValueError, match="needs a model without adapters: call merge_adapters"):
            change()
    merge_adapters(model).prune_heads({0: [1]})


def test_a_decoder_generates_with_the_options_of_its_base(tmp_path: Path) -> None:
    config = tinybert.NemotronConfig(**nemotron_oracle.TOY, initializer_range=0.5)
    model = tinybert.NemotronForCausalLM(config)
    model.generation_config.max_new_tokens = 3
    model.save_pretrained(tmp_path / "base")
    model = tinybert.NemotronForCausalLM.from_pretrained(tmp_path / "base")
    add_adapters(model, LoraConfig(r=2, target_modules=["q_proj", "up_proj"]))
    train(model, IDS)
    model.save_pretrained(tmp_path / "head")
    (tmp_path / "head" / "generation_config.json").unlink()  # PEFT does not save it
    loaded = tinybert.AutoModelForCausalLM.from_pretrained(
        tmp_path / "head", use_safetensors=True, low_memory=True
    )
    assert loaded.generation_config.max_new_tokens == 3
    assert (loaded.generate(IDS).numpy() == model.eval().generate(IDS).numpy()).all()


def test_a_record_shows_the_steps_of_an_adapter() -> None:
    model = tinybert.BertForSequenceClassification(oracle.config()).eval()
    add_adapters(model, LoraConfig(r=2))
    with tinybert.record(model) as trace:
        model(IDS, labels=LABELS[:1] * 2).loss.backward()
    layer = "bert.encoder.layer.1.attention.self.query"
    steps = [str(step).split(": ")[0].split(maxsplit=1)[1] for step in trace.steps]
    own = [step.replace(layer + ".", "") for step in steps if layer in step]
    assert own == [
        *("forward Linear", "forward lora_A.Linear", "forward Mul", "forward lora_B.Linear"),
        *("forward Add", "backward Add", "backward lora_B.Linear", "backward Mul"),
        *("backward lora_A.Linear", "backward Linear"),
    ]
