"""Losses that are finite and wrong: shifted labels, a wrong divisor, a class that is left out."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Tensor, as_tensor
from tinybert.backend import Array
from tinybert.learn.museum.bugs import Bug
from tinybert.learn.museum.specimens import WORDS, random
from tinybert.learn.patches import Patch
from tinybert.models import losses
from tinybert.ops.arguments import converted
from tinybert.ops.loss import Loss

LABELS = np.array([[5, 23, 17, 8, 31, 12]])

# --- shifted twice --------------------------------------------------------------------------------


def next_token_loss(logits: Tensor, labels: Any, num_items_in_batch: Any = None) -> Tensor:
    """Compare position t with label t + 2: the labels are shifted here, and were shifted before."""
    return losses.token_loss(logits[:, :-2], labels[:, 2:])


def _perfect_loss() -> float:
    """Return the loss of logits that are certain of the next token, and right."""
    logits = np.zeros((1, 6, WORDS), "float32")
    logits[0, np.arange(5), LABELS[0, 1:]] = 20
    return losses.next_token_loss(Tensor(logits), LABELS).item()


def loss_of_a_perfect_model() -> str:
    """Compute the loss of a model that predicts every next token."""
    return f"{_perfect_loss():.3f}"


def a_perfect_model_has_no_loss() -> None:
    """Logits that are certain of the next token, and right, have a loss of 0."""
    loss = _perfect_loss()
    assert loss < 1e-3, f"every next token is predicted, but the loss is {loss:.3g}"


def a_fresh_model_has_the_loss_of_chance() -> None:
    """Logits of zero have the loss log(V), that of guessing."""
    loss = losses.next_token_loss(Tensor(np.zeros((1, 6, WORDS), "float32")), LABELS).item()
    assert abs(loss - np.log(WORDS)) < 1e-4, f"the loss is {loss:.3g}, not log(V)"


SHIFTED_TWICE = Bug(
    name="labels-shifted-twice",
    title="a model that learns the word after next",
    mistake="The labels are shifted by one position before the call, and once more in the loss.",
    patches=(Patch("tinybert.models.losses.next_token_loss", next_token_loss),),
    measured="loss of a model that predicts every next token",
    symptom=loss_of_a_perfect_model,
    check=a_perfect_model_has_no_loss,
    fooled=a_fresh_model_has_the_loss_of_chance,
    right='return _cross_entropy(logits[:, :-1], ids[:, 1:], "labels")',
    story=(
        "Models of transformers shift labels themselves, and the documentation did not say so. "
        "One of the examples in the library shifted them before as well, until a user repaired "
        "it in 2019; many training scripts did the same later. The loss begins at log(V) and "
        "falls, since the word after next can be predicted a little. Only the generated text is "
        "strange. Give the loss a perfect prediction: it must be 0."
    ),
    links=(
        "https://github.com/huggingface/transformers/pull/44642",
        "https://github.com/huggingface/transformers/pull/562",
    ),
)

# --- the divisor ----------------------------------------------------------------------------------


def reduce(self: Loss, losses: Array, reduction: str, count: Any = None) -> Array:
    """Divide by the number of all positions, ignored ones included."""
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"reduction must be 'none', 'mean' or 'sum', got {reduction!r}")
    self.count = None
    if reduction == "none":
        return converted(losses, self.dtype)
    total = losses.sum()
    if reduction == "mean":
        self.count = losses.size
        with np.errstate(divide="ignore", invalid="ignore"):
            total = total / self.count
    return converted(total, self.dtype)


def _loss(labels: list[int]) -> float:
    return F.cross_entropy(Tensor(random(4, 7)), np.array(labels)).item()


def loss_of_half_a_row() -> str:
    """Compute the mean loss of four positions, two of them ignored."""
    return f"{_loss([3, 5, -100, -100]):.3f}"


def ignored_positions_do_not_count() -> None:
    """The mean loss of two positions is the same with two ignored positions after them."""
    alone = F.cross_entropy(Tensor(random(4, 7)[:2]), np.array([3, 5])).item()
    padded = _loss([3, 5, -100, -100])
    assert abs(alone - padded) < 1e-9, f"the loss is {padded:.3f}; without padding {alone:.3f}"


def without_padding_it_is_right() -> None:
    """The mean loss of four positions is the sum divided by 4."""
    logits, labels = Tensor(random(4, 7)), np.array([3, 5, 0, 1])
    total = F.cross_entropy(logits, labels, reduction="sum").item()
    assert abs(_loss([3, 5, 0, 1]) - total / 4) < 1e-9, "the mean is not the sum divided by 4"


DIVISOR = Bug(
    name="minus-100-in-the-divisor",
    title="a mean over positions that do not count",
    mistake="Ignored positions (-100) add nothing to the loss, but are counted in the mean.",
    patches=(Patch("tinybert.ops.loss.Loss.reduce", reduce),),
    measured="mean loss of two positions and two ignored ones",
    symptom=loss_of_half_a_row,
    check=ignored_positions_do_not_count,
    fooled=without_padding_it_is_right,
    story=(
        "A wrong divisor scales the loss and the gradient; it looks like another learning rate, "
        "and no curve shows it. transformers divided each part of an accumulated batch by its own "
        "number of tokens, so that tokens of short texts counted more. An issue of July 2023 said "
        "so and was closed. In October 2024 the authors of Unsloth compared runs that should have "
        "been equal, and several libraries were repaired within days. Always ask: a mean of what?"
    ),
    links=(
        "https://github.com/huggingface/transformers/issues/24725",
        "https://github.com/huggingface/transformers/pull/34191",
    ),
)

# --- next sentence prediction ---------------------------------------------------------------------


def class_loss(logits: Tensor, labels: Any, name: str = "labels") -> Tensor:
    """Ignore class 0, as if it were padding."""
    return F.cross_entropy(logits, as_tensor(labels), ignore_index=0)


def _losses_of_both_classes() -> list[float]:
    """Return the losses of two confident answers, both wrong."""
    logits = [[-2.0, 2.0], [2.0, -2.0]]
    return [
        losses.class_loss(Tensor([row]), np.array([label])).item()
        for label, row in enumerate(logits)
    ]


def loss_of_wrong_answers() -> str:
    """Compute the loss of a wrong answer for each class."""
    return ", ".join(f"{loss:.2f}" for loss in _losses_of_both_classes())


def every_class_has_a_loss() -> None:
    """A wrong answer has a loss above 0, whatever the right class is."""
    found = _losses_of_both_classes()
    assert min(found) > 1, f"wrong answers have the losses {found[0]:.2f} and {found[1]:.2f}"


def class_one_is_learned() -> None:
    """For class 1, a right answer has a loss near 0, and a wrong one has not."""
    answers = ([-6.0, 6.0], [6.0, -6.0])
    right, wrong = (losses.class_loss(Tensor([row]), np.array([1])).item() for row in answers)
    assert right < 1e-3, f"the loss of a right answer is {right:.3g}"
    assert wrong > 1, f"the loss of a wrong answer is {wrong:.3g}"


CLASS_ZERO = Bug(
    name="nsp-ignores-class-0",
    title="next sentence prediction that learns one answer",
    mistake="The loss of two classes ignores class 0, because 0 is the id of padding elsewhere.",
    patches=(Patch("tinybert.models.losses.class_loss", class_loss),),
    measured="loss of a wrong answer for class 0, and for class 1",
    symptom=loss_of_wrong_answers,
    check=every_class_has_a_loss,
    fooled=class_one_is_learned,
    right="return token_loss(logits, labels, name)",
    story=(
        "BERT-pytorch, a popular BERT on GitHub, used one loss with ignore_index=0 for masked "
        "words and for next sentence prediction. Users reported in October 2018 that the loss "
        "fell fast while the accuracy stayed at 50 %: answering 1 each time costs nothing. One of "
        "them put ten rows of numbers through the loss alone and so found the line. If loss and "
        "accuracy disagree, believe the accuracy."
    ),
    links=(
        "https://github.com/codertimo/BERT-pytorch/issues/32",
        "https://github.com/codertimo/BERT-pytorch/issues/49",
    ),
)

BUGS = (SHIFTED_TWICE, DIVISOR, CLASS_ZERO)
