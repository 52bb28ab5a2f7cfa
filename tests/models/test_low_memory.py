"""A model whose matrices stay in their file: the same numbers, little memory, and no gradients."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinybert
from tests.models.nemotron_oracle import TOY
from tests.support import assert_as_precise
from tinybert import BertConfig, BertForMaskedLM, NemotronConfig, NemotronForCausalLM, Tensor
from tinybert.nn import stored
from tinybert.nn.stored import StoredParameter

IDS = np.random.default_rng(0).integers(1, 23, size=(2, 7))
MANY = np.random.default_rng(1).integers(1, 23, size=(32, 7))  # to compare errors in the mean


@pytest.fixture(params=[17, 1 << 18], ids=["small blocks", "one block"])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "BLOCK", request.param)


def saved(folder: Path, dtype: str | None, shards: str = "5GB", **options: Any) -> Path:
    tinybert.manual_seed(1)
    config = NemotronConfig(**{**TOY, "initializer_range": 0.5, **options})
    NemotronForCausalLM(config).save_pretrained(folder, max_shard_size=shards, dtype=dtype)
    return folder


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", [None, "float16", "bfloat16"])
def test_the_same_numbers(dtype: str | None, tied: bool, tmp_path: Path) -> None:
    options = {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": tied}
    folder = saved(tmp_path, dtype, "2KB", **options)
    whole = NemotronForCausalLM.from_pretrained(folder)
    model, report = NemotronForCausalLM.from_pretrained(
        folder, low_memory=True, output_loading_info=True
    )
    assert str(report) == ""
    found, expected = model(MANY).logits.numpy(), whole(MANY).logits.numpy()
    assert_as_precise(found, expected, copy.deepcopy(whole).double()(MANY).logits.numpy())
    options = {"max_new_tokens": 6, "eos_token_id": None}
    assert model.generate(IDS, **options).tolist() == whole.generate(IDS, **options).tolist()
    assert model.num_parameters() == whole.num_parameters()
    assert (model.dtype, model.device) == (np.float32, "cpu")
    for name, tensor in whole.state_dict().items():
        assert (model.state_dict()[name].numpy() == tensor.numpy()).all(), name
    weights = [p for p in model.parameters() if isinstance(p, StoredParameter)]
    assert len(weights) == 2 * 6 + 2 - tied
    raw = weights[1]._stored
    assert raw.dtype == {None: "f4", "float16": "f2", "bfloat16": "u2"}[dtype]
    assert not raw.flags.owndata


def test_any_model_can_be_loaded_so(tmp_path: Path) -> None:
    sizes = {"vocab_size": 23, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3}
    config = BertConfig(**sizes, intermediate_size=10, max_position_embeddings=17)
    BertForMaskedLM(config).save_pretrained(tmp_path, dtype="float16")
    whole, model = (BertForMaskedLM.from_pretrained(tmp_path, low_memory=m) for m in (False, True))
    found, expected = model(MANY).logits.numpy(), whole(MANY).logits.numpy()
    assert_as_precise(found, expected, whole.double()(MANY).logits.numpy())
    head = tinybert.BertForTokenClassification.from_pretrained(tmp_path, low_memory=True)
    assert head.classifier.weight.numpy().std() > 0.005  # drawn, as the file lacks it
    assert head(IDS).logits.shape == (2, 7, 2)


def test_on_another_device(device: str, tmp_path: Path) -> None:
    folder = saved(tmp_path, "bfloat16")
    here = NemotronForCausalLM.from_pretrained(folder)
    there = NemotronForCausalLM.from_pretrained(folder, low_memory=True, device=device)
    assert there.device == Tensor([0.0], device=device).device
    found, expected = there(MANY).logits.numpy(), here(MANY).logits.numpy()
    assert_as_precise(found, expected, here.double()(MANY).logits.numpy())


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_gradients_and_changes_are_refused(dtype: str | None, tmp_path: Path) -> None:
    model = NemotronForCausalLM.from_pretrained(saved(tmp_path, dtype), low_memory=True)
    refused = pytest.raises(RuntimeError, match=r"low_memory=True is for inference")
    with refused:
        model.requires_grad_()
    embeds = Tensor(np.zeros((1, 2, 14), np.float32), requires_grad=True)
    with refused:
        model(inputs_embeds=embeds)
    with tinybert.no_grad():
        model(inputs_embeds=embeds)
    with refused:
        model.lm_head.weight.fill_(0.0)
    for write in (model.lm_head.weight.data, model.lm_head.weight.numpy()):
        with pytest.raises(ValueError, match="read-only"):
            write[:] = 0.0
    with pytest.raises(RuntimeError, match=r"give it to from_pretrained\(\.\.\., dtype="):
        model.to(np.float64)
    with refused:
        model.lm_head.weight.data = np.zeros((23, 14), np.float32)
    with pytest.raises(RuntimeError, match="does not require a gradient"):
        model(IDS, labels=IDS).loss.backward()
    with pytest.raises(ValueError, match="input_ids must be from 0 to 22, got 23"):
        model([[23]])


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_copies_share_what_is_stored(dtype: str | None, tied: bool, tmp_path: Path) -> None:
    folder = saved(tmp_path, dtype, tie_word_embeddings=tied)
    model = NemotronForCausalLM.from_pretrained(folder, low_memory=True)
    twin = copy.deepcopy(model)
    assert (twin.lm_head.weight is twin.model.embed_tokens.weight) == tied
    assert twin.lm_head.weight is not model.lm_head.weight
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        if isinstance(one, StoredParameter):
            assert one._stored is other._stored
        assert one is not other
    assert twin(IDS).logits.tolist() == model(IDS).logits.tolist()
    assert copy.copy(model.lm_head.weight).tolist() == model.lm_head.weight.tolist()
    with pytest.raises(RuntimeError, match="cannot be pickled, as its weights are in files"):
        pickle.dumps(model)


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_what_changes_nothing_is_allowed(dtype: str | None, tmp_path: Path) -> None:
    model = NemotronForCausalLM.from_pretrained(saved(tmp_path, dtype), low_memory=True)
    before = model(IDS).logits.tolist()
    assert model.to("cpu").float().cpu().to("float32")(IDS).logits.tolist() == before


LIMITED = """
import json, resource, sys
import numpy as np
import tinybert

def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(name))

# What a process may allocate of its own: what it has now and 24 MB. Files that are mapped for
# reading do not count, as the system can drop them at any time.
np.ones((256, 256), np.float32) @ np.ones((256, 256), np.float32)  # BLAS takes its buffers
before = status("VmData")
resource.setrlimit(resource.RLIMIT_DATA, (before + (24 << 20),) * 2)
low_memory = sys.argv[2] == "low"
model = tinybert.AutoModelForCausalLM.from_pretrained(sys.argv[1], low_memory=low_memory)
print(json.dumps(model.generate([[1, 2, 3]], max_new_tokens=2, eos_token_id=None).tolist()))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory as Linux does")
def test_a_folder_larger_than_the_memory_there_is(tmp_path: Path) -> None:
    """45 million numbers, 89 MB of bfloat16, 178 MB in float32, within 24 MB."""
    sizes = {"vocab_size": 8000, "hidden_size": 768, "intermediate_size": 2304, "head_dim": 64}
    sizes |= {"num_attention_heads": 12, "num_key_value_heads": 4, "num_hidden_layers": 6}
    saved(tmp_path, "bfloat16", **sizes, partial_rotary_factor=0.5)
    assert (tmp_path / "model.safetensors").stat().st_size > 85e6
    results = {}
    for how in ("low", "whole"):
        command = [sys.executable, "-W", "error", "-c", LIMITED, str(tmp_path), how]
        root = Path(__file__).parents[2]
        results[how] = subprocess.run(
            command, cwd=root, capture_output=True, text=True, check=False,
            env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
    assert results["whole"].returncode != 0
    assert "Memory" in results["whole"].stderr
    assert results["low"].returncode == 0, results["low"].stderr
    model = NemotronForCausalLM.from_pretrained(tmp_path)
    expected = model.generate([[1, 2, 3]], max_new_tokens=2, eos_token_id=None).tolist()
    assert json.loads(results["low"].stdout) == expected
