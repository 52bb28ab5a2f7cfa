"""The gradients of attention: from the context back to queries, keys and values.

    scores = q @ k^T / sqrt(K)        p = softmax(scores + mask)        context = p @ v

Go back one step at a time, by three rules:

- a product C = A @ B has dA = dC @ B^T and dB = A^T @ dC;
- softmax over the last axis has dscores_j = p_j (dp_j - sum of dp_i p_i over all i);
- a factor in forward is the same factor in backward.

The mask is a constant. A masked key has p = 0; the formulas then give this key and its value the
gradient 0 without any extra code.
"""

import math

import numpy as np


def attention_backward(
    dcontext: np.ndarray, query: np.ndarray, key: np.ndarray, value: np.ndarray, p: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return dquery, dkey and dvalue, each with the shape of its array.

    Args:
        dcontext, query: (B, H, Tq, K).
        key, value: (B, H, Tk, K).
        p: (B, H, Tq, Tk), the weights of the forward pass; rows add up to 1.
    """
    scale = 1 / math.sqrt(query.shape[-1])
    # TODO: dvalue and dp from the last product, dscores from dp, dquery and dkey from dscores.
    # --- solution
    dvalue = p.swapaxes(-1, -2) @ dcontext
    dp = dcontext @ value.swapaxes(-1, -2)
    dscores = p * (dp - (dp * p).sum(axis=-1, keepdims=True)) * scale
    dquery = dscores @ key
    dkey = dscores.swapaxes(-1, -2) @ query
    return dquery, dkey, dvalue
    # --- end
