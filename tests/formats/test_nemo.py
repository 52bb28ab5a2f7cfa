"""NeMo's Nemotron under Hugging Face's names: tensors whose values identify them."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tinybert import AutoModelForCausalLM, NemotronConfig, NemotronForCausalLM
from tinybert.cli.main import main
from tinybert.formats.nemo.checkpoint import NemoCheckpoint
from tinybert.formats.nemo.config import nemo_config
from tinybert.formats.torch.bytes import FileBytes
from tinybert.weights import CheckpointError, open_checkpoint
from tinybert.weights.reader import TensorInfo, TensorReader

H, G, K, D, F, V = 6, 2, 4, 5, 7, 11  # heads, groups, head size, hidden, feed-forward, vocabulary
NEMO: dict[str, Any] = {
    "num_layers": 2, "hidden_size": D, "ffn_hidden_size": F, "num_attention_heads": H,
    "num_query_groups": G, "kv_channels": K, "encoder_seq_length": 64, "rotary_base": 500.0,
    "rotary_percentage": 1.0, "layernorm_epsilon": 1e-3, "init_method_std": 0.01, "bias": True,
    "activation": "squared-relu", "normalization": "layernorm1p", "position_embedding_type": "rope",
    "tokenizer": {"library": "sentencepiece"},
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


class Arrays(TensorReader):
    """Arrays in memory as a reader; counts what is read."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.arrays, self.metadata, self.closed = arrays, {}, False

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    def __contains__(self, name: object) -> bool:
        return name in self.arrays

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def info(self, name: str) -> TensorInfo:
        array = self.arrays[name]
        return TensorInfo("F32", array.shape, array.nbytes)

    def read_into(self, name: str, out: np.ndarray) -> None:
        out[...] = self.arrays[name]

    def close(self) -> None:
        self.closed = True


def opened(arrays: dict[str, np.ndarray] | None = None, **options: Any) -> NemoCheckpoint:
    return NemoCheckpoint(Arrays(nemo_arrays() if arrays is None else arrays), {**NEMO, **options})


def test_every_row_comes_to_its_head() -> None:
    arrays = nemo_arrays()
    found = opened(arrays)
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


def test_it_is_a_reader() -> None:
    beneath = Arrays(nemo_arrays())
    reader = NemoCheckpoint(beneath, NEMO)
    assert len(reader) == len(list(reader)) == 1 + 2 * 16 + 3
    for name, array in reader.items():
        assert reader.info(name) == ("F32", array.shape, array.nbytes)
        assert (reader.copy(name) == array).all()
        assert name in reader
    query = "model.layers.0.self_attn.q_proj.weight"
    with pytest.raises(ValueError, match=r"has shape \(24, 5\), out has \(24, 1\)"):
        reader.read_into(query, np.empty((24, 1), np.float32))
    with pytest.raises(TypeError, match="Cannot cast"):
        reader.read_into(query, np.empty((24, 5), np.int64))
    with pytest.raises(KeyError, match=r"no tensor 'output_layer\.weight'"):
        reader.info("output_layer.weight")
    reader.close()
    assert beneath.closed


@pytest.mark.parametrize("bias", [True, False])
def test_it_is_all_that_a_model_needs(bias: bool) -> None:
    config = NemotronConfig.from_dict(nemo_config({**NEMO, "bias": bias}, V))
    model = NemotronForCausalLM(config)
    assert (config.head_dim, config.partial_rotary_factor, config.rope_theta) == (K, 1.0, 500.0)
    model.load_state_dict(dict(opened(nemo_arrays(bias), bias=bias)))
    assert np.isfinite(model(np.arange(V)[None]).logits.numpy()).all()


def test_options() -> None:
    found = nemo_config(NEMO, V)
    assert found["max_position_embeddings"] == 64
    assert (found["hidden_act"], found["norm_eps"], found["mlp_bias"]) == ("relu2", 1e-3, True)
    few = {k: NEMO[k] for k in ("num_layers", "hidden_size", "ffn_hidden_size")}
    found = nemo_config({**few, "num_attention_heads": 5, "hidden_size": 10}, V)
    assert (found["partial_rotary_factor"], found["head_dim"]) == (1.0, 2)
    assert (
        nemo_config({**NEMO, "layernorm_epsilon": "1e-5"}, V)["norm_eps"] == 1e-5
    )  # as YAML has it
    with pytest.raises(ValueError, match="the NeMo config lacks num_attention_heads"):
        nemo_config(few, V)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_attention_heads": "six"}, "heads must be an integer >= 1, got 'six'"),
        ({"num_attention_heads": 0}, "num_attention_heads must be an integer >= 1, got 0"),
        ({"num_layers": True}, "num_layers must be an integer >= 1, got True"),
        ({"num_query_groups": 4}, "num_attention_heads 6 must be a multiple of num_query_groups 4"),
        ({"kv_channels": None}, "num_attention_heads 6 does not divide hidden_size 5: kv_channels"),
        ({"ffn_hidden_size": "${multiply:4, 5}"}, r"ffn_hidden_size must .*, got '\$\{multiply"),
        ({"max_position_embeddings": "${.encoder_seq_length}"}, "max_position_embeddings must be"),
        ({"encoder_seq_length": "${data.seq_length}"}, "max_position_embeddings must be"),
        ({"rotary_percentage": 2}, "rotary_percentage must be a number from 0 to 1, got 2"),
        ({"rotary_percentage": 0.3}, "rotary_percentage 0.3 of kv_channels 4 rotates 1 features"),
        ({"rotary_base": [1]}, r"rotary_base must be a number >= 0, got \[1\]"),
        ({"layernorm_epsilon": float("nan")}, "layernorm_epsilon must be a number >= 0, got nan"),
        ({"init_method_std": 10**400}, "init_method_std must be a number >= 0, got 1000"),
        ({"bias": "no"}, "bias must be true or false, got 'no'"),
        ({"share_embeddings_and_output_weights": 1}, "weights must be true or false, got 1"),
        ({"activation": "fast-swiglu"}, "must be 'squared-relu' for a Nemotron, got 'fast-swiglu'"),
        ({"normalization": "rmsnorm"}, "be 'layernorm1p' for a Nemotron, got 'rmsnorm'"),
        ({"position_embedding_type": "learned_absolute"}, "be 'rope' for a Nemotron, got 'learned"),
        ({"transformer_block_type": "post_ln"}, "be 'pre_ln' for a Nemotron, got 'post_ln'"),
        ({"seq_len_interpolation_factor": 4}, "be 1 for a Nemotron, got 4"),
    ],
)  # fmt: skip
def test_options_that_no_nemotron_has(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        nemo_config({**NEMO, **options}, V)


def without(*ends: str) -> Callable[[dict[str, np.ndarray]], Any]:
    return lambda arrays: [arrays.pop(name) for name in list(arrays) if name.endswith(ends)]


TABLE = "model.embedding.word_embeddings.weight"
QKV = "model.decoder.layers.0.self_attention.linear_qkv."


@pytest.mark.parametrize(
    ("options", "change", "words"),
    [
        ({"num_layers": 3}, None, r"lacks 12 .* 'decoder\.layers\.2\..* of shape \(5,\)"),
        ({"num_layers": 10**12}, None, "num_layers is 1000000000000, but there are only 28"),
        ({"num_layers": 1}, None, r"has 12 tensors .* 'model\.decoder\.layers\.1\."),
        ({}, without("0.mlp.linear_fc1.weight"), r"lacks 1 .*0\.mlp\.linear_fc1.* \(7, 5\)"),
        ({}, without("output_layer.weight"), r"lacks 1 .*'output_layer.* \(11, 5\)"),
        ({"share_embeddings_and_output_weights": True}, None, r"has 1 .*'model\.output_"),
        ({"hidden_size": 6}, None, r"has shape \(11, 5\); the options give \(11, 6\)"),
        ({"num_query_groups": 1}, None, r"qkv.* has shape \(40, 5\); .* give \(32, 5\)"),
        # 8 heads in 1 group have as many rows as 6 in 2: what follows the attention tells.
        ({"num_attention_heads": 8, "num_query_groups": 1}, None, r"the options give \(5, 32\)"),
        ({"bias": False}, None, r"has 8 tensors .*linear_proj\.bias"),
        ({}, lambda a: a.update({"model.decoder.layers.0.gate": np.zeros(1)}), "'model.*0.gate'"),
        ({}, lambda a: a.update({QKV[6:] + "bias": np.zeros(40)}), "has 1 tensors"),  # twice
        ({}, lambda a: a.update({QKV + "bias": np.zeros(())}), r"has shape \(\);"),
        ({}, lambda a: a.update({TABLE: np.zeros(())}), r"has shape \(\);"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit_the_options(options: Any, change: Any, words: str) -> None:
    arrays = nemo_arrays()
    if change is not None:
        change(arrays)
    with pytest.raises(ValueError, match=words):
        opened(arrays, **options)


# --- files ---------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As a .nemo is unpacked: nothing but weights and options."""
    folder = tmp_path / "nemo"
    folder.mkdir()
    tensors = {name: torch.from_numpy(array) for name, array in nemo_arrays().items()}
    torch.save(tensors, folder / "model_weights.ckpt")
    (folder / "model_config.yaml").write_text(json.dumps(NEMO))  # JSON is YAML
    return folder


def packed(folder: Path, mode: str = "w", **more: bytes) -> Path:
    path = folder.with_suffix(".nemo")
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        archive.add(folder, ".")
        for name, content in more.items():
            member = tarfile.TarInfo(name.replace("_dot_", "."))
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def refusal(path: Path, target: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["convert", str(path), str(target)]) == 2
    assert not target.exists()
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize("form", ["folder", "file", "archive"])
def test_convert_makes_a_folder_of_it(
    form: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = {"folder": folder, "file": folder / "model_weights.ckpt", "archive": packed(folder)}
    target = tmp_path / "nemotron"
    assert main(["convert", str(paths[form]), str(target)]) == 0
    assert "(NeMo)" in capsys.readouterr().out
    for model in (
        AutoModelForCausalLM.from_pretrained(target),
        NemotronForCausalLM.from_pretrained(paths[form]),
    ):
        state = model.state_dict()
        for name, array in opened().items():
            assert (state[name].numpy() == array).all(), name
        assert (model.config.num_key_value_heads, model.config.head_dim) == (G, K)
    assert main(["diff", str(paths[form]), str(target)]) == 0


def test_what_lies_in_an_archive_is_not_copied(folder: Path) -> None:
    with open_checkpoint(packed(folder)) as reader:
        table = reader["model.embed_tokens.weight"]
    assert not table.flags.owndata
    assert (table == nemo_arrays()["model.embedding.word_embeddings.weight"]).all()


def test_states_of_kernels_are_not_read(folder: Path) -> None:
    """Transformer Engine before 2.0 has them as `io.BytesIO`, or None; since 2.0 as a tensor."""
    tensors: dict[str, Any] = torch.load(folder / "model_weights.ckpt")
    for i, state in enumerate((io.BytesIO(b"\xff\0"), None)):
        tensors[f"model.decoder.layers.{i}.mlp.linear_fc1._extra_state"] = state
    torch.save(tensors, folder / "model_weights.ckpt")
    with open_checkpoint(folder) as reader:
        assert reader["model.layers.1.mlp.up_proj.weight"].shape == (F, D)
        assert list(reader) == list(opened())


def test_options_that_are_missing_or_bad(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, target = folder / "model_config.yaml", tmp_path / "target"
    for text, words in (
        ("[", "is not valid YAML"),
        ("a: " + "[" * 5000, "is not valid YAML"),
        ("a: !!bool maybe", "is not valid YAML"),
        ("\xff", "codec can't decode byte 0xff"),
        ("a: 1\n" + "#" * (1 << 20), "has over 131072 bytes"),
        ("- a", "must be a mapping of options, got sequence"),
        (json.dumps({**NEMO, "num_layers": 3}), "model_weights.ckpt lacks 12 tensors"),
        (
            json.dumps({**NEMO, "num_attention_heads": "six"}),
            "num_attention_heads must be",
        ),
    ):
        options.write_bytes(text.encode("latin-1"))
        error = refusal(folder, target, capsys)
        assert words in error
        assert "model_config.yaml" in error
    options.unlink()
    error = refusal(folder, target, capsys)
    assert "is a NeMo checkpoint and needs model_config.yaml in its folder" in error
    assert main(["inspect", str(folder)]) == 0  # under NeMo's names
    assert "model.decoder.layers.0.mlp.linear_fc1.weight" in capsys.readouterr().out


def test_archives_that_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target, plain = tmp_path / "target", packed(folder).read_bytes()
    path = folder.with_suffix(".nemo")
    assert "it has model_weights.ckpt twice" in refusal(
        packed(folder, model_weights_dot_ckpt=b"x"), target, capsys
    )
    path.write_bytes(gzip.compress(plain))
    assert "is compressed with gzip: unpack it first, a .nemo" in refusal(path, target, capsys)
    begin = plain.index(b"PK\3\4")
    path.write_bytes(plain[: begin + 2000])
    assert "is a damaged tar archive: unexpected end" in refusal(path, target, capsys)
    with pytest.raises(CheckpointError, match=r"nemo\.nemo/x is truncated"):
        FileBytes(path, begin=begin, size=2001, name="x")
    path.write_bytes(plain[:100] + b"?" * 100 + plain[200:])
    assert "is a damaged tar archive" in refusal(path, target, capsys)
    for name, content in (("model_config.yaml", b"["), ("model_weights.ckpt", b"no pickle")):
        (folder / name).write_bytes(content)
        assert f"nemo.nemo/{name} is no" in refusal(packed(folder), target, capsys)
    (folder / "model_config.yaml").unlink()
    (folder / "model_config.yaml").symlink_to("/etc/passwd")
    assert "is a tar archive without NeMo's" in refusal(packed(folder), target, capsys)


def test_an_archive_without_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinybert.formats.nemo.files.MAX_MEMBERS", 4)
    open_checkpoint(packed(folder)).close()
    with pytest.raises(CheckpointError, match="more than 4 members"):
        open_checkpoint(packed(folder, a=b"", b=b"", c=b""))
