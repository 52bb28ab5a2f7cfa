"""The key/value cache: a step of generation reads one token, not the whole text.

With a causal mask no token attends to later ones, so the keys and values of a token never change.
They are computed once and kept. Each step then

- computes the embedding of the new token: that of its id plus that of its position;
- computes its query, key and value, and appends key and value to those of the earlier tokens;
- lets the one query attend to all keys, its own included.

The texts of a batch are padded at the *left*. `mask` is 0 for padding, which no query may attend
to. Positions count real tokens only: the first real token of a text has the position 0.
"""

import numpy as np

from tinybert.learn import layers
from tinybert.learn.layers import multi_head_attention

Cache = tuple[np.ndarray, np.ndarray]  # keys and values, (B, P, D) each


def cache_step(
    token: np.ndarray, mask: np.ndarray, past: Cache, w: dict[str, np.ndarray], heads: int
) -> tuple[np.ndarray, Cache]:
    """Return the context (B, 1, D) of the new tokens, and the cache with P + 1 tokens.

    Args:
        token: (B,), the ids of the new tokens.
        mask: (B, P + 1) integers, 1 for real tokens and 0 for padding; the last are the new ones.
        past: of the P earlier tokens; it is not changed.
        w: "words" (V, D), "positions" (N, D), and what `linear` uses.
    """

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return layers.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    lowest = np.finfo(w["words"].dtype).min
    # TODO: x (B, 1, D); "query", "key", "value" of x; the new cache; the context, with
    # multi_head_attention(query, keys, values, heads, mask to add to (B, H, 1, P + 1)).
    # --- solution
    x = (w["words"][token] + w["positions"][mask.sum(axis=1) - 1])[:, None]
    keys = np.concatenate([past[0], linear(x, "key")], axis=1)
    values = np.concatenate([past[1], linear(x, "value")], axis=1)
    hidden = (lowest * (1 - mask))[:, None, None]
    context = multi_head_attention(linear(x, "query"), keys, values, heads, hidden)
    return context, (keys, values)
    # --- end
