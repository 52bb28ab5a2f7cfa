"""What ranks must exchange after backward: gradients of shared parameters, and the norm.

Order of sums. First over data-parallel ranks (`buckets.py`), then parameters whose gradient each
tensor-parallel rank has in part, then both copies of tied word embeddings. The norm is the root of
the sum of squares: of each parameter in the order of the model, then over the ranks of a copy of
the model. A number that several ranks have counts once.

Source   the norm: Megatron-LM's `clip_grad_norm_fp32`; tied embeddings: Shoeybi et al. 2019,
         arXiv:1909.08053, section 5
Bytes    allreduces of: the partial gradients over `tensor`; the tied word embeddings, V D / t
         numbers, over two stages; one number for the norm
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from tinybert.autograd import Tensor
from tinybert.parallel.buckets import flat, spread
from tinybert.parallel.parallelize import Part


def add_shared(part: Part) -> None:
    """Complete the gradients of parameters that several ranks of a copy of the model have."""
    grid = part.grid
    partial = [parameter for parameter in part.partial if parameter.requires_grad]
    if partial and grid.tensor.size > 1:
        spread(grid.tensor.allreduce(flat(partial)), partial)
    if part.tied is not None and grid.ends is not None:
        spread(grid.ends.allreduce(flat([part.tied])), [part.tied])


def counted(part: Part) -> Iterator[tuple[Tensor, bool]]:
    """Return this rank's parameters, and whether their squares count on this rank."""
    divided = {name for name, placement in part.placements.items() if placement.axis is not None}
    for name, parameter in part.model.named_parameters():
        if not parameter.requires_grad:
            continue
        second = parameter is part.tied and not part.grid.is_first
        yield parameter, not second and (name in divided or part.grid.tensor.rank == 0)


def norm(part: Part, squares: Iterable[float]) -> float:
    """Return the length of the whole gradient, from the sums of squares that count here."""
    own = np.array([math.fsum(squares)])
    return math.sqrt(float(part.grid.model.allreduce(own)[0]))


def scale(gradients: Iterable[Tensor], length: float, limit: float | None) -> None:
    """Multiply gradients by min(1, limit / (length + 1e-6)), as `clip_grad_norm_` does."""
    if limit is None:
        return
    factor = min(1.0, limit / (length + 1e-6))
    for gradient in gradients:
        array = gradient._changed("scale")
        array *= array.dtype.type(factor)
