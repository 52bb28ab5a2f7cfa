"""Pre-LN: the layers of MegatronBERT, of GPT and of most newer models.

BERT normalises every sum (post-LN). In a pre-LN layer the norm is applied to the *input* of each
part, and the sum stays as it is:

    middle = x + Attention(Norm1(x))
    y      = middle + FeedForward(Norm2(middle))

So one path leads from the embeddings to the last layer without any norm on it, which makes deep
models easier to train. The sums grow from layer to layer; a last norm, once, after all layers,
brings them back to size.
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
    # TODO: a loop over the layers with the two lines above, and the last norm.
    # --- solution
    for norm_1, attention, norm_2, feed_forward in layers:
        x = x + attention(norm_1(x))
        x = x + feed_forward(norm_2(x))
    return last_norm(x)
    # --- end
