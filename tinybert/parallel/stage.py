"""A pipeline stage: consecutive layers of a model, and what comes before the first or after the
last.

    stage 0         embeddings, layers 0 to L / p - 1
    stage s         layers s L / p to (s + 1) L / p - 1
    stage p - 1     the last layers, norm, head

Tied word embeddings are on both ends: the first stage looks words up, the last scores them. Each
has its own copy, and the gradients of both are added (`gradients.py`), so they stay equal.

Source   Narayanan et al. 2021, arXiv:2104.04473, section 2.2; Shoeybi et al. 2019, section 5
"""

from __future__ import annotations

from typing import Any

from tinybert.parallel.grid import Grid


def cut_stage(model: Any, grid: Grid) -> bool:
    """Keep the modules of this rank's stage, in place; return whether word embeddings are on two
    stages.
    """
    if grid.pipeline.size == 1:
        return False
    raise ValueError("pipeline stages are not divided yet")
