"""Heads that score every token of the vocabulary at every position.

Shapes   B batch, T tokens, D hidden, V vocabulary
Oracle   transformers' classes of the same names
"""

from __future__ import annotations

import logging
from typing import Any

from tinybert.autograd import Tensor
from tinybert.models import losses
from tinybert.models.config import PretrainedConfig
from tinybert.models.heads.with_head import ModelWithHead
from tinybert.nn import Linear
from tinybert.outputs import MaskedLMOutput, ModelOutput

logger = logging.getLogger("tinybert")


class LanguageModel(ModelWithHead):
    """A model with a score for every token of the vocabulary.

    A family makes the head: `add_head`, `word_logits`, and the two methods for its last layer.
    """

    def word_logits(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, V)."""
        raise NotImplementedError

    def get_output_embeddings(self) -> Linear:
        """Return the layer whose weight has a row for every token of the vocabulary."""
        raise NotImplementedError

    def set_output_embeddings(self, embeddings: Linear) -> None:
        """Replace the layer whose weight has a row for every token of the vocabulary."""
        raise NotImplementedError


class MaskedLM(LanguageModel):
    """Predict the tokens that are masked."""

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config)
        if config.is_decoder:
            logger.warning(
                "%s attends to both sides of a token; set is_decoder=False", type(self).__name__
            )

    def answer(self, base: ModelOutput, labels: Any, return_dict: bool | None) -> Any:
        """Return MaskedLMOutput with logits (B, T, V).

        Args:
            base: the base model's output.
            labels: (B, T) token ids, -100 where a position does not count; None for no loss.
        """
        logits = self.on_tokens(self.word_logits, base)
        loss = None if labels is None else losses.token_loss(logits, labels)
        return self.finish(MaskedLMOutput, base, return_dict, loss=loss, logits=logits)
