"""Pre-LN: the layers of MegatronBERT, of GPT and of most newer models.

BERT normalises every sum (post-LN). A pre-LN layer normalises the *input* of each part instead:

    middle = x + Attention(Norm1(x))
    y      = middle + FeedForward(Norm2(middle))

The residual path from the embeddings to the last layer has no norm on it, which makes deep models
easier to train. The sums grow from layer to layer, so a last norm is applied once, after all
layers.
"""

from collections.abc import Callable, Sequence

import numpy as np

Part = Callable[[np.ndarray], np.ndarray]


def run_layers(
    x: np.ndarray, layers: Sequence[tuple[Part, Part, Part, Part]], last_norm: Part
) -> np.ndarray:
    """Return the output (B, T, D) of all layers and the last norm; x (B, T, D) is not changed.

    A layer is four functions from (B, T, D) to (B, T, D), in this order: norm_1, attention, norm_2,
    feed_forward.
    """
    # TODO: a loop over the layers with both formulas, and the last norm.
    # --- solution
    for norm_1, attention, norm_2, feed_forward in layers:
        x = x + attention(norm_1(x))
        x = x + feed_forward(norm_2(x))
    return last_norm(x)
    # --- end
