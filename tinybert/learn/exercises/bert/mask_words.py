"""Masked language modeling: hide some tokens, and let the model predict them.

About 15% of the tokens are chosen. [CLS], [SEP] and padding are never chosen. Of the chosen ones

    80% become [MASK]        10% become a random token        10% stay as they are

so the model cannot know which tokens it has to predict. The labels of the chosen tokens are their
*original* ids. All other labels are -100, which the loss ignores.

The random numbers are drawn for you. A token is chosen if its `choice` is below 0.15. It becomes
[MASK] if its `kind` is below 0.8, the token in `anything` if its `kind` is from 0.8 to below 0.9,
and stays otherwise.
"""

import numpy as np


def mask_words(
    ids: np.ndarray, maskable: np.ndarray, mask_id: int, vocab_size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the input ids and the labels, (B, T) each; `ids` is not changed.

    Args:
        ids: (B, T) integers.
        maskable: (B, T) bool, False for special tokens and padding.
        mask_id: the id of [MASK].
    """
    choice, kind = rng.random((2, *ids.shape))
    anything = rng.integers(0, vocab_size, ids.shape)
    # TODO: which tokens are chosen, their labels, and the new ids.
    # --- solution
    chosen = maskable & (choice < 0.15)
    labels = np.where(chosen, ids, -100)
    inputs = np.where(chosen & (kind < 0.8), mask_id, ids)
    inputs = np.where(chosen & (kind >= 0.8) & (kind < 0.9), anything, inputs)
    return inputs, labels
    # --- end
