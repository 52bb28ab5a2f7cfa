"""The outputs of the TFBert classes: fields in the order that TensorFlow's classes have.

Oracle   transformers 4.57, `modeling_tf_outputs.py`
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tinybert import outputs
from tinybert.autograd import Tensor
from tinybert.model_output import ModelOutput
from tinybert.outputs import Layers


@dataclass(repr=False, eq=False)
class TFBaseModelOutputWithPoolingAndCrossAttentions(ModelOutput):
    """The output of TFBertModel; `past_key_values` comes before `hidden_states`."""

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    past_key_values: Any = None
    hidden_states: Layers | None = None
    attentions: Layers | None = None
    cross_attentions: Layers | None = None


class TFCausalLMOutputWithCrossAttentions(outputs.CausalLMOutputWithCrossAttentions):
    """loss (1,), logits (B, T, V), past_key_values, hidden_states, attentions, cross_attentions."""


class TFMaskedLMOutput(outputs.MaskedLMOutput):
    """loss (1,), logits (B, T, V), hidden_states, attentions."""


class TFNextSentencePredictorOutput(outputs.NextSentencePredictorOutput):
    """loss (B,), logits (B, 2), hidden_states, attentions."""


class TFSequenceClassifierOutput(outputs.SequenceClassifierOutput):
    """loss (B,), logits (B, num_labels), hidden_states, attentions."""


class TFMultipleChoiceModelOutput(outputs.MultipleChoiceModelOutput):
    """loss (B,), logits (B, C), hidden_states, attentions."""


class TFTokenClassifierOutput(outputs.TokenClassifierOutput):
    """loss (1,), logits (B, T, num_labels), hidden_states, attentions."""


class TFQuestionAnsweringModelOutput(outputs.QuestionAnsweringModelOutput):
    """loss (B,), start_logits and end_logits (B, T), hidden_states, attentions."""


class TFBertForPreTrainingOutput(outputs.PreTrainingOutput):
    """loss (1,), prediction_logits (B, T, V), seq_relationship_logits (B, 2), ..."""
