"""Fresh weights of every model have the distributions of transformers' fresh weights."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers.models.deprecated.mega import modeling_mega

import tinybert
from tests.distributions import ALARM, cdf_bound, two_sample_bound
from tinybert import nn
from tinybert.models.base import PreTrainedModel

# Large enough that each parameter has hundreds of numbers; no option has its default value.
SIZES: dict[str, Any] = {
    "vocab_size": 700, "hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "intermediate_size": 160, "type_vocab_size": 20,
    "max_position_embeddings": 200, "pad_token_id": 3, "initializer_range": 0.05,
    "nffn_hidden_size": 160, "shared_representation_size": 512, "ema_projection_size": 16,
    "max_positions": 512, "ema_delta_alpha_range": 0.5, "ema_beta_range": 0.1,
    "ema_gamma_omega_range": 2.0, "add_token_type_embeddings": True,
}  # fmt: skip
CROSS = {"is_decoder": True, "add_cross_attention": True, "bidirectional": False}
MEGA_OPTIONS = [
    {"normalization_type": norm, "relative_positional_bias": bias, **cross}
    for norm, bias, cross in (
        ("layernorm", "rotary", CROSS), ("rmsnorm", "simple", {}), ("scalenorm", "simple", CROSS),
        ("batchnorm", "rotary", {}),
    )
]  # fmt: skip


def models() -> Iterator[Any]:
    """Every public class, with the options that change which parameters it has."""
    for name in dir(tinybert):
        kind = getattr(tinybert, name)
        if not (isinstance(kind, type) and issubclass(kind, PreTrainedModel)):
            continue
        if kind is tinybert.EncoderDecoderModel:
            continue  # it is made of two others
        options: list[dict[str, Any]] = [{}]
        if name == "MegaModel":
            options = MEGA_OPTIONS
        elif "CausalLM" in name or "LMHead" in name:
            options = [CROSS]
        yield from (pytest.param(name, o, id=f"{name}-{i}") for i, o in enumerate(options))


def fresh(name: str, options: dict[str, Any]) -> tuple[Any, Any]:
    """A new model here and one in transformers."""
    config_class = getattr(tinybert, name).config_class
    classes = (config_class, tinybert.PretrainedConfig)
    known = {option for c in classes for option in inspect.signature(c).parameters}
    made = config_class(**{k: v for k, v in (SIZES | options).items() if k in known})
    source = modeling_mega if name.startswith("Mega") and "tron" not in name else transformers
    plain = {k: v for k, v in made.to_dict().items() if k not in ("model_type", "reference")}
    theirs = getattr(source, config_class.__name__)(**plain)
    return getattr(tinybert, name)(made), getattr(source, name)(theirs)


@pytest.mark.parametrize(("name", "options"), list(models()))
def test_fresh_weights_are_those_of_transformers(name: str, options: dict[str, Any]) -> None:
    """Constants are equal; random numbers pass a two-sample test, each row of a table that is 0 is
    0 in both, and all matrices together are normal with the config's standard deviation.
    """
    ours, twin = fresh(name, options)
    theirs = {key: p.detach().numpy() for key, p in twin.named_parameters()}
    drawn = []
    for key, parameter in ours.named_parameters():
        mine, their = parameter.numpy(), theirs[key]
        if mine.ndim > 1:
            zero = [~table.reshape(len(table), -1).any(axis=1) for table in (mine, their)]
            assert np.array_equal(*zero), key
            mine, their = mine[~zero[0]], their[~zero[0]]
        if np.unique(their).size <= 1:
            assert np.array_equal(mine, their), key
        else:
            assert two_sample_bound(mine, their) > ALARM / 2 / len(theirs), key
    for module in ours.modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            weight = module.weight.numpy()
            drawn.append(weight[weight.any(axis=1)].ravel() / ours.config.initializer_range)
    together = torch.from_numpy(np.concatenate(drawn)).double()
    assert cdf_bound(torch.special.ndtr(together).numpy()) > ALARM / 2
