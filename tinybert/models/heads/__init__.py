"""The tasks: what a head computes from a base model's output, and its loss. Written once for all
families; a family's class says how the model is called.
"""

from tinybert.models.heads.causal import CausalLM
from tinybert.models.heads.pretraining import NextSentencePrediction, PreTraining
from tinybert.models.heads.text import (
    FirstTokenClassifier,
    MultipleChoice,
    SequenceClassification,
)
from tinybert.models.heads.tokens import QuestionAnswering, TokenClassification
from tinybert.models.heads.with_head import ModelWithHead
from tinybert.models.heads.words import LanguageModel, MaskedLM
