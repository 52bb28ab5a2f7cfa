"""The TFBert classes: for each, the arguments of a call in the order of TensorFlow's class, its
labels, its loss and its output.

What they compute is in the PyTorch classes of the same names; losses are in `losses.py`, and what
all share in `bert.py`.

Oracle   transformers 4.57, `modeling_tf_bert.py`
Shapes   B batch, C choices, T tokens, P tokens in the cache, S tokens of an encoder, D hidden
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from tinybert.frontends.tensorflow import losses, outputs
from tinybert.frontends.tensorflow.arguments import keras_call
from tinybert.frontends.tensorflow.bert import TFBertMainLayer, TFBertPreTrainedModel
from tinybert.model_output import ModelOutput
from tinybert.models import bert_heads, bert_tasks
from tinybert.models.base import PreTrainedModel


class TFBertModel(TFBertPreTrainedModel, TFBertMainLayer):
    """BERT without a head. Calling it returns TFBaseModelOutputWithPoolingAndCrossAttentions."""

    output_class: ClassVar[type[ModelOutput]] = (
        outputs.TFBaseModelOutputWithPoolingAndCrossAttentions
    )

    @keras_call
    def call(
        self, input_ids=None, attention_mask=None, token_type_ids=None, position_ids=None,
        head_mask=None, inputs_embeds=None, encoder_hidden_states=None,
        encoder_attention_mask=None, past_key_values=None, use_cache=None, output_attentions=None,
        output_hidden_states=None, return_dict=None, training=False,
    ) -> Any:  # fmt: skip
        """Run the model. The other classes take the same arguments, as far as they list them.

        Args:
            input_ids: (B, T) token ids; or a list or mapping of arguments, see `arguments.py`.
            attention_mask: (B, P + T), 1 for tokens and 0 for padding, or fractions.
            token_type_ids, position_ids: (B, T). inputs_embeds: (B, T, D) instead of input_ids.
            head_mask: not supported.
            encoder_hidden_states: (B, S, D), what the cross-attention of a decoder attends to;
                `encoder_attention_mask`: (B, S) or (B, T, S), its mask.
            past_key_values: a tuple of the keys and values of earlier tokens for each layer.
            use_cache: whether a decoder returns `past_key_values`; the config's value if None.
            output_attentions, output_hidden_states, return_dict: the config's values if None.
            training: whether dropout is active.
        """
        output = self.encode(
            training, head_mask,
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids,
            position_ids=position_ids, inputs_embeds=inputs_embeds,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask, past_key_values=past_key_values,
            use_cache=use_cache, output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )  # fmt: skip
        return self.answer_with(output, return_dict)


class TFBertHead(TFBertPreTrainedModel):
    """A TFBert class with a head."""

    base_class: ClassVar[type[PreTrainedModel]] = TFBertMainLayer


class TFBertForPreTraining(TFBertHead, bert_heads.BertForPreTraining):
    """BERT with both heads of its pre-training. The loss (1,) needs both kinds of labels."""

    output_class: ClassVar[type[ModelOutput]] = outputs.TFBertForPreTrainingOutput
    label_names: ClassVar[tuple[str, ...]] = ("labels", "next_sentence_label")
    label_of_output: ClassVar[dict[str, str]] = {
        "prediction_logits": "labels",
        "seq_relationship_logits": "next_sentence_label",
    }

    @keras_call
    def call(
        self, input_ids=None, attention_mask=None, token_type_ids=None, position_ids=None,
        head_mask=None, inputs_embeds=None, output_attentions=None, output_hidden_states=None,
        return_dict=None, labels=None, next_sentence_label=None, training=False,
    ) -> Any:  # fmt: skip
        """Run the model; labels (B, T) token ids, next_sentence_label (B,) 0 or 1."""
        output = self.encode(
            training, head_mask,
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids,
            position_ids=position_ids, inputs_embeds=inputs_embeds,
            output_attentions=output_attentions, output_hidden_states=output_hidden_states,
        )  # fmt: skip
        loss = losses.pretraining(self.config, output, labels, next_sentence_label)
        return self.answer_with(output, return_dict, loss)


class TFBertLMHeadModel(TFBertHead, bert_heads.BertLMHeadModel):
    """BERT that predicts the next token; the loss is (1,)."""

    output_class: ClassVar[type[ModelOutput]] = outputs.TFCausalLMOutputWithCrossAttentions
    label_names: ClassVar[tuple[str, ...]] = ("labels",)

    @keras_call
    def call(
        self, input_ids=None, attention_mask=None, token_type_ids=None, position_ids=None,
        head_mask=None, inputs_embeds=None, encoder_hidden_states=None,
        encoder_attention_mask=None, past_key_values=None, use_cache=None, output_attentions=None,
        output_hidden_states=None, return_dict=None, labels=None, training=False, **kwargs,
    ) -> Any:  # fmt: skip
        """Run the model; labels (B, T) are compared with the prediction one position before.
        Unknown keyword arguments are ignored, as in transformers.
        """
        output = self.encode(
            training, head_mask,
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids,
            position_ids=position_ids, inputs_embeds=inputs_embeds,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask, past_key_values=past_key_values,
            use_cache=use_cache, output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )  # fmt: skip
        loss = None if labels is None else losses.causal_lm(self.config, output, labels)
        return self.answer_with(output, return_dict, loss)


class TFBertLabelsHead(TFBertHead):
    """A TFBert class that takes `labels` and nothing else.

    Attributes:
        loss_function: computes the loss from config, output and labels; see `losses.py`.
    """

    label_names: ClassVar[tuple[str, ...]] = ("labels",)
    loss_function: ClassVar[Callable[..., Any]]

    @keras_call
    def call(
        self, input_ids=None, attention_mask=None, token_type_ids=None, position_ids=None,
        head_mask=None, inputs_embeds=None, output_attentions=None, output_hidden_states=None,
        return_dict=None, labels=None, training=False,
    ) -> Any:  # fmt: skip
        """Run the model; for the labels of a class see its loss in `losses.py`."""
        output = self.encode(
            training, head_mask,
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids,
            position_ids=position_ids, inputs_embeds=inputs_embeds,
            output_attentions=output_attentions, output_hidden_states=output_hidden_states,
        )  # fmt: skip
        loss = None if labels is None else type(self).loss_function(self.config, output, labels)
        return self.answer_with(output, return_dict, loss)


class TFBertForMaskedLM(TFBertLabelsHead, bert_heads.BertForMaskedLM):
    """BERT that predicts masked tokens; the loss is (1,)."""

    output_class: ClassVar[type[ModelOutput]] = outputs.TFMaskedLMOutput
    loss_function = staticmethod(losses.masked_lm)


class TFBertForNextSentencePrediction(TFBertHead, bert_tasks.BertForNextSentencePrediction):
    """BERT that predicts whether the second segment follows the first; the loss is (B,)."""

    output_class: ClassVar[type[ModelOutput]] = outputs.TFNextSentencePredictorOutput
    label_names: ClassVar[tuple[str, ...]] = ("next_sentence_label",)

    @keras_call
    def call(
        self, input_ids=None, attention_mask=None, token_type_ids=None, position_ids=None,
        head_mask=None, inputs_embeds=None, output_attentions=None, output_hidden_states=None,
        return_dict=None, next_sentence_label=None, training=False,
    ) -> Any:  # fmt: skip
        """Run the model; next_sentence_label (B,), 0 if the second segment follows, or 1."""
        output = self.encode(
            training, head_mask,
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids,
            position_ids=position_ids, inputs_embeds=inputs_embeds,
            output_attentions=output_attentions, output_hidden_states=output_hidden_states,
        )  # fmt: skip
        loss = None
        if next_sentence_label is not None:
            loss = losses.next_sentence(self.config, output, next_sentence_label)
        return self.answer_with(output, return_dict, loss)


class TFBertForSequenceClassification(TFBertLabelsHead, bert_tasks.BertForSequenceClassification):
    """BERT that gives a text a class, or with num_labels=1 a number; the loss is (B,)."""

    output_class: ClassVar[type[ModelOutput]] = outputs.TFSequenceClassifierOutput
    loss_function = staticmethod(losses.sequence_classification)


class TFBertForMultipleChoice(TFBertLabelsHead, bert_tasks.BertForMultipleChoice):
    """BERT that chooses one of C continuations, all inputs (B, C, T); the loss is (B,)."""

    output_class: ClassVar[type[ModelOutput]] = outputs.TFMultipleChoiceModelOutput
    loss_function = staticmethod(losses.multiple_choice)

    @property
    def dummy_inputs(self) -> dict[str, np.ndarray]:
        """The smallest input of a call."""
        return {name: np.stack([x, x], 1) for name, x in super().dummy_inputs.items()}


class TFBertForTokenClassification(TFBertLabelsHead, bert_tasks.BertForTokenClassification):
    """BERT that gives every token a class; the loss is (1,)."""

    output_class: ClassVar[type[ModelOutput]] = outputs.TFTokenClassifierOutput
    loss_function = staticmethod(losses.token_classification)


class TFBertForQuestionAnswering(TFBertHead, bert_tasks.BertForQuestionAnswering):
    """BERT that finds the span of tokens that answers a question; the loss is (B,)."""

    output_class: ClassVar[type[ModelOutput]] = outputs.TFQuestionAnsweringModelOutput
    label_names: ClassVar[tuple[str, ...]] = ("start_positions", "end_positions")
    label_of_output: ClassVar[dict[str, str]] = {
        "start_logits": "start_positions",
        "end_logits": "end_positions",
    }

    @keras_call
    def call(
        self, input_ids=None, attention_mask=None, token_type_ids=None, position_ids=None,
        head_mask=None, inputs_embeds=None, output_attentions=None, output_hidden_states=None,
        return_dict=None, start_positions=None, end_positions=None, training=False,
    ) -> Any:  # fmt: skip
        """Run the model; start_positions and end_positions (B,), both for a loss."""
        output = self.encode(
            training, head_mask,
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids,
            position_ids=position_ids, inputs_embeds=inputs_embeds,
            output_attentions=output_attentions, output_hidden_states=output_hidden_states,
        )  # fmt: skip
        loss = losses.question_answering(self.config, output, start_positions, end_positions)
        return self.answer_with(output, return_dict, loss)
