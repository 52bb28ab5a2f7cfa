"""Tensors and automatic differentiation: the graph, the backward pass, and gradient checking."""

from tinybert.autograd.checkpoint import checkpoint
from tinybert.autograd.function import Function
from tinybert.autograd.gradcheck import GradcheckError, gradcheck
from tinybert.autograd.modes import (
    enable_grad,
    get_default_device,
    get_default_dtype,
    is_grad_enabled,
    no_grad,
    set_default_device,
    set_default_dtype,
)
from tinybert.autograd.tensor import Tensor, as_tensor, to_array

__all__ = [
    "Function",
    "GradcheckError",
    "Tensor",
    "as_tensor",
    "checkpoint",
    "enable_grad",
    "get_default_device",
    "get_default_dtype",
    "gradcheck",
    "is_grad_enabled",
    "no_grad",
    "set_default_device",
    "set_default_dtype",
    "to_array",
]
