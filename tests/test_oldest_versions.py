"""The oldest NumPy and regex that tinybert declares give the results of this environment."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinybert
from tests.models.nemotron_oracle import TOY
from tests.support import assert_close
from tests.tolerances import DEVICE_FLOAT32
from tinybert.tokenizers import train_bpe
from tinybert.weights import load_checkpoint

ROOT = Path(__file__).parents[1]
OLDEST = {"numpy": "2.0", "regex": "2023.10.3"}
# Wheels of these are for Python 3.10 to 3.12. For a later Python: the first version that has one.
PINS = [
    f"numpy=={OLDEST['numpy']}.*; python_version < '3.13'",
    "numpy==2.1.*; python_version == '3.13'",
    "numpy==2.3.*; python_version > '3.13'",
    f"regex=={OLDEST['regex']}; python_version < '3.13'",
    "regex==2024.9.11; python_version == '3.13'",
    "regex==2025.9.1; python_version > '3.13'",
]

VOCABULARY = """
[PAD] [UNK] [CLS] [SEP] [MASK] the cat sat on mat a deja vu un ##believ ##ably long is ##n n t
! , : . ' 北 京
"""

# Run in both environments, with warnings as errors: loads the models and the tokenizer of a folder,
# trains each model for a step, saves it, and prints what can be compared.
SCRIPT = """
import json, sys
from importlib.metadata import version
from pathlib import Path
import numpy as np
import tinybert
from tinybert.optim import SGD, AdamW

source, target = map(Path, sys.argv[1:])
tokenizer = tinybert.BertTokenizer.from_pretrained(source)
texts = ["The cat sat on the mat!", "A déjà vu, unbelievably long: 北京 isn't 12345 far."]
batch = tokenizer(texts, padding=True, return_tensors="np")
shown = {"numpy": version("numpy"), "regex": version("regex"), "ids": batch["input_ids"].tolist()}
shown["byte pairs"] = tinybert.TokenizerJSON(source / "tokenizer.json")(texts)["input_ids"]
for name in ("BertForMaskedLM", "MegaForMaskedLM", "NemotronForCausalLM"):
    model = getattr(tinybert, name).from_pretrained(source / name)  # without dropout
    ids, mask = (np.asarray(batch[key]) for key in ("input_ids", "attention_mask"))
    output = model(ids, attention_mask=mask, labels=np.where(mask, ids, -100))
    output.loss.backward()
    assert output.logits.dtype == np.float32, (name, output.logits.dtype)
    for key, parameter in model.named_parameters():
        assert parameter.grad is None or parameter.grad.dtype == np.float32, (name, key)
    shown[name] = output.loss.item()
    SGD(model.parameters(), lr=1.0).step()
    model.save_pretrained(target / name)
    AdamW(model.parameters(), lr=1e-3).step()
    assert {p.dtype for p in model.parameters()} == {np.dtype(np.float32)}, name
model = model.from_pretrained(source / name)
shown["generated"] = model.generate(ids[:1], max_new_tokens=8, eos_token_id=None).tolist()
print(json.dumps(shown))
"""


@pytest.fixture
def oldest(tmp_path: Path) -> Path:
    """The interpreter of a virtual environment with tinybert's wheel and the oldest versions."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    command = [python, "-m", "pip", "install", "--only-binary", "numpy,regex", *PINS, ROOT]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return python


def run(python: str | Path, script: str, folder: Path, *arguments: Path) -> str:
    """What a script prints, run away from the repository with warnings as errors."""
    command = [python, "-W", "error", "-c", script, *arguments]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def byte_pairs() -> dict[str, Any]:
    """A tokenizer.json whose patterns ask regex for Unicode's letters and numbers."""
    vocab, merges = train_bpe(["the cat sat on the mat " * 3, "unbelievably long"], 290)
    digits = {"type": "Split", "pattern": {"Regex": r"\p{N}{1,3}"}, "behavior": "Isolated"}
    of_bytes = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    return {
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{**digits, "invert": False}, of_bytes],
        },
        "model": {"type": "BPE", "vocab": vocab, "merges": [" ".join(pair) for pair in merges]},
    }


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with two tokenizers and a small model of each of three families."""
    source = tmp_path / "source"
    tokens = VOCABULARY.split()
    source.mkdir()
    (source / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    (source / "tokenizer.json").write_text(json.dumps(byte_pairs()))
    sizes: dict[str, Any] = {
        "vocab_size": len(tokens), "hidden_size": 12, "num_hidden_layers": 2,
        "intermediate_size": 20, "initializer_range": 0.3,
    }  # fmt: skip
    bert = tinybert.BertConfig(**sizes, num_attention_heads=3)
    mega = tinybert.MegaConfig(**sizes, shared_representation_size=8, ema_projection_size=4)
    nemotron = tinybert.NemotronConfig(**{**TOY, **sizes})
    tinybert.BertForMaskedLM(bert).save_pretrained(source / "BertForMaskedLM")
    tinybert.MegaForMaskedLM(mega).save_pretrained(source / "MegaForMaskedLM")
    tinybert.NemotronForCausalLM(nemotron).save_pretrained(source / "NemotronForCausalLM")
    return source


@pytest.mark.slow
def test_the_oldest_versions_give_the_same_results(
    oldest: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    expected = json.loads(run(sys.executable, SCRIPT, tmp_path, models, here))
    monkeypatch.delenv("PYTHONPATH")
    shown_requirements = "from importlib.metadata import requires; print(*requires('tinybert'))"
    requirements = run(oldest, shown_requirements, tmp_path).split()
    assert {f"{name}>={version}" for name, version in OLDEST.items()} <= set(requirements)
    run(oldest, "import tinybert", tmp_path)
    found = json.loads(run(oldest, SCRIPT, tmp_path, models, there))

    for name, version in OLDEST.items():
        assert found[name] != expected[name]
        if sys.version_info < (3, 13):
            assert f"{found[name]}.".startswith(f"{version}.")
        del found[name], expected[name]
    losses = [name for name in expected if name.startswith(("Bert", "Mega", "Nemotron"))]
    for name in losses:
        assert found.pop(name) == pytest.approx(expected.pop(name), rel=DEVICE_FLOAT32)
        weights = load_checkpoint(there / name)
        for key, array in load_checkpoint(here / name).items():
            assert weights[key].dtype == np.float32
            assert_close(weights[key], array, rtol=DEVICE_FLOAT32, atol=DEVICE_FLOAT32, name=key)
    assert found == expected  # ids and tokens
