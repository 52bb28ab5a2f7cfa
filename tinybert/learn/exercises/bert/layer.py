"""One layer of BERT: attention, then a feed-forward network, each added and normalised.

    middle = LayerNorm(x + dense(attention(query, key, value)))
    y      = LayerNorm(middle + dense(GELU(dense(middle))))

query, key and value are three linear maps of x. Attention moves information between tokens;
the feed-forward part works on each token separately. The output of each part is added to its input
(the residual connection), and the sum is normalised. This order is called post-LN.

`linear` and `norm` below take the name of their weights. The names are those in every BERT file:

    attention.self.query   attention.self.key   attention.self.value
    attention.output.dense     attention.output.LayerNorm
    intermediate.dense         output.dense         output.LayerNorm
"""

import numpy as np

from tinybert.learn import layers
from tinybert.learn.layers import gelu, multi_head_attention


def bert_layer(
    x: np.ndarray, w: dict[str, np.ndarray], heads: int, mask: np.ndarray | float = 0.0
) -> np.ndarray:
    """Map x (B, T, D) to (B, T, D).

    `multi_head_attention(query, key, value, heads, mask)` returns (B, T, D), heads merged.
    """

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return layers.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return layers.layer_norm(x, w[f"{name}.weight"], w[f"{name}.bias"])

    # TODO: both formulas of the docstring, with all eight names.
    # --- solution
    q, k, v = (linear(x, f"attention.self.{name}") for name in ("query", "key", "value"))
    context = multi_head_attention(q, k, v, heads, mask)
    change = linear(context, "attention.output.dense")
    middle = norm(x + change, "attention.output.LayerNorm")
    wide = gelu(linear(middle, "intermediate.dense"))
    return norm(middle + linear(wide, "output.dense"), "output.LayerNorm")
    # --- end
