"""Nemotron: a decoder with squared ReLU, grouped queries, and rotary positions."""

from tinybert.models.nemotron.nemotron_config import NemotronConfig
from tinybert.models.nemotron.nemotron_heads import (
    NemotronForCausalLM,
    NemotronForQuestionAnswering,
    NemotronForSequenceClassification,
    NemotronForTokenClassification,
)
from tinybert.models.nemotron.nemotron_model import NemotronModel

__all__ = [
    "NemotronConfig",
    "NemotronForCausalLM",
    "NemotronForQuestionAnswering",
    "NemotronForSequenceClassification",
    "NemotronForTokenClassification",
    "NemotronModel",
]
