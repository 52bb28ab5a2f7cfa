"""The losses of the TFBert classes. They differ from those of `models/losses.py` in reduction and
in the labels that count.

    masked LM, causal LM         (1,), mean over labels other than -100; -1 counts as class 0
    token classification         (1,), mean over labels from 0
    pre-training                 (1,), the sum of two such means
    next sentence prediction     (B,), zero where the label is -100
    sequence classification      (B,), every label must be a class; squared error if num_labels=1
    multiple choice              (B,), every label must be a choice
    question answering           (B,), every position must be in the text

With `config.tf_legacy_loss` the first two kinds and next sentence prediction return the losses of
the n labels that count, (n,).

Labels may be Tensors, arrays or lists. Oracle: transformers 4.57, `modeling_tf_utils.py`.
"""

from __future__ import annotations

from typing import Any

from tinybert import functional as F
from tinybert.autograd import Tensor, as_tensor
from tinybert.backend import array_module
from tinybert.models.arguments import integers, tensor_of
from tinybert.models.losses import IGNORED, in_shape, next_token_loss, token_loss


def masked_lm(config: Any, output: Any, labels: Any) -> Tensor:
    """Return the loss of logits (B, T, V) and labels (B, T)."""
    return _mean(config, output["logits"], _from_zero("labels", labels, output["logits"]))


def causal_lm(config: Any, output: Any, labels: Any) -> Tensor:
    """Return the loss of logits (B, T, V) and the labels (B, T) one position later."""
    logits = output["logits"]
    labels = _from_zero("labels", labels, logits)
    if _is_legacy(config):
        return _mean(config, logits[:, :-1], labels[:, 1:])
    return next_token_loss(logits, labels).reshape(1)


def token_classification(config: Any, output: Any, labels: Any) -> Tensor:
    """Return the loss of logits (B, T, N) and labels (B, T); negative labels are ignored."""
    logits = output["logits"]
    ids = in_shape("labels", integers("labels", labels, logits.device), logits.shape[:-1]).data
    ignored = -1 if _is_legacy(config) and bool((ids == -1).any()) else IGNORED
    out = ids == ignored if _is_legacy(config) else ids < 0
    return _mean(config, logits, as_tensor(array_module(ids).where(out, IGNORED, ids)))


def pretraining(config: Any, output: Any, labels: Any, next_sentence_label: Any) -> Tensor | None:
    """Return the sum of the losses of masked tokens and of next sentence prediction."""
    if labels is None or next_sentence_label is None:
        return None
    words, order = output["prediction_logits"], output["seq_relationship_logits"]
    name = "next_sentence_label"
    return (
        token_loss(words, _from_zero("labels", labels, words))
        + token_loss(order, _from_zero(name, next_sentence_label, order), name)
    ).reshape(1)


def next_sentence(config: Any, output: Any, next_sentence_label: Any) -> Tensor:
    """Return the loss of logits (B, 2) and labels (B,)."""
    name, logits = "next_sentence_label", output["logits"]
    labels = in_shape(name, integers(name, next_sentence_label, logits.device), logits.shape[:1])
    counted = labels.data != IGNORED
    if _is_legacy(config):
        return _each(name, logits[counted], as_tensor(labels.data[counted]))
    return _each(name, logits, as_tensor(labels.data.clip(0))) * as_tensor(counted)


def sequence_classification(config: Any, output: Any, labels: Any) -> Tensor:
    """Return the loss of logits (B, N) and labels (B,), for N = 1 of numbers (B,), (B, 1) or ()."""
    logits = output["logits"]
    if logits.shape[-1] > 1:
        return _each("labels", logits, labels)
    given = tensor_of("labels", labels, logits.device).to(logits.dtype)
    given = (
        given.expand(logits.shape) if given.ndim == 0 else in_shape("labels", given, logits.shape)
    )
    return F.mse_loss(logits, given, reduction="none").reshape(-1)


def multiple_choice(config: Any, output: Any, labels: Any) -> Tensor:
    """Return the loss of logits (B, C) and labels (B,)."""
    return _each("labels", output["logits"], labels)


def question_answering(
    config: Any, output: Any, start_positions: Any, end_positions: Any
) -> Tensor | None:
    """Return the mean of the losses of start and end, logits and positions (B, T) and (B,)."""
    if start_positions is None or end_positions is None:
        return None
    start = _each("start_positions", output["start_logits"], start_positions)
    return (start + _each("end_positions", output["end_logits"], end_positions)) / 2


# --- parts ----------------------------------------------------------------------------------------


def _is_legacy(config: Any) -> bool:
    return bool(getattr(config, "tf_legacy_loss", False))


def _from_zero(name: str, labels: Any, logits: Tensor) -> Tensor:
    """Return labels in which negative ones other than -100 are 0, for logits (..., N)."""
    ids = in_shape(name, integers(name, labels, logits.device), logits.shape[:-1]).data
    return as_tensor(array_module(ids).where(ids == IGNORED, ids, ids.clip(0)))


def _mean(config: Any, logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of the labels other than -100, (1,); of legacy losses each."""
    if not _is_legacy(config):
        return token_loss(logits, labels).reshape(1)
    rows, ids = logits.reshape(-1, logits.shape[-1]), labels.data.reshape(-1)
    counted = ids != IGNORED
    return _each("labels", rows[counted], as_tensor(ids[counted]))


def _each(name: str, logits: Tensor, labels: Any) -> Tensor:
    """Return the cross-entropy (B,) of logits (B, N) and labels (B,), each a class."""
    ids = in_shape(name, integers(name, labels, logits.device), logits.shape[:1])
    wrong = (ids.data < 0) | (ids.data >= logits.shape[-1])
    if bool(wrong.any()):
        last, found = logits.shape[-1] - 1, int(ids.data[wrong][0])
        raise ValueError(f"{name} must be from 0 to {last}, got {found}")
    return F.cross_entropy(logits, ids, reduction="none")
