"""Folders that we save give the same numbers in transformers 5 and in sentence-transformers.

The tests of models compare with transformers 4.57, which this environment has. Here an environment
of its own has the newer libraries; it takes torch and what else it can from this one.
"""

from __future__ import annotations

import json
import site
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinybert
from tests.models.nemotron_oracle import TOY
from tests.models.oracle import config
from tests.support import assert_close
from tests.tolerances import DEVICE_FLOAT32
from tinybert.nn.packing import padded

VOCABULARY = "[PAD] [UNK] [CLS] [SEP] [MASK] the cat sat on mat a deja vu un ##believ ##ably ! , ."
TEXTS = ["The cat sat on the mat!", "A déjà vu.", "unbelievably, the mat"]
POOLINGS = {
    "mean": (("pooling_mode_mean_tokens",), True),
    "first": (("pooling_mode_cls_token",), False),
    "two": (("pooling_mode_max_tokens", "pooling_mode_mean_tokens"), False),
}
IDS = np.array([[2, 6, 7, 8, 3], [2, 9, 3, 0, 0]])
MASK = (IDS != 0).astype(np.int64)

# Run in the other environment: what it computes for the folders of a folder.
SCRIPT = """
import json, sys
from importlib.metadata import version
from pathlib import Path
import torch, transformers
from sentence_transformers import SentenceTransformer

folder, texts, ids, mask = Path(sys.argv[1]), *map(json.loads, sys.argv[2:])
shown = {"transformers": version("transformers"), "models": {}, "sentences": {}}
for path in sorted((folder / "models").iterdir()):
    kind = json.loads((path / "config.json").read_text())["architectures"][0]
    model, report = getattr(transformers, kind).from_pretrained(path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"], report
    with torch.no_grad():
        output = model.eval()(torch.tensor(ids), attention_mask=torch.tensor(mask))
    shown["models"][path.name] = output[0].double().tolist()
for path in sorted((folder / "sentences").iterdir()):
    model = SentenceTransformer(str(path), device="cpu")
    shown["sentences"][path.name] = model.encode(texts).astype("float64").tolist()
tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "sentences" / "mean")
shown["ids"] = tokenizer(texts)["input_ids"]
print(json.dumps(shown))
"""


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """The interpreter of an environment with transformers 5 and sentence-transformers."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    where = "import site; print(site.getsitepackages()[-1])"
    packages = Path(subprocess.check_output([python, "-c", where], text=True).strip())
    (packages / "this_environment.pth").write_text("\n".join(site.getsitepackages()))
    command = [python, "-m", "pip", "install", "transformers==5.*", "sentence-transformers==6.*"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return python


def save_models(folder: Path) -> dict[str, Any]:
    """Save models, and return what they compute."""
    sizes = {
        **TOY,
        "vocab_size": 24,
        "pad_token_id": 0,
        "partial_rotary_factor": 0.5,
        "head_dim": 8,
    }
    bert = config(vocab_size=24)
    models = {
        "BertModel": tinybert.BertModel(bert),
        "BertForMaskedLM": tinybert.BertForMaskedLM(bert),
        "MegatronBertForMaskedLM": tinybert.MegatronBertForMaskedLM(
            config("MegatronBert", vocab_size=24)
        ),
        "NemotronForCausalLM": tinybert.NemotronForCausalLM(tinybert.NemotronConfig(**sizes)),
    }
    found = {}
    for name, model in models.items():
        model.eval().save_pretrained(folder / name)
        with padded(), tinybert.no_grad():
            found[name] = model(IDS, attention_mask=MASK)[0].numpy()
    return found


def save_sentence_encoders(folder: Path, vocabulary: Path) -> dict[str, Any]:
    """Save a sentence encoder for each pooling, and return its vectors."""
    tokenizer = tinybert.BertTokenizer(vocabulary, model_max_length=16)
    found = {}
    for name, (pooling, normalise) in POOLINGS.items():
        model = tinybert.BertModel(config(vocab_size=24), add_pooling_layer=False).eval()
        embedder = tinybert.SentenceEmbedder(tokenizer, model, pooling, normalise)
        embedder.save_pretrained(folder / name)
        found[name] = embedder.encode(TEXTS)
        again = tinybert.SentenceEmbedder.from_pretrained(folder / name)
        assert (again.pooling, again.normalise) == (list(pooling), normalise)
        assert np.array_equal(again.encode(TEXTS), found[name])
    return found


def vocabulary(folder: Path) -> Path:
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY.split()), encoding="utf-8")
    return folder / "vocab.txt"


def test_a_saved_sentence_encoder_loads_again(tmp_path: Path) -> None:
    found = save_sentence_encoders(tmp_path / "sentences", vocabulary(tmp_path))
    assert np.allclose(np.linalg.norm(found["mean"], axis=1), 1)
    assert found["two"].shape == (3, 24)
    tokenizer = tinybert.BertTokenizer(tmp_path / "vocab.txt", model_max_length=16)
    model = tinybert.BertModel(config(vocab_size=24)).eval()
    embedder = tinybert.SentenceEmbedder(tokenizer, model)
    embedder.pooling = ["pooling_mode_mean_tokens", "pooling_mode_cls_token"]
    with pytest.raises(ValueError, match="cannot save the order"):
        embedder.save_pretrained(tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_newer_libraries_give_the_same_numbers(newer: Path, tmp_path: Path) -> None:
    expected = save_models(tmp_path / "models")
    sentences = save_sentence_encoders(tmp_path / "sentences", vocabulary(tmp_path))
    embedder = tinybert.SentenceEmbedder.from_pretrained()  # whose file has 8-bit integers
    embedder.save_pretrained(tmp_path / "sentences" / "embedded")
    sentences["embedded"] = embedder.encode(TEXTS)
    given = [json.dumps(value) for value in (TEXTS, IDS.tolist(), MASK.tolist())]
    command = [newer, "-c", SCRIPT, tmp_path, *given]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    shown = json.loads(result.stdout.splitlines()[-1])
    assert shown["transformers"].startswith("5.")
    for name, array in expected.items():
        assert_close(np.array(shown["models"][name]), array, rtol=DEVICE_FLOAT32, name=name)
    for name, array in sentences.items():
        assert_close(np.array(shown["sentences"][name]), array, rtol=DEVICE_FLOAT32, name=name)
    tokenizer = tinybert.AutoTokenizer.from_pretrained(tmp_path / "sentences" / "mean")
    assert shown["ids"] == tokenizer(TEXTS)["input_ids"]
