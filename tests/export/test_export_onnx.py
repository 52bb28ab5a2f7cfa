"""`export_onnx`: onnxruntime computes what the model computes, for inputs of any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import tinybert
from tests.export.onnx_oracle import (
    CLASSES,
    inputs,
    largest_difference,
    session_of,
    small_model,
)
from tinybert.export import export_onnx
from tinybert.export.operations import OPERATIONS
from tinybert.export.sizes import Size, fitted, runs

TOLERANCE = 1e-5
QUICK = (
    "BertModel", "BertForMultipleChoice", "MegatronBertForPreTraining", "MegaForMaskedLM",
    "NemotronForSequenceClassification",
)  # fmt: skip
DECODER = {"is_decoder": True, "bidirectional": False}
CHUNKS = {"use_chunking": True, "chunk_size": 4}
# Name of the class, options of the config, what else: lengths, padding on the left, outputs.
VARIANTS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("BertModel", {"position_embedding_type": "relative_key"}, {}),
    ("MegatronBertModel", {"position_embedding_type": "relative_key_query"}, {}),
    ("BertModel", {"hidden_act": "gelu_new"}, {"left": 2}),
    ("BertModel", {"hidden_act": "relu", "chunk_size_feed_forward": 2}, {"lengths": (4, 8)}),
    ("BertModel", {"num_hidden_layers": 0}, {}),
    ("BertLMHeadModel", {}, {"left": 2}),
    ("BertLMHeadModel", {"add_cross_attention": True}, {"left": 1}),
    ("MegatronBertForCausalLM", {"add_cross_attention": True}, {}),
    ("MegaForCausalLM", {}, {"left": 2}),
    ("MegaForCausalLM", {"add_cross_attention": True}, {"left": 2}),
    ("MegaForCausalLM", {"attention_activation": "laplace"}, {}),
    ("MegaForCausalLM", CHUNKS, {"lengths": (4, 8, 16), "left": 4}),
    ("MegaForCausalLM", {**CHUNKS, "add_cross_attention": True}, {"lengths": (4, 8, 16)}),
    ("MegaForCausalLM", {"truncation": 5}, {"lengths": (1, 5, 6, 12)}),
    ("MegaModel", {"truncation": 5}, {"lengths": (1, 4, 6, 12)}),
    ("MegaModel", CHUNKS, {"lengths": (4, 8, 16)}),
    ("MegaModel", {"attention_activation": "laplace"}, {"left": 1}),
    ("MegaModel", {"attention_activation": "relu2"}, {}),
    ("MegaModel", {"relative_positional_bias": "simple"}, {}),
    ("MegaModel", {"normalization_type": "layernorm"}, {}),
    ("MegaModel", {"normalization_type": "layernorm", "norm_affine": False}, {}),
    ("MegaModel", {"normalization_type": "rmsnorm"}, {}),
    ("MegaModel", {"normalization_type": "rmsnorm", "reference": "transformers"}, {}),
    ("MegaModel", {"normalization_type": "batchnorm"}, {}),
    ("MegaModel", {"add_token_type_embeddings": True, "normalize_before_mega": False}, {}),
    ("NemotronForCausalLM", {"partial_rotary_factor": 0.25, "attention_bias": True}, {"left": 2}),
    ("NemotronModel", {"num_key_value_heads": 1}, {"left": 3}),
]


def agrees(model: Any, path: Path, lengths: Any = (1, 4, 9), left: int = 0, **options: Any) -> None:
    """The file gives the model's outputs at every length, for a batch of 1 and of 3."""
    session = session_of(path)
    for length in lengths:
        for batch in (1, 3):
            values = inputs(model, session, batch, length, left if batch > 1 else 0)
            found = largest_difference(model, session, values, **options)
            assert found < TOLERANCE, (length, batch, found)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in CLASSES]
)
def test_every_class(name: str, tmp_path: Path) -> None:
    model = small_model(name)
    names = export_onnx(model, tmp_path / "model.onnx")
    assert names
    onnx.checker.check_model(tmp_path / "model.onnx", full_check=True)
    agrees(model, tmp_path / "model.onnx")


def test_the_classes_are_those_of_the_four_families() -> None:
    assert len(CLASSES) == 30


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options", "more"), VARIANTS)
def test_options(name: str, options: dict[str, Any], more: dict[str, Any], tmp_path: Path) -> None:
    model = small_model(name, **options)
    export_onnx(model, tmp_path / "model.onnx")
    agrees(model, tmp_path / "model.onnx", **more)


@pytest.mark.parametrize(
    "name",
    [
        "BertModel",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("MegaModel", "NemotronModel")),
    ],
)
def test_hidden_states_and_attentions(name: str, tmp_path: Path) -> None:
    model, asked = small_model(name), {"output_hidden_states": True, "output_attentions": True}
    names = export_onnx(model, tmp_path / "model.onnx", **asked)
    assert {"hidden_states.2", "attentions.1"} <= set(names)
    agrees(model, tmp_path / "model.onnx", lengths=(5,), **asked)


def test_the_model_stays_as_it_was(tmp_path: Path) -> None:
    model = small_model("BertModel").train()
    before = {name: parameter.data for name, parameter in model.named_parameters()}
    export_onnx(model, tmp_path / "model.onnx")
    assert model.training
    assert all(before[name] is parameter.data for name, parameter in model.named_parameters())
    assert model.device == "cpu"
    with pytest.raises(ValueError, match="device must be"):
        tinybert.Tensor([1.0], device="onnx")


def test_weights_in_a_file_of_their_own(tmp_path: Path) -> None:
    model = small_model("BertForMaskedLM")
    export_onnx(model, tmp_path / "model.onnx", external_data=True)
    assert (tmp_path / "model.onnx.data").stat().st_size > 4 * model.num_parameters()
    agrees(model, tmp_path / "model.onnx", lengths=(5,))


def test_the_file_names_its_parts(tmp_path: Path) -> None:
    model = small_model("BertForMaskedLM")
    export_onnx(model, tmp_path / "model.onnx")
    file = onnx.load(tmp_path / "model.onnx")
    assert [(i.domain, i.version) for i in file.opset_import] == [("", 17)]
    weights = {tensor.name for tensor in file.graph.initializer}
    assert "bert.encoder.layer.1.attention.self.query.weight" in weights
    assert not weights & {"cls.predictions.decoder.weight"}  # tied: stored once
    assert any("/bert/encoder/layer/0/attention/self" in node.name for node in file.graph.node)
    shape = file.graph.input[0].type.tensor_type.shape.dim
    assert [axis.dim_param for axis in shape] == ["batch", "length"]


def test_what_cannot_be_exported_is_named(tmp_path: Path) -> None:
    class Median(tinybert.Function):
        def forward(self, x: Any) -> Any:
            from tinybert.backend import array_module

            return array_module(x).partition(x, 1, axis=-1)

        def backward(self, dy: Any) -> Any:
            raise NotImplementedError

    model = small_model("BertModel")
    model.pooler.register_forward_pre_hook(lambda module, args: (Median.apply(*args),))
    with pytest.raises(ValueError, match=r"BertModel: pooler uses partition, which has no mapping"):
        export_onnx(model, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: model.to(np.float16), "float16; export float32"),
        (lambda model: model.to(np.float64), "float64; export float32"),
        (lambda model: "a model", "must be a model of tinybert, got str"),
    ],
)
def test_models_that_are_refused(change: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        export_onnx(change(small_model("BertModel")), tmp_path / "model.onnx")


def test_models_of_several_parts_are_refused(tmp_path: Path) -> None:
    encoder = small_model("BertModel")
    decoder = small_model("BertLMHeadModel", add_cross_attention=True)
    both = tinybert.EncoderDecoderModel(encoder=encoder, decoder=decoder)
    with pytest.raises(ValueError, match=r"EncoderDecoderModel: .* export its parts"):
        export_onnx(both, tmp_path / "model.onnx")
    export_onnx(both.decoder, tmp_path / "decoder.onnx")
    agrees(both.decoder, tmp_path / "decoder.onnx", lengths=(5,))


@pytest.mark.slow
def test_adapters_and_pruned_heads(tmp_path: Path) -> None:
    model = small_model("BertForSequenceClassification")
    model.prune_heads({0: [1]})
    tinybert.add_adapters(model, tinybert.LoraConfig(r=2))
    model.eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data[...] = 0.1
    export_onnx(model, tmp_path / "model.onnx")
    agrees(model, tmp_path / "model.onnx", lengths=(5,))


def test_without_onnx_the_error_says_what_to_install(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ImportError, match=r'pip install "tinybert\[onnx\]"'):
        export_onnx(small_model("BertModel"), tmp_path / "model.onnx")


def test_every_operation_with_a_mapping_is_one_of_the_package() -> None:
    assert OPERATIONS
    assert all(kind.__module__.startswith("tinybert.ops.") for kind in OPERATIONS)


def test_integers_are_found_from_runs() -> None:
    sizes = runs({"batch": 2, "length": 3}, {"batch": 1, "length": 2})
    assert len(sizes) == 5

    def of(function: Any) -> Any:
        return fitted([function(**run) for run in sizes], sizes)

    assert of(lambda batch, length: 7) == 7
    found = of(lambda batch, length: 4 * batch * length - length + 2)
    assert isinstance(found, Size)
    assert found.value({"batch": 5, "length": 9}) == 4 * 45 - 9 + 2
    assert of(lambda batch, length: length * length) is None
    assert of(lambda batch, length: min(length, 4)) is None
    half = of(lambda batch, length: (length - 1) // 2)  # length is odd in every run
    assert (half.divisor, half.value({"batch": 1, "length": 9})) == (2, 4)
