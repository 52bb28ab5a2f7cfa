"""MEGA: attention that is gated by a moving average, linear in length with chunks."""

from tinybert.models.mega.mega_heads import (
    MegaForCausalLM,
    MegaForMaskedLM,
    MegaForMultipleChoice,
    MegaForQuestionAnswering,
    MegaForSequenceClassification,
    MegaForTokenClassification,
)
from tinybert.models.mega.mega_model import MegaModel
from tinybert.models.mega_config import MegaConfig
