"""The parts of a BERT layer in plain NumPy, for the exercises that put parts together.

Earlier exercises build most of them. Each `NAME_backward` returns the gradients of the inputs of
NAME, given dy, the gradient of its output.

Shapes   B batch, T tokens, H heads, K features of a head, D = H K features
"""

from __future__ import annotations

import math

import numpy as np

from tinybert.ops.erf import erf_forward

Arrays = tuple[np.ndarray, ...]


def softmax(x: np.ndarray) -> np.ndarray:
    """Return the probabilities of scores x (..., N)."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Map x (..., in) to (..., out) with a weight (out, in)."""
    return x @ weight.T + bias


def linear_backward(dy: np.ndarray, x: np.ndarray, weight: np.ndarray) -> Arrays:
    """Return dx, dweight and dbias."""
    rows = dy.reshape(-1, dy.shape[-1])
    return dy @ weight, rows.T @ x.reshape(-1, x.shape[-1]), rows.sum(axis=0)


def layer_norm(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float = 1e-12
) -> np.ndarray:
    """Bring the last axis of x to mean 0 and variance 1; then scale and shift it."""
    return _normalised(x, eps)[0] * weight + bias


def layer_norm_backward(
    dy: np.ndarray, x: np.ndarray, weight: np.ndarray, eps: float = 1e-12
) -> Arrays:
    """Return dx, dweight and dbias."""
    x_hat, rstd = _normalised(x, eps)
    dx_hat, tokens = dy * weight, tuple(range(dy.ndim - 1))
    mean, slope = (a.mean(axis=-1, keepdims=True) for a in (dx_hat, dx_hat * x_hat))
    dx = rstd * (dx_hat - mean - x_hat * slope)
    return dx, (dy * x_hat).sum(axis=tokens), dy.sum(axis=tokens)


def _normalised(x: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    rstd = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + eps)
    return (x - x.mean(axis=-1, keepdims=True)) * rstd, rstd


def gelu(x: np.ndarray) -> np.ndarray:
    """Return x Phi(x), with Phi the distribution function of the normal distribution."""
    return x * _phi(x)


def gelu_backward(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return dx, for the input x of GELU."""
    return dy * (_phi(x) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi))


def _phi(x: np.ndarray) -> np.ndarray:
    return (1 + erf_forward(x / math.sqrt(2))) / 2


def split_heads(x: np.ndarray, heads: int) -> np.ndarray:
    """Return (B, T, D) as (B, H, T, K)."""
    return x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)


def merge_heads(x: np.ndarray) -> np.ndarray:
    """Return (B, H, T, K) as (B, T, D)."""
    return x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], -1)


def multi_head_attention(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    heads: int,
    mask: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Return the context (B, T, D); the mask is added to the scores (B, H, T, T)."""
    q, k, v = (split_heads(x, heads) for x in (query, key, value))
    return merge_heads(_weights(q, k, mask) @ v)


def multi_head_attention_backward(
    dy: np.ndarray,
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    heads: int,
    mask: np.ndarray | float = 0.0,
) -> Arrays:
    """Return dquery, dkey and dvalue, (B, T, D) each."""
    dy, q, k, v = (split_heads(x, heads) for x in (dy, query, key, value))
    p = _weights(q, k, mask)
    dp = dy @ v.swapaxes(-1, -2)
    dscores = p * (dp - (dp * p).sum(axis=-1, keepdims=True)) / math.sqrt(q.shape[-1])
    gradients = dscores @ k, dscores.swapaxes(-1, -2) @ q, p.swapaxes(-1, -2) @ dy
    return tuple(map(merge_heads, gradients))


def _weights(q: np.ndarray, k: np.ndarray, mask: np.ndarray | float) -> np.ndarray:
    return softmax(q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1]) + mask)
