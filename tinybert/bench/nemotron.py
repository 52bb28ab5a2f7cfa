"""Nemotron: what a token costs with the cache, beside transformers, and as the past grows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Tensor, no_grad, set_default_device
from tinybert.bench.bert import torch_twin
from tinybert.bench.timing import Prepared
from tinybert.models import NemotronConfig, NemotronForCausalLM

# 100 million parameters, shaped as a Minitron is: three heads of queries share one of keys.
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
    """Greedy continuation of one prompt by a model with random weights, with the cache.

    The difference is the number of tokens that are not the same. The note has the time of a token
    after a short and after a long past, with and without the attention itself.
    """
    import torch

    with set_default_device(device):
        model = NemotronForCausalLM(NemotronConfig(**{**SIZES, **(config or {})})).eval()
    twin = torch_twin(model, device).eval()
    ids = np.random.default_rng(0).integers(4, model.config.vocab_size, (1, prompt))
    here, there = Tensor(ids, device=device), torch.from_numpy(ids).to(device)
    call = {"max_new_tokens": new_tokens, "do_sample": False}

    def ours(_: Any = None) -> np.ndarray:
        return model.generate(here, **call).numpy()

    def theirs(_: Any = None) -> np.ndarray:
        return twin.generate(there, attention_mask=torch.ones_like(there), **call).cpu().numpy()

    difference = float((ours() != theirs()).sum())
    return Prepared(ours, {"torch": theirs}, {"torch": difference}, note=growth(model))


def growth(model: NemotronForCausalLM) -> str:
    """How the time of a token grows with the tokens that are in the cache."""
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
    """Seconds of a step after `length` tokens, and of its attention alone; medians."""
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
        step = _median(lambda: model(token, past_key_values=cache).logits.numpy(), runs)
        pairs = [(key[:, :, :length], value[:, :, :length]) for key, value in cache]

        def attention() -> None:
            for key, value in pairs:
                F.scaled_dot_product_attention(query, key, value, enable_gqa=True).numpy()

        return step, _median(attention, runs)


def _median(work: Callable[[], Any], runs: int) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
