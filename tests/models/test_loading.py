"""Loading and saving: exchange with transformers, the report, and the state after a failure."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from tests.models.oracle import config, twin_config, twins
from tests.support import assert_as_precise, assert_close
from tests.tolerances import FLOAT32_EPS
from tinybert import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    CheckpointError,
    load_checkpoint,
    models,
    nn,
    no_grad,
    save_file,
)
from tinybert.autograd import set_default_device
from tinybert.backend import manual_seed
from tinybert.models.loading import LoadingReport
from tinybert.weights import save_sharded

IDS = np.random.default_rng(0).integers(23, size=(3, 7))
NAME = "encoder.layer.1.output.dense.weight"


@pytest.fixture
def pair() -> tuple[BertModel, Any]:
    """The toy model and its twin, float32."""
    ours, theirs = twins()
    return ours.to(np.float32), theirs.float()


@pytest.fixture
def report(caplog: pytest.LogCaptureFixture) -> Any:
    """Loads a folder; returns the model, its report, and what was logged."""
    caplog.set_level(logging.DEBUG, logger="tinybert")

    def load(folder: Path, **options: Any) -> tuple[BertModel, Any, list[str]]:
        caplog.clear()
        model, found = BertModel.from_pretrained(folder, output_loading_info=True, **options)
        return model, found, [record.getMessage() for record in caplog.records]

    return load


def same_state(model: BertModel, other: Any) -> None:
    """All weights are equal to the last bit."""
    for name, tensor in other.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name].numpy(), tensor.numpy(), name)


def names_of(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


# --- to transformers and back ---------------------------------------------------------------------


@pytest.mark.parametrize("shard_size", ["5GB", 700, "2KB"])
def test_what_is_saved_here_loads_in_transformers(shard_size, pair, tmp_path):
    ours, theirs = pair
    ours.save_pretrained(tmp_path, max_shard_size=shard_size)
    assert ("model.safetensors" in names_of(tmp_path)) == (shard_size == "5GB")
    loaded, info = transformers.BertModel.from_pretrained(
        tmp_path, attn_implementation="eager", output_loading_info=True
    )
    assert not any(info.values())
    same_state(ours, loaded)
    expected = theirs(torch.from_numpy(IDS)).pooler_output.detach().numpy()
    np.testing.assert_array_equal(
        loaded(torch.from_numpy(IDS)).pooler_output.detach().numpy(), expected
    )
    result = ours.eval()(IDS).pooler_output.numpy()
    assert_close(result, expected, rtol=32 * FLOAT32_EPS)
    assert loaded.config.architectures == ["BertModel"]


@pytest.mark.parametrize("shard_size", ["5GB", 700, "2KB"])
def test_what_transformers_saves_loads_here(shard_size, pair, report, tmp_path):
    _, theirs = pair
    theirs.save_pretrained(tmp_path, max_shard_size=shard_size)
    assert (len(names_of(tmp_path)) > 2) == (shard_size != "5GB")
    model, found, logged = report(tmp_path)
    same_state(model, theirs)
    assert (str(found), logged) == ("", [])
    assert model.config.hidden_size == 12
    assert not any(module.training for module in model.modules())


def test_a_model_without_pooler_comes_back(tmp_path, report):
    ours, _ = twins(add_pooling_layer=False)
    ours.to(np.float32).save_pretrained(tmp_path)
    model, _, logged = report(tmp_path, add_pooling_layer=False)
    same_state(model, ours)
    assert model.pooler is None
    assert logged == []
    assert report(tmp_path)[1].missing_keys == ["pooler.dense.bias", "pooler.dense.weight"]


def test_the_real_model_loads_without_a_word(minilm, report):
    assert "embeddings.position_ids" in load_checkpoint(minilm)
    model, found, logged = report(minilm)
    assert (str(found), logged) == ("", [])
    assert found.missing_keys == found.unexpected_keys == found.mismatched_keys == []
    theirs = transformers.BertModel.from_pretrained(minilm, attn_implementation="eager")
    same_state(model, theirs)
    ids = np.random.default_rng(0).integers(1000, 30000, size=(8, 11))
    with torch.no_grad():
        torch32 = theirs(torch.from_numpy(ids)).to_tuple()
        torch64 = theirs.double()(torch.from_numpy(ids)).to_tuple()
    for found, other, exact in zip(model(ids).to_tuple(), torch32, torch64, strict=True):
        assert_as_precise(found.numpy(), other.numpy(), exact.numpy())


# --- names ----------------------------------------------------------------------------------------


def rewritten(folder: Path, model: Any, change: Any) -> Path:
    """A folder with the model's config, and its weights as `change` makes them."""
    config().save_pretrained(folder)
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    save_file(change(arrays), folder / "model.safetensors")
    return folder


def old_names(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The names of the first releases: norms with gamma and beta."""
    return {
        re.sub(r"LayerNorm\.weight$", "LayerNorm.gamma", name).replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): array
        for name, array in arrays.items()
    }


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_gamma_and_beta_are_weight_and_bias(prefix, pair, report, tmp_path):
    def change(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {prefix + name: array for name, array in old_names(arrays).items()}

    model, found, logged = report(rewritten(tmp_path, pair[0], change))
    same_state(model, pair[0])
    assert logged == []
    assert found.renamed[f"{prefix}embeddings.LayerNorm.gamma"] == "embeddings.LayerNorm.weight"


def test_gamma_and_beta_elsewhere_are_left_alone(pair, report, tmp_path):
    strangers = [
        "my_gamma_x", "encoder.gamma", "beta", "encoder.layer.0.mylayer.beta",
        "embeddings.LayerNorm.gamma.more", "embeddings.myLayerNorm.gamma",
    ]  # fmt: skip
    model, found, logged = report(
        rewritten(
            tmp_path, pair[0], lambda a: {**a, **{n: np.zeros(2, np.float32) for n in strangers}}
        )
    )
    same_state(model, pair[0])
    assert sorted(found.unexpected_keys) == sorted(strangers)
    assert found.renamed == {}
    assert len(logged) == 1
    assert all(name in logged[0] for name in strangers)


def test_two_names_for_one_parameter_are_refused(pair, tmp_path):
    folder = rewritten(tmp_path, pair[0], lambda arrays: {**old_names(arrays), **arrays})
    with pytest.raises(ValueError, match=r"LayerNorm\.(gamma|beta)"):
        BertModel.from_pretrained(folder)


def test_a_base_model_loads_from_the_checkpoint_of_a_head(report, tmp_path):
    head = transformers.BertForMaskedLM(twin_config(config())).eval()
    head.save_pretrained(tmp_path)
    manual_seed(3)
    model, found, logged = report(tmp_path)
    for name, tensor in head.bert.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name].numpy(), tensor.numpy())
    with torch.no_grad():
        expected = head.bert(torch.from_numpy(IDS)).last_hidden_state.numpy()
    assert_close(model(IDS).last_hidden_state.numpy(), expected, rtol=32 * FLOAT32_EPS)
    assert found.missing_keys == ["pooler.dense.bias", "pooler.dense.weight"]
    _, info = transformers.BertModel.from_pretrained(tmp_path, output_loading_info=True)
    assert sorted(found.unexpected_keys) == sorted(info["unexpected_keys"])
    assert sorted(found.missing_keys) == sorted(info["missing_keys"])
    assert len(logged) == 1
    for name in (*found.missing_keys, *found.unexpected_keys, str(tmp_path), "BertModel"):
        assert name in logged[0]
    assert not report(tmp_path, add_pooling_layer=False)[1].missing_keys


def test_a_head_in_transformers_loads_from_our_base(pair, tmp_path):
    pair[0].save_pretrained(tmp_path)
    head, info = transformers.BertForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    same_state(pair[0], pair[1])
    for name, tensor in head.bert.state_dict().items():
        np.testing.assert_array_equal(pair[0].state_dict()[name].numpy(), tensor.numpy())
    assert all(name.startswith("cls.") for name in info["missing_keys"])


# --- what is missing or does not fit --------------------------------------------------------------


def test_missing_weights_are_drawn_as_in_a_fresh_model(pair, report, tmp_path):
    own = config(hidden_size=48, initializer_range=0.05, pad_token_id=3)
    model = BertModel(own)
    gone = [
        "embeddings.word_embeddings.weight",
        "encoder.layer.0.attention.self.query.weight",
        "encoder.layer.0.attention.self.query.bias",
        "encoder.layer.1.output.LayerNorm.weight",
        "encoder.layer.1.output.LayerNorm.bias",
    ]
    for parameter in model.parameters():
        parameter.data[...] = 7
    arrays = {n: t.numpy() for n, t in model.state_dict().items() if n not in gone}
    own.save_pretrained(tmp_path)
    save_file(arrays, tmp_path / "model.safetensors")
    model, found, logged = report(tmp_path)
    assert found.missing_keys == sorted(gone)
    assert len(logged) == 1
    assert "5 missing" in logged[0]
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    for name in gone[:2]:
        error = 5 * 0.05 / np.sqrt(state[name].size)
        assert abs(state[name].mean()) < error
        assert abs(state[name].std() - 0.05) < error
    assert not state[gone[0]][3].any()
    assert not state[gone[2]].any()
    assert (state[gone[3]] == 1).all()
    assert not state[gone[4]].any()
    assert all((state[name] == 7).all() for name in arrays)
    manual_seed(1)
    first = BertModel.from_pretrained(tmp_path).state_dict()[gone[0]].numpy()
    manual_seed(1)
    np.testing.assert_array_equal(
        BertModel.from_pretrained(tmp_path).state_dict()[gone[0]].numpy(), first
    )


def test_a_whole_checkpoint_draws_no_random_number(pair, tmp_path):
    pair[0].save_pretrained(tmp_path)
    manual_seed(1)
    expected = BertModel(config()).state_dict()[NAME].numpy()
    manual_seed(1)
    BertModel.from_pretrained(tmp_path)
    np.testing.assert_array_equal(BertModel(config()).state_dict()[NAME].numpy(), expected)


def test_shapes_that_do_not_fit_are_named_or_drawn_anew(pair, report, tmp_path):
    pair[0].save_pretrained(tmp_path)
    key = "encoder.layer.0.intermediate.dense.weight"
    with pytest.raises(
        ValueError, match=rf"{key} has shape \(10, 12\) in the file and \(14, 12\) in"
    ):
        BertModel.from_pretrained(tmp_path, intermediate_size=14)
    model, found, logged = report(tmp_path, intermediate_size=14, ignore_mismatched_sizes=True)
    assert (key, (10, 12), (14, 12)) in found.mismatched_keys
    assert len(found.mismatched_keys) == 6
    assert found.missing_keys == []
    drawn = model.state_dict()[key].numpy()
    assert abs(drawn.std() / 0.02 - 1) < 5 / np.sqrt(2 * drawn.size)
    assert not model.state_dict()["encoder.layer.0.intermediate.dense.bias"].numpy().any()
    name = "encoder.layer.0.attention.self.query.weight"
    np.testing.assert_array_equal(
        model.state_dict()[name].numpy(), pair[0].state_dict()[name].numpy()
    )
    assert len(logged) == 1
    assert f"{key}: (10, 12) in the file, (14, 12) in the model" in logged[0]


def test_the_report_counts_all_names_and_lists_the_first() -> None:
    found = LoadingReport("BertModel", "here")
    assert str(found) == ""
    found.missing_keys = ["pooler.dense.bias"]
    found.mismatched_keys = [("pooler.dense.weight", (2, 3), (3, 3))]
    found.unexpected_keys = [f"cls.{i:02d}" for i in range(22)] + ["pool.dense.bias"]
    fresh = "initialized at random (train the model before you use its results)"
    assert str(found).splitlines() == [
        "BertModel was loaded from here, but some weights do not match:",
        f"  1 missing from the file, {fresh}:",
        "    pooler.dense.bias   (the file has pool.dense.bias)",
        f"  1 of another shape in the file, {fresh}:",
        "    pooler.dense.weight: (2, 3) in the file, (3, 3) in the model",
        "  23 in the file but not in the model, not used:",
        *(f"    cls.{i:02d}" for i in range(20)),
        "    ... and 3 more",
    ]


def test_a_pooler_that_is_not_in_the_file_can_be_left_out(caplog) -> None:
    """Vectors of tokens and sentences do not need it; the logits of a head do."""
    BertModel.from_pretrained("embedded")
    assert (
        "at random (only pooler_output needs it; add_pooling_layer=False leaves it" in caplog.text
    )
    caplog.clear()
    BertModel.from_pretrained("embedded", add_pooling_layer=False)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    BertForSequenceClassification.from_pretrained("embedded")
    assert "train the model before you use its results" in caplog.text


def test_a_head_that_is_not_used_is_no_mistake(tmp_path, caplog):
    """It is logged below the level of a warning; other weights that are not used are warned of."""
    model = BertForMaskedLM(config())
    model.save_pretrained(tmp_path)
    caplog.set_level(logging.DEBUG, logger="tinybert")
    _, found = BertModel.from_pretrained(
        tmp_path, add_pooling_layer=False, output_loading_info=True
    )
    assert found.head_keys == found.unexpected_keys
    assert "cls.predictions.bias" in found.head_keys
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "cls.predictions.bias" in caplog.text

    stored = dict(load_checkpoint(tmp_path))
    save_file({**stored, "bert.extra.weight": np.ones(3)}, tmp_path / "model.safetensors")
    caplog.clear()
    BertModel.from_pretrained(tmp_path, add_pooling_layer=False)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


# --- options --------------------------------------------------------------------------------------


def test_options_override_the_config(pair, tmp_path):
    pair[0].save_pretrained(tmp_path)
    model = BertModel.from_pretrained(tmp_path, hidden_act="relu", output_hidden_states=True)
    assert model.config.hidden_act == "relu"
    assert len(model(IDS).hidden_states) == 3
    assert BertConfig.from_pretrained(tmp_path).hidden_act == "gelu"
    given = config(num_hidden_layers=1)
    short = BertModel.from_pretrained(tmp_path, config=given)
    assert len(short.encoder.layer) == 1
    assert short.config is given
    with pytest.raises(TypeError, match="hidden_act"):
        BertModel.from_pretrained(tmp_path, config=given, hidden_act="relu")
    with pytest.raises(TypeError, match="add_pooling_layr"):
        BertModel.from_pretrained(tmp_path, add_pooling_layr=False)


def test_the_device_is_the_default_or_the_one_named(pair, tmp_path):
    import tests.strict  # noqa: F401  (registers the device)

    pair[0].save_pretrained(tmp_path)
    assert BertModel.from_pretrained(tmp_path).device == "cpu"
    expected = pair[0].state_dict()
    named = BertModel.from_pretrained(tmp_path, device="strict")
    with set_default_device("strict"):
        default = BertModel.from_pretrained(tmp_path)
        assert BertModel.from_pretrained(tmp_path, device="cpu").device == "cpu"
    for model in (named, default):
        assert {p.device for p in model.parameters()} == {"strict:0"}
        for name, tensor in model.state_dict().items():
            np.testing.assert_array_equal(tensor.numpy(), expected[name].numpy())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_stored_weights_of_other_formats_become_float32(dtype, pair, tmp_path):
    theirs = pair[1].to(dtype)
    theirs.save_pretrained(tmp_path)
    model = BertModel.from_pretrained(tmp_path)
    assert {p.dtype for p in model.parameters()} == {np.dtype(np.float32)}
    same_state(model, theirs.float())


def test_folders_that_are_not_there_or_hold_nothing(pair, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        BertModel.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no folder 'no-such-bert', and the cache"):
        BertModel.from_pretrained("no-such-bert")
    config().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="has no weights"):
        BertModel.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(CheckpointError, match="Git LFS"):
        BertModel.from_pretrained(tmp_path)
    with pytest.raises(NotADirectoryError, match=r"model\.safetensors"):
        pair[0].save_pretrained(tmp_path / "model.safetensors")


# --- saving ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shard_size", ["5GB", "2KB"])
def test_saving_over_the_folder_it_came_from_keeps_the_weights(shard_size, pair, tmp_path):
    pair[0].save_pretrained(tmp_path, max_shard_size="2KB")
    model = BertModel.from_pretrained(tmp_path)
    stored = load_checkpoint(tmp_path)  # still mapped while the files are replaced
    model.save_pretrained(tmp_path, max_shard_size=shard_size)
    again = BertModel.from_pretrained(tmp_path)
    same_state(again, pair[0])
    for name, array in stored.items():
        np.testing.assert_array_equal(array, pair[0].state_dict()[name].numpy())
    if shard_size == "5GB":
        assert names_of(tmp_path) == {"config.json", "model.safetensors"}


class Tied(BertModel):
    """A model with a head whose matrix is the table of word embeddings."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.head = nn.Linear(config.hidden_size, config.vocab_size)
        self.head.weight = self.get_input_embeddings().weight


@pytest.mark.parametrize("both", [False, True], ids=["stored once", "stored under both names"])
def test_tied_weights_are_saved_once_and_come_back_tied(both, tmp_path, caplog):
    model = Tied(config())
    model.save_pretrained(tmp_path)
    stored = load_checkpoint(tmp_path)
    table = "embeddings.word_embeddings.weight"
    assert table in stored
    assert "head.weight" not in stored
    if both:
        save_file({**stored, "head.weight": stored[table]}, tmp_path / "model.safetensors")
    caplog.set_level(logging.DEBUG, logger="tinybert")
    again = Tied.from_pretrained(tmp_path)
    assert caplog.records == []
    assert again.head.weight is again.get_input_embeddings().weight
    same_state(again, model)


def test_what_was_changed_is_what_is_saved(pair, tmp_path):
    pair[0].save_pretrained(tmp_path)
    model = BertModel.from_pretrained(tmp_path)
    model.get_input_embeddings().weight.data[3] = 9
    model.save_pretrained(tmp_path)
    table = BertModel.from_pretrained(tmp_path).get_input_embeddings().weight.numpy()
    assert (table[3] == 9).all()


@pytest.mark.parametrize("before", ["5GB", "2KB"])
@pytest.mark.parametrize("after", ["5GB", "2KB"])
@pytest.mark.parametrize("wider", [False, True], ids=["same sizes", "another size"])
def test_an_interrupted_save_leaves_the_old_folder(
    before, after, wider, pair, tmp_path, monkeypatch
):
    pair[0].save_pretrained(tmp_path, max_shard_size=before)
    kept = names_of(tmp_path)
    other = BertModel(config(intermediate_size=14) if wider else config())
    syncs: list[int] = []

    def stop(descriptor: int) -> None:  # the power fails while the weights go to the disk
        syncs.append(descriptor)
        if os.fstat(descriptor).st_size > 1500:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", stop)
        with pytest.raises(KeyboardInterrupt):
            other.save_pretrained(tmp_path, max_shard_size=after)
    assert syncs
    same_state(BertModel.from_pretrained(tmp_path), pair[0])
    assert names_of(tmp_path) == kept


def test_a_config_that_cannot_be_written_leaves_the_old_folder(pair, tmp_path):
    pair[0].save_pretrained(tmp_path)
    other = BertModel(config(hidden_act=lambda x: x.relu()))
    with pytest.raises(TypeError):
        other.save_pretrained(tmp_path)
    same_state(BertModel.from_pretrained(tmp_path), pair[0])
    assert names_of(tmp_path) == {"config.json", "model.safetensors"}


def test_loaded_weights_are_the_models_own(pair, tmp_path):
    pair[0].save_pretrained(tmp_path)
    first, second = (BertModel.from_pretrained(tmp_path) for _ in range(2))
    first.get_input_embeddings().weight.data[...] = 0
    same_state(second, pair[0])
    assert all(p.requires_grad and p.data.flags.writeable for p in first.parameters())


def test_changing_a_loaded_model_changes_no_file(pair, tmp_path):
    ours, _ = pair
    ours.save_pretrained(tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    model, other = (BertModel.from_pretrained(tmp_path) for _ in range(2))
    with no_grad():
        for parameter in model.parameters():
            parameter.fill_(3.0)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert all((p.numpy() == 3.0).all() for p in model.parameters())
    same_state(other, BertModel.from_pretrained(tmp_path))
    model.save_pretrained(tmp_path)  # over the file that all three have mapped
    assert all((p.numpy() == 3.0).all() for p in BertModel.from_pretrained(tmp_path).parameters())
    assert not all((p.numpy() == 3.0).all() for p in other.parameters())
    (tmp_path / "model.safetensors").unlink()
    assert float(other.embeddings.word_embeddings.weight.data.sum()) != 0


# --- too few weights ------------------------------------------------------------------------------


def keep(folder: Path, names: list[str]) -> None:
    tensors = {name: np.array(array) for name, array in load_checkpoint(folder).items()}
    save_sharded({name: tensors[name] for name in names}, folder)


@pytest.mark.parametrize("low_memory", [False, True])
def test_fewer_than_half_of_the_weights_are_an_error(low_memory: bool, tmp_path: Path) -> None:
    """Embeddings alone may be most of the numbers, but the layers would be random."""
    BertForMaskedLM(config()).save_pretrained(tmp_path)
    names = list(load_checkpoint(tmp_path))
    keep(tmp_path, [name for name in names if "layer." not in name])
    with pytest.raises(
        ValueError, match=r"only 5 of \d+ tensors of BertModel, without its head"
    ) as e:
        BertModel.from_pretrained(tmp_path, low_memory=low_memory)
    assert "ignore_missing_keys=True" in str(e.value)
    assert "encoder.layer.0.attention.self.query.weight" in str(e.value)  # the report
    model, report = BertModel.from_pretrained(
        tmp_path, low_memory=low_memory, ignore_missing_keys=True, output_loading_info=True
    )
    assert (report.found, report.wanted) == (5, len(model.state_dict()))
    assert len(report.missing_keys) == report.wanted - 5


def test_half_of_the_weights_are_enough(tmp_path: Path) -> None:
    model = BertModel(config())
    model.save_pretrained(tmp_path)
    names = list(load_checkpoint(tmp_path))
    half = -(-len(names) // 2)
    keep(tmp_path, names[:half])
    _, report = BertModel.from_pretrained(tmp_path, output_loading_info=True)
    assert (report.found, report.wanted) == (half, len(names))
    keep(tmp_path, names[: half - 1])
    with pytest.raises(ValueError, match=f"only {half - 1} of {len(names)} tensors"):
        BertModel.from_pretrained(tmp_path)


def test_a_head_does_not_count(tmp_path: Path) -> None:
    """Neither one that the file lacks nor one that it has; nor a missing pooler."""
    BertForMaskedLM(config()).save_pretrained(tmp_path)
    for name in ("BertForSequenceClassification", "BertForPreTraining", "BertModel"):
        _, report = getattr(models, name).from_pretrained(tmp_path, output_loading_info=True)
        assert report.wanted - report.found in (0, 2)
    keep(tmp_path, [name for name in load_checkpoint(tmp_path) if name.startswith("cls.")])
    with pytest.raises(ValueError, match=r"only 0 of \d+ tensors of BertForMaskedLM"):
        BertForMaskedLM.from_pretrained(tmp_path)
