"""Models from files of every format: `from_pretrained` gives what transformers gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import transformers

import tinybert
from tests.fixtures.frameworks import unpack
from tests.formats import megatron
from tests.models.oracle import config, twin_heads
from tinybert import BertConfig, MegatronBertForPreTraining

IDS = np.random.default_rng(0).integers(1, 19, size=(2, 5))
CLASSES = (
    "BertModel",
    "BertForPreTraining",
    "BertLMHeadModel",
    "BertForMaskedLM",
    "BertForNextSentencePrediction",
    "BertForSequenceClassification",
    "BertForMultipleChoice",
    "BertForTokenClassification",
    "BertForQuestionAnswering",
)
FIXTURE = BertConfig(  # as in tests/fixtures/make_tensorflow.py and make_flax.py
    vocab_size=19,
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=11,
    max_position_embeddings=7,
    type_vocab_size=2,
)


@pytest.fixture(scope="module", params=["tensorflow", "flax"])
def models(request: Any, tmp_path_factory: Any) -> Path:
    """A folder with a folder of weights for each class, written by the framework itself."""
    return unpack(f"{request.param}.zip", tmp_path_factory.mktemp(request.param))


def weights_are(model: Any, expected: dict[str, np.ndarray]) -> None:
    """Every weight of the file is in the model, to the last bit."""
    state = model.state_dict()
    assert expected
    for name, array in expected.items():
        assert (state[name].numpy() == array).all(), name


@pytest.mark.parametrize("name", CLASSES)
def test_tensorflow_and_flax(name: str, models: Path) -> None:
    model, report = getattr(tinybert, name).from_pretrained(
        models / name, config=FIXTURE, output_loading_info=True
    )
    assert not report.missing_keys
    assert not report.unexpected_keys
    weights_are(model, safetensors.numpy.load_file(models / name / "expected.safetensors"))


@pytest.mark.parametrize("folder", ["tf1", "tf1_sharded", "tf2"])
def test_googles_own_checkpoints(folder: str, tmp_path: Path) -> None:
    found = unpack("tensorflow.zip", tmp_path) / folder
    expected = safetensors.numpy.load_file(found / "expected.safetensors")
    name = "BertModel" if folder == "tf2" else "BertForPreTraining"
    model = getattr(tinybert, name).from_pretrained(found, config=FIXTURE)
    weights_are(model, {key.removeprefix("module."): array for key, array in expected.items()})


@pytest.mark.parametrize("safe", [False, True])
@pytest.mark.parametrize("shards", ["5GB", "3kB"])
def test_what_transformers_saves(safe: bool, shards: str, tmp_path: Path) -> None:
    _, theirs = twin_heads("BertForMaskedLM", 0)
    theirs.float().save_pretrained(tmp_path, safe_serialization=safe, max_shard_size=shards)
    model, report = tinybert.BertForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not str(report)
    weights_are(model, {n: t.numpy() for n, t in theirs.state_dict().items()})
    assert (len(list(tmp_path.glob("*-of-*"))) > 3) == (shards == "3kB")


@pytest.mark.parametrize("file", ["release.zip", "model_optim_rng.pt"])
def test_megatron_lm_says_itself_what_it_is(file: str, tmp_path: Path) -> None:
    megatron.save(megatron.checkpoint(2.0, args=megatron.arguments()), tmp_path / file)
    model = MegatronBertForPreTraining.from_pretrained(tmp_path / file)
    c = model.config
    sizes = (c.hidden_size, c.num_hidden_layers, c.num_attention_heads, c.intermediate_size)
    assert sizes == (megatron.D, megatron.LAYERS, megatron.HEADS, megatron.FF)
    weights_are(model, megatron.weights())
    model.save_pretrained(tmp_path / "converted")
    theirs = transformers.MegatronBertForPreTraining.from_pretrained(tmp_path / "converted")
    weights_are(model, {n: t.numpy() for n, t in theirs.state_dict().items()})
    if file.endswith(".pt"):  # the folder with nothing else in it
        weights_are(MegatronBertForPreTraining.from_pretrained(tmp_path), megatron.weights())


def test_a_file_takes_the_config_beside_it(tmp_path: Path) -> None:
    model = tinybert.BertModel(config()).eval()
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "renamed.bin")  # told by its content
    back = tinybert.BertModel.from_pretrained(tmp_path / "renamed.bin")
    weights_are(back, {n: t.numpy() for n, t in model.state_dict().items()})
