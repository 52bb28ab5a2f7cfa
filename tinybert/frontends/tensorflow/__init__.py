"""TensorFlow's BERT without TensorFlow: the TFBert classes of transformers 4.57, their tokenizer,
and the functions of `tf` that their documents use.

    import tinybert.frontends.tensorflow as tf
    from tinybert import TFBertForMaskedLM

    model = TFBertForMaskedLM.from_pretrained(folder)
    loss = model({"input_ids": ids, "labels": labels}, training=True).loss      # (1,)

The classes are also names of `tinybert` itself, which imports this package when one is used.
"""

from tinybert.frontends.tensorflow import math
from tinybert.frontends.tensorflow.functions import (
    GradientTape,
    constant,
    expand_dims,
    gather_nd,
    where,
)
from tinybert.frontends.tensorflow.math import argmax, reduce_mean
from tinybert.frontends.tensorflow.models import (
    TFBertForMaskedLM,
    TFBertForMultipleChoice,
    TFBertForNextSentencePrediction,
    TFBertForPreTraining,
    TFBertForQuestionAnswering,
    TFBertForSequenceClassification,
    TFBertForTokenClassification,
    TFBertLMHeadModel,
    TFBertModel,
)
from tinybert.frontends.tensorflow.outputs import TFBertForPreTrainingOutput
from tinybert.frontends.tensorflow.tokenizer import TFBertTokenizer

__all__ = [
    "GradientTape",
    "TFBertForMaskedLM",
    "TFBertForMultipleChoice",
    "TFBertForNextSentencePrediction",
    "TFBertForPreTraining",
    "TFBertForPreTrainingOutput",
    "TFBertForQuestionAnswering",
    "TFBertForSequenceClassification",
    "TFBertForTokenClassification",
    "TFBertLMHeadModel",
    "TFBertModel",
    "TFBertTokenizer",
    "argmax",
    "constant",
    "expand_dims",
    "gather_nd",
    "math",
    "reduce_mean",
    "where",
]
