"""The outputs of all models: which fields each kind of model returns, and their shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tinybert.autograd import Tensor
from tinybert.model_output import ModelOutput as ModelOutput

Layers = tuple[Tensor, ...]


@dataclass(repr=False, eq=False)
class BaseModelOutput(ModelOutput):
    """The output of a model without a head, pooler and cache.

    Attributes:
        last_hidden_state: (B, T, D), the last layer's output for every token.
        hidden_states: L + 1 tensors (B, T, D): the embeddings, then the output of every layer.
        attentions: L tensors (B, H, T, T) of attention weights.
    """

    last_hidden_state: Tensor | None = None
    hidden_states: Layers | None = None
    attentions: Layers | None = None


@dataclass(repr=False, eq=False)
class BaseModelOutputWithPoolingAndCrossAttentions(ModelOutput):
    """The output of a model without a head.

    Attributes:
        last_hidden_state: (B, T, D), the last layer's output for every token.
        pooler_output: (B, D), computed from the first token; None without a pooler.
        hidden_states: L + 1 tensors (B, T, D): the embeddings, then the output of every layer.
        past_key_values: the cache of a decoder: keys and values (B, H, Tk, K) of every layer, and
            of its cross-attention if it has one; a KeyValueCache if one was given.
        attentions, cross_attentions: L tensors (B, H, Tq, Tk) of attention weights.
    """

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    hidden_states: Layers | None = None
    past_key_values: Any = None
    attentions: Layers | None = None
    cross_attentions: Layers | None = None


@dataclass(repr=False, eq=False)
class BaseModelOutputWithPast(ModelOutput):
    """The output of a decoder without a head.

    Attributes:
        last_hidden_state: (B, T, D), the output of the final norm for every token.
        past_key_values: keys and values (B, G, Tk, K) of every layer: a KeyValueCache if one was
            given, else a tuple of pairs.
        hidden_states: L + 1 tensors (B, T, D): the embeddings, then the output of every layer,
            the last after the final norm.
        attentions: L tensors (B, H, Tq, Tk) of attention weights.
    """

    last_hidden_state: Tensor | None = None
    past_key_values: Any = None
    hidden_states: Layers | None = None
    attentions: Layers | None = None


@dataclass(repr=False, eq=False)
class CausalLMOutputWithPast(ModelOutput):
    """The output of a decoder that predicts the next token.

    Attributes:
        loss: (), the mean cross-entropy of the next tokens; if labels were given.
        logits: (B, T, V), scores of the next token at each position.
        past_key_values, hidden_states, attentions: as of the base model.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    past_key_values: Any = None
    hidden_states: Layers | None = None
    attentions: Layers | None = None


@dataclass(repr=False, eq=False)
class SequenceClassifierOutputWithPast(CausalLMOutputWithPast):
    """The same fields, with logits (B, num_labels) for the whole sequence."""


@dataclass(repr=False, eq=False)
class CausalLMOutputWithCrossAttentions(ModelOutput):
    """The output of a model that predicts the next token.

    Attributes:
        loss: (), the mean cross-entropy of the next tokens; if labels were given.
        logits: (B, T, V), scores of the next token at each position.
        past_key_values, hidden_states, attentions, cross_attentions: as of the base model.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    past_key_values: Any = None
    hidden_states: Layers | None = None
    attentions: Layers | None = None
    cross_attentions: Layers | None = None


@dataclass(repr=False, eq=False)
class Seq2SeqLMOutput(ModelOutput):
    """The output of an encoder-decoder that predicts the next token of the target.

    Attributes:
        loss: (), the mean cross-entropy of the target; if labels were given.
        logits: (B, T, V), scores of the next token at each position of the decoder.
        past_key_values: the decoder's cache.
        decoder_hidden_states, decoder_attentions, cross_attentions: of the decoder.
        encoder_last_hidden_state: (B, S, D); encoder_hidden_states, encoder_attentions.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    past_key_values: Any = None
    decoder_hidden_states: Layers | None = None
    decoder_attentions: Layers | None = None
    cross_attentions: Layers | None = None
    encoder_last_hidden_state: Tensor | None = None
    encoder_hidden_states: Layers | None = None
    encoder_attentions: Layers | None = None


@dataclass(repr=False, eq=False)
class _LossAndLogits(ModelOutput):
    """The fields that the heads of an encoder share.

    Attributes:
        loss: (), if labels were given.
        logits: the scores; each subclass gives their shape.
        hidden_states, attentions: as of the base model.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden_states: Layers | None = None
    attentions: Layers | None = None


class MaskedLMOutput(_LossAndLogits):
    """loss, logits (B, T, V) of the token at each position, hidden_states, attentions."""


class NextSentencePredictorOutput(_LossAndLogits):
    """loss, logits (B, 2): whether the second segment follows (0) or not (1); hidden_states, ..."""


class SequenceClassifierOutput(_LossAndLogits):
    """loss, logits (B, num_labels), hidden_states, attentions."""


class MultipleChoiceModelOutput(_LossAndLogits):
    """loss, logits (B, choices); hidden_states and attentions have a batch of B * choices."""


class TokenClassifierOutput(_LossAndLogits):
    """loss, logits (B, T, num_labels), hidden_states, attentions."""


@dataclass(repr=False, eq=False)
class QuestionAnsweringModelOutput(ModelOutput):
    """Scores of the first and the last token of an answer: start_logits and end_logits, (B, T)."""

    loss: Tensor | None = None
    start_logits: Tensor | None = None
    end_logits: Tensor | None = None
    hidden_states: Layers | None = None
    attentions: Layers | None = None


@dataclass(repr=False, eq=False)
class PreTrainingOutput(ModelOutput):
    """BERT's two pretraining tasks: prediction_logits (B, T, V) and seq_relationship_logits (B, 2).

    `loss` is the sum of the two losses; both kinds of labels must be given.
    """

    loss: Tensor | None = None
    prediction_logits: Tensor | None = None
    seq_relationship_logits: Tensor | None = None
    hidden_states: Layers | None = None
    attentions: Layers | None = None
