"""Backward through one layer of BERT: the gradients of its input and of all 16 weights.

    forward     added_1 = x + dense(context)         middle = LayerNorm(added_1)
                wide    = dense(middle)              active = GELU(wide)
                added_2 = middle + dense(active)     y      = LayerNorm(added_2)

Backward is the same in reverse order. Where forward uses a value twice, as at a residual, its
gradient is the sum of the gradients of both uses. x is used four times: by query, key, value and
the first residual. `kept` has every named value of forward, and the arguments of attention.

`linear` and `norm` below return the gradient of the input of that part and store those of its
weights in `gradients`. `gelu_backward(dy, x)` needs GELU's *input*.
"""

import numpy as np

from tinybert.learn.layers import (
    gelu_backward,
    layer_norm_backward,
    linear_backward,
    multi_head_attention_backward,
)


def layer_backward(
    dy: np.ndarray, kept: dict[str, np.ndarray], w: dict[str, np.ndarray], heads: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return dx (B, T, D) and the gradients of the weights by name, given dy (B, T, D)."""
    gradients: dict[str, np.ndarray] = {}

    def linear(dy: np.ndarray, x: np.ndarray, name: str) -> np.ndarray:
        dx, dweight, dbias = linear_backward(dy, x, w[f"{name}.weight"])
        gradients[f"{name}.weight"], gradients[f"{name}.bias"] = dweight, dbias
        return dx

    def norm(dy: np.ndarray, x: np.ndarray, name: str) -> np.ndarray:
        dx, dweight, dbias = layer_norm_backward(dy, x, w[f"{name}.weight"])
        gradients[f"{name}.weight"], gradients[f"{name}.bias"] = dweight, dbias
        return dx

    attended = kept["query"], kept["key"], kept["value"], heads, kept["mask"]
    # TODO: back to x; multi_head_attention_backward(dcontext, *attended) is (dquery, dkey, dvalue).
    # --- solution
    dadded = norm(dy, kept["added_2"], "output.LayerNorm")
    dwide = gelu_backward(linear(dadded, kept["active"], "output.dense"), kept["wide"])
    dmiddle = dadded + linear(dwide, kept["middle"], "intermediate.dense")
    dadded = norm(dmiddle, kept["added_1"], "attention.output.LayerNorm")
    dcontext = linear(dadded, kept["context"], "attention.output.dense")
    dx, dqkv = dadded, multi_head_attention_backward(dcontext, *attended)
    for name, gradient in zip(("query", "key", "value"), dqkv, strict=True):
        dx = dx + linear(gradient, kept["x"], f"attention.self.{name}")
    return dx, gradients
    # --- end
