"""MEGA: attention that is gated by a moving average, linear in length with chunks."""

from tinybert.models.mega.mega_config import MegaConfig
from tinybert.models.mega.mega_heads import (
    MegaForCausalLM,
    MegaForMaskedLM,
    MegaForMultipleChoice,
    MegaForQuestionAnswering,
    MegaForSequenceClassification,
    MegaForTokenClassification,
)
from tinybert.models.mega.mega_model import MegaModel

__all__ = [
    "MegaConfig",
    "MegaForCausalLM",
    "MegaForMaskedLM",
    "MegaForMultipleChoice",
    "MegaForQuestionAnswering",
    "MegaForSequenceClassification",
    "MegaForTokenClassification",
    "MegaModel",
]
