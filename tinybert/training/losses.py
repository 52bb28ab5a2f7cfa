"""Losses of training that compute less than `model(**batch).loss`, with the same value."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Tensor, as_tensor
from tinybert.generation import GenerationMixin
from tinybert.training.batches import Batch
from tinybert.training.masking import IGNORED


def model_loss(model: Any, batch: Batch) -> Tensor:
    """Return the loss that the model computes from the labels of the batch.

    A model that generates text does not keep the keys and values for a next token.
    """
    options = {"use_cache": False} if isinstance(model, GenerationMixin) else {}
    return model(**batch, **options).loss


def masked_loss(model: Any, batch: Batch) -> Tensor:
    """Return the loss of a masked language model, with scores at masked positions alone."""
    return F.cross_entropy(*masked_scores(model, batch))


def masked_scores(model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return scores (N, V) and labels (N,) of the N masked positions of a batch.

    Only one token in seven has a label. The scores of the others, each a row of V numbers, would
    take most of the memory and up to half of the time of a small model, and have no effect.
    """
    inputs = {name: x for name, x in batch.items() if name != "labels"}
    x = model.base_model(**inputs).last_hidden_state  # (B, T, D)
    rows, columns = np.nonzero(batch["labels"] != IGNORED)
    logits = model.word_logits(x[rows, columns])  # (N, V)
    return logits, as_tensor(batch["labels"][rows, columns]).to(logits.device)
