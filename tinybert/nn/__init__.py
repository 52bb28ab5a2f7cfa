"""Layers by hand: `Module`, and everything that the models are built of."""

from tinybert.nn.layers import Dropout, Embedding, LayerNorm, Linear
from tinybert.nn.module import Module, ModuleList, Parameter, Sequential

__all__ = [
    "Dropout",
    "Embedding",
    "LayerNorm",
    "Linear",
    "Module",
    "ModuleList",
    "Parameter",
    "Sequential",
]
