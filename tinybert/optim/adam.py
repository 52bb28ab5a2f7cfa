"""`Adam` and `AdamW`: gradient descent with an adaptive step size for each weight."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tinybert.autograd import Tensor
from tinybert.backend import Array, array_module, cpu, kernel
from tinybert.checks import check, check_number, is_number
from tinybert.optim.optimizer import Optimizer


class Adam(Optimizer):
    """Adam (Kingma and Ba 2014, "Adam: A Method for Stochastic Optimization", algorithm 1).

    For a parameter w with gradient g, at its step t, with m and v zero at first:

        g     <- g + weight_decay * w
        m_t   =  beta1 * m_{t-1} + (1 - beta1) * g
        v_t   =  beta2 * v_{t-1} + (1 - beta2) * g^2
        m_hat =  m_t / (1 - beta1^t),   v_hat = v_t / (1 - beta2^t)
        w     <- w - lr * m_hat / (sqrt(v_hat) + eps)

    m and v start at zero and are too small by the factor 1 - beta^t; m_hat and v_hat correct this
    bias. eps is added to the corrected root: added before the correction, it would have more effect
    in the first steps. t counts the steps in which this parameter had a gradient. Arguments and
    results are those of `torch.optim.Adam`. Weight decay is part of the gradient and therefore of m
    and v, which makes it weak for weights with large gradients; `AdamW` avoids this.

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
        check_number("eps", options["eps"])
        betas = options["betas"]
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ValueError(f"betas must be a pair of numbers, got {betas!r}")
        for index, beta in enumerate(betas):
            fits = is_number(beta) and 0 <= beta < 1
            check(f"betas[{index}]", beta, fits, "a number >= 0 and < 1")

    def update(self, param: Tensor, data: Array, grad: Array, group: dict[str, Any]) -> None:
        """Update one parameter."""
        self._step([param], [data], [grad], group)

    def update_all(self, params: list[Tensor], data: list[Array], group: dict[str, Any]) -> None:
        """Update all parameters of a group: on a GPU at once."""
        if type(self).update is not Adam.update:  # a subclass has a rule of its own
            super().update_all(params, data, group)
        elif params:
            grads = [param.grad.data for param in params]  # type: ignore[union-attr]
            self._step(params, data, grads, group)

    def _step(
        self, params: list[Tensor], data: list[Array], grads: list[Array], group: dict[str, Any]
    ) -> None:
        means, squares = (
            [self.buffer(param, name) for param in params] for name in ("exp_avg", "exp_avg_sq")
        )
        for state in (states := [self.state[param] for param in params]):
            state["step"] = state.get("step", 0) + 1
        targets = [_contiguous(array) for array in data]
        adam_steps(
            targets,
            [_contiguous(grad) for grad in grads],
            means,
            squares,
            [state["step"] for state in states],
            lr=float(group["lr"]),  # a NumPy scalar would widen float32 arrays
            beta1=float(group["betas"][0]),
            beta2=float(group["betas"][1]),
            eps=float(group["eps"]),
            weight_decay=float(group["weight_decay"]),
            decoupled=self.decoupled,
        )
        for array, target in zip(data, targets, strict=True):
            if target is not array:
                array[...] = target


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2017, "Decoupled Weight Decay
    Regularization", algorithm 2).

    The decay is not part of the gradient. It shrinks the weight itself, before the step of Adam:

        w <- w - lr * weight_decay * w
        w <- w - lr * m_hat / (sqrt(v_hat) + eps)      (m_hat, v_hat as in `Adam`)

    The decay is multiplied by lr, where the paper has a schedule multiplier. Arguments and results
    are those of `torch.optim.AdamW`. Usually biases and the weights of normalization layers are not
    decayed: give them as a group with `"weight_decay": 0.0`.

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
    """Return `array` in C order, without a copy if it is contiguous."""
    return array if array.flags.c_contiguous else array.copy(order="C")


# --- kernels --------------------------------------------------------------------------------------


@kernel
def adam_steps(
    params: list[Array], grads: list[Array], means: list[Array], squares: list[Array],
    steps: list[int], **options: Any,
) -> None:  # fmt: skip
    """Do one step of Adam to each tensor; the options are those of `adam_step`."""
    for *arrays, step in zip(params, grads, means, squares, steps, strict=True):
        adam_step(*arrays, step=step, **options)


@kernel
def adam_step(
    param: Array, grad: Array, mean: Array, square: Array, *, lr: float, beta1: float,
    beta2: float, eps: float, weight_decay: float, decoupled: bool, step: int,
) -> None:  # fmt: skip
    """Do one step of Adam (or AdamW, if `decoupled`) to the arrays in place."""
    if weight_decay and decoupled:
        param *= 1 - lr * weight_decay
    elif weight_decay:
        grad = grad + param * weight_decay
    mean *= beta1
    mean += grad * (1 - beta1)
    square *= beta2
    square += grad * grad * (1 - beta2)
    correction = math.sqrt(1 - beta2**step)
    root = array_module(square).sqrt(square)
    param -= mean * (lr / (1 - beta1**step)) / (root / correction + eps)


@adam_step.on("cpu")
def adam_step_on_cpu(
    param: Array, grad: Array, mean: Array, square: Array, *, lr: float, beta1: float,
    beta2: float, eps: float, weight_decay: float, decoupled: bool, step: int,
) -> None:  # fmt: skip
    """Do every step on a block of elements while it is in the cache."""
    if not (param.flags.c_contiguous and grad.flags.c_contiguous):
        raise ValueError("adam_step needs contiguous arrays")
    flat = [array.reshape(-1) for array in (param, grad, mean, square)]
    correction = math.sqrt(1 - beta2**step)

    def work(block: slice) -> None:
        p, g, m, v = (array[block] for array in flat)
        if weight_decay and decoupled:
            p *= 1 - lr * weight_decay
        elif weight_decay:
            g = g + p * weight_decay
        scratch = g * (1 - beta1)
        m *= beta1
        m += scratch
        np.multiply(g, g, out=scratch)
        scratch *= 1 - beta2
        v *= beta2
        v += scratch
        np.sqrt(v, out=scratch)  # m / (root / c + eps) = c * m / (root + c * eps)
        scratch += correction * eps
        np.divide(m, scratch, out=scratch)
        scratch *= correction * lr / (1 - beta1**step)
        p -= scratch

    cpu.in_blocks(work, param.size, 1)
