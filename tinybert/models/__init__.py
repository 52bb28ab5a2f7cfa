"""The models: each family in a file of its own, what they share beside it."""

from tinybert.models.bert import BertConfig, BertModel
from tinybert.models.config import PretrainedConfig
from tinybert.outputs import BaseModelOutputWithPoolingAndCrossAttentions, ModelOutput

__all__ = [
    "BaseModelOutputWithPoolingAndCrossAttentions",
    "BertConfig",
    "BertModel",
    "ModelOutput",
    "PretrainedConfig",
]
