"""Megatron-LM's checkpoints: every version and spelling gives what transformers' converter gave."""

from __future__ import annotations

import enum
import json
import shutil
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors import safe_open
from safetensors.numpy import load_file

import tinybert as tb
from tests.formats import megatron
from tinybert.formats.megatron.file import MegatronLMFile
from tinybert.weights import CheckpointError, load_checkpoint, open_checkpoint

EXPECTED = Path(__file__).parent.parent / "fixtures" / "megatron.safetensors"
QUERY = "bert.encoder.layer.1.attention.self.query.weight"


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Saves a checkpoint, and returns its file."""

    def save(content: dict[str, Any] | None = None, name: str = "ngc.zip", **options: Any) -> Path:
        content = content or megatron.checkpoint(2.0, args=megatron.arguments())
        return megatron.save(content, tmp_path / name, **options)

    return save


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        MegatronLMFile(path)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


def assert_expected(path: Path) -> None:
    expected = load_file(EXPECTED)
    with MegatronLMFile(path) as file:
        assert set(file) == set(expected)
        for name, array in expected.items():
            np.testing.assert_array_equal(file[name], array)


# --- the same weights, however they were saved ---------------------------------------------------


@pytest.mark.parametrize("spelling", megatron.SPELLINGS)
@pytest.mark.parametrize("version", megatron.VERSIONS)
def test_every_version_and_spelling(saved, version, spelling: str) -> None:
    content = megatron.checkpoint(version, spelling, megatron.arguments())
    assert_expected(saved(content))


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("name", ["ngc.zip", "model_optim_rng.pt", "other.pt"])
@pytest.mark.parametrize("compressed", [True, False])
def test_every_file_format(saved, name: str, new: bool, compressed: bool) -> None:
    assert_expected(saved(name=name, new=new, compressed=compressed))


@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_the_names_means_nothing(saved, seed: int) -> None:
    """transformers' converter stops at the first name that is of no layer; so layers get lost."""
    rng = np.random.default_rng(seed)

    def shuffled(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        keys = list(value)
        return {keys[i]: shuffled(value[keys[i]]) for i in rng.permutation(len(keys))}

    content = megatron.checkpoint(1.0, "second", megatron.arguments())
    path = saved({**content, "model": shuffled(content["model"])})
    assert_expected(path)
    with MegatronLMFile(path) as file, MegatronLMFile(saved(name="plain.zip")) as plain:
        assert list(file) == list(plain)


def test_each_row_of_a_fused_matrix_goes_where_it_belongs(saved) -> None:
    """Rows marked by hand: 100 for queries, 200 keys, 300 values, 10 a head, 1 a row in it."""
    orders = {
        0: [100, 101, 102, 103, 110, 111],  # all queries, head by head
        1: [100, 200, 300, 101, 201, 301],  # the three of each row
        2: [100, 101, 102, 103, 200, 201],  # head by head, its queries, then its keys
    }
    size = megatron.D // megatron.HEADS
    for version, first in orders.items():
        marks = [
            (third, n, k) for third in range(3) for n in range(megatron.HEADS) for k in range(size)
        ]
        order = {0: (0, 1, 2), 1: (1, 2, 0), 2: (1, 0, 2)}[version]
        marks.sort(key=lambda mark: [mark[axis] for axis in order])
        rows = np.array([100 + 100 * t + 10 * n + k for t, n, k in marks], np.float32)
        assert rows[:6].tolist() == first
        content = megatron.checkpoint(version, args=megatron.arguments())
        layers = content["model"]["language_model"]["transformer"]
        layers["layers.1.attention.query_key_value.bias"] = torch.from_numpy(rows)
        with MegatronLMFile(saved(content)) as file:
            for mark, role in ((100, "query"), (200, "key"), (300, "value")):
                bias = file[f"bert.encoder.layer.1.attention.self.{role}.bias"]
                heads = [mark + 10 * n + k for n in range(megatron.HEADS) for k in range(size)]
                assert bias.tolist() == heads


# --- the configuration ---------------------------------------------------------------------------


def test_the_config_is_that_of_transformers(saved) -> None:
    with safe_open(EXPECTED, "np") as file:
        theirs = json.loads(file.metadata()["config"])
    with MegatronLMFile(saved()) as file:
        config = file.model_config()
    assert config["architectures"] == ["MegatronBertForPreTraining"]
    ours = tb.MegatronBertConfig(**config).to_dict()
    different = {key for key, value in theirs.items() if ours.get(key) != value}
    assert different <= {"transformers_version"}


def test_without_arguments_a_config_beside_tells_the_heads(saved, tmp_path: Path) -> None:
    path = saved(megatron.checkpoint(2.0))
    assert "does not say how many attention heads" in refusal(path)
    options = {"model_type": "bert", "num_attention_heads": 2, "hidden_act": "relu"}
    (tmp_path / "config.json").write_text(json.dumps(options))
    assert "does not say how many attention heads" in refusal(path)
    options |= {"model_type": "megatron-bert", "num_attention_heads": megatron.HEADS}
    (tmp_path / "config.json").write_text(json.dumps(options))
    assert_expected(path)
    with MegatronLMFile(path) as file:
        assert file.model_config()["hidden_act"] == "relu"
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json: not JSON"):
        MegatronLMFile(path)


def test_the_published_size_needs_no_arguments() -> None:
    from tinybert.formats.megatron.file import _heads

    assert _heads({}, {}, 1024) == 16
    assert _heads({"num_attention_heads": 8}, {"num_attention_heads": 4}, 1024) == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 24}, "arguments say hidden_size 24, its tensors 12"),
        ({"num_layers": 3}, "arguments say num_layers 3, its tensors 2"),
        ({"num_attention_heads": 5}, "5 attention heads cannot share 12 hidden units"),
        ({"padded_vocab_size": 40}, r"has shape (32, 12), expected (40, 12)"),
        ({"padded_vocab_size": "many"}, "vocabulary has a size of 'many'"),
        ({"tensor_model_parallel_size": 8}, "is one of 8 parts"),
        ({"pipeline_model_parallel_size": 2}, "is one of 2 parts"),
        ({"model_parallel_size": 4}, "is one of 4 parts"),
    ],
)
def test_arguments_that_contradict_the_tensors(saved, changes, message: str) -> None:
    assert message in refusal(saved(megatron.checkpoint(2.0, args=megatron.arguments(**changes))))


NEW = {  # arguments, and the options of the config
    "epsilon": ({"layernorm_epsilon": 1e-5}, {"layer_norm_eps": 1e-5}),
    "tanh": ({"openai_gelu": True}, {"hidden_act": "gelu_new"}),
    "erf": ({"openai_gelu": False, "onnx_safe": True, "squared_relu": True}, {}),
    "dropouts": (
        {"hidden_dropout": 0.2, "attention_dropout": 0.0, "init_method_std": 0.01},
        {
            "hidden_dropout_prob": 0.2,
            "attention_probs_dropout_prob": 0.0,
            "initializer_range": 0.01,
        },
    ),
    "as ever": (
        {
            "apply_residual_connection_post_layernorm": False,
            "position_embedding_type": "learned_absolute",
            "normalization": "LayerNorm",
            "num_experts": None,
            "squared_relu": False,
        },
        {},
    ),
}


@pytest.mark.parametrize(("changes", "options"), NEW.values(), ids=NEW)
def test_arguments_that_change_no_shape_are_used(saved, changes, options) -> None:
    plain = MegatronLMFile(saved(name="plain.zip")).model_config()
    path = saved(megatron.checkpoint(2.0, args=megatron.arguments(**changes)))
    config = MegatronLMFile(path).model_config()
    assert config == plain | options
    model = tb.MegatronBertForPreTraining.from_pretrained(path)
    twin = transformers.MegatronBertForPreTraining(transformers.MegatronBertConfig(**config)).eval()
    state = {name: torch.from_numpy(t.numpy()) for name, t in model.state_dict().items()}
    twin.load_state_dict(state, strict=False)
    ids = np.arange(1, 7)[None]
    logits = twin(torch.from_numpy(ids)).prediction_logits.detach().numpy()
    np.testing.assert_allclose(model(ids).prediction_logits.numpy(), logits, rtol=0, atol=1e-4)


def test_squared_relu_without_a_language_model_head(saved) -> None:
    content = megatron.checkpoint(2.0, args=megatron.arguments(squared_relu=True))
    assert "squared_relu, but its language model head uses GELU" in refusal(saved(content))
    del content["model"]["lm_head"]
    assert MegatronLMFile(saved(content)).model_config()["hidden_act"] == "relu2"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"apply_residual_connection_post_layernorm": True},
            "was trained with apply_residual_connection_post_layernorm=True, which Megatron",
        ),
        ({"swiglu": True}, "was trained with swiglu=True"),
        ({"apply_layernorm_1p": True}, "was trained with apply_layernorm_1p=True"),
        ({"normalization": "RMSNorm"}, "normalization='RMSNorm', .* (only 'LayerNorm')"),
        ({"position_embedding_type": "rope"}, "was trained with position_embedding_type='rope'"),
        ({"num_experts": 8}, "was trained with num_experts=8"),
        ({"layernorm_epsilon": "small"}, "layernorm_epsilon must be from 0 to 1.0, got 'small'"),
        ({"layernorm_epsilon": float("nan")}, "layernorm_epsilon must be from 0"),
        ({"hidden_dropout": 2}, "hidden_dropout must be from 0 to 1.0, got 2"),
    ],
)
def test_arguments_that_a_megatron_bert_does_not_have(saved, changes, message: str) -> None:
    found = refusal(saved(megatron.checkpoint(2.0, args=megatron.arguments(**changes))))
    assert all(part in found for part in message.split(" .* "))


def test_a_config_beside_joins_the_arguments(saved, tmp_path: Path) -> None:
    content = megatron.checkpoint(2.0, args=megatron.arguments(layernorm_epsilon=1e-5))
    path = saved(content, name="model_optim_rng.pt")
    options = {"model_type": "megatron-bert", "use_cache": False}
    (tmp_path / "config.json").write_text(json.dumps(options))
    config = tb.MegatronBertModel.from_pretrained(path).config
    assert (config.layer_norm_eps, config.use_cache) == (1e-5, False)
    (tmp_path / "config.json").write_text(json.dumps(options | {"layer_norm_eps": 1e-12}))
    assert "its arguments say layer_norm_eps 1e-05, the config.json in its folder 1e-12" in refusal(
        path
    )


def test_classes_of_megatron_are_not_needed(saved, monkeypatch) -> None:
    """The arguments refer to Megatron-LM's own classes, with which torch.load needs its code."""
    module = types.ModuleType("megatron.model.enums")
    module.ModelType = enum.Enum("ModelType", "encoder decoder", module=module.__name__)
    monkeypatch.setitem(sys.modules, "megatron", types.ModuleType("megatron"))
    monkeypatch.setitem(sys.modules, "megatron.model", types.ModuleType("megatron.model"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    args = megatron.arguments(model_type=module.ModelType.encoder)
    path = saved(megatron.checkpoint(2.0, args=args), "model_optim_rng.pt", new=False)
    for name in ("megatron", "megatron.model", module.__name__):
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ModuleNotFoundError):
        torch.load(path, weights_only=False)
    assert_expected(path)


# --- the vocabulary ------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["arguments", "config"])
def test_a_padded_vocabulary_is_cut_everywhere(saved, tmp_path: Path, where: str) -> None:
    """transformers' converter cuts the embeddings and leaves the bias."""
    args = megatron.arguments(padded_vocab_size=megatron.VOCAB if where == "arguments" else None)
    options = {"model_type": "megatron-bert", "vocab_size": megatron.VOCAB}
    if where == "config":
        (tmp_path / "config.json").write_text(json.dumps(options))
    expected = load_file(EXPECTED)
    with MegatronLMFile(saved(megatron.checkpoint(2.0, args=args))) as file:
        assert file.model_config()["vocab_size"] == megatron.VOCAB
        for name, array in expected.items():
            cut = array[: megatron.VOCAB] if array.shape[0] == megatron.PADDED else array
            np.testing.assert_array_equal(file[name], cut)
            assert file.info(name) == ("F32", cut.shape, cut.nbytes)
            out = np.empty(cut.shape, np.float64)
            file.read_into(name, out)
            np.testing.assert_array_equal(out, cut)


def test_a_bias_shorter_than_the_vocabulary_is_refused(saved) -> None:
    content = megatron.checkpoint(2.0, args=megatron.arguments())
    content["model"]["lm_head"]["bias"] = torch.zeros(megatron.VOCAB)
    assert "'lm_head.bias' has shape (29,), expected (32,)" in refusal(saved(content))


def test_without_arguments_the_bias_tells_the_vocabulary(saved, tmp_path: Path) -> None:
    options = {"model_type": "megatron-bert", "num_attention_heads": megatron.HEADS}
    (tmp_path / "config.json").write_text(json.dumps(options))
    content = megatron.checkpoint(2.0)
    content["model"]["lm_head"]["bias"] = torch.zeros(megatron.VOCAB)
    with MegatronLMFile(saved(content)) as file:
        assert file.info("bert.embeddings.word_embeddings.weight").shape == (29, 12)
        assert file.info("cls.predictions.decoder.weight").shape == (29, 12)


# --- lazy reading --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_reading_in_every_way(saved, dtype: torch.dtype) -> None:
    content = megatron.checkpoint(1.0, args=megatron.arguments(), dtype=dtype)
    format = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}[dtype]
    with MegatronLMFile(saved(content)) as file:
        assert file.metadata == {"checkpoint_version": "1.0"}
        for name, array in load_file(EXPECTED).items():
            rounded = torch.from_numpy(array).to(dtype)
            exact = rounded.float().numpy()
            assert file.info(name) == (format, array.shape, rounded.nbytes)
            np.testing.assert_array_equal(file[name], exact)
            assert not file[name].flags.writeable
            out = np.full(array.shape[::-1], np.nan, np.float32).T
            file.read_into(name, out)
            np.testing.assert_array_equal(out, exact)


def test_what_readers_refuse(saved) -> None:
    with MegatronLMFile(saved()) as file:
        kept = file[QUERY]
        with pytest.raises(KeyError, match="no tensor 'other'"):
            file.info("other")
        with pytest.raises(ValueError, match=r"has shape \(12, 12\), out has \(36, 12\)"):
            file.read_into(QUERY, np.empty((36, 12), np.float32))
        with pytest.raises(TypeError):
            file.read_into(QUERY, np.empty((12, 12), np.int64))
    np.testing.assert_array_equal(kept, load_file(EXPECTED)[QUERY])
    with pytest.raises(ValueError, match="closed file"):
        file[QUERY]


def test_it_is_found_by_its_content(saved) -> None:
    for path in (saved(), saved(name="model_optim_rng.pt"), saved(name="weights.pt", new=False)):
        with open_checkpoint(path) as file:
            assert isinstance(file, MegatronLMFile)
    assert set(load_checkpoint(path)) == set(load_file(EXPECTED))


# --- what is no whole BERT -----------------------------------------------------------------------


def test_parts_in_a_zip_and_in_folders(saved, tmp_path: Path) -> None:
    bare = saved(name="model_optim_rng.pt")
    with zipfile.ZipFile(tmp_path / "parts.zip", "w") as archive:
        for rank in range(2):
            archive.write(bare, f"release/mp_rank_0{rank}/model_optim_rng.pt")
    assert "is one of 2 parts of a model" in refusal(tmp_path / "parts.zip")
    with pytest.raises(CheckpointError, match="is one of 2 parts"):
        open_checkpoint(tmp_path / "parts.zip")
    for rank in range(2):
        folder = tmp_path / f"mp_rank_0{rank}"
        folder.mkdir()
        shutil.copy(bare, folder)
        if rank == 0:
            assert_expected(folder / bare.name)
    assert "its folder has parts of 2 ranks" in refusal(folder / bare.name)


@pytest.mark.parametrize("spelling", megatron.SPELLINGS)
@pytest.mark.parametrize("version", [None, 1.0, 3.0])
@pytest.mark.parametrize(("shards", "stages"), [(3, 1), (1, 2), (3, 2)])
def test_a_model_split_over_devices_is_joined(
    saved, tmp_path: Path, version: Any, spelling: str, shards: int, stages: int
) -> None:
    whole = saved(megatron.checkpoint(version, spelling, megatron.arguments()))
    names = megatron.split(tmp_path / "release", version, spelling, shards, stages)
    with MegatronLMFile(whole) as one:
        for path in (names[0], names[-1]):
            with open_checkpoint(path) as file:
                assert isinstance(file, MegatronLMFile)
                assert set(file) == set(one)
                assert file.model_config() == one.model_config()
                for name in one:
                    np.testing.assert_array_equal(file[name], one[name], err_msg=name)
                    assert file.info(name) == one.info(name)
                    out = np.empty(one[name].shape, np.float64)
                    file.read_into(name, out)
                    np.testing.assert_array_equal(out, one[name])


def test_a_model_with_missing_or_different_parts_is_refused(tmp_path: Path) -> None:
    parts = megatron.split(tmp_path / "release", 3.0, "third", 3, 2)
    parts[4].rename(tmp_path / "elsewhere.pt")
    assert "the part mp_rank_01_001 is missing" in refusal(parts[0])
    (tmp_path / "elsewhere.pt").rename(parts[4])
    torch.save(megatron.checkpoint(2.0), parts[4])
    assert "different values of checkpoint_version" in refusal(parts[0])
    torch.save(megatron.checkpoint(3.0), parts[4])
    assert "not all parts of a stage have the tensor" in refusal(parts[0])
    other = tmp_path / "release" / "mp_rank_00"
    other.mkdir()
    torch.save(megatron.checkpoint(3.0), other / "model_optim_rng.pt")
    assert "ranks of two saves" in refusal(parts[0])


def without(*names: str) -> dict[str, Any]:
    content = megatron.checkpoint(2.0, args=megatron.arguments())
    for name in names:
        *way, last = name.split("/")
        place = content
        for key in way:
            place = place[key]
        del place[last]
    return content


def test_heads_may_be_missing(saved) -> None:
    heads = ("model/lm_head", "model/binary_head", "model/language_model/pooler")
    with MegatronLMFile(saved(without(*heads))) as file:
        names = {
            name for name in load_file(EXPECTED) if "cls." not in name and "pooler" not in name
        }
        assert set(file) == names
        assert file.model_config()["architectures"] == ["MegatronBertModel"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model", "is not a Megatron-LM checkpoint"),
        ("model/lm_head/dense.bias", "lacks tensor 'lm_head.dense.bias'"),
        (
            "model/language_model/transformer/layers.0.mlp.dense_4h_to_h.bias",
            "lacks tensor 'layers.0.mlp.dense_4h_to_h.bias'",
        ),
        ("model/language_model/transformer/final_layernorm.weight", "lacks tensor 'final_norm"),
        ("model/language_model/embedding/tokentype_embeddings", "has no token type embeddings"),
        ("model/language_model/embedding", "has no word embeddings"),
    ],
)
def test_missing_tensors_are_named(saved, name: str, message: str) -> None:
    path = saved(without(name))
    assert message in refusal(path)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("layers.0.attention.rotary.weight", (3,), "which Megatron-LM's BERT does not have"),
        ("layers.7.attention.dense.bias", (12,), "its arguments say num_layers 2, its tensors 3"),
        ("layers.0.self_attention.dense.bias", (12,), "twice, in two spellings"),
        ("layers.1.attention.query_key_value.weight", (18, 12), "may have been split over devices"),
        ("layers.1.mlp.dense_h_to_4h.weight", (10, 12), "expected (20, 12)"),
    ],
)
def test_tensors_that_should_not_be(saved, name: str, shape, message: str) -> None:
    content = megatron.checkpoint(2.0, args=megatron.arguments())
    content["model"]["language_model"]["transformer"][name] = torch.zeros(shape)
    assert message in refusal(saved(content))


@pytest.mark.parametrize("version", [0.5, 1.5, -1, True, "2", float("nan")])
def test_unknown_versions(saved, version) -> None:
    content = megatron.checkpoint(2.0, args=megatron.arguments())
    assert "has checkpoint_version" in refusal(saved({**content, "checkpoint_version": version}))


# --- and the model that comes out ----------------------------------------------------------------


def test_our_converted_folder_in_transformers(saved, tmp_path: Path) -> None:
    from tinybert.cli.main import main

    assert main(["convert", str(saved()), str(tmp_path / "folder")]) == 0
    ours = tb.AutoModelForPreTraining.from_pretrained(tmp_path / "folder")
    theirs, report = transformers.MegatronBertForPreTraining.from_pretrained(
        tmp_path / "folder", output_loading_info=True
    )
    assert report["unexpected_keys"] == report["mismatched_keys"] == []
    assert set(report["missing_keys"]) <= {"cls.predictions.decoder.bias"}  # tied to the bias
    ids = np.random.default_rng(0).integers(0, megatron.VOCAB, (2, 5))
    own, their = ours(ids), theirs.eval()(torch.from_numpy(ids))
    for name in ("prediction_logits", "seq_relationship_logits"):
        np.testing.assert_allclose(own[name].numpy(), their[name].detach(), rtol=0, atol=2e-5)


def test_a_folder_with_the_file_and_a_config_loads(saved, tmp_path: Path) -> None:
    with MegatronLMFile(saved(name="model_optim_rng.pt")) as file:
        (tmp_path / "config.json").write_text(json.dumps(file.model_config()))
    model, report = tb.MegatronBertForPreTraining.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not str(report)
    expected = load_file(EXPECTED)
    for name, tensor in model.state_dict().items():
        theirs = expected[name.replace("decoder.bias", "bias")]
        np.testing.assert_array_equal(tensor.numpy(), theirs)
