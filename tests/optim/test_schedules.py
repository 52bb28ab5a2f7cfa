"""Schedules against transformers, LambdaLR against torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tests import tolerances
from tests.support import assert_close
from tinybert import optim
from tinybert.autograd import Tensor, as_tensor

SCHEDULES: list[tuple[str, dict[str, Any]]] = [
    ("get_constant_schedule_with_warmup", {"num_warmup_steps": 7}),
    ("get_constant_schedule_with_warmup", {"num_warmup_steps": 0}),
    ("get_linear_schedule_with_warmup", {"num_warmup_steps": 5, "num_training_steps": 23}),
    ("get_linear_schedule_with_warmup", {"num_warmup_steps": 0, "num_training_steps": 11}),
    ("get_linear_schedule_with_warmup", {"num_warmup_steps": 9, "num_training_steps": 4}),
    ("get_cosine_schedule_with_warmup", {"num_warmup_steps": 5, "num_training_steps": 23}),
    (
        "get_cosine_schedule_with_warmup",
        {"num_warmup_steps": 3, "num_training_steps": 20, "num_cycles": 1.75},
    ),
]


def leaves() -> list[Tensor]:
    return [Tensor(np.ones(n), requires_grad=True) for n in (2, 3)]


def make(name: str, options: dict[str, Any]) -> tuple[optim.Optimizer, optim.LambdaLR]:
    first, second = leaves()
    groups = [{"params": first}, {"params": second, "lr": 0.3}]
    optimizer = optim.SGD(groups, lr=0.02)
    return optimizer, getattr(optim, name)(optimizer, **options)


def rates(schedule: optim.LambdaLR, steps: int) -> list[list[float]]:
    seen = []
    for _ in range(steps):
        seen.append(schedule.get_last_lr())
        schedule.step()
    return seen


@pytest.mark.parametrize(("name", "options"), SCHEDULES)
def test_rates_are_those_of_transformers(name: str, options: dict[str, Any]) -> None:
    import transformers

    first, second = (torch.ones(n, requires_grad=True) for n in (2, 3))
    reference_optimizer = torch.optim.SGD([{"params": first}, {"params": second, "lr": 0.3}], 0.02)
    reference = getattr(transformers, name)(reference_optimizer, **options)
    optimizer, schedule = make(name, options)
    for step in range(30):  # some beyond the end
        assert schedule.get_last_lr() == pytest.approx(reference.get_last_lr(), rel=1e-15), step
        assert [group["lr"] for group in optimizer.param_groups] == schedule.get_last_lr()
        reference_optimizer.step()
        reference.step()
        schedule.step()
    assert schedule.last_epoch == reference.last_epoch


def test_the_corners_of_the_linear_schedule() -> None:
    _, schedule = make(*SCHEDULES[2])
    first = [rate for rate, _ in rates(schedule, 25)]
    assert first[0] == 0.0
    assert first[5] == max(first) == 0.02
    assert first[23] == first[24] == 0.0


@pytest.mark.parametrize(("name", "options"), SCHEDULES)
def test_saved_and_loaded_in_the_middle(name: str, options: dict[str, Any]) -> None:
    expected = rates(make(name, options)[1], 20)
    optimizer, schedule = make(name, options)
    rates(schedule, 8)
    state, optimizer_state = schedule.state_dict(), optimizer.state_dict()

    _, loaded = make(name, options)
    loaded.load_state_dict(state)
    assert rates(loaded, 12) == expected[8:]

    fresh, _ = make(name, options)  # or without its state, from the number of the last step
    fresh.load_state_dict(optimizer_state)
    assert rates(getattr(optim, name)(fresh, **options, last_epoch=7), 12) == expected[8:]


def test_training_with_schedule_and_clipping_equals_torch() -> None:
    """The whole loop of a fine-tuning: forward, backward, clip, step, schedule, zero_grad."""
    import transformers

    rng = np.random.default_rng(1)
    x, start = rng.standard_normal((13, 5)), rng.standard_normal((5, 3))
    ours = Tensor(start, requires_grad=True)
    theirs = torch.tensor(start, requires_grad=True)
    optimizer = optim.AdamW([ours], lr=0.05)
    reference = torch.optim.AdamW([theirs], lr=0.05)
    schedule = optim.get_cosine_schedule_with_warmup(optimizer, 20, 200)
    their_schedule = transformers.get_cosine_schedule_with_warmup(reference, 20, 200)
    for _ in range(200):
        z = as_tensor(x) @ ours
        ((z * z - z) * z).backward(np.ones(z.shape))
        norm = optim.clip_grad_norm_([ours], 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()

        z_torch = torch.from_numpy(x) @ theirs
        ((z_torch * z_torch - z_torch) * z_torch).sum().backward()
        their_norm = torch.nn.utils.clip_grad_norm_([theirs], 1.0)
        reference.step()
        their_schedule.step()
        reference.zero_grad()
        assert norm.item() == pytest.approx(their_norm.item(), rel=1e-8)
    assert_close(ours.numpy(), theirs.detach().numpy(), rtol=tolerances.OPTIM_FLOAT64)


def test_one_function_a_group() -> None:
    factors: list[Callable[[int], float]] = [lambda step: 0.5**step, lambda step: 1.0]
    first, second = leaves()
    optimizer = optim.SGD([{"params": first}, {"params": second}], lr=0.8)
    schedule = optim.LambdaLR(optimizer, factors)
    assert rates(schedule, 3) == [[0.8, 0.8], [0.4, 0.8], [0.2, 0.8]]
    with pytest.raises(ValueError, match="lr_lambda has 1 functions, the optimizer 2 groups"):
        optim.LambdaLR(optimizer, factors[:1])


def test_wrong_arguments_are_named() -> None:
    optimizer = optim.SGD(leaves())
    with pytest.raises(ValueError, match="num_warmup_steps must be a number >= 0, got -1"):
        optim.get_constant_schedule_with_warmup(optimizer, -1)
    with pytest.raises(ValueError, match="num_training_steps must be a number >= 0, got -2"):
        optim.get_linear_schedule_with_warmup(optimizer, 1, -2)
    with pytest.raises(ValueError, match='no "initial_lr"'):
        optim.get_constant_schedule_with_warmup(optimizer, 1, last_epoch=5)
    schedule = optim.get_constant_schedule_with_warmup(optimizer, 1)
    with pytest.raises(ValueError, match="base_lrs of 2 groups, this schedule has 1"):
        schedule.load_state_dict({"last_epoch": 1, "base_lrs": [0.1, 0.2]})
