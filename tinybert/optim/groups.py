"""`decay_groups`: parameter groups with and without weight decay."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tinybert.autograd import Tensor


def decay_groups(parameters: Iterable[Tensor], weight_decay: float) -> list[dict[str, Any]]:
    """Return two parameter groups for an optimizer: matrices decay, vectors do not.

        optimizer = AdamW(decay_groups(model.parameters(), 0.01), lr=1e-4)

    Weight decay limits how much a layer can amplify its input. A bias has no part in that, and the
    weight of a normalization layer, a vector too, should be near 1, not near 0. Therefore only
    parameters of two or more axes decay, as in the training of BERT (Devlin et al. 2018, appendix
    A.2, and the code published with it). Parameters that need no gradient are left out.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
