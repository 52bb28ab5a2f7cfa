"""The outputs of the Flax classes: as in `tinybert.outputs`, without losses, and frozen."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, NoReturn

from tinybert.autograd import Tensor
from tinybert.model_output import ModelOutput

Layers = tuple[Tensor, ...]


class FlaxModelOutput(ModelOutput):
    """The base of all outputs. Assignment raises FrozenInstanceError; `replace` returns a copy."""

    def replace(self, **updates: Any) -> Any:
        """Return a copy with other fields. Raises TypeError for an unknown field."""
        return dataclasses.replace(self, **updates)  # type: ignore[type-var]

    def __setitem__(self, key: str, value: Any) -> NoReturn:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {key!r}; use replace()")


@dataclass(repr=False, eq=False, frozen=True)
class FlaxBaseModelOutputWithPoolingAndCrossAttentions(FlaxModelOutput):
    """Features (B, T, D), the pooled vector (B, D), and what a call asks for; `past_key_values` is
    the cache after the call, a tree.
    """

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    hidden_states: Layers | None = None
    past_key_values: Any = None
    attentions: Layers | None = None
    cross_attentions: Layers | None = None


@dataclass(repr=False, eq=False, frozen=True)
class FlaxBertForPreTrainingOutput(FlaxModelOutput):
    """prediction_logits (B, T, V) and seq_relationship_logits (B, 2)."""

    prediction_logits: Tensor | None = None
    seq_relationship_logits: Tensor | None = None
    hidden_states: Layers | None = None
    attentions: Layers | None = None


@dataclass(repr=False, eq=False, frozen=True)
class FlaxCausalLMOutputWithCrossAttentions(FlaxModelOutput):
    """Logits (B, T, V); `past_key_values` is the cache after the call, a tree."""

    logits: Tensor | None = None
    past_key_values: Any = None
    hidden_states: Layers | None = None
    attentions: Layers | None = None
    cross_attentions: Layers | None = None


@dataclass(repr=False, eq=False, frozen=True)
class FlaxMaskedLMOutput(FlaxModelOutput):
    """Logits (B, T, V), or those of a task: (B, 2), (B, N), (B, C), (B, T, N)."""

    logits: Tensor | None = None
    hidden_states: Layers | None = None
    attentions: Layers | None = None


class FlaxNextSentencePredictorOutput(FlaxMaskedLMOutput):
    """Logits (B, 2)."""


class FlaxSequenceClassifierOutput(FlaxMaskedLMOutput):
    """Logits (B, N)."""


class FlaxMultipleChoiceModelOutput(FlaxMaskedLMOutput):
    """Logits (B, C)."""


class FlaxTokenClassifierOutput(FlaxMaskedLMOutput):
    """Logits (B, T, N)."""


@dataclass(repr=False, eq=False, frozen=True)
class FlaxQuestionAnsweringModelOutput(FlaxModelOutput):
    """start_logits and end_logits, (B, T) each."""

    start_logits: Tensor | None = None
    end_logits: Tensor | None = None
    hidden_states: Layers | None = None
    attentions: Layers | None = None


@dataclass(repr=False, eq=False, frozen=True)
class FlaxGenerateOutput(FlaxModelOutput):
    """The tokens that `generate` returns: sequences (B, max_length)."""

    sequences: Tensor | None = None
