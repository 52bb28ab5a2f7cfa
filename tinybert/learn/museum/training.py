"""Optimizers that differ by one line, and dropout that stays on."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert.autograd import Tensor, no_grad
from tinybert.backend import Array, array_module
from tinybert.learn.museum.bugs import Bug
from tinybert.learn.museum.specimens import LONG, bert, largest_difference, must_agree
from tinybert.learn.patches import Patch
from tinybert.optim import Adam, AdamW


def _descend(kind: type[Adam], steps: int, gradient: float = 1.0, **options: Any) -> float:
    """Return a weight of 1 after some steps with a constant gradient and lr 0.1."""
    weight = Tensor(np.array([1.0]), requires_grad=True)
    optimizer = kind([weight], lr=0.1, **options)
    for _ in range(steps):
        weight.grad = Tensor(np.array([gradient]))
        optimizer.step()
    return float(weight.numpy()[0])


# --- bias correction ------------------------------------------------------------------------------


def adam_step(
    param: Array, grad: Array, mean: Array, square: Array, *, lr: float, beta1: float,
    beta2: float, eps: float, weight_decay: float, decoupled: bool, step: int,
) -> None:  # fmt: skip
    """Leave out that mean and square start at zero."""
    if weight_decay and decoupled:
        param *= 1 - lr * weight_decay
    elif weight_decay:
        grad = grad + param * weight_decay
    mean *= beta1
    mean += grad * (1 - beta1)
    square *= beta2
    square += grad * grad * (1 - beta2)
    param -= mean * lr / (array_module(square).sqrt(square) + eps)


def weight_after_three_steps() -> str:
    """Take three steps of lr 0.1 from 1."""
    return f"{_descend(Adam, 3):.2f}"


def the_first_step_has_the_size_of_lr() -> None:
    """The first step is lr, whatever the size of the gradient."""
    for gradient in (1e-3, 1.0, 1e3):
        step = 1 - _descend(Adam, 1, gradient)
        assert abs(step - 0.1) < 1e-4, f"with lr 0.1 the first step has a size of {step:.3f}"


def late_steps_are_right() -> None:
    """After many steps with the same gradient a step has the size of lr."""
    betas = (0.9, 0.99)
    step = _descend(Adam, 600, betas=betas) - _descend(Adam, 601, betas=betas)
    assert abs(step - 0.1) < 1e-3, f"with lr 0.1 a late step has a size of {step:.3f}"


NO_CORRECTION = Bug(
    name="adam-without-bias-correction",
    title="an Adam that starts with a jump",
    mistake="The running means start at zero, and the correction for that is left out.",
    patches=(Patch("tinybert.optim.adam.adam_step", adam_step),),
    measured="a weight of 1 after three steps of lr 0.1",
    symptom=weight_after_three_steps,
    check=the_first_step_has_the_size_of_lr,
    fooled=late_steps_are_right,
    story=(
        "This is the optimizer of the original BERT. Asked why, one of its authors answered in "
        "2018: mostly an oversight, and it does not matter with a warm-up. Pre-training takes a "
        "million steps, but fine-tuning on a small data set takes a few hundred. In 2020 "
        "two papers asked why fine-tuned BERTs fail for some seeds; the missing correction was "
        "one reason. A bug can be harmless for its author and not for the next user."
    ),
    links=(
        "https://github.com/google-research/bert/issues/153",
        "https://arxiv.org/abs/2006.05987",
        "https://arxiv.org/abs/2006.04884",
    ),
)

# --- weight decay ---------------------------------------------------------------------------------


def weight_with_decay() -> str:
    """Take three steps of lr 0.1 from 1 with a weight decay of 0.1."""
    return f"{_descend(AdamW, 3, weight_decay=0.1):.3f}"


def decay_is_added_to_the_step() -> None:
    """One step with weight decay moves the weight by lr * weight_decay * weight more."""
    more = _descend(AdamW, 1, weight_decay=0.0) - _descend(AdamW, 1, weight_decay=0.5)
    assert abs(more - 0.1 * 0.5) < 1e-6, f"the decay moved the weight by {more:.2g}, not by 0.05"


def without_decay_it_is_adam() -> None:
    """With a weight decay of 0 AdamW is Adam."""
    assert _descend(AdamW, 3, weight_decay=0.0) == _descend(Adam, 3), "the steps differ"


COUPLED = Bug(
    name="adamw-decay-in-the-gradient",
    title="an AdamW that is Adam",
    mistake="Weight decay is added to the gradient, and Adam divides it away again.",
    patches=(Patch("tinybert.optim.adam.AdamW.decoupled", False),),
    measured="a weight of 1 after three steps of lr 0.1 with weight decay 0.1",
    symptom=weight_with_decay,
    check=decay_is_added_to_the_step,
    fooled=without_decay_it_is_adam,
    story=(
        "Nearly all libraries added weight decay to the gradient, until a paper showed in 2017 "
        "that Adam then hardly decays at all, and named the repaired form AdamW. In "
        "January 2024 a user of Keras read its source and found that AdamW had become the old "
        "Adam again: weight decay had been moved to the base class of all optimizers. The name "
        "stayed, the meaning went. Test what makes a class different from its parent."
    ),
    links=(
        "https://github.com/keras-team/keras/issues/19051",
        "https://arxiv.org/abs/1711.05101",
    ),
)

# --- dropout --------------------------------------------------------------------------------------


def stay_in_training(self: Any) -> Any:
    """Leave dropout on."""
    return self


def _two_runs() -> tuple[np.ndarray, np.ndarray]:
    model = bert()
    with no_grad():
        first, second = (model(LONG).last_hidden_state.numpy() for _ in range(2))
    return first, second


def difference_of_two_runs() -> str:
    """Run the same text twice."""
    return f"{largest_difference(*_two_runs()):.1g}"


def two_runs_agree() -> None:
    """The same text has the same states in two runs."""
    must_agree(*_two_runs(), "two runs of one text differ", 0.0)


DROPOUT_ON = Bug(
    name="dropout-left-on",
    title="dropout while predicting",
    mistake="The model is used in training mode: eval() is not called, or does nothing.",
    patches=(Patch("tinybert.nn.module.Module.eval", stay_in_training),),
    measured="change of the states from one run to the next",
    symptom=difference_of_two_runs,
    check=two_runs_agree,
    story=(
        "Several issues ask why BERT gives another result for the same input. In 2019 the "
        "answer was model.eval(), each time; later from_pretrained switched to evaluation mode "
        "itself. In 2023 a user reported that from_config does not, which had cost several "
        "people many hours. A mistake that many users make belongs to the library. If results "
        "differ from run to run, look for dropout first."
    ),
    links=(
        "https://github.com/huggingface/transformers/issues/679",
        "https://github.com/huggingface/transformers/issues/21244",
    ),
)

BUGS = (NO_CORRECTION, COUPLED, DROPOUT_ON)
