"""A pipeline stage: consecutive layers of a model, and what comes before the first or after the
last.

    stage 0         embeddings, layers 0 to L / p - 1
    stage s         layers s L / p to (s + 1) L / p - 1
    stage p - 1     the last layers, norm, head

Tied word embeddings are on both ends: the first stage looks words up, the last scores them. Each
has its own copy, and the gradients of both are added (`gradients.py`), so they stay equal.

Every stage runs the model's own `forward` with the whole batch, since all layers need the masks. On
the stages after the first, the input of the first own layer is replaced by the hidden states that
the stage before has sent.

Source   Narayanan et al. 2021, arXiv:2104.04473, section 2.2; Shoeybi et al. 2019, section 5
Shapes   B batch, T tokens, D hidden, L layers, p stages
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert.autograd import Tensor, as_tensor
from tinybert.backend import array_module
from tinybert.models.arguments import argument_names
from tinybert.nn import Module
from tinybert.parallel.grid import Grid, span


class Nothing(Module):
    """Stands for a module of another stage.

    As a norm it returns its input. As embeddings it returns zeros (B, T, D) without memory, which
    the hidden states received from the stage before replace.
    """

    def __init__(self, size: int, dtype: Any, device: str) -> None:
        super().__init__()
        self.size, self.weight = size, as_tensor(np.zeros((), dtype), device)

    def forward(self, x: Tensor, *rest: Any, name: str = "") -> Tensor:
        if x.ndim == 3:
            return x
        zero = self.weight.data
        return as_tensor(array_module(zero).broadcast_to(zero, (*x.shape, self.size)))


class Inbox:
    """Holds the hidden states that a stage has received while it computes one micro-batch."""

    def __init__(self) -> None:
        self.states: Tensor | None = None

    def replace(self, module: Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Before the layers run: replace their input."""
        return None if self.states is None else (self.states, *args[1:])


def cut_stage(model: Any, grid: Grid, inbox: Inbox) -> bool:
    """Keep the modules of this rank's stage, in place; return whether word embeddings are on two
    stages.

    Raises ValueError if there are more stages than layers, and for a family without stages.
    """
    pipeline, config = grid.pipeline, model.config
    if pipeline.size == 1:
        return False
    base, prefix = model.base_model, model.base_model_prefix
    layers = config.num_hidden_layers
    if not (hasattr(base, "embed_tokens") or hasattr(getattr(base, "encoder", None), "layer")):
        raise ValueError(
            f"pipeline stages divide BERT, MegatronBERT and Nemotron, not {type(model).__name__}; "
            "use data parallelism (pipeline=1)"
        )
    if pipeline.size > layers:
        raise ValueError(f"{layers} layers cannot be divided among {pipeline.size} stages")
    own = range(layers)[span(layers, pipeline.size, pipeline.rank)]
    head = model.get_output_embeddings()
    tied = head is not None and head.weight is model.get_input_embeddings().weight
    for name in list(base.stack._modules):
        if int(name) not in own:
            delattr(base.stack, name)
    nothing = Nothing(config.hidden_size, model.dtype, model.device)
    if not grid.is_first:
        name = "embed_tokens" if hasattr(base, "embed_tokens") else "embeddings"
        setattr(base, name, nothing)
        base.stack.register_forward_pre_hook(inbox.replace)
    if not grid.is_last:
        if hasattr(base, "norm"):
            base.norm = nothing
        if hasattr(getattr(base, "encoder", None), "ln"):
            base.encoder.ln = nothing
        if getattr(base, "pooler", None) is not None:
            base.pooler = None
        for name in list(model._modules):
            if model is not base and name != prefix:
                delattr(model, name)
    return tied


def run_stage(model: Any, batch: dict[str, Any]) -> Tensor:
    """Return the hidden states after the layers of a stage that is not the last."""
    base = model.base_model
    known = argument_names(type(base).forward) or {}
    inputs = {name: value for name, value in batch.items() if name in known}
    if "use_cache" in known:
        inputs["use_cache"] = False
    return base(**inputs, return_dict=True).last_hidden_state
