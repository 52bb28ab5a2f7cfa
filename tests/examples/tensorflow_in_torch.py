"""The few functions of TensorFlow that the documents' examples call, written in torch.

Examples for TensorFlow run on transformers' PyTorch models with these, which gives the values that
ours have to give.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

constant = torch.tensor
expand_dims = torch.unsqueeze


def where(condition: Any, *values: Any) -> Any:
    return torch.where(condition, *values) if values else torch.nonzero(condition)


def gather_nd(params: Any, indices: Any) -> Any:
    return params[tuple(indices.T)]


math = SimpleNamespace(
    argmax=lambda x, axis: torch.argmax(x, axis), reduce_mean=lambda x: torch.mean(x)
)
