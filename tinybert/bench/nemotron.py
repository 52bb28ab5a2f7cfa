"""Benchmark Nemotron's generation with a key/value cache, also against the length of the past."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Tensor, no_grad, set_default_device
from tinybert.bench.bert import greedy_generation
from tinybert.bench.timing import Prepared, median_seconds
from tinybert.models import NemotronConfig, NemotronForCausalLM

# 100 million parameters, with the proportions of Minitron: three query heads share a key head.
SIZES: dict[str, Any] = {
    "vocab_size": 16000,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
    "initializer_range": 0.1,
    "eos_token_id": None,
}
LENGTHS = (64, 2048)


def generate(
    device: str, prompt: int, new_tokens: int, config: dict[str, Any] | None = None
) -> Prepared:
    """Generate with greedy search and a cache, by a model with random weights.

    The note has the time per token after a short and after a long past, with and without attention.
    """
    with set_default_device(device):
        model = NemotronForCausalLM(NemotronConfig(**{**SIZES, **(config or {})})).eval()
    ids = np.random.default_rng(0).integers(4, model.config.vocab_size, (1, prompt))
    return greedy_generation(model, ids, new_tokens, device, note=growth(model))


def growth(model: NemotronForCausalLM) -> str:
    """Describe how the time per token grows with the number of tokens in the cache."""
    whole, rest = [], []
    for length in LENGTHS:
        seconds, attention = step_times(model, length)
        whole.append(f"{seconds * 1e3:.1f} ms")
        rest.append(seconds - attention)
    return (
        f"a token after {LENGTHS[0]} takes {whole[0]}, after {LENGTHS[1]} {whole[1]}; "
        f"without attention itself {rest[1] / rest[0]:.2f} times as long"
    )


def step_times(model: NemotronForCausalLM, length: int, runs: int = 9) -> tuple[float, float]:
    """Return the median seconds of a step after `length` tokens, and of its attention only."""
    config, weight = model.config, model.lm_head.weight
    token = Tensor([[5]], device=weight.device)
    query, *past = (
        Tensor(
            np.random.default_rng(0).standard_normal((1, heads, tokens, config.head_dim)),
            dtype=weight.dtype,
            device=weight.device,
        )
        for heads, tokens in (
            (config.num_attention_heads, 1),
            (config.num_key_value_heads, length),
            (config.num_key_value_heads, length),
        )
    )
    with no_grad():
        cache = model.base_model.make_cache()
        for layer in range(config.num_hidden_layers):
            cache.append(layer, past[0], past[1])
        step = median_seconds(lambda: model(token, past_key_values=cache).logits.numpy(), runs)
        pairs = [(key[:, :, :length], value[:, :, :length]) for key, value in cache]

        def attention() -> None:
            for key, value in pairs:
                F.scaled_dot_product_attention(query, key, value, enable_gqa=True).numpy()

        return step, median_seconds(attention, runs)
