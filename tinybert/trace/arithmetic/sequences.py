"""Operations along the tokens: rotary position embedding, and the moving average of MEGA."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert.trace.arithmetic.products import product
from tinybert.trace.arithmetic.terms import Term, number, total
from tinybert.trace.arithmetic.work import Numbers, Work, backward, copy, forward

# --- rotary ---------------------------------------------------------------------------------------


@forward("RotaryEmbedding")
def rotary(work: Work) -> Term:
    """y_i = x_i * cos_i - x_(i+R/2) * sin_i; in the second half x_i * cos_i + x_(i-R/2) * sin_i."""
    x, (cos, sin), i = work.x(), _angles(work), work.index[-1]
    width = cos.shape[-1]
    if i >= width:
        return copy("x", x, work.index)
    straight = number(x[work.index]) * cos.at(work.index)
    if i < width // 2:
        return straight - number(x[_with(work, i + width // 2)]) * sin.at(work.index)
    return straight + number(x[_with(work, i - width // 2)]) * sin.at(work.index)


@backward("RotaryEmbedding", "dx")
def rotary_dx(work: Work) -> Term:
    """Return dx_i = dy_i * cos_i + dy_(i+R/2) * sin_(i+R/2): the rotation back."""
    dy, (cos, sin), i = work.dy(), _angles(work), work.index[-1]
    width = cos.shape[-1]
    if i >= width:
        return copy("dy", dy, work.index)
    straight = number(dy[work.index]) * cos.at(work.index)
    other = _with(work, i + width // 2 if i < width // 2 else i - width // 2)
    turned = number(dy[other]) * sin.at(other)
    return straight + turned if i < width // 2 else straight - turned


def _angles(work: Work) -> tuple[Numbers, Numbers]:
    return work.x("cos"), work.x("sin")


def _with(work: Work, feature: int) -> tuple[int, ...]:
    return (*work.index[:-1], feature)


# --- exponential moving average -------------------------------------------------------------------


def states_of(work: Work, b: int, d: int) -> Any:
    """Return the states (T + 1, N) of one sequence and feature, from the recurrence itself."""
    x, decay, enter = work.x()[b, :, d], work.x("decay")[d], work.x("enter")[d]
    states = np.zeros((len(x) + 1, len(decay)))
    if work.has("state"):
        states[0] = work.x("state")[b, d]
    for t, value in enumerate(x):
        states[t + 1] = decay * states[t] + enter * value
    return states


def dstates_of(work: Work, b: int, d: int) -> Any:
    """Return the gradients (T + 1, N) of the states, number t + 1 of the one after step t."""
    dy, decay, leave = work.dy("dy0")[b, :, d], work.x("decay")[d], work.x("leave")[d]
    dstates = np.zeros((len(dy) + 1, len(decay)))
    following = work.dy("dy1")[b, d]
    for t in reversed(range(len(dy))):
        dstates[t + 1] = following + leave * dy[t]
        following = decay * dstates[t + 1]
    dstates[0] = following
    return dstates


@forward("EMARecurrence")
def ema(work: Work) -> Term:
    """y_t = sum_n leave_n * state_(t,n), state_t = decay * state_(t-1) + enter * x_t."""
    if work.position == 1:
        b, d, n = work.index
        return _next_state(work, states_of(work, b, d), work.x().shape[1] - 1, b, d, n)
    b, t, d = work.index
    states, leave = states_of(work, b, d), work.x("leave")[d]
    largest = int(np.argmax(np.abs(leave * states[t + 1])))
    work.let(f"state[{largest}]", _next_state(work, states, t, b, d, largest))
    return total(product, leave, states[t + 1])


def _next_state(work: Work, states: Any, t: int, b: int, d: int, n: int) -> Term:
    if t < 0:
        return number(states[0, n])
    entering = number(work.x("enter")[d, n]) * work.x()[b, t, d]
    return number(work.x("decay")[d, n]) * states[t, n] + entering


@backward("EMARecurrence", "dx")
def ema_dx(work: Work) -> Term:
    """Return dx_t = sum_n enter_n * dstate_(t,n)."""
    b, t, d = work.index
    dstates, enter, leave = dstates_of(work, b, d), work.x("enter")[d], work.x("leave")[d]
    n = int(np.argmax(np.abs(enter * dstates[t + 1])))
    after = dstates[t + 2, n] if t + 2 < len(dstates) else None
    own = number(leave[n]) * work.dy("dy0")[b, t, d]
    later = (
        number(work.dy("dy1")[b, d, n]) if after is None else work.x("decay")[d, n] * number(after)
    )
    work.let(f"dstate[{n}]", own + later)
    return total(product, enter, dstates[t + 1])


@backward("EMARecurrence", "denter")
def ema_denter(work: Work) -> Term:
    """Return denter = the sum of x_t * dstate_t over time and batch."""
    d, n = work.index
    x = work.x()[..., d]
    return total(product, x, np.array([dstates_of(work, b, d)[1:, n] for b in range(len(x))]))


@backward("EMARecurrence", "dleave")
def ema_dleave(work: Work) -> Term:
    """Return dleave = the sum of dy_t * state_t over time and batch."""
    d, n = work.index
    dy = work.dy("dy0")[..., d]
    return total(product, dy, np.array([states_of(work, b, d)[1:, n] for b in range(len(dy))]))


@backward("EMARecurrence", "ddecay")
def ema_ddecay(work: Work) -> Term:
    """Return ddecay = the sum of state_(t-1) * dstate_t over time and batch."""
    d, n = work.index
    batch = range(work.x().shape[0])
    before = np.array([states_of(work, b, d)[:-1, n] for b in batch])
    return total(product, before, np.array([dstates_of(work, b, d)[1:, n] for b in batch]))


@backward("EMARecurrence", "dstate")
def ema_dstate(work: Work) -> Term:
    """Return dstate = decay * dstate_0, for the state that was given."""
    b, d, n = work.index
    dstates = dstates_of(work, b, d)
    if len(dstates) == 1:
        return copy("dy1", work.dy("dy1"), work.index)
    return number(work.x("decay")[d, n]) * dstates[1, n]
