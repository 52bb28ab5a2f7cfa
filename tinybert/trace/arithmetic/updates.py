"""Updates of parameters: Adam, AdamW, Lamb and SGD.

The record has the moments after the update; those before it are computed back from them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinybert.trace.arithmetic.terms import Term, number, sqrt, value
from tinybert.trace.arithmetic.work import Work, update


@update("Adam", "AdamW")
def adam(work: Work) -> Term:
    """weight - lr * m_hat / (sqrt(v_hat) + eps), after the decay of AdamW."""
    lr, decay = float(work.option("lr")), float(work.option("weight_decay"))
    weight, g = number(work.x("weight")[work.index]), number(work.x("dweight")[work.index])
    if decay and work.step.operation == "AdamW":
        weight = work.let("decayed", weight - number(lr) * decay * weight)
    elif decay:
        g = work.let("g", g + number(decay) * weight)
    m_hat, v_hat = _moments(work, g)
    return weight - number(lr) * m_hat / (sqrt(v_hat) + work.option("eps"))


@update("Lamb")
def lamb(work: Work) -> Term:
    """weight - lr * trust * u with u = m_hat / (sqrt(v_hat) + eps) + decay * weight; the trust
    ratio is the norm of the whole weight / that of the whole u.
    """
    lr, decay, eps = (float(work.option(name)) for name in ("lr", "weight_decay", "eps"))
    weight, g = number(work.x("weight")[work.index]), number(work.x("dweight")[work.index])
    m_hat, v_hat = _moments(work, g)
    u = m_hat / (sqrt(v_hat) + eps)
    u = work.let("u", u + number(decay) * weight if decay else u)
    (beta1, beta2), t = work.option("betas"), int(work.option("step"))
    weights = work.x("weight")[...]
    m, v = work.saved("exp_avg")[...] / (1 - beta1**t), work.saved("exp_avg_sq")[...]
    us = m / (np.sqrt(v / (1 - beta2**t)) + eps) + decay * weights
    length, step_length = (float(np.linalg.norm(array.ravel())) for array in (weights, us))
    if not length or not step_length:
        return weight - number(lr) * u
    trust = work.let("trust", number(length) / step_length)
    return weight - number(lr) * trust * u


def _moments(work: Work, g: Term) -> tuple[Term, Term]:
    """Write the lines of m_hat and v_hat, the unbiased averages of g and g^2, and return them."""
    (beta1, beta2), t = work.option("betas"), int(work.option("step"))
    m = _average(work, "m", "exp_avg", float(beta1), g)
    v = _average(work, "v", "exp_avg_sq", float(beta2), g**2)
    m_hat = work.let("m_hat", m / (1 - number(beta1) ** t))
    return m_hat, work.let("v_hat", v / (1 - number(beta2) ** t))


def _average(work: Work, name: str, key: str, beta: float, new: Term) -> Term:
    """Write the line m = beta * (m before) + (1 - beta) * g, and return m."""
    after = work.saved(key)[work.index]
    is_first = int(work.option("step")) == 1 or not beta
    before = 0.0 if is_first else (after - (1 - beta) * value(new)) / beta
    return work.let(name, number(beta) * before + (1 - number(beta)) * new)


@update("SGD")
def sgd(work: Work) -> Term:
    """weight - lr * g, with momentum weight - lr * b."""
    options: dict[str, Any] = {
        name: float(work.option(name))
        for name in ("lr", "momentum", "dampening", "weight_decay")
    }  # fmt: skip
    momentum, kept = options["momentum"], 1 - number(options["dampening"])
    weight, g = number(work.x("weight")[work.index]), number(work.x("dweight")[work.index])
    if options["weight_decay"]:
        g = work.let("g", g + number(options["weight_decay"]) * weight)
    if momentum:
        after = work.saved("momentum_buffer")[work.index]
        before = (after - value(kept) * value(g)) / momentum
        is_first = math.isclose(after, value(g), rel_tol=1e-6)
        b = work.let("b", g if is_first else number(momentum) * before + kept * g)
        g = work.let("g", g + number(momentum) * b) if work.option("nesterov") else b
    return weight - number(options["lr"]) * g
