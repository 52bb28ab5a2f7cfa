"""Initial weights of other frameworks: the truncated normal distribution."""

from __future__ import annotations

from typing import Any

import numpy as np


def truncated_normal(generator: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return standard normal numbers from -2 to 2, float32: those outside are drawn again."""
    values = generator.standard_normal(shape, dtype=np.float32)
    while (outside := np.abs(values) > 2).any():
        values[outside] = generator.standard_normal(int(outside.sum()), dtype=np.float32)
    return values
