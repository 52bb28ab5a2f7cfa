"""Learning-rate schedules: `LambdaLR`, and three with warm-up for training BERT.

Names, arguments and values are those of `torch.optim.lr_scheduler` and `transformers`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tinybert.checks import check_number
from tinybert.optim.optimizer import Optimizer


class LambdaLR:
    """Learning rate = the group's initial rate * factor(step).

    Args:
        optimizer: the `"lr"` of its groups is set now and at every `step()`. The initial rate of a
            group is saved as its `"initial_lr"`.
        lr_lambda: a function from the step to the factor, or a list of them, one for each group.
        last_epoch: the number of steps taken before minus one; -1 to start.

    Attributes:
        last_epoch: the number of calls of `step()`.
        base_lrs: the initial rate of each group.

    Raises ValueError if a list does not have one function for each group, and for a `last_epoch`
    other than -1 if a group has no `"initial_lr"` (the optimizer's `state_dict` contains it).
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | list[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        groups = optimizer.param_groups
        factors = lr_lambda if isinstance(lr_lambda, (list, tuple)) else [lr_lambda] * len(groups)
        if len(factors) != len(groups):
            raise ValueError(
                f"lr_lambda has {len(factors)} functions, the optimizer {len(groups)} groups"
            )
        for group in groups:
            if last_epoch != -1 and "initial_lr" not in group:
                raise ValueError(
                    f"last_epoch={last_epoch} continues an earlier run, but the optimizer's "
                    'groups have no "initial_lr"; load its state_dict first'
                )
            group.setdefault("initial_lr", group["lr"])
        self.optimizer, self.lr_lambdas, self.last_epoch = optimizer, list(factors), last_epoch
        self.base_lrs = [group["initial_lr"] for group in groups]
        self.step()

    def step(self) -> None:
        """Set the rates of the next step; call it after `optimizer.step()`."""
        self.last_epoch += 1
        self._write()

    def _write(self) -> None:
        groups = self.optimizer.param_groups
        for group, base, factor in zip(groups, self.base_lrs, self.lr_lambdas, strict=True):
            group["lr"] = base * factor(self.last_epoch)

    def get_last_lr(self) -> list[float]:
        """Return the current rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return the step and the initial rates; the functions are not saved."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue at a saved step, and set the optimizer's rates to those of that step."""
        if len(state_dict["base_lrs"]) != len(self.base_lrs):
            raise ValueError(
                f"state_dict holds base_lrs of {len(state_dict['base_lrs'])} groups, "
                f"this schedule has {len(self.base_lrs)}"
            )
        self.last_epoch = state_dict["last_epoch"]
        self.base_lrs = list(state_dict["base_lrs"])
        self._write()


def get_constant_schedule_with_warmup(
    optimizer: Optimizer, num_warmup_steps: int, last_epoch: int = -1
) -> LambdaLR:
    """Increase the rate from 0 to the initial one in `num_warmup_steps` steps, then keep it."""
    return LambdaLR(optimizer, _after_warmup(num_warmup_steps, lambda step: 1.0), last_epoch)


def get_linear_schedule_with_warmup(
    optimizer: Optimizer, num_warmup_steps: int, num_training_steps: int, last_epoch: int = -1
) -> LambdaLR:
    """Increase the rate from 0 to the initial one, then decrease it linearly to 0.

    It reaches its maximum after `num_warmup_steps` steps and 0 after `num_training_steps`. BERT was
    trained so (Devlin et al. 2018, appendix A.2).
    """
    check_number("num_training_steps", num_training_steps)
    falling = max(1, num_training_steps - num_warmup_steps)

    def factor(step: int) -> float:
        return max(0.0, (num_training_steps - step) / falling)

    return LambdaLR(optimizer, _after_warmup(num_warmup_steps, factor), last_epoch)


def get_cosine_schedule_with_warmup(
    optimizer: Optimizer,
    num_warmup_steps: int,
    num_training_steps: int,
    num_cycles: float = 0.5,
    last_epoch: int = -1,
) -> LambdaLR:
    """Increase the rate from 0 to the initial one, then let it follow a cosine.

    The warm-up takes `num_warmup_steps` steps. The cosine has `num_cycles` periods until
    `num_training_steps`; half a period ends at 0 (Loshchilov and Hutter 2016, "SGDR", equation 5).
    """
    check_number("num_training_steps", num_training_steps)
    falling = max(1, num_training_steps - num_warmup_steps)

    def factor(step: int) -> float:
        progress = (step - num_warmup_steps) / falling
        return max(0.0, 0.5 * (1 + math.cos(2 * math.pi * num_cycles * progress)))

    return LambdaLR(optimizer, _after_warmup(num_warmup_steps, factor), last_epoch)


def _after_warmup(num_warmup_steps: int, factor: Callable[[int], float]) -> Callable[[int], float]:
    """Return a factor that is step / num_warmup_steps at first, then `factor(step)`."""
    check_number("num_warmup_steps", num_warmup_steps)

    def warmed(step: int) -> float:
        return step / num_warmup_steps if step < num_warmup_steps else factor(step)

    return warmed
