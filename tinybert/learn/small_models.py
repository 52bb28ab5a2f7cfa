"""Small models with random weights in float64: what the checks of model parts compare with."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from tinybert.learn.exercise import Case
from tinybert.learn.patches import Patch, patched
from tinybert.models.bert_heads import BertLMHeadModel
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
        mask=mask,
        is_causal=False,
        past_length=0,
        output_attentions=False,
        encoder_states=None,
        packing=None,
    )


@cache
def _decoder() -> Any:
    return random_model(
        BertLMHeadModel, 0, vocab_size=13, hidden_size=6, num_attention_heads=2,
        num_hidden_layers=2, intermediate_size=5, is_decoder=True,
    )  # fmt: skip


def generation_case(what: str, patch: Patch, **options: Any) -> Case:
    """Return the case of a small decoder that generates the same with the learner's code.

    Args:
        what: one line about the case in the report.
        patch: puts the learner's code into the engine.
        options: of `generate`.
    """
    prompt, mask = np.array([[2, 5, 7], [0, 3, 8]]), np.array([[1, 1, 1], [0, 1, 1]])

    def generate() -> dict[str, Any]:
        output = _decoder().generate(
            prompt, attention_mask=mask, max_length=12, output_scores=True,
            return_dict_in_generate=True, **options,
        )  # fmt: skip
        scores = np.stack([step.numpy() for step in output.scores])
        return {"ids": output.sequences.tolist(), "scores": scores}

    def with_yours() -> dict[str, Any]:
        with patched(patch):
            return generate()

    return Case(with_yours, (), generate(), stage="model", tolerance=1e-4, what=what)
