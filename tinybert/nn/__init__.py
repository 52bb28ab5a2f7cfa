"""Neural-network layers: `Module`, and the layers that the models are built of."""

from tinybert.nn import functional
from tinybert.nn.cache import KeyValueCache
from tinybert.nn.ema import DampedEMA
from tinybert.nn.layers import Dropout, Embedding, LayerNorm, Linear
from tinybert.nn.low_rank import LowRankLinear
from tinybert.nn.module import Module, ModuleList, Parameter
from tinybert.nn.norms import BatchNorm, RMSNorm, ScaleNorm
from tinybert.nn.sequential import Sequential

__all__ = [
    "BatchNorm",
    "DampedEMA",
    "Dropout",
    "Embedding",
    "KeyValueCache",
    "LayerNorm",
    "Linear",
    "LowRankLinear",
    "Module",
    "ModuleList",
    "Parameter",
    "RMSNorm",
    "ScaleNorm",
    "Sequential",
    "functional",
]
