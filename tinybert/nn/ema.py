"""The multi-dimensional damped exponential moving average (EMA) of MEGA."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Tensor
from tinybert.nn import init
from tinybert.nn.module import Module, Parameter

FEW = 8  # up to this many steps the recurrence is faster than a Fourier transform


class Coefficients(NamedTuple):
    """The factors (D, N), or (2 D, N) in both directions, of the recurrence: see `DampedEMA`."""

    decay: Tensor
    enter: Tensor
    leave: Tensor


class DampedEMA(Module):
    """y = silu(EMA(x) + x * omega): N damped moving averages of every feature.

    A plain exponential moving average, y_t = p x_t + (1 - p) y_(t-1), has one rate p. Here each of
    the D features has N states with rates of their own, and the decay has a second, damping factor
    (Ma et al. 2022, arXiv:2209.10655, eq. 5-6):

        state_t = (1 - p a) state_(t-1) + p beta x_t        EMA(x)_t = gamma . state_t / sqrt(N)

    with p = sigmoid(damping_factor) and a = sigmoid(decay_factor). As a convolution the kernel at
    lag j is sum_n p beta gamma (1 - p a)^j / sqrt(N). (The paper calls p alpha, a delta and gamma
    eta; the authors' code calls p delta and a alpha.)

    Args:
        hidden_size, projection_size: D and N.
        bidirectional: add a second set of D x N states, computed from the end to the beginning;
            both include x_t, as in the authors' code.
        truncation: the length of the kernel in steps; None for no limit.

    Parameters, by the names of transformers: damping_factor, decay_factor, ema_expansion_matrix
    (beta), (K, N, 1); kernel_projection_matrix (gamma), (K, N); residual_weight (omega), (D,).
    K is D, or 2 D if bidirectional.
    """

    def __init__(
        self,
        hidden_size: int,
        projection_size: int,
        bidirectional: bool = False,
        truncation: int | None = None,
    ) -> None:
        super().__init__()
        self.hidden_size, self.projection_size = hidden_size, projection_size
        self.bidirectional, self.truncation = bidirectional, truncation
        rows = 2 * hidden_size if bidirectional else hidden_size
        self.damping_factor = Parameter(init.full((rows, projection_size, 1), 0.0))
        self.decay_factor = Parameter(init.full((rows, projection_size, 1), 0.0))
        self.ema_expansion_matrix = Parameter(init.full((rows, projection_size, 1), 0.0))
        self.kernel_projection_matrix = Parameter(init.full((rows, projection_size), 0.0))
        self.residual_weight = Parameter(init.full((hidden_size,), 0.0))
        self.draw_weights(set(self._parameters))

    def draw_weights(
        self,
        wanted: set[str],
        delta_alpha_range: float = 0.2,
        beta_range: float = 0.02,
        gamma_omega_range: float = 1.0,
    ) -> None:
        """Draw the parameters that `wanted` names from normal distributions.

        The ranges are standard deviations. All means are 0, but those of beta are 1, -1, 1, ...,
        which the authors found more stable.
        """
        ranges = {
            "damping_factor": delta_alpha_range,
            "decay_factor": delta_alpha_range,
            "ema_expansion_matrix": beta_range,
            "kernel_projection_matrix": gamma_omega_range,
            "residual_weight": gamma_omega_range,
        }
        signs = np.where(np.arange(self.projection_size) % 2, -1.0, 1.0)[:, None]  # (N, 1)
        for name, std in ranges.items():
            if name in wanted:
                mean = signs if name == "ema_expansion_matrix" else 0.0
                init.normal_(self._parameters[name], std, mean)

    def coefficients(self) -> Coefficients:
        """Return decay = 1 - p a, enter = p beta and leave = gamma / sqrt(N), each (K, N)."""
        p = self.damping_factor.sigmoid()
        decay = 1 - p * self.decay_factor.sigmoid()
        enter = p * self.ema_expansion_matrix
        scale = math.sqrt(1 / self.projection_size)
        return Coefficients(
            decay.squeeze(-1), enter.squeeze(-1), self.kernel_projection_matrix * scale
        )

    def kernel(self, length: int) -> Tensor:
        """Return the convolution kernel (K, M): the factor of a value after 0, 1, ... steps.

        M is `length`, or `truncation` if that is less. With both directions, the first D rows are
        those of the forward direction.
        """
        c = self.coefficients()
        width = length if self.truncation is None else min(self.truncation, length)
        return F.power_sums(c.enter * c.leave, c.decay, width)

    def forward(
        self,
        x: Tensor,
        mask: Any = None,
        state: Tensor | None = None,
        want_state: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return y (B, T, D) for x (B, T, D), and the state after the last step if `want_state`.

        Args:
            mask: (B, T, 1), 0 for steps that do not enter the average, such as padding.
            state: the state that the call for the preceding steps returned: (B, D, N), or with a
                truncation the last inputs, (B, at most truncation - 1, D).

        Raises ValueError for a state with both directions: it would depend on later steps.
        """
        if self.bidirectional and (want_state or state is not None):
            raise ValueError("a bidirectional moving average has no state that could be carried")
        inputs = x if mask is None else x * mask
        after = None
        if self.truncation is not None and (want_state or state is not None):
            y, after = self._window(inputs, state)
        elif state is not None or want_state:
            y, after = self._resume(inputs, state)
        else:
            y = self._convolve(inputs)
        return F.silu(y + x * self.residual_weight), after

    def _convolve(self, x: Tensor) -> Tensor:
        kernel = self.kernel(x.shape[1])
        if not self.bidirectional:
            return F.long_convolution(x, kernel)
        return F.long_convolution(x, kernel[: self.hidden_size], kernel[self.hidden_size :])

    def _resume(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return y and the new state.

        A few steps are computed one by one. Many are computed by convolution, and the contribution
        of the old state is added.
        """
        decay, enter, leave = self.coefficients()
        length = x.shape[1]
        if length <= FEW:
            return F.ema_recurrence(x, decay, enter, leave, state)
        y = F.long_convolution(x, F.power_sums(enter * leave, decay, length))
        # state_T = decay^T state_0 + enter * sum_t decay^(T-1-t) x_t
        after = enter * F.polynomials(x.flip(1).transpose(1, 2), decay)
        if state is not None:
            y = y + F.power_sums(state * (leave * decay), decay, length).transpose(1, 2)
            after = after + state * decay**length
        return y, after

    def _window(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return y, and the last inputs, which later steps need."""
        assert self.truncation is not None
        seen = x if past is None else F.concat([past, x], axis=1)
        y = F.long_convolution(seen, self.kernel(seen.shape[1]))
        first = max(0, seen.shape[1] - (self.truncation - 1))
        return y[:, seen.shape[1] - x.shape[1] :], seen[:, first:]

    def extra_repr(self) -> str:
        return (
            f"{self.hidden_size}, {self.projection_size}, bidirectional={self.bidirectional}, "
            f"truncation={self.truncation}"
        )
