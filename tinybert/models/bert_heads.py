"""BERT as a language model: masked tokens, both pre-training tasks, the next token.

This file has the head that scores the vocabulary, and for each model the arguments of a call in
the order of transformers. Losses and outputs are computed in `heads/`; the other tasks are in
`bert_tasks.py`.

Source   Devlin et al. 2018, arXiv:1810.04805, section 3.1
Oracle   transformers' Bert classes; parameter names are the same, letter for letter
Shapes   B batch, T tokens, D hidden, V vocabulary
"""

from __future__ import annotations

from typing import Any, ClassVar

from tinybert.autograd import Tensor
from tinybert.models import heads
from tinybert.models.activations import activation
from tinybert.models.base import PreTrainedModel
from tinybert.models.bert import BertModel, BertPreTrainedModel
from tinybert.nn import LayerNorm, Linear, Module, Parameter
from tinybert.nn.init import full
from tinybert.outputs import PreTrainingOutput

__all__ = [
    "BertForMaskedLM",
    "BertForPreTraining",
    "BertForPreTrainingOutput",
    "BertLMHeadModel",
]

# --- the prediction head --------------------------------------------------------------------------


class PredictionTransform(Module):
    """The dense layer, activation and norm before the scores of the vocabulary."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.hidden_size)
        self.activation = activation(config.hidden_act)
        self.LayerNorm = LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        return self.LayerNorm(self.activation(self.dense(x)))


class PredictionHead(Module):
    """Scores for every token of the vocabulary:

    logits = LayerNorm(act(x @ W^T + b)) @ E^T + bias,

    where E, the weight of `decoder`, is the table of word embeddings if embeddings are tied.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.transform = PredictionTransform(config)
        self.decoder = Linear(config.hidden_size, config.vocab_size)
        self.bias = Parameter(full((config.vocab_size,), 0.0))
        self.decoder.bias = self.bias  # one parameter under two names

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, V)."""
        return self.decoder(self.transform(x))


class PreTrainingHeads(Module):
    """The module `cls`: `predictions` of masked tokens, `seq_relationship` of segments, or both."""

    def __init__(self, config: Any, words: bool, next_sentence: bool) -> None:
        super().__init__()
        if words:
            self.predictions = PredictionHead(config)
        if next_sentence:
            self.seq_relationship = Linear(config.hidden_size, 2)


# --- what the classes share -----------------------------------------------------------------------


class BertHead(BertPreTrainedModel, heads.ModelWithHead):
    """BERT with a head."""

    base_class: ClassVar[type[PreTrainedModel]] = BertModel


class BertWordHead(BertHead, heads.LanguageModel):
    """BERT with a score for every token of the vocabulary, by `cls.predictions`."""

    has_next_sentence: ClassVar[bool] = False
    cls: Any

    def add_head(self, config: Any) -> None:
        self.cls = PreTrainingHeads(config, words=True, next_sentence=self.has_next_sentence)

    def word_logits(self, x: Tensor) -> Tensor:
        return self.cls.predictions(x)

    def get_output_embeddings(self) -> Linear:
        return self.cls.predictions.decoder

    def set_output_embeddings(self, embeddings: Linear) -> None:
        self.cls.predictions.decoder = embeddings
        self.cls.predictions.bias = embeddings.bias

    def tie_weights(self) -> None:
        super().tie_weights()
        self.set_output_embeddings(self.get_output_embeddings())  # its bias under both names


# --- the classes ----------------------------------------------------------------------------------


class BertForPreTraining(BertWordHead, heads.PreTraining):
    """BERT with both heads of its pre-training: masked tokens, and next sentence prediction."""

    has_next_sentence: ClassVar[bool] = True

    def order_logits(self, pooled: Tensor) -> Tensor:
        return self.cls.seq_relationship(pooled)

    def forward(
        self, input_ids=None, attention_mask=None, token_type_ids=None, position_ids=None,
        head_mask=None, inputs_embeds=None, labels=None, next_sentence_label=None,
        output_attentions=None, output_hidden_states=None, return_dict=None,
    ) -> Any:  # fmt: skip
        base = self.base_model(
            input_ids, attention_mask, token_type_ids, position_ids, head_mask, inputs_embeds,
            output_attentions=output_attentions, output_hidden_states=output_hidden_states,
            return_dict=True,
        )  # fmt: skip
        return self.answer(base, labels, next_sentence_label, return_dict)


class BertLMHeadModel(BertWordHead, heads.CausalLM):
    """BERT that predicts the next token; `is_decoder=True` hides the later ones."""

    def forward(
        self, input_ids=None, attention_mask=None, token_type_ids=None, position_ids=None,
        head_mask=None, inputs_embeds=None, encoder_hidden_states=None,
        encoder_attention_mask=None, labels=None, past_key_values=None, use_cache=None,
        output_attentions=None, output_hidden_states=None, return_dict=None, *,
        logits_to_keep=0, num_items_in_batch=None,
    ) -> Any:  # fmt: skip
        if labels is not None:
            use_cache = False  # as in transformers
        base = self.base_model(
            input_ids, attention_mask, token_type_ids, position_ids, head_mask, inputs_embeds,
            encoder_hidden_states, encoder_attention_mask, past_key_values, use_cache,
            output_attentions, output_hidden_states, return_dict=True,
        )  # fmt: skip
        return self.answer(base, labels, return_dict, logits_to_keep, num_items_in_batch)


class BertForMaskedLM(BertWordHead, heads.MaskedLM):
    """BERT that predicts masked tokens."""

    def forward(
        self, input_ids=None, attention_mask=None, token_type_ids=None, position_ids=None,
        head_mask=None, inputs_embeds=None, encoder_hidden_states=None,
        encoder_attention_mask=None, labels=None, output_attentions=None,
        output_hidden_states=None, return_dict=None,
    ) -> Any:  # fmt: skip
        base = self.base_model(
            input_ids, attention_mask, token_type_ids, position_ids, head_mask, inputs_embeds,
            encoder_hidden_states, encoder_attention_mask, output_attentions=output_attentions,
            output_hidden_states=output_hidden_states, return_dict=True,
        )  # fmt: skip
        return self.answer(base, labels, return_dict)


BertForPreTrainingOutput = PreTrainingOutput
