"""What models return: dataclasses that can be read by attribute, by key and by position.

Fields that are None are absent as keys and positions, so `output[0]` is the first result there is.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from tinybert.autograd import Tensor


class ModelOutput(dict):
    """Base of all outputs. `out.logits`, `out["logits"]` and `out[0]` name the same Tensor."""

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if value is not None:
                super().__setitem__(field.name, value)

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else self.to_tuple()[key]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self and value is not None:
            super().__setitem__(name, value)
        object.__setattr__(self, name, value)

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        object.__setattr__(self, key, value)

    def to_tuple(self) -> tuple[Any, ...]:
        """The fields that are present, in order."""
        return tuple(self.values())

    def __reduce__(self) -> Any:
        return type(self), tuple(getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{type(self).__name__} does not lose or gain fields; set an attribute")

    __delitem__ = pop = popitem = update = setdefault = clear = _refuse


Layers = tuple[Tensor, ...]


@dataclass(repr=False, eq=False)
class BaseModelOutput(ModelOutput):
    """The output of a model that gives features and nothing else.

    Attributes:
        last_hidden_state: (B, T, D), the features of every token after the last layer.
        hidden_states: L + 1 tensors (B, T, D): the embeddings, then every layer.
        attentions: L tensors (B, H, T, T) of attention weights.
    """

    last_hidden_state: Tensor | None = None
    hidden_states: Layers | None = None
    attentions: Layers | None = None


@dataclass(repr=False, eq=False)
class BaseModelOutputWithPoolingAndCrossAttentions(ModelOutput):
    """The output of a model without a head.

    Attributes:
        last_hidden_state: (B, T, D), the features of every token after the last layer.
        pooler_output: (B, D), made of the first token; None without a pooler.
        hidden_states: L + 1 tensors (B, T, D): the embeddings, then every layer.
        past_key_values: the cache of a decoder: for every layer its keys and values (B, H, Tk, K),
            and those of the cross-attention if it has one; a KeyValueCache if one was given.
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
        last_hidden_state: (B, T, D), the features of every token after the last norm.
        past_key_values: for every layer its keys and values (B, G, Tk, K): a KeyValueCache if one
            was given, else a tuple of pairs.
        hidden_states: L + 1 tensors (B, T, D): the embeddings, then every layer, the last normed.
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
        logits: (B, T, V), of the token that follows each position.
        past_key_values, hidden_states, attentions: as of the base model.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    past_key_values: Any = None
    hidden_states: Layers | None = None
    attentions: Layers | None = None


@dataclass(repr=False, eq=False)
class SequenceClassifierOutputWithPast(CausalLMOutputWithPast):
    """The same fields, with logits (B, num_labels) of the whole text."""


@dataclass(repr=False, eq=False)
class CausalLMOutputWithCrossAttentions(ModelOutput):
    """The output of a model that predicts the next token.

    Attributes:
        loss: (), the mean cross-entropy of the next tokens; if labels were given.
        logits: (B, T, V), of the token that follows each position.
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
    """The output of an encoder and a decoder that predicts the next token of its own sequence.

    Attributes:
        loss: (), the mean cross-entropy of the target; if labels were given.
        logits: (B, T, V), of the token that follows each position of the decoder.
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
        logits: the scores; their shape stands with each class.
        hidden_states, attentions: as of the base model.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden_states: Layers | None = None
    attentions: Layers | None = None


class MaskedLMOutput(_LossAndLogits):
    """loss, logits (B, T, V) of the token at each position, hidden_states, attentions."""


class NextSentencePredictorOutput(_LossAndLogits):
    """loss, logits (B, 2): does the second segment follow (0) or not (1); hidden_states, ..."""


class SequenceClassifierOutput(_LossAndLogits):
    """loss, logits (B, num_labels), hidden_states, attentions."""


class MultipleChoiceModelOutput(_LossAndLogits):
    """loss, logits (B, choices); hidden_states and attentions have a batch of B * choices."""


class TokenClassifierOutput(_LossAndLogits):
    """loss, logits (B, T, num_labels), hidden_states, attentions."""


@dataclass(repr=False, eq=False)
class QuestionAnsweringModelOutput(ModelOutput):
    """Where an answer starts and ends: start_logits and end_logits, (B, T) each."""

    loss: Tensor | None = None
    start_logits: Tensor | None = None
    end_logits: Tensor | None = None
    hidden_states: Layers | None = None
    attentions: Layers | None = None


@dataclass(repr=False, eq=False)
class PreTrainingOutput(ModelOutput):
    """Both of BERT's tasks: prediction_logits (B, T, V) and seq_relationship_logits (B, 2).

    `loss` is the sum of the two losses; it needs both kinds of labels.
    """

    loss: Tensor | None = None
    prediction_logits: Tensor | None = None
    seq_relationship_logits: Tensor | None = None
    hidden_states: Layers | None = None
    attentions: Layers | None = None
