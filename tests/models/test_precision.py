"""Errors of float32 against float64, ours divided by torch's: outputs and gradients in training
mode without dropout, of all families, packed and padded, with attention in one and in many blocks.

`pytest -m slow -n 0 -s tests/models/test_precision.py` prints the geometric means. torch computes
attention by its fastest version ("sdpa") where transformers has it for the model.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch

import tinybert
from tests.models import mega_oracle, nemotron_oracle, oracle
from tests.models.test_packing import STILL, counted
from tests.support import rms
from tests.tolerances import FLOAT32_EPS, MODEL_FLOAT32_MEAN_RATIO

BERT = {"hidden_size": 48, "num_attention_heads": 4, "intermediate_size": 100, "vocab_size": 90,
        "num_hidden_layers": 3, "max_position_embeddings": 320}  # fmt: skip
NEMOTRON = {**BERT, "num_key_value_heads": 2, "head_dim": 12}
MEGA = {"hidden_size": 48, "intermediate_size": 60, "nffn_hidden_size": 100, "vocab_size": 90,
        "shared_representation_size": 24, "ema_projection_size": 8, "num_hidden_layers": 3,
        "max_positions": 320, "reference": "transformers"}  # fmt: skip
CHUNKS = {**MEGA, "use_chunking": True, "chunk_size": 16}
MODELS = 12  # of each kind; a ratio of two errors is luck, their geometric mean is not


def bert(name: str, seed: int, **options: Any) -> tuple[Any, Any]:
    return oracle.twin_heads(name, seed, **BERT, **STILL, **options)


def mega(name: str, seed: int, **options: Any) -> tuple[Any, Any]:
    with pytest.MonkeyPatch.context() as patch:
        mega_oracle.in_float64(patch)
        return mega_oracle.mega_twins(name, seed, **{**MEGA, **mega_oracle.NO_DROPOUT, **options})


def nemotron(name: str, seed: int, **options: Any) -> tuple[Any, Any]:
    return nemotron_oracle.twins(name, seed, **NEMOTRON, pad_token_id=0, **options)


# The models; their classes; the options; tokens in a row; whether the batch is ragged.
KINDS: dict[str, tuple[Callable[..., Any], str, dict[str, Any], int, bool]] = {
    "BERT": (bert, "BertModel", {}, 31, False),
    "BERT, packed": (bert, "BertModel", {}, 31, True),
    "BERT in blocks": (bert, "BertModel", {}, 300, False),
    "BERT in blocks, packed": (bert, "BertForMaskedLM", {}, 300, True),
    "BERT decoder": (bert, "BertLMHeadModel", {"is_decoder": True}, 150, False),
    "MegatronBERT, packed": (bert, "MegatronBertForMaskedLM", {}, 31, True),
    "MEGA": (mega, "MegaModel", {}, 31, False),
    "MEGA, packed": (mega, "MegaForMaskedLM", {}, 31, True),
    "MEGA, Laplace": (mega, "MegaModel", {"attention_activation": "laplace"}, 31, False),
    "MEGA in chunks": (mega, "MegaForMaskedLM", CHUNKS, 160, False),
    "Nemotron": (nemotron, "NemotronForCausalLM", {}, 31, False),
    "Nemotron in blocks, packed": (nemotron, "NemotronForCausalLM", {}, 150, True),
}  # fmt: skip


def draw_call(length: int, ragged: bool, labelled: bool, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, length, 4) if ragged else np.full(4, length)
    mask = (np.arange(length) < lengths[:, None]).astype(np.int64)
    call = {"input_ids": rng.integers(3, 90, mask.shape) * mask, "attention_mask": mask}
    if labelled:
        counts = mask.astype(bool) & (rng.random(mask.shape) < 0.5)
        counts[:, 1] = mask[:, 1] == 1  # of each text at least one
        call["labels"] = np.where(counts, call["input_ids"], -100)
    return call


def results(model: Any, call: dict[str, Any], tensor: Callable[..., Any]) -> dict[str, np.ndarray]:
    """Outputs where tokens are, and the gradients of all parameters for random cotangents."""
    model.zero_grad()
    mask, total, found = call["attention_mask"], 0.0, {}
    output = model(**{name: tensor(array) for name, array in call.items()})
    for name in ("loss", "logits", "last_hidden_state", "pooler_output"):
        if output.get(name) is None:
            continue
        part, rng = output[name], np.random.default_rng(len(name))
        u = rng.standard_normal(tuple(part.shape))
        u = u * mask[:, :, None] if part.ndim == 3 else u
        u = u.astype(np.float32).astype(str(part.dtype).rpartition(".")[2])
        total = total + (part * tensor(u)).sum()
        found[name] = part.detach().numpy() * (u != 0)
    total.backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return found | {name: grad.numpy().copy() for name, grad in gradients.items()}


def logarithms(kind: str) -> list[float]:
    """The logarithms of our errors divided by torch's, of every result of some models."""
    make, name, options, length, ragged = KINDS[kind]
    found = []
    for seed in range(MODELS):
        ours, theirs = make(name, seed, **options)
        ours.train(), theirs.train()
        if theirs._supports_sdpa:
            theirs.set_attn_implementation("sdpa")
        call = draw_call(length, ragged, name[-5:] != "Model" or "LMHead" in name, seed)
        exactly: AbstractContextManager[None] = nullcontext()
        if make is nemotron:
            exactly = nemotron_oracle.exact()
        with exactly:
            exact = results(theirs, call, torch.tensor)
        torchs = results(theirs.float(), call, torch.tensor)
        with counted() as packed:
            mine = results(ours.to(np.float32), call, tinybert.Tensor)
        assert bool(packed) == ragged, kind
        assert mine.keys() == torchs.keys() == exact.keys()
        for key, expected in exact.items():
            if re.search(r"key\.bias$", key):  # 0, but for rounding
                continue
            assert mine[key].dtype == torchs[key].dtype == np.float32
            unit = FLOAT32_EPS / 8 * rms(expected)  # where a result happens to be exact
            own, other = (rms(array - expected) + unit for array in (mine[key], torchs[key]))
            found.append(float(np.log(own / other)))
    return found


@pytest.mark.slow
def test_models_and_their_gradients_are_as_precise_as_torchs() -> None:
    """The geometric mean of each kind, and of all."""
    found = {}
    with nemotron_oracle.one_thread():
        for kind in KINDS:
            found[kind] = logarithms(kind)
    found["all"] = list(chain.from_iterable(found.values()))
    means = {kind: float(np.exp(np.mean(logs))) for kind, logs in found.items()}
    for kind, mean in means.items():
        print(f"{kind}: {mean:.2f} times torch's error, {len(found[kind])} results")
    assert max(means.values()) < MODEL_FLOAT32_MEAN_RATIO, means
