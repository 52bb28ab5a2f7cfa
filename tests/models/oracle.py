"""What the tests of the models share: our model and the same model in transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import transformers

import tinybert
from tinybert import BertConfig, BertModel

transformers.logging.set_verbosity(transformers.logging.CRITICAL)  # it logs what it cannot do
transformers.utils.logging.disable_progress_bar()

# All sizes differ, so that no wrong product of shapes fits.
TOY: dict[str, Any] = {
    "vocab_size": 23,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 10,
    "max_position_embeddings": 17,
    "type_vocab_size": 5,
}


def config(family: str = "Bert", **options: Any) -> BertConfig:
    """The toy config with some options changed."""
    return getattr(tinybert, f"{family}Config")(**{**TOY, **options})


def twin_config(ours: BertConfig) -> transformers.BertConfig:
    """The same config in transformers; plain attention, as ours is."""
    options = {k: v for k, v in ours.to_dict().items() if k != "model_type"}
    twin = getattr(transformers, type(ours).__name__)(**options)
    twin._attn_implementation = "eager"
    return twin


def twins(
    seed: int = 0, add_pooling_layer: bool = True, **options: Any
) -> tuple[BertModel, transformers.BertModel]:
    """A model of ours and one of transformers with the same random weights, float64, eval mode."""
    own = config(**options)
    theirs = transformers.BertModel(twin_config(own), add_pooling_layer=add_pooling_layer)
    draw_weights(theirs, seed)
    ours = BertModel(own, add_pooling_layer=add_pooling_layer)
    ours.load_state_dict(theirs.state_dict())
    return ours.to(np.float64).eval(), theirs.double().eval()


def twin_heads(name: str, seed: int, **options: Any) -> tuple[Any, Any]:
    """A model of the class `name` here and one in transformers with the same random weights."""
    own = config("MegatronBert" if name.startswith("Megatron") else "Bert", **options)
    theirs = getattr(transformers, name)(twin_config(own))
    draw_weights(theirs, seed)
    ours = getattr(tinybert, name)(own)
    ours.load_state_dict(theirs.state_dict())
    return ours.to(np.float64).eval(), theirs.double().eval()


def draw_weights(model: Any, seed: int) -> None:
    """Draw every weight, biases and norms too: with those of a fresh model (0 and 1) an
    implementation that forgets them would pass.
    """
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            centre = 1.0 if name.endswith(("LayerNorm.weight", "ln.weight")) else 0.0
            drawn = centre + 0.3 * rng.standard_normal(tuple(p.shape))
            p.copy_(torch.from_numpy(drawn.astype(np.float32)))


def as_torch(value: Any) -> Any:
    """Arrays as torch tensors, everything else as it is."""
    return torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value


def flat(output: Any) -> dict[str, np.ndarray]:
    """Every array of an output by name, tuples numbered; of ours, or of transformers'."""
    found = {}
    for name, value in output.items():
        members = value if isinstance(value, tuple) else (value,)
        for number, member in enumerate(members):
            array = member.detach().numpy() if torch.is_tensor(member) else member.numpy()
            found[f"{name}[{number}]" if isinstance(value, tuple) else name] = array
    return found
