"""`SGD`: gradient descent with momentum (heavy ball or Nesterov) and weight decay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tinybert.autograd import Tensor
from tinybert.backend import Array
from tinybert.checks import check_number
from tinybert.optim.optimizer import Optimizer


class SGD(Optimizer):
    """Stochastic gradient descent.

    For a parameter w with gradient g, at step t:

        g   <- g + weight_decay * w
        b_t =  momentum * b_{t-1} + (1 - dampening) * g      (b_1 = g)
        g   <- g + momentum * b_t  if nesterov, else b_t
        w   <- w - lr * g

    Without momentum the two middle lines do not apply. The momentum is that of Sutskever et al.
    2013 ("On the importance of initialization and momentum in deep learning"), in torch's form,
    where the learning rate is not part of b. Arguments and results are those of `torch.optim.SGD`.

    Raises as `Optimizer` does, and ValueError for `nesterov` without momentum or with dampening.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
        }
        super().__init__(params, defaults)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raise ValueError for an option that is out of range."""
        super().check_options(options)
        check_number("momentum", options["momentum"])
        if options["nesterov"] and (options["momentum"] == 0 or options["dampening"] != 0):
            raise ValueError(
                "nesterov needs momentum > 0 and dampening = 0, got "
                f"momentum={options['momentum']!r}, dampening={options['dampening']!r}"
            )

    def update(self, param: Tensor, data: Array, grad: Array, group: dict[str, Any]) -> None:
        """Update one parameter."""
        momentum = float(group["momentum"])
        if group["weight_decay"]:
            grad = grad + data * float(group["weight_decay"])
        if momentum:
            first = "momentum_buffer" not in self.state.get(param, {})
            velocity = self.buffer(param, "momentum_buffer")
            velocity *= momentum
            velocity += grad if first else grad * (1 - float(group["dampening"]))
            grad = grad + velocity * momentum if group["nesterov"] else velocity
        data -= grad * float(group["lr"])
