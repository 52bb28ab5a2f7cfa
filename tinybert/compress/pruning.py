"""Structural pruning: a smaller model of the most important parts of a large one.

    importance     on calibration text, of channels, heads, neurons and layers
    choose         the most important ones, in their order
    cut            the same channels out of all parameters; heads and neurons of each layer

The result is an ordinary model of the same family. Trained on, with the large one as a teacher, it
needs much less text than a new model (see `distillation`).

A norm divides by the root of the mean square of its channels. Those that stay have a larger mean
square than all, since they are the important ones, so their outputs would shrink. The weights of
the norm are multiplied by the ratio of the two roots on the calibration text: then the hidden
states stay the same if the other channels are 0 (and, for LayerNorm, the mean of the others too).
This is done in the base model; the norm in the head of a masked language model is only cut.

Source   Muralidharan et al. 2024, arXiv:2407.14679 (Minitron). The scales of the norms are not from
         the paper. The paper also adds a part of the pruned heads to the heads that stay; this does
         not.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tinybert.autograd import set_default_device, set_default_dtype
from tinybert.checks import check_integer
from tinybert.compress.importance import Importance, importance
from tinybert.compress.structure import STRUCTURES, Structure, head_size, structure_of
from tinybert.display import short_repr
from tinybert.models.mega.feed_forward import WeightOnly
from tinybert.models.nemotron.nemotron_layers import LayerNorm1P
from tinybert.nn import BatchNorm, Module, ScaleNorm
from tinybert.nn.init import skip_init

# Options that can differ from the model's, since its outputs do not depend on them.
FREE = {
    "architectures", "chunk_size_feed_forward", "initializer_range", "output_attentions",
    "output_hidden_states", "problem_type", "return_dict", "use_cache",
}  # fmt: skip


class Kept(NamedTuple):
    """The indices of the kept layers, channels and units, in ascending order.

    Attributes:
        layers: of the layers.
        hidden: of the channels.
        units: of the heads, groups, neurons and values, for each layer that stays.
        scales: for each norm of the base model, the factor of its weights.
    """

    layers: np.ndarray
    hidden: np.ndarray
    units: dict[str, list[np.ndarray]]
    scales: dict[str, float]


def prune(
    model: Any,
    target_config: Any,
    calibration: Importance | Iterable[Mapping[str, Any]],
) -> Any:
    """Return a new model with the sizes of `target_config`, made of the most important parts.

    Args:
        model: a model of one of the four families, with or without a head. It is not changed.
        target_config: a config of its family: the numbers of layers, channels (hidden_size), heads
            and neurons may be smaller than the model's. Heads keep their size, so in a BERT
            hidden_size / num_attention_heads is that of the model.
        calibration: batches of text, see `importance`; or the result of that function.

    Raises ValueError, naming the option, for sizes that the model cannot be cut to.
    """
    check_target(model.config, target_config, structure_of(model))
    found = calibration
    if not isinstance(found, Importance):
        found = importance(model, found)
    return cut(model, target_config, choose(found, model.config, target_config))


# --- sizes ----------------------------------------------------------------------------------------


def check_target(config: Any, target: Any, structure: Structure) -> None:
    """Raise ValueError if a model of `config` cannot be cut to the sizes of `target`."""
    if target.model_type != config.model_type:
        raise ValueError(
            f"target_config must be of the family {config.model_type!r}, got {target.model_type!r}"
        )
    for option in structure.sizes.values():
        size, most = getattr(target, option), getattr(config, option)
        check_integer(option, size, 1)
        if size > most:
            raise ValueError(f"{option} must be at most {most}, that of the model, got {size}")
    if "heads" in structure.sizes:
        _check_heads(config, target)
    pruned = {o for unit, o in structure.sizes.items() if unit != "shared"}
    own, wanted = config.to_dict(), target.to_dict()
    for option in sorted(own.keys() & wanted.keys() - pruned - FREE):
        if own[option] != wanted[option] and "dropout" not in option:
            raise ValueError(
                f"{option} is not pruned: it must be {short_repr(own[option])}, got "
                f"{short_repr(wanted[option])}"
            )


def _check_heads(config: Any, target: Any) -> None:
    size, heads, hidden = head_size(config), target.num_attention_heads, target.hidden_size
    if not hasattr(config, "head_dim"):
        if hidden % size:
            lower = hidden // size * size
            near = [str(n) for n in (lower, lower + size) if n]
            raise ValueError(
                f"hidden_size must be a multiple of {size}, the size of the model's heads, for "
                f"example {' or '.join(near)}, got {hidden}"
            )
        if heads * size != hidden:
            raise ValueError(
                f"num_attention_heads must be {hidden // size} with hidden_size {hidden}, since "
                f"the model's heads have {size} features and a {target.model_type} has "
                f"hidden_size / num_attention_heads; got {heads}. (model.prune_heads removes "
                "heads alone)"
            )
        return
    if head_size(target) != size:
        raise ValueError(f"head_dim must be {size}, that of the model, got {head_size(target)}")
    groups, most = target.num_key_value_heads, config.num_attention_heads
    share = most // config.num_key_value_heads  # query heads of a group
    allowed = [groups * n for n in range(1, share + 1)]
    if heads not in allowed:
        raise ValueError(
            f"num_attention_heads must be one of {', '.join(map(str, allowed))} with "
            f"num_key_value_heads {groups}, since the model has {share} query heads for each head "
            f"of keys and values; got {heads}"
        )


# --- the choice -----------------------------------------------------------------------------------


def choose(found: Importance, config: Any, target: Any) -> Kept:
    """Return the most important parts of a model of `config`, as many as `target` has."""
    sizes = STRUCTURES[config.model_type].sizes
    layers = most_important(found["layers"], target.num_hidden_layers)
    hidden = most_important(found["hidden"], target.hidden_size)
    units: dict[str, list[np.ndarray]] = {}
    for unit in found.keys() & {"neurons", "values"}:
        size = getattr(target, sizes[unit])
        units[unit] = [most_important(found[unit][layer], size) for layer in layers]
    if "heads" in found:
        groups, few = (
            getattr(c, "num_key_value_heads", c.num_attention_heads) for c in (config, target)
        )
        pairs = [
            choose_heads(found["heads"][layer], groups, target.num_attention_heads, few)
            for layer in layers
        ]
        units["heads"], units["groups"] = ([pair[i] for pair in pairs] for i in (0, 1))
    scales = {
        name: math.sqrt(spread[hidden].mean() / spread.mean())
        for name, spread in found.spread.items()
        if spread.any()
    }
    return Kept(layers, hidden, units, scales)


def most_important(scores: np.ndarray, count: int) -> np.ndarray:
    """Return the numbers of the `count` largest scores (N,), in ascending order."""
    return np.sort(np.argsort(-scores, kind="stable")[:count])


def choose_heads(
    scores: np.ndarray, groups: int, heads: int, few: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the query heads and of the groups that stay in a layer.

    Args:
        scores: (H,), of the query heads: H / groups of them share keys and values.
        heads, few: the numbers of query heads and of groups that stay. Of the groups those whose
            heads have the largest sum stay; and in each, as many heads.
    """
    by_group = scores.reshape(groups, -1)  # (G, H / G)
    kept = most_important(by_group.sum(axis=1), few)
    inside = [most_important(by_group[group], heads // few) for group in kept]
    return np.concatenate(
        [g * by_group.shape[1] + n for g, n in zip(kept, inside, strict=True)]
    ), kept


# --- the cut --------------------------------------------------------------------------------------


def cut(model: Any, target: Any, kept: Kept) -> Any:
    """Return a new model of the config `target` with the parts of `model` that are `kept`."""
    structure = structure_of(model)
    options = {}
    if model.base_model is model and "add_pooling_layer" in model._constructor_options():
        options["add_pooling_layer"] = model.pooler is not None
    with skip_init(), set_default_device(model.device), set_default_dtype(model.dtype):
        small = type(model)(target, **options)
    numbers = {old: new for new, old in enumerate(kept.layers.tolist())}
    state = {}
    for name, tensor in model.named_state():
        layer, short = structure.place(name, model.base_model_prefix)
        if layer is not None and layer not in numbers:
            continue
        number = None if layer is None else numbers[layer]
        array = tensor.numpy()
        for axis, unit in enumerate(structure.units_of(short)[: array.ndim]):
            if unit != "-":
                features = _features(unit, array.shape[axis], model.config, kept, number)
                array = array.take(features, axis)
        state[structure.renumbered(name, number)] = array
    small.load_state_dict(state)
    for name, module in small.base_model.named_modules():
        layer, _ = structure.place(name, "")
        old = structure.renumbered(name, None if layer is None else int(kept.layers[layer]))
        if old in kept.scales:
            _scale(getattr(module, "norm", module), kept.scales[old])
    if hasattr(model, "generation_config"):
        small.generation_config = copy.deepcopy(model.generation_config)
    return small.eval()


def _scale(norm: Module, factor: float) -> None:
    """Multiply the output of a norm by a factor, if it depends on the number of channels."""
    name = "scalar" if isinstance(norm, ScaleNorm) else "weight"
    weight = None if isinstance(norm, (BatchNorm, WeightOnly)) else norm._parameters.get(name)
    if weight is not None:
        shift = 1 if isinstance(norm, LayerNorm1P) else 0  # its scale is weight + 1
        weight.data[...] = (weight.data + shift) * factor - shift


def _features(unit: str, length: int, config: Any, kept: Kept, layer: int | None) -> np.ndarray:
    """Return the numbers of the features that stay of an axis of `length` features.

    Args:
        unit: of the axis, as in the tables of `structure`.
        layer: the new number of the parameter's layer.
    """
    sizes = STRUCTURES[config.model_type].sizes
    parts = unit.split("+")
    if unit == "hidden*":
        parts = ["hidden"] * (length // config.hidden_size)
    found, start = [], 0
    for part in parts:
        count = getattr(config, sizes[part])
        width = head_size(config) if part in ("heads", "groups") else 1
        if part == "hidden":
            own = kept.hidden
        else:
            own = np.arange(count) if part == "shared" else kept.units[part][layer or 0]
        found.append(start + (own[:, None] * width + np.arange(width)).reshape(-1))
        start += count * width
    assert start == length, f"the table says {start} features, the parameter has {length}"
    return np.concatenate(found)
