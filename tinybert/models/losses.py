"""The losses of the heads: read the labels, check them, and compare them with the logits.

Labels may be Tensors, arrays or lists. A label of -100 is ignored. If all are ignored, the loss is
nan, as in torch, and there is a warning.
"""

from __future__ import annotations

from typing import Any

from tinybert import functional as F
from tinybert.autograd import Tensor, as_tensor
from tinybert.display import warn_caller
from tinybert.models.arguments import integers, tensor_of

IGNORED = -100


def token_loss(logits: Tensor, labels: Any, name: str = "labels") -> Tensor:
    """Return the mean cross-entropy of logits (B, T, N) and class numbers (B, T)."""
    ids = _class_numbers(name, labels, logits.shape[:-1], logits.shape[-1], logits.device)
    return _cross_entropy(logits, ids, name)


def next_token_loss(logits: Tensor, labels: Any, num_items_in_batch: Any = None) -> Tensor:
    """Return the mean cross-entropy of logits (B, T, V) and the labels (B, T) one position later.

    With `num_items_in_batch`, a number above 0, the loss is the sum divided by it. For gradient
    accumulation: divide the loss of each part by the number of labels in the whole batch, and the
    losses add up to that of the whole batch. The mean of their means does not.
    """
    ids = _class_numbers("labels", labels, logits.shape[:-1], logits.shape[-1], logits.device)
    if num_items_in_batch is None:
        return _cross_entropy(logits[:, :-1], ids[:, 1:], "labels")
    name = "num_items_in_batch"
    count = tensor_of(name, num_items_in_batch, logits.device)
    if count.size != 1 or not bool((count.data > 0).all()):
        raise ValueError(f"{name} must be a number above 0, got {count.tolist()}")
    rows = logits[:, :-1].reshape(-1, logits.shape[-1])
    total = F.cross_entropy(rows, ids[:, 1:].reshape(-1), reduction="sum")
    return total / count.to(logits.dtype).reshape(())


def class_loss(logits: Tensor, labels: Any, name: str = "labels") -> Tensor:
    """Return the mean cross-entropy of logits (B, N) and class numbers (B,)."""
    return token_loss(logits, labels, name)


def position_loss(logits: Tensor, positions: Any, name: str) -> Tensor:
    """Return the mean cross-entropy of logits (B, T) and positions (B,) or (B, 1).

    Positions from T on are ignored, and negative ones count as 0 (as in transformers).
    """
    batch, length = logits.shape
    target = in_shape(name, integers(name, positions, logits.device), (batch,))
    target = as_tensor(target.data.clip(0, length))
    _warn_if_all_ignored(name, target, length)
    return F.cross_entropy(logits, target, ignore_index=length)


def sequence_loss(logits: Tensor, labels: Any, config: Any) -> Tensor:
    """Return the loss of logits (B, num_labels) that the config's `problem_type` names:

        regression                    mean squared error; labels have the logits' shape, or (B,)
        single_label_classification   mean cross-entropy; labels (B,) are class numbers
        multi_label_classification    mean binary cross-entropy; labels (B, num_labels), 0 to 1

    If it is None, num_labels=1 means regression, integer labels mean a single class, and other
    labels several. Each call decides anew (transformers writes its first guess into the config).
    """
    given = tensor_of("labels", labels, logits.device)
    kind = config.problem_type
    if kind is None:
        kind = "single" if given.dtype.kind in "iu" else "multi"
        kind = "regression" if logits.shape[-1] == 1 else kind + "_label_classification"
    if kind == "single_label_classification":
        return class_loss(logits, given)
    given = in_shape("labels", given, logits.shape).to(logits.dtype)
    if kind == "regression":
        return F.mse_loss(logits, given)
    wrong = ~((given.data >= 0) & (given.data <= 1))  # nan too
    if bool(wrong.any()):
        raise ValueError(f"labels must be from 0 to 1 for {kind}, got {given.data[wrong][0]}")
    return F.binary_cross_entropy_with_logits(logits, given)


def _cross_entropy(logits: Tensor, ids: Tensor, name: str) -> Tensor:
    _warn_if_all_ignored(name, ids, IGNORED)
    rows = logits.reshape(-1, logits.shape[-1])
    return F.cross_entropy(rows, ids.reshape(-1), is_checked=True)


def _class_numbers(
    name: str, labels: Any, shape: tuple[int, ...], classes: int, device: str
) -> Tensor:
    """Return labels as integers in `shape`, each from 0 to classes - 1 or -100."""
    ids = in_shape(name, integers(name, labels, device), shape)
    array = ids.data
    wrong = (array != IGNORED) & ((array < 0) | (array >= classes))
    if bool(wrong.any()):
        raise ValueError(
            f"{name} must be from 0 to {classes - 1}, or {IGNORED} to be ignored, "
            f"got {int(array[wrong][0])}"
        )
    return ids


def in_shape(name: str, labels: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return labels in `shape`; axes of size 1 may be added or missing."""
    if [n for n in labels.shape if n != 1] != [n for n in shape if n != 1]:
        raise ValueError(f"{name} must have shape {shape}, got {labels.shape}")
    return labels.reshape(shape)


def _warn_if_all_ignored(name: str, labels: Tensor, ignored: int) -> None:
    if labels.data.size and bool((labels.data == ignored).all()):
        warn_caller(f"all {name} are ignored, so the loss is nan")
