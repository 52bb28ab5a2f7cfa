"""Heads of BERT's pre-training: next sentence prediction, alone and with masked tokens.

Shapes   B batch, T tokens, D hidden, V vocabulary
Oracle   transformers' classes of the same names
"""

from __future__ import annotations

from typing import Any, ClassVar

from tinybert.autograd import Tensor
from tinybert.models import losses
from tinybert.models.heads.with_head import ModelWithHead
from tinybert.models.heads.words import LanguageModel
from tinybert.outputs import ModelOutput, NextSentencePredictorOutput, PreTrainingOutput


class NextSentencePrediction(ModelWithHead):
    """Predict whether the second segment follows the first."""

    uses_pooler: ClassVar[bool] = True

    def order_logits(self, pooled: Tensor) -> Tensor:
        """(B, D) to (B, 2): the second segment follows the first, or not."""
        raise NotImplementedError

    def answer(self, base: ModelOutput, labels: Any, return_dict: bool | None) -> Any:
        """Return NextSentencePredictorOutput with logits (B, 2).

        Args:
            base: the base model's output.
            labels: (B,), 0 if the second segment follows the first, 1 if it does not.
        """
        logits = self.order_logits(base["pooler_output"])
        loss = None if labels is None else losses.class_loss(logits, labels)
        return self.finish(NextSentencePredictorOutput, base, return_dict, loss=loss, logits=logits)


class PreTraining(LanguageModel):
    """BERT's two pre-training tasks at once: masked tokens, and next sentence prediction."""

    uses_pooler: ClassVar[bool] = True

    def order_logits(self, pooled: Tensor) -> Tensor:
        """(B, D) to (B, 2): the second segment follows the first, or not."""
        raise NotImplementedError

    def answer(
        self, base: ModelOutput, labels: Any, next_sentence_label: Any, return_dict: bool | None
    ) -> Any:
        """Return PreTrainingOutput; its loss, the sum of both, needs both kinds of labels.

        Args:
            base: the base model's output.
            labels: (B, T) token ids, -100 where a position does not count.
            next_sentence_label: (B,), 0 if the second segment follows the first, 1 if not.
        """
        words = self.on_tokens(self.word_logits, base)
        order = self.order_logits(base["pooler_output"])
        loss = None
        if labels is not None and next_sentence_label is not None:
            loss = losses.token_loss(words, labels) + losses.class_loss(
                order, next_sentence_label, "next_sentence_label"
            )
        return self.finish(
            PreTrainingOutput, base, return_dict,
            loss=loss, prediction_logits=words, seq_relationship_logits=order,
        )  # fmt: skip
