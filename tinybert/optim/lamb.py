"""`Lamb`: Adam with a step in proportion to the size of each weight matrix, for large batches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tinybert.autograd import Tensor
from tinybert.backend import Array, array_module
from tinybert.optim.adam import Adam


class Lamb(Adam):
    """LAMB (You et al. 2019, "Large Batch Optimization for Deep Learning", algorithm 2).

    With m_hat and v_hat as in `Adam`, for each parameter tensor w:

        u <- m_hat / (sqrt(v_hat) + eps) + weight_decay * w
        w <- w - lr * |w| / |u| * u

    |w| and |u| are Euclidean norms over the whole tensor. Their ratio, the trust ratio, gives every
    tensor a step that is a share `lr` of its own length; it is 1 where a norm is zero, as for a
    bias that starts at zero. BERT was trained in 76 minutes so, with batches of 32,768.

    The defaults are those of the paper. Raises as `Optimizer` does.
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)

    def update(self, param: Tensor, data: Array, grad: Array, group: dict[str, Any]) -> None:
        """Update one parameter."""
        xp = array_module(data)
        direction = xp.zeros_like(data)  # where a step of Adam with rate 1 leads from zero
        super().update(param, direction, grad, {**group, "lr": 1.0, "weight_decay": 0.0})
        xp.negative(direction, out=direction)
        direction += data * float(group["weight_decay"])
        length, step_length = xp.linalg.norm(data.ravel()), xp.linalg.norm(direction.ravel())
        both = (length > 0) & (step_length > 0)
        trust = xp.where(both, length / xp.where(both, step_length, 1), 1)
        data -= direction * (trust * float(group["lr"])).astype(data.dtype)
