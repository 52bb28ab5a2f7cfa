"""Heads that score every token.

Shapes   B batch, T tokens, D hidden
Oracle   transformers' classes of the same names
"""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Tensor
from tinybert.models import losses
from tinybert.models.heads.with_head import ModelWithHead
from tinybert.nn import Linear
from tinybert.outputs import ModelOutput, QuestionAnsweringModelOutput, TokenClassifierOutput


class TokenClassification(ModelWithHead):
    """Give every token a class."""

    def add_head(self, config: Any) -> None:
        self.dropout = self.classifier_dropout(config)
        self.classifier = Linear(config.hidden_size, config.num_labels)

    def token_logits(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, num_labels)."""
        return self.classifier(self.dropout(x))

    def answer(self, base: ModelOutput, labels: Any, return_dict: bool | None) -> Any:
        """Return TokenClassifierOutput with logits (B, T, num_labels).

        Args:
            base: the base model's output.
            labels: (B, T) class numbers, -100 where a token does not count. Padding counts unless
                its label is -100: the attention mask is not used.
        """
        logits = self.on_tokens(self.token_logits, base)
        loss = None if labels is None else losses.token_loss(logits, labels)
        return self.finish(TokenClassifierOutput, base, return_dict, loss=loss, logits=logits)


class QuestionAnswering(ModelWithHead):
    """Find the span of tokens that answers a question."""

    def add_head(self, config: Any) -> None:
        if config.num_labels != 2:
            raise ValueError(f"num_labels must be 2 (start and end), got {config.num_labels}")
        self.qa_outputs = Linear(config.hidden_size, 2)

    def reads_padding(self, mask: Tensor, given: dict[str, Any]) -> bool:
        return True  # the loss compares each token's score with those of padding

    def answer(
        self, base: ModelOutput, start_positions: Any, end_positions: Any, return_dict: bool | None
    ) -> Any:
        """Return QuestionAnsweringModelOutput with start_logits and end_logits (B, T).

        Args:
            base: the base model's output.
            start_positions, end_positions: (B,), the first and the last token of the answer. A
                position beyond the text does not count; a negative one counts as 0. The loss, the
                mean of both, needs both.
        """
        logits = self.qa_outputs(base["last_hidden_state"])  # (B, T, 2)
        start, end = logits[..., 0], logits[..., 1]
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = (
                losses.position_loss(start, start_positions, "start_positions")
                + losses.position_loss(end, end_positions, "end_positions")
            ) / 2
        return self.finish(
            QuestionAnsweringModelOutput, base, return_dict,
            loss=loss, start_logits=start, end_logits=end,
        )  # fmt: skip
