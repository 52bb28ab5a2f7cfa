"""The first layer of BERT: three rows for each token, added and normalised.

    x = LayerNorm(word[id] + position[t] + type[s])

A token's id selects a row of the word embeddings. The model also has to know the position of a
token, and which of two texts it belongs to: t = 0, 1, 2, ... counts the tokens of each row of the
batch; s, the token type, is 0 for the first text of a pair and 1 for the second. The three vectors
are added, and the sum is normalised.

The names of the weights are those in the files of every BERT.
"""

import numpy as np

from tinybert.learn.layers import layer_norm


def embeddings(
    ids: np.ndarray, types: np.ndarray, w: dict[str, np.ndarray], eps: float = 1e-12
) -> np.ndarray:
    """Return the input (B, T, D) of the first layer.

    Args:
        ids, types: (B, T) integers.
        w: "word_embeddings.weight" (V, D), "position_embeddings.weight" (P, D) with P >= T,
            "token_type_embeddings.weight" (2, D), "LayerNorm.weight" and "LayerNorm.bias" (D,).
        eps: for `layer_norm(x, weight, bias, eps)`.
    """
    # TODO: look up the three kinds of rows, add them, and normalise the sum.
    # --- solution
    x = w["word_embeddings.weight"][ids]
    x = x + w["position_embeddings.weight"][: ids.shape[1]]
    x = x + w["token_type_embeddings.weight"][types]
    return layer_norm(x, w["LayerNorm.weight"], w["LayerNorm.bias"], eps)
    # --- end
