"""NeMo's Nemotron under Hugging Face's names: by tensors that say what they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tinybert import AutoModelForCausalLM, NemotronConfig, NemotronForCausalLM
from tinybert.checkpoints.nemo import nemo_config, nemo_to_hugging_face
from tinybert.cli.main import main

H, G, K, D, F, V = 6, 2, 4, 5, 7, 11  # heads, groups, head size, hidden, feed-forward, vocabulary
NEMO: dict[str, Any] = {
    "num_layers": 2, "hidden_size": D, "ffn_hidden_size": F, "num_attention_heads": H,
    "num_query_groups": G, "kv_channels": K, "encoder_seq_length": 64, "rotary_base": 500.0,
    "rotary_percentage": 1.0, "layernorm_epsilon": 1e-3, "init_method_std": 0.01, "bias": True,
    "activation": "squared-relu", "tokenizer": {"library": "sentencepiece"},
}  # fmt: skip


def marked_qkv(layer: int, columns: int | None) -> np.ndarray:
    """Rows that say which layer, part (1 query, 2 key, 3 value), head and feature they are of."""
    rows = []
    for group in range(G):
        parts = [(1, group * H // G + i) for i in range(H // G)] + [(2, group), (3, group)]
        rows += [
            1000 * layer + 100 * part + 10 * head + k for part, head in parts for k in range(K)
        ]
    marks = np.array(rows, np.float32)
    return marks if columns is None else np.repeat(marks[:, None], columns, axis=1)


def nemo_arrays(bias: bool = True) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)  # noqa: E731
    arrays = {"model.embedding.word_embeddings.weight": draw(V, D)}
    for i in range(2):
        layer = f"model.decoder.layers.{i}."
        for norm in ("self_attention.linear_qkv", "mlp.linear_fc1"):
            arrays[f"{layer}{norm}.layer_norm_weight"] = draw(D)
            arrays[f"{layer}{norm}.layer_norm_bias"] = draw(D)
        arrays[f"{layer}self_attention.linear_qkv.weight"] = marked_qkv(i, D)
        for name, shape in {
            "self_attention.linear_proj": (D, H * K), "mlp.linear_fc1": (F, D),
            "mlp.linear_fc2": (D, F),
        }.items():  # fmt: skip
            arrays[f"{layer}{name}.weight"] = draw(*shape)
            if bias:
                arrays[f"{layer}{name}.bias"] = draw(shape[0])
        if bias:
            arrays[f"{layer}self_attention.linear_qkv.bias"] = marked_qkv(i, None)
        arrays[f"{layer}self_attention.core_attention._extra_state"] = draw(1)
    for name, shape in {
        "decoder.final_layernorm.weight": (D,), "decoder.final_layernorm.bias": (D,),
        "output_layer.weight": (V, D),
    }.items():  # fmt: skip
        arrays[f"model.{name}"] = draw(*shape)
    return arrays


def test_every_row_comes_to_its_head() -> None:
    arrays = nemo_arrays()
    found = nemo_to_hugging_face(arrays, H, G)
    for i in range(2):
        for number, (letter, heads) in enumerate((("q", H), ("k", G), ("v", G)), 1):
            marks = [1000 * i + 100 * number + 10 * h + k for h in range(heads) for k in range(K)]
            name = f"model.layers.{i}.self_attn.{letter}_proj"
            assert found[f"{name}.weight"][:, 2].tolist() == marks
            assert found[f"{name}.bias"].tolist() == marks
        for theirs, ours in {
            "self_attention.linear_qkv.layer_norm_weight": "input_layernorm.weight",
            "self_attention.linear_qkv.layer_norm_bias": "input_layernorm.bias",
            "mlp.linear_fc1.layer_norm_weight": "post_attention_layernorm.weight",
            "mlp.linear_fc1.weight": "mlp.up_proj.weight",
            "mlp.linear_fc2.bias": "mlp.down_proj.bias",
            "self_attention.linear_proj.weight": "self_attn.o_proj.weight",
        }.items():
            one, other = (
                arrays[f"model.decoder.layers.{i}.{theirs}"],
                found[f"model.layers.{i}.{ours}"],
            )
            assert (one == other).all()
    assert (found["lm_head.weight"] == arrays["model.output_layer.weight"]).all()
    assert (found["model.norm.bias"] == arrays["model.decoder.final_layernorm.bias"]).all()


@pytest.mark.parametrize("bias", [True, False])
def test_it_is_all_that_a_model_needs(bias: bool) -> None:
    config = NemotronConfig.from_dict(nemo_config({**NEMO, "bias": bias}, V))
    model = NemotronForCausalLM(config)
    assert (config.head_dim, config.partial_rotary_factor, config.rope_theta) == (K, 1.0, 500.0)
    arrays = nemo_to_hugging_face(nemo_arrays(bias), H, G)
    model.load_state_dict(arrays)
    assert np.isfinite(model(np.arange(V)[None]).logits.numpy()).all()


def test_options() -> None:
    found = nemo_config(NEMO, V)
    assert found["max_position_embeddings"] == 64
    assert (found["hidden_act"], found["norm_eps"], found["mlp_bias"]) == ("relu2", 1e-3, True)
    few = {k: NEMO[k] for k in ("num_layers", "hidden_size", "ffn_hidden_size")}
    assert nemo_config({**few, "num_attention_heads": 5}, V)["partial_rotary_factor"] == 1.0
    assert nemo_config({**NEMO, "activation": "fast-swiglu"}, V)["hidden_act"] == "silu"
    with pytest.raises(ValueError, match="the NeMo config lacks num_attention_heads"):
        nemo_config(few, V)
    with pytest.raises(ValueError, match=r"activation must be one of .*got 'gelu'"):
        nemo_config({**NEMO, "activation": "gelu"}, V)


def test_what_does_not_fit_is_refused() -> None:
    arrays = nemo_arrays()
    with pytest.raises(ValueError, match=r"has 40 rows, which 8 heads of queries and 4 of keys"):
        nemo_to_hugging_face(arrays, 8, 4)
    with pytest.raises(ValueError, match=r"1 names .* 'model.decoder.layers.0.gate'"):
        nemo_to_hugging_face({**arrays, "model.decoder.layers.0.gate": np.zeros(1)}, H, G)


def test_convert_makes_a_folder_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "nemo", tmp_path / "nemotron"
    source.mkdir()
    arrays = nemo_arrays()
    weights = source / "model_weights.ckpt"
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, weights)
    assert main(["convert", str(weights), str(target)]) == 2
    assert "model_config.yaml has to lie beside it" in capsys.readouterr().err
    (source / "model_config.yaml").write_text("[")
    assert main(["convert", str(weights), str(target)]) == 2
    assert "model_config.yaml: is no YAML" in capsys.readouterr().err
    (source / "model_config.yaml").write_text(json.dumps(NEMO))  # JSON is YAML
    assert main(["convert", str(weights), str(target)]) == 0
    assert "(NeMo)" in capsys.readouterr().out
    model = AutoModelForCausalLM.from_pretrained(target)
    state = model.state_dict()
    for name, array in nemo_to_hugging_face(arrays, H, G).items():
        assert (state[name].numpy() == array).all(), name
    assert (model.config.num_key_value_heads, model.config.head_dim) == (G, K)
