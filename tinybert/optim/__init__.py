"""Optimizers, gradient clipping and learning-rate schedules: from gradients to better weights."""

from tinybert.optim.adam import Adam, AdamW
from tinybert.optim.clip import clip_grad_norm_
from tinybert.optim.groups import decay_groups
from tinybert.optim.lamb import Lamb
from tinybert.optim.optimizer import Optimizer
from tinybert.optim.schedules import (
    LambdaLR,
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)
from tinybert.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Lamb",
    "LambdaLR",
    "Optimizer",
    "clip_grad_norm_",
    "decay_groups",
    "get_constant_schedule_with_warmup",
    "get_cosine_schedule_with_warmup",
    "get_linear_schedule_with_warmup",
]
