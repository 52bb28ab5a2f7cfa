"""Nemotron: a decoder with squared ReLU, grouped queries, and rotary positions."""

from tinybert.models.nemotron.nemotron_heads import (
    NemotronForCausalLM,
    NemotronForQuestionAnswering,
    NemotronForSequenceClassification,
    NemotronForTokenClassification,
)
from tinybert.models.nemotron.nemotron_model import NemotronModel
from tinybert.models.nemotron_config import NemotronConfig
