"""`np.seterr(over="raise", invalid="raise", divide="raise")` stops nothing that works without it.

Each test asks NumPy to raise for an overflow, a division by zero and an invalid operation, where it
would otherwise warn or be silent. (Activations: `tests/autograd/test_refusals.py`.)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinybert
from tests import test_devices
from tests.models import mega_oracle, nemotron_oracle, oracle
from tests.models.test_dropout import MODELS
from tinybert import Tensor, backend
from tinybert import functional as F
from tinybert.backend import cpu
from tinybert.optim import SGD, Adam, AdamW, clip_grad_norm_

rng = np.random.default_rng(8)
RAISE: dict[str, Any] = {"over": "raise", "invalid": "raise", "divide": "raise"}
IDS = rng.integers(3, 23, size=(2, 6))
MASK = np.array([[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]])


# --- operations -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", test_devices.CASES)
def test_no_operation_stops(name: str) -> None:
    for inputs, options in test_devices.CASES[name]:
        for dtype in test_devices.DTYPES:
            arrays = tuple(test_devices.converted(x, dtype) for x in inputs)
            expected = test_devices.compute(name, arrays, options, "cpu")
            with np.errstate(**RAISE):
                found = test_devices.compute(name, arrays, options, "cpu")
                with backend.plain():
                    test_devices.compute(name, arrays, options, "cpu")
            for one, other in zip(found, expected, strict=True):
                assert one is None or np.array_equal(one, other, equal_nan=True)


def test_large_arrays_are_computed_by_threads_that_do_not_stop_either() -> None:
    x = Tensor(30 * rng.standard_normal((4, cpu.BLOCK)), dtype="float32", requires_grad=True)
    with np.errstate(**RAISE):
        for operation in (F.softmax, F.log_softmax, F.gelu, F.erf, F.silu):
            operation(x).backward(np.full(x.shape, 1e-30, np.float32))
        optimizer = AdamW([x])
        optimizer.step()
    assert np.isfinite(x.numpy()).all()


def test_numbers_are_rounded_when_they_are_converted_and_changed_in_place() -> None:
    with np.errstate(**RAISE):
        assert Tensor([1e-300, 1.0]).tolist() == [0, 1]
        assert Tensor(np.array([1e-300, 1.0]), dtype="float32").tolist() == [0, 1]
        x = Tensor(np.full(2, 1e-30, np.float32))
        assert x.to(dtype="float16").tolist() == [0, 0]
        assert x.mul_(1e-30).tolist() == [0, 0]
        assert x.add_(np.full(2, 1e-300)).tolist() == [0, 0]
        assert x.copy_(np.full(2, 1e-300)).tolist() == [0, 0]
        assert x.fill_(1e-300).tolist() == [0, 0]
        x[0] = 1e-300
        x[1] = np.float64(1e-300)
        assert x.tolist() == [0, 0]
        assert repr(Tensor([1e-40, 1e-3])) == "Tensor([1.e-40, 1.e-03])"


# --- models ---------------------------------------------------------------------------------------


def model_of(name: str, factor: float = 20.0) -> Any:
    """A toy model in training mode. Its weights are large: most probabilities are rounded to 0."""
    tinybert.manual_seed(3)
    decodes = name.endswith(("LMHeadModel", "CausalLM"))
    config: Any
    if name.startswith("Nemotron"):
        config = tinybert.NemotronConfig(**nemotron_oracle.TOY, pad_token_id=1)
    elif name.startswith("Mega") and not name.startswith("Megatron"):
        config = mega_oracle.mega_config(**(mega_oracle.DECODER if decodes else {}))
    else:
        config = oracle.config(name[: name.index("Bert") + 4], is_decoder=decodes)
    model = getattr(tinybert, name)(config)
    for parameter in model.parameters():
        parameter.detach().mul_(factor)
    return model.train()


@pytest.mark.parametrize("name", MODELS)
def test_no_step_of_training_stops(name: str) -> None:
    shape = (2, 2, 6) if name.endswith("MultipleChoice") else (2, 6)
    model = model_of(name)
    ids, mask = (np.broadcast_to(x[:, None], shape) if len(shape) > 2 else x for x in (IDS, MASK))
    for make in (SGD, Adam, AdamW):
        options = {"momentum": 0.9} if make is SGD else {}
        optimizer = make(model.parameters(), lr=1e-3, weight_decay=0.01, **options)
        with np.errstate(**RAISE):
            output = model(ids, attention_mask=mask)
            loss = F.cross_entropy(output[0].reshape(2, -1), np.array([0, 1])) * 1e-25
            loss.backward()
            clip_grad_norm_(model.parameters(), 1.0)
            clip_grad_norm_(model.parameters(), 1.0, norm_type=3)
            optimizer.step()
            optimizer.zero_grad()
    assert all(np.isfinite(p.numpy()).all() for p in model.parameters())


GENERATORS = [name for name in MODELS if name.endswith(("LMHeadModel", "CausalLM"))]
WAYS: dict[str, dict[str, Any]] = {
    "greedy": {"repetition_penalty": 1.5},
    "beams": {"num_beams": 3, "length_penalty": 2.0},
    "sampling": {
        "do_sample": True, "temperature": 0.01, "top_k": 9, "top_p": 0.99, "typical_p": 0.9,
        "min_p": 1e-9, "epsilon_cutoff": 1e-9, "eta_cutoff": 1e-9,
    },
}  # fmt: skip


@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", GENERATORS)
def test_no_generation_stops(name: str, way: str, half: bool) -> None:
    model = model_of(name, 3 if half else 20).eval()
    options = {**WAYS[way], "max_new_tokens": 4, "pad_token_id": 1, "eos_token_id": None}
    with np.errstate(**RAISE):
        if half:
            model.half()
        rows = slice(None) if "Mega" not in name or "Megatron" in name else slice(1)
        found = model.generate(IDS[rows], attention_mask=MASK[rows], **options)
    assert found.shape == (len(IDS[rows]), 10)


@pytest.mark.parametrize("name", ["BertForMaskedLM", *GENERATORS])
def test_weights_are_saved_and_loaded_in_half_the_size(name: str, tmp_path: Path) -> None:
    model = model_of(name, 1e-4)
    with np.errstate(**RAISE):
        model.save_pretrained(tmp_path / "half", dtype="float16")
        model.save_pretrained(tmp_path / "whole")
        for folder in ("half", "whole"):
            loaded = type(model).from_pretrained(tmp_path / folder, dtype="float16")
            assert np.isfinite(loaded(IDS).logits.numpy()).all()
        if name.startswith("Nemotron"):
            loaded = type(model).from_pretrained(
                tmp_path / "whole", dtype="float16", low_memory=True
            )
            assert np.isfinite(loaded(IDS).logits.numpy()).all()


def test_new_weights_in_half_the_size() -> None:
    with np.errstate(**RAISE), tinybert.set_default_dtype("float16"):
        for layer in (tinybert.nn.Linear(300, 300), tinybert.nn.Embedding(300, 300)):
            assert layer.weight.dtype == np.float16
            assert np.isfinite(layer.weight.numpy()).all()


def test_sentence_vectors(minilm: Path) -> None:
    with np.errstate(**RAISE):
        embedder = tinybert.SentenceEmbedder.from_pretrained(minilm)
        assert embedder.encode(["The sky is blue.", "Unbelievable!"]).shape == (2, 384)
        tiny = np.array([[1, 1e-30], [0, 1e-30]], np.float32)
        assert tinybert.embedding.similarity(tiny)[0, 0] == 1
