"""What the tests of MEGA share: the same models in transformers, in float64, and random calls."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from transformers.models.deprecated.mega import modeling_mega

import tinybert
from tests.models.test_heads import draw_labels, pick

# All sizes differ, so that no wrong product of shapes fits.
TOY: dict[str, Any] = {
    "vocab_size": 23,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "intermediate_size": 10,
    "ema_projection_size": 3,
    "shared_representation_size": 6,
    "nffn_hidden_size": 7,
    "max_positions": 17,
    "type_vocab_size": 5,
}
DECODER = {"is_decoder": True, "bidirectional": False}
NO_DROPOUT = {
    "dropout_prob": 0.0,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "nffn_activation_dropout_prob": 0.0,
}


@pytest.fixture(autouse=True)
def theirs_in_float64(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As `in_float64`, and torch on one thread."""
    in_float64(monkeypatch)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # toy sizes: waking a second one takes longer than the work
    yield
    torch.set_num_threads(threads)


def in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers' Fourier transform and angles are float32, whatever the model's dtype; here they
    have the precision of the model.
    """

    def fft_convolution(self: Any, inputs: Any, kernel: Any, length: int) -> Any:
        product = torch.fft.rfft(inputs, n=2 * length) * torch.fft.rfft(kernel, n=2 * length)
        return torch.fft.irfft(product, n=2 * length)

    def get_sinusoid_embeddings(max_positions: int, embedding_dim: int) -> Any:
        half = embedding_dim // 2
        speed = torch.exp(torch.arange(half).double() * -(math.log(10000) / half))
        angles = torch.arange(max_positions).double()[:, None] * speed
        return torch.sin(angles), torch.cos(angles)

    ema = modeling_mega.MegaMultiDimensionDampedEma
    monkeypatch.setattr(ema, "fft_convolution", fft_convolution)
    rotary = modeling_mega.MegaRotaryRelativePositionalBias
    monkeypatch.setattr(rotary, "get_sinusoid_embeddings", staticmethod(get_sinusoid_embeddings))


def mega_config(**options: Any) -> tinybert.MegaConfig:
    """The toy config with some options changed."""
    return tinybert.MegaConfig(**{**TOY, **options})


def mega_twins(name: str, seed: int = 0, **options: Any) -> tuple[Any, Any]:
    """A model here and one in transformers with the same random weights, float64, eval mode."""
    own = mega_config(**options)
    plain = {k: v for k, v in own.to_dict().items() if k not in ("model_type", "reference")}
    theirs = getattr(modeling_mega, name)(modeling_mega.MegaConfig(**plain))
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for key, tensor in theirs.state_dict().items():
            if tensor.is_floating_point() and not key.endswith("_float_tensor"):
                drawn = 0.4 * rng.standard_normal(tuple(tensor.shape))
                if key.endswith(("running_var", "scalar")) or ".norm.norm.weight" in key:
                    drawn = 1 + np.abs(drawn)
                tensor.copy_(torch.from_numpy(drawn.astype(np.float32)))
    ours = getattr(tinybert, name)(own)
    ours.load_state_dict(theirs.state_dict())
    return ours.to(np.float64).eval(), theirs.double().eval()


def draw_options(name: str, rng: np.random.Generator, **fixed: Any) -> dict[str, Any]:
    """A random configuration that transformers can compute."""
    may_decode = name.endswith(("Model", "CausalLM", "MaskedLM"))
    decoder = bool(may_decode and rng.random() < 0.5)
    size = int(pick(rng, 3, 4))
    norm = pick(rng, "scalenorm", "layernorm", "rmsnorm", "batchnorm", "syncbatchnorm")
    options: dict[str, Any] = {
        "vocab_size": int(rng.integers(11, 40)),
        "hidden_size": 2 * int(pick(rng, 2, 4, 5)),
        "num_hidden_layers": int(pick(rng, 1, 2)),
        "intermediate_size": int(rng.integers(3, 12)),
        "ema_projection_size": int(pick(rng, 1, 2, 5)),
        "shared_representation_size": 2 * int(pick(rng, 1, 2, 3)),
        "nffn_hidden_size": int(rng.integers(3, 12)),
        "bidirectional": bool(not decoder and rng.random() < 0.7),
        "is_decoder": decoder,
        "add_cross_attention": bool(decoder and rng.random() < 0.5),
        "use_chunking": bool(rng.random() < 0.5),
        "chunk_size": size,
        "truncation": pick(rng, None, None, 1, 3, 30),
        "normalize_before_mega": bool(rng.random() < 0.6),
        "normalize_before_ffn": bool(rng.random() < 0.6),
        "normalization_type": norm,
        "norm_affine": bool(norm == "layernorm" or rng.random() < 0.7),
        "activation": pick(rng, "silu", "gelu", "relu", "tanh"),
        "attention_activation": pick(rng, "softmax", "laplace", "relu2"),
        "use_normalized_ffn": bool(rng.random() < 0.8),
        "max_positions": int(rng.integers(12, 20)),
        "add_token_type_embeddings": bool(rng.random() < 0.5),
        "type_vocab_size": int(pick(rng, 1, 2, 5)),
        "relative_positional_bias": pick(rng, "rotary", "simple"),
        "tie_word_embeddings": bool(rng.random() < 0.7),
        "add_lm_hidden_dense_layer": bool(rng.random() < 0.6),
        "num_labels": 2 if name.endswith("QuestionAnswering") else int(pick(rng, 1, 2, 5)),
        "problem_type": pick(
            rng, None, "regression", "single_label_classification", "multi_label_classification"
        ),
        "reference": "transformers",
        "use_cache": False,  # with it theirs forgets the truncation
        **fixed,
    }
    if not options["use_chunking"] and rng.random() < 0.7:
        options["chunk_size"] = -1
    return options


def draw_length(config: Any, rng: np.random.Generator) -> int:
    """A number of tokens that transformers can take."""
    if not config.use_chunking:
        return int(rng.integers(1, 10 if config.chunk_size < 0 else config.chunk_size + 1))
    if config.is_decoder or rng.random() < 0.6:
        limited = config.relative_positional_bias == "simple" and config.add_cross_attention
        return config.chunk_size * int(1 if limited else pick(rng, 1, 2, 3))
    return int(rng.integers(1, config.chunk_size + 1))


def draw_call(name: str, config: Any, rng: np.random.Generator) -> dict[str, Any]:
    """Random inputs, all of them or some, with labels."""
    batch, length = int(pick(rng, 1, 2, 3)), draw_length(config, rng)
    choices = int(pick(rng, 1, 2, 4))
    shape = (batch, choices, length) if name.endswith("MultipleChoice") else (batch, length)
    mask = (rng.random(shape) < 0.7).astype(np.int64)
    if config.use_chunking:  # padding at the left must not move the borders
        mask[..., 0] = 1
    if config.is_decoder:  # padding at the right: else theirs gives nan
        mask = (np.arange(length) < rng.integers(1, length + 1, (batch, 1))).astype(np.int64)
    elif batch > 1:
        mask[0] = 0  # a row in which all is masked
    call: dict[str, Any] = {
        "attention_mask": mask,
        "token_type_ids": rng.integers(config.type_vocab_size, size=shape),
        "output_hidden_states": True,
        "output_attentions": True,
    }
    call = {key: value for key, value in call.items() if rng.random() < 0.7}
    if config.is_decoder and config.attention_activation != "softmax":
        call.pop("attention_mask", None)  # theirs counts padding among the keys
    if rng.random() < 0.8:
        call["input_ids"] = rng.integers(config.vocab_size, size=shape)
    else:
        call["inputs_embeds"] = rng.standard_normal((*shape, config.hidden_size))
    if config.add_cross_attention:
        width = int(pick(rng, 1, 2, 3))
        call["encoder_hidden_states"] = rng.standard_normal((batch, width, config.hidden_size))
        if rng.random() < 0.5:
            seen = rng.random((batch, width)) < 0.7
            seen[:, 0] = True
            call["encoder_attention_mask"] = seen.astype(float)
    labels = draw_labels(name, config, batch, length, choices, rng)
    return call | labels
