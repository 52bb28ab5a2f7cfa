"""Heads that give a whole text one answer.

Shapes   B batch, C choices, T tokens, D hidden
Oracle   transformers' classes of the same names
"""

from __future__ import annotations

from typing import Any, ClassVar

from tinybert.autograd import Tensor
from tinybert.models import losses
from tinybert.models.arguments import tensor_of
from tinybert.models.heads.with_head import ModelWithHead
from tinybert.nn import Dropout, Linear, Module
from tinybert.outputs import (
    ModelOutput,
    MultipleChoiceModelOutput,
    SequenceClassifierOutput,
)


class SequenceClassification(ModelWithHead):
    """Give the text a class, several classes, or a number."""

    uses_pooler: ClassVar[bool] = True
    output_class: ClassVar[type[ModelOutput]] = SequenceClassifierOutput

    def add_head(self, config: Any) -> None:
        self.dropout = self.classifier_dropout(config)
        self.classifier = Linear(config.hidden_size, config.num_labels)

    def text_logits(self, base: ModelOutput) -> Tensor:
        """Return the scores (B, num_labels), in a family with a pooler."""
        return self.classifier(self.dropout(base["pooler_output"]))

    def answer(
        self, base: ModelOutput, labels: Any, return_dict: bool | None, logits: Any = None
    ) -> Any:
        """Return SequenceClassifierOutput, or the family's own, with logits (B, num_labels).

        Args:
            base: the base model's output.
            labels: (B,) class numbers, (B, num_labels) zeros and ones, or numbers to predict. The
                config's `problem_type` says which loss is used; see `losses.sequence_loss`.
            logits: the scores; `text_logits(base)` if None.
        """
        logits = self.text_logits(base) if logits is None else logits
        loss = None if labels is None else losses.sequence_loss(logits, labels, self.config)
        return self.finish(self.output_class, base, return_dict, loss=loss, logits=logits)


class FirstTokenClassifier(Module):
    """The first token, through a dense layer with tanh, to a score for every class."""

    def __init__(self, config: Any, dropout: Dropout) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.hidden_size)
        self.dropout = dropout
        self.out_proj = Linear(config.hidden_size, config.num_labels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, num_labels)."""
        first = self.dense(self.dropout(x[:, 0])).tanh()
        return self.out_proj(self.dropout(first))


class MultipleChoice(ModelWithHead):
    """Choose one of C continuations. Each is encoded separately and gets one score."""

    uses_pooler: ClassVar[bool] = True

    def add_head(self, config: Any) -> None:
        self.dropout = self.classifier_dropout(config)
        self.classifier = Linear(config.hidden_size, 1)

    def flatten(self, **inputs: Any) -> tuple[dict[str, Any], tuple[int, ...]]:
        """Return inputs (B, C, T) as (B * C, T), and (B, C); those that are None are left out.

        Raises ValueError unless all inputs have the same B, C and T. One row (1, 1, T) of types or
        positions may serve all.
        """
        tensors = {
            name: tensor_of(name, value, self.device)
            for name, value in inputs.items()
            if value is not None
        }
        _check_choices(tensors)
        flat = {
            name: x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]) for name, x in tensors.items()
        }
        tokens = tensors.get("input_ids", tensors.get("inputs_embeds"))
        return flat, (0, 0) if tokens is None else tokens.shape[:2]

    def answer(
        self, base: ModelOutput, labels: Any, return_dict: bool | None, choices: tuple[int, ...]
    ) -> Any:
        """Return MultipleChoiceModelOutput with logits (B, C).

        Args:
            base: the base model's output for a batch of B * C.
            labels: (B,), the index of the correct choice.
            choices: (B, C).
        """
        logits = self.classifier(self.dropout(base["pooler_output"])).reshape(*choices)
        loss = None if labels is None else losses.class_loss(logits, labels)
        return self.finish(MultipleChoiceModelOutput, base, return_dict, loss=loss, logits=logits)


def _check_choices(inputs: dict[str, Tensor]) -> None:
    for name, value in inputs.items():
        expected = "(B, C, T, D)" if name == "inputs_embeds" else "(B, C, T)"
        if value.ndim != expected.count(",") + 1 or 0 in value.shape[1:3]:
            raise ValueError(
                f"{name} must have shape {expected}, with at least one choice and one token, "
                f"got {value.shape}"
            )
    for tokens in inputs.keys() & {"input_ids", "inputs_embeds"}:
        shape = inputs[tokens].shape[:3]
        for name, value in inputs.items():
            allowed = [shape] if name == "attention_mask" else [shape, (1, 1, shape[2])]
            if value.shape[:3] not in allowed:
                raise ValueError(
                    f"{name} must have shape {shape}, as {tokens} has, got {value.shape}"
                )
