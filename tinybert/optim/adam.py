"""`Adam` and `AdamW`: steps of a size that each weight finds for itself.

The arithmetic is one fused kernel an array library, `adam_` in `backend/`; its plain form is in
`backend/reference.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tinybert.autograd import Tensor
from tinybert.backend import Array, kernels_of
from tinybert.optim.optimizer import Optimizer, check_range


class Adam(Optimizer):
    """Adam (Kingma and Ba 2014, "Adam: A Method for Stochastic Optimization", algorithm 1).

    For a parameter w with gradient g, at its step t, with m and v zero at first:

        g     <- g + weight_decay * w
        m_t   =  beta1 * m_{t-1} + (1 - beta1) * g
        v_t   =  beta2 * v_{t-1} + (1 - beta2) * g^2
        m_hat =  m_t / (1 - beta1^t),   v_hat = v_t / (1 - beta2^t)
        w     <- w - lr * m_hat / (sqrt(v_hat) + eps)

    m and v start at zero and are too small by 1 - beta^t; the hats correct that bias. eps is added
    to the corrected root: added before the correction, it would be larger in the first steps. t
    counts the steps of this parameter, those in which it had a gradient. Arguments and results are
    those of `torch.optim.Adam`. Weight decay here goes through m and v as part of the gradient,
    which makes it weak for weights with large gradients; `AdamW` does not.

    Raises as `Optimizer` does.
    """

    decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raise ValueError for an option that is out of range."""
        super().check_options(options)
        check_range("eps", options["eps"])
        betas = options["betas"]
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ValueError(f"betas must be a pair of numbers, got {betas!r}")
        for index, beta in enumerate(betas):
            check_range(f"betas[{index}]", beta, below=1.0)

    def update(self, param: Tensor, data: Array, grad: Array, group: dict[str, Any]) -> None:
        """One step for one parameter."""
        mean, square = self.buffer(param, "exp_avg"), self.buffer(param, "exp_avg_sq")
        state = self.state[param]
        state["step"] = state.get("step", 0) + 1
        target = _contiguous(data)
        kernels_of(data).adam_(
            target,
            _contiguous(grad),
            mean,
            square,
            lr=float(group["lr"]),  # a NumPy scalar would widen float32 arrays
            beta1=float(group["betas"][0]),
            beta2=float(group["betas"][1]),
            eps=float(group["eps"]),
            weight_decay=float(group["weight_decay"]),
            decoupled=self.decoupled,
            step=state["step"],
        )
        if target is not data:
            data[...] = target


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2017, "Decoupled Weight Decay
    Regularization", algorithm 2).

    The gradient stays free of the decay; the weight itself shrinks, before the step of Adam:

        w <- w - lr * weight_decay * w
        w <- w - lr * m_hat / (sqrt(v_hat) + eps)      (m_hat, v_hat as in `Adam`)

    The decay is multiplied by lr, as in `torch.optim.AdamW`, whose arguments and results these are;
    the paper has a schedule multiplier in its place. Biases and the weights of normalisation layers
    are customarily left out: give them as a group with `"weight_decay": 0.0`.

    Raises as `Optimizer` does.
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)


def _contiguous(array: Array) -> Array:
    """`array` in C order, itself if it is so already."""
    return array if array.flags.c_contiguous else array.copy(order="C")
