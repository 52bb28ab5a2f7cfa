"""The moving average of MEGA as a recurrence over time steps."""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import array_module


class EMARecurrence(Function):
    """Each feature is added to N decaying states, and y is a weighted sum of the states:

        state_t = decay * state_(t-1) + enter * x_t          y_t = sum_n leave_n state_(t,n)

    Shapes   x, y (B, T, D)   decay, enter, leave (D, N)   state (B, D, N), zeros if None
    Source   Ma et al. 2022, arXiv:2209.10655, eq. 6
    Returns  y and the state after the last step, from which the next call continues.

    Unrolled it is the convolution of x with `PowerSums`(enter * leave, decay). Later
    inputs never change earlier results, not even by rounding, unlike in a Fourier transform.

    Backward runs backward in time. With dstate_t the gradient of all that depends on state_t,

        dstate_t = leave * dy_t + decay * dstate_(t+1)
        dx_t = sum_n enter_n dstate_(t,n)        denter = sum x_t dstate_t
        dleave = sum dy_t state_t                ddecay = sum state_(t-1) dstate_t

    summed over time and batch. Saved: all states, (T + 1, B, D, N).
    """

    half_on = ""

    def forward(self, x: Any, decay: Any, enter: Any, leave: Any, state: Any = None) -> Any:
        xp = array_module(x)
        self.x, self.decay, self.enter, self.leave = x, decay, enter, leave
        batch, length, _ = x.shape
        self.states = xp.zeros((length + 1, batch, *decay.shape), x.dtype)
        if state is not None:
            self.states[0] = state
        y = xp.empty_like(x)
        for t in range(length):
            now = self.states[t] * decay + enter * x[:, t, :, None]
            self.states[t + 1] = now
            y[:, t] = (now * leave).sum(axis=-1)
        return y, self.states[length].copy()

    def backward(self, dy: Any, dlast: Any) -> Any:
        xp = array_module(dy)
        dstate = dlast
        dx = xp.empty_like(self.x)
        ddecay, denter, dleave = (xp.zeros_like(self.decay) for _ in range(3))
        for t in reversed(range(dy.shape[1])):
            dy_t = dy[:, t, :, None]  # (B, D, 1)
            dstate = dstate + self.leave * dy_t
            dx[:, t] = (self.enter * dstate).sum(axis=-1)
            denter += (self.x[:, t, :, None] * dstate).sum(axis=0)
            dleave += (dy_t * self.states[t + 1]).sum(axis=0)
            ddecay += (self.states[t] * dstate).sum(axis=0)
            dstate = dstate * self.decay
        return (dx, ddecay, denter, dleave, dstate)[: len(self.needs_input_grad)]


def ema_recurrence(
    input: Any, decay: Any, enter: Any, leave: Any, state: Any = None
) -> tuple[Tensor, Tensor]:
    """Compute step by step state = decay * state + enter * x_t and y_t = sum_n leave_n state_n.

    input (B, T, D); decay, enter and leave (D, N); state (B, D, N), zeros if None. Returns y
    (B, T, D) and the last state.
    """
    x = as_tensor(input)
    given = [t for t in (decay, enter, leave, state) if t is not None]
    return EMARecurrence.apply(x, *(as_tensor(t, x.device) for t in given))
