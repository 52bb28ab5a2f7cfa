"""Low-rank adapters in a model: put in, saved in PEFT's format, loaded and merged.

    model = BertForSequenceClassification.from_pretrained("embedded", num_labels=3)
    add_adapters(model, LoraConfig(r=8, modules_to_save=["classifier", "pooler"]))
    ...                                  # train: only the adapters and these modules change
    model.save_pretrained("my-head")     # the adapters and these modules, not the base model
    BertForSequenceClassification.from_pretrained("my-head")  # the base model, adapters merged

Source   Hu et al. 2021, arXiv:2106.09685
Oracle   PEFT's get_peft_model, save_pretrained and merge_and_unload
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.atomic import saving
from tinybert.autograd import Tensor
from tinybert.hub_cache import ADAPTER
from tinybert.lora_config import LoraConfig
from tinybert.nn import Linear, LowRankLinear, Module
from tinybert.weights import CheckpointError, load_file, save_file
from tinybert.weights.folder import weight_files

__all__ = ["LoraConfig", "add_adapters", "merge_adapters"]

WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
# What is adapted by default: the layers that compute queries and values, in the four families.
DEFAULT_TARGETS = ("query", "value", "q_proj", "v_proj", "mx_proj")


def add_adapters(model: Any, config: LoraConfig) -> Any:
    """Put a low-rank adapter into each target layer of a model, in place, and return the model.

    Afterwards only the adapters and `config.modules_to_save` require gradients, and
    `save_pretrained` saves only these. The model's outputs do not change yet, because B starts
    at 0.

    Raises ValueError for a name that fits no module, or a target whose weight is shared.
    """
    if model.adapters is not None:
        raise ValueError("the model has adapters already: merge_adapters makes it a plain model")
    saved = _matches(model, "modules_to_save", config.modules_to_save or (), Module)
    layers = [
        name
        for name in _matches(model, "target_modules", config.target_modules, Linear)
        if not _is_inside(name, saved)
    ]
    if not layers:
        raise ValueError("target_modules must name a layer that is not in modules_to_save")
    owners = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if owners[id(parameter)] > 1 and _is_inside(name, [*saved, *layers]):
            raise ValueError(
                f"{name} is shared with another module (tie_word_embeddings), so it can be neither "
                "a target nor saved as a whole"
            )
    model.requires_grad_(False)
    for name in layers:
        parent, _, last = name.rpartition(".")
        layer: Any = model.get_submodule(name)
        adapted = LowRankLinear(layer, config.rank(name), config.scaling(name), config.lora_dropout)
        setattr(model.get_submodule(parent), last, adapted.train(layer.training))
    for name in saved:
        model.get_submodule(name).requires_grad_(True)
    model.adapters = Adapters(replace(config, modules_to_save=saved, target_modules=layers))
    return model


def merge_adapters(model: Any) -> Any:
    """Merge all adapters into the weights, in place, and return the model, a plain one again."""
    for parent in [*model.modules()]:
        for name, layer in [*parent.named_children()]:
            if isinstance(layer, LowRankLinear):
                setattr(parent, name, layer.merge())
    model.adapters = None
    return model.requires_grad_(True)


# --- files ----------------------------------------------------------------------------------------


class Adapters:
    """The options of a model's adapters, and how the adapters are saved and loaded.

    Attributes:
        config: its `target_modules` and `modules_to_save` are complete names.
    """

    def __init__(self, config: LoraConfig) -> None:
        self.config = config

    def state(self, model: Any) -> dict[str, Tensor]:
        """Return by name what the model has besides its base model."""
        saved = self.config.modules_to_save or ()
        return {
            name: tensor
            for name, tensor in model.state_dict().items()
            if ".lora_" in name or _is_inside(name, saved)
        }

    def save(self, model: Any, folder: Path, dtype: str | None = None) -> None:
        """Save `adapter_config.json`, `adapter_model.safetensors` and `config.json`.

        Raises ValueError if the name of the base model is not known.
        """
        base = self.config.base_model_name_or_path or getattr(model, "name_or_path", None)
        if not base:
            raise ValueError(
                "base_model_name_or_path of LoraConfig is needed: the name or folder of the model "
                "that the adapters belong to"
            )
        config = replace(self.config, base_model_name_or_path=base)
        state = {PREFIX + name: tensor.numpy() for name, tensor in self.state(model).items()}
        with saving(folder, weight_files) as new:
            save_file(state, new / WEIGHTS, {"format": "pt"}, dtype)
            (new / ADAPTER).write_text(config.to_json_string(), encoding="utf-8")
            model.save_extras(new)
            model.config.save_pretrained(new)

    def load(self, model: Any, folder: Path) -> dict[str, np.ndarray]:
        """Load into the model what `save` has saved, and return it by name.

        Raises CheckpointError for a missing tensor, ValueError for shapes that differ.
        """
        stored = load_file(folder / WEIGHTS)
        arrays = {key.removeprefix(PREFIX): array for key, array in stored.items()}
        lost = self.state(model).keys() - arrays
        if lost:
            raise CheckpointError(folder / WEIGHTS, f"lacks {min(lost)}")
        model.load_state_dict(arrays, strict=False)
        return arrays


# --- names ----------------------------------------------------------------------------------------


def _matches(model: Any, option: str, ends: Iterable[str] | None, kind: type) -> list[str]:
    """Return the names of the modules of a kind that end with one of `ends`."""
    names = [name for name, module in model.named_modules() if isinstance(module, kind) and name]
    found: dict[str, None] = {}
    for end in DEFAULT_TARGETS if ends is None else ends:
        matching = [name for name in names if f".{name}".endswith(f".{end}")]
        if not matching and ends is not None:
            known = ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in names))
            raise ValueError(
                f"{option}: no {'linear layer' if kind is Linear else 'module'} of "
                f"{type(model).__name__} has a name that ends in {end!r:.200}; there are {known}"
            )
        found.update(dict.fromkeys(matching))
    return list(found)


def _is_inside(name: str, modules: Iterable[str]) -> bool:
    """Return whether a name is that of one of the modules, or of a part of one."""
    return any(f"{name}.".startswith(f"{module}.") for module in modules)
