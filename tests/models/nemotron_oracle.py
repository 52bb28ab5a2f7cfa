"""What the tests of Nemotron share: our model and the same model in transformers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import tinybert
from tests.models.oracle import draw_weights

# All sizes differ, so that no wrong product of shapes fits: the heads' 4 * 6 is not the hidden 14.
TOY: dict[str, Any] = {
    "vocab_size": 23,
    "hidden_size": 14,
    "intermediate_size": 10,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "max_position_embeddings": 17,
    "partial_rotary_factor": 0.7,
}
CLASSES = (
    "NemotronModel",
    "NemotronForCausalLM",
    "NemotronForSequenceClassification",
    "NemotronForTokenClassification",
    "NemotronForQuestionAnswering",
)


def twins(name: str, seed: int = 0, **options: Any) -> tuple[Any, Any]:
    """A model of ours and one of transformers with the same random weights, float64, eval mode."""
    own = tinybert.NemotronConfig(**{**TOY, **options})
    ours = getattr(tinybert, name)(own)
    twin = transformers.NemotronConfig(**own.to_dict())
    twin._attn_implementation = "eager"
    theirs = getattr(transformers, name)(twin)
    draw_weights(theirs, seed)
    ours.load_state_dict(theirs.state_dict())
    return ours.to(np.float64).eval(), theirs.double().eval()


@contextmanager
def exact() -> Iterator[None]:
    """Inside, transformers computes in float64 what it otherwise rounds to float32 in every model:
    the weights of attention, and the cosines and sines of the (float32) angles. The rates, powers
    in float32, are rounded right: torch's may be off in the last place.
    """
    softmax = torch.nn.functional.softmax
    rotary = transformers.models.nemotron.modeling_nemotron.NemotronRotaryEmbedding

    def wide_softmax(x: Any, dim: Any = None, dtype: Any = None, **options: Any) -> Any:
        return softmax(x, dim=dim, dtype=torch.promote_types(x.dtype, dtype or x.dtype), **options)

    def wide_angles(self: Any, x: Any, position_ids: Any) -> Any:
        turned = int(self.config.head_dim * self.config.partial_rotary_factor)
        exponents = torch.arange(0, turned, 2).float() / max(turned, 1)
        rates = 1 / (self.config.rope_theta ** exponents.double()).float()
        angles = position_ids[:, :, None].float() * rates
        angles = torch.cat((angles, angles), dim=-1).double()
        return angles.cos().to(x.dtype), angles.sin().to(x.dtype)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "softmax", wide_softmax)
        patch.setattr(rotary, "forward", wide_angles)
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """torch on one thread: on arrays this small, threads mostly wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def flat(output: Any) -> dict[str, Any]:
    """Every tensor of an output by name; members of tuples, and of a cache, by number."""

    def walk(name: str, value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, transformers.Cache):
            value = [(layer.keys, layer.values) for layer in value.layers]
        if isinstance(value, (tuple, list, tinybert.nn.KeyValueCache)):
            for number, member in enumerate(value):
                yield from walk(f"{name}[{number}]", member)
        else:
            yield name, value

    return dict(pair for name, value in output.items() for pair in walk(name, value))


def array(tensor: Any) -> np.ndarray:
    """Of ours or theirs."""
    return tensor.detach().numpy()
