"""`TrainingConfig`: the options of a training run, saved with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tinybert.checks import check_choice, check_flag, check_integer, check_number
from tinybert.optim import (
    SGD,
    Adam,
    AdamW,
    Lamb,
    LambdaLR,
    Optimizer,
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adamw": AdamW,
    "adam": Adam,
    "lamb": Lamb,
    "sgd": SGD,
}
SCHEDULES: dict[str, Callable[[Optimizer, int, int], LambdaLR]] = {
    "linear": get_linear_schedule_with_warmup,
    "cosine": get_cosine_schedule_with_warmup,
    "constant": lambda optimizer, warmup, steps: get_constant_schedule_with_warmup(
        optimizer, warmup
    ),
}


@dataclass(frozen=True)
class TrainingConfig:
    """The options of `Trainer`; ValueError for one that is out of range.

    Attributes:
        steps: the number of updates of the weights.
        accumulation: the number of batches of one step. Their gradients are added, which trains as
            one large batch does, in the memory of a small one.
        learning_rate: the largest rate, after the warm-up.
        warmup: the share of the steps in which the rate grows from 0 to `learning_rate`.
        schedule: how it goes on: "linear" or "cosine", to 0 at the end, or "constant".
        optimizer: "adamw", "adam", "lamb" or "sgd".
        weight_decay: for matrices; biases and the weights of normalization layers do not decay.
        max_grad_norm: longer gradients are scaled to this length; None for no limit.
        seed: of everything that is random.
        float16: run the model in float16, and keep the weights in float32 (see `HalfPrecision`).
        gradient_checkpointing: compute each layer again in the backward pass instead of keeping
            its intermediate results: less memory, a third more time.
        log_every, evaluate_every, save_every: after how many steps; None for only at the end.
        keep: how many checkpoints are kept.
        patience: stop after this many evaluations without a better result; None for never.
    """

    steps: int
    accumulation: int = 1
    learning_rate: float = 5e-5
    warmup: float = 0.06
    schedule: str = "linear"
    optimizer: str = "adamw"
    weight_decay: float = 0.01
    max_grad_norm: float | None = 1.0
    seed: int = 0
    float16: bool = False
    gradient_checkpointing: bool = False
    log_every: int = 10
    evaluate_every: int | None = None
    save_every: int | None = 500
    keep: int = 2
    patience: int | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "accumulation", "log_every", "keep"):
            check_integer(name, getattr(self, name), 1)
        for name in ("evaluate_every", "save_every", "patience"):
            check_integer(name, getattr(self, name), 1, optional=True)
        check_integer("seed", self.seed, 0)
        check_number("warmup", self.warmup, most=1)
        for name in ("learning_rate", "weight_decay"):
            check_number(name, getattr(self, name))
        check_number("max_grad_norm", self.max_grad_norm, optional=True)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("schedule", self.schedule, SCHEDULES)
        for name in ("float16", "gradient_checkpointing"):
            check_flag(name, getattr(self, name))
