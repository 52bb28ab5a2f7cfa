"""Language models whose vocabulary is divided among ranks: logits and loss.

In training, each rank computes its own columns of the logits, (B, T, V / p), and the loss from them
(`cross_entropy.py`). Without labels, and under `no_grad`, the columns of all ranks are gathered:
(B, T, V) on every rank.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from tinybert.autograd import Tensor, is_grad_enabled
from tinybert.models import heads, losses
from tinybert.models.arguments import integers, tensor_of
from tinybert.models.heads.words import LanguageModel
from tinybert.parallel.communicator import Communicator
from tinybert.parallel.cross_entropy import cross_entropy
from tinybert.parallel.linear import columns


def divide_words(model: LanguageModel, group: Communicator) -> None:
    """Let a model, whose output embeddings are column-parallel, answer with `VocabularyAnswer`."""
    answer = VocabularyAnswer(model, group)
    model.answer = answer
    model.word_logits = answer.all_columns  # type: ignore[method-assign]


class VocabularyAnswer:
    """The `answer` of a language model whose vocabulary is divided among the ranks of a group."""

    def __init__(self, model: Any, group: Communicator) -> None:
        self.group, self.classes = group, model.config.vocab_size
        self.plain = partial(type(model).answer, model)  # of the model with all columns
        self.columns = partial(type(model).word_logits, model)
        self.model = model

    def __call__(self, base: Any, labels: Any, *rest: Any) -> Any:
        """Return the model's output; with labels its logits are this rank's columns."""
        model = self.model
        needed = (labels, rest[0]) if isinstance(model, heads.PreTraining) else (labels,)
        if any(value is None for value in needed) or not is_grad_enabled():
            return self.plain(base, labels, *rest)
        logits = model.on_tokens(self.columns, base)
        ids = integers("labels", labels, logits.device).reshape(logits.shape[:-1])
        if isinstance(model, heads.CausalLM):
            return self._next_token(base, logits, ids, *rest)
        loss = cross_entropy(logits, ids, self.group, self.classes)
        if isinstance(model, heads.MaskedLM):
            (return_dict,) = rest
            output = heads.words.MaskedLMOutput
            return model.finish(output, base, return_dict, loss=loss, logits=logits)
        next_sentence_label, return_dict = rest
        order = model.order_logits(base["pooler_output"])
        loss = loss + losses.class_loss(order, next_sentence_label, "next_sentence_label")
        return model.finish(
            heads.pretraining.PreTrainingOutput, base, return_dict,
            loss=loss, prediction_logits=logits, seq_relationship_logits=order,
        )  # fmt: skip

    def _next_token(
        self, base: Any, logits: Tensor, ids: Tensor, return_dict: Any = None,
        logits_to_keep: Any = 0, num_items_in_batch: Any = None,
    ) -> Any:  # fmt: skip
        if not (isinstance(logits_to_keep, int) and logits_to_keep == 0):
            raise ValueError(f"labels need all logits, got logits_to_keep={logits_to_keep}")
        rows, targets = logits[:, :-1], ids[:, 1:]
        if num_items_in_batch is None:
            loss = cross_entropy(rows, targets, self.group, self.classes)
        else:
            total = cross_entropy(rows, targets, self.group, self.classes, reduction="sum")
            count = tensor_of("num_items_in_batch", num_items_in_batch, logits.device)
            loss = total / count.to(logits.dtype).reshape(())
        model = self.model
        return model.finish(model.output_class, base, return_dict, loss=loss, logits=logits)

    def all_columns(self, x: Tensor) -> Tensor:
        """Return the logits (..., V) of the columns of all ranks, without a gradient."""
        return columns(self.columns(x), self.group)

    def masked_loss(self, model: Any, batch: dict[str, Any]) -> Tensor:
        """Return the loss of a masked language model, with scores at masked positions alone."""
        inputs = {name: x for name, x in batch.items() if name != "labels"}
        x = model.base_model(**inputs).last_hidden_state  # (B, T, D)
        rows, columns = np.nonzero(batch["labels"] != losses.IGNORED)
        logits = self.columns(x[rows, columns])  # (N, V / p)
        return cross_entropy(logits, batch["labels"][rows, columns], self.group, self.classes)
