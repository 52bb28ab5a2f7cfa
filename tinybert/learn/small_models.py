"""Small models with random weights in float64: what the checks of model parts compare with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from tinybert.nn import Module


def random_model(model_class: Any, seed: int, **sizes: Any) -> Any:
    """Return a model in evaluation mode whose weights, norms and biases are all random."""
    defaults = {"num_hidden_layers": 1, "max_position_embeddings": 12}
    config = model_class.config_class(**{**defaults, **sizes})
    model = model_class(config).to(dtype="float64").eval()
    rng = np.random.default_rng(seed)
    for parameter in model.parameters():
        parameter.data[...] = rng.normal(scale=0.5, size=parameter.shape)
    return model


def weights_of(module: Module) -> dict[str, np.ndarray]:
    """Return the weights of a module by name."""
    return {name: parameter.numpy() for name, parameter in module.named_parameters()}


def layer_call(mask: Any = None) -> Any:
    """Return what a layer of BERT reads of a call: the mask to add to the scores, or None."""
    return SimpleNamespace(
        mask=mask, is_causal=False, past_length=0, output_attentions=False, encoder_states=None
    )
