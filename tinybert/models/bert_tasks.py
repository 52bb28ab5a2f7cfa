"""BERT with a head for one task: next sentence, classes, choices, spans.

What a head computes and its loss are in `heads/`. The arguments of each call are in the order of
transformers.

Source   Devlin et al. 2018, arXiv:1810.04805, section 4
Oracle   transformers' Bert classes; parameter names are the same, letter for letter
Shapes   B batch, T tokens, D hidden
"""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Tensor
from tinybert.display import warn_caller
from tinybert.models import heads
from tinybert.models.bert_heads import BertHead, PreTrainingHeads

__all__ = [
    "BertForMultipleChoice",
    "BertForNextSentencePrediction",
    "BertForQuestionAnswering",
    "BertForSequenceClassification",
    "BertForTokenClassification",
]


class BertLabelsHead(BertHead):
    """BERT with a head that takes `labels` and nothing else."""

    answer: Any  # of the task

    def forward(
        self, input_ids=None, attention_mask=None, token_type_ids=None, position_ids=None,
        head_mask=None, inputs_embeds=None, labels=None, output_attentions=None,
        output_hidden_states=None, return_dict=None,
    ) -> Any:  # fmt: skip
        base = self.base_model(
            input_ids, attention_mask, token_type_ids, position_ids, head_mask, inputs_embeds,
            output_attentions=output_attentions, output_hidden_states=output_hidden_states,
            return_dict=True,
        )  # fmt: skip
        return self.answer(base, labels, return_dict)


class BertForNextSentencePrediction(BertLabelsHead, heads.NextSentencePrediction):
    """BERT that predicts whether the second segment follows the first."""

    def add_head(self, config: Any) -> None:
        self.cls = PreTrainingHeads(config, words=False, next_sentence=True)

    def order_logits(self, pooled: Tensor) -> Tensor:
        return self.cls.seq_relationship(pooled)

    def forward(
        self, input_ids=None, attention_mask=None, token_type_ids=None, position_ids=None,
        head_mask=None, inputs_embeds=None, labels=None, output_attentions=None,
        output_hidden_states=None, return_dict=None, *, next_sentence_label=None,
    ) -> Any:  # fmt: skip
        if next_sentence_label is not None:
            if labels is not None:
                raise ValueError("next_sentence_label is the old name of labels; give one of them")
            warn_caller("next_sentence_label is the old name of labels", FutureWarning)
            labels = next_sentence_label
        return super().forward(
            input_ids, attention_mask, token_type_ids, position_ids, head_mask, inputs_embeds,
            labels, output_attentions, output_hidden_states, return_dict,
        )  # fmt: skip


class BertForSequenceClassification(BertLabelsHead, heads.SequenceClassification):
    """BERT that gives the text a class, several classes, or a number."""


class BertForMultipleChoice(BertHead, heads.MultipleChoice):
    """BERT that chooses one of several continuations."""

    def forward(
        self, input_ids=None, attention_mask=None, token_type_ids=None, position_ids=None,
        head_mask=None, inputs_embeds=None, labels=None, output_attentions=None,
        output_hidden_states=None, return_dict=None,
    ) -> Any:  # fmt: skip
        inputs, choices = self.flatten(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids,
            position_ids=position_ids, inputs_embeds=inputs_embeds,
        )  # fmt: skip
        base = self.base_model(
            **inputs, head_mask=head_mask, output_attentions=output_attentions,
            output_hidden_states=output_hidden_states, return_dict=True,
        )  # fmt: skip
        return self.answer(base, labels, return_dict, choices)


class BertForTokenClassification(BertLabelsHead, heads.TokenClassification):
    """BERT that gives every token a class."""


class BertForQuestionAnswering(BertHead, heads.QuestionAnswering):
    """BERT that finds the span of tokens that answers a question."""

    def forward(
        self, input_ids=None, attention_mask=None, token_type_ids=None, position_ids=None,
        head_mask=None, inputs_embeds=None, start_positions=None, end_positions=None,
        output_attentions=None, output_hidden_states=None, return_dict=None,
    ) -> Any:  # fmt: skip
        base = self.base_model(
            input_ids, attention_mask, token_type_ids, position_ids, head_mask, inputs_embeds,
            output_attentions=output_attentions, output_hidden_states=output_hidden_states,
            return_dict=True,
        )  # fmt: skip
        return self.answer(base, start_positions, end_positions, return_dict)
