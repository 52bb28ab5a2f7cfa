"""Principal component analysis: the plane that shows most of the differences between vectors."""

from __future__ import annotations

import numpy as np


def principal_components(vectors: np.ndarray, count: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Project N vectors (N, D) on the `count` directions in which they vary most.

    With the mean subtracted, the singular value decomposition X = U S V^T gives them: the rows of
    V^T are the directions, U S are the coordinates, and S^2 is proportional to the variances. The
    sign of a direction is arbitrary; here its largest number is positive.

    Returns the coordinates (N, count), and the share of the variance of each direction.
    Source: Pearson 1901; Jolliffe, Principal Component Analysis, section 3.5.
    """
    x = vectors.astype(np.float64)
    u, s, directions = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    largest = np.abs(directions).argmax(axis=1)
    signs = np.sign(directions[np.arange(len(directions)), largest])
    variances = s**2
    return (u * s * signs)[:, :count], variances[:count] / variances.sum()
