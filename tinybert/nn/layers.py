"""The layers that hold weights (Linear, Embedding, LayerNorm), and Dropout.

A layer holds its weights and calls an operation. The mathematics is in `tinybert.ops`.
"""

from __future__ import annotations

from typing import Any

from tinybert import functional as F
from tinybert.autograd import Tensor, as_tensor
from tinybert.checks import is_integer
from tinybert.nn import init
from tinybert.nn.module import Module, Parameter
from tinybert.nn.stored import StoredParameter


class Linear(Module):
    """y = x @ weight^T + bias.

    Args:
        in_features, out_features: sizes I and O; weight is (O, I), bias (O,).
        bias: whether there is a bias.

    Initial weights are uniform from -1 / sqrt(I) to 1 / sqrt(I), as in torch; models initialize
    them again.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        bound = init.linear_bound(in_features)
        self.weight = Parameter(init.uniform((out_features, in_features), bound))
        self.bias = Parameter(init.uniform((out_features,), bound)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Return y (..., O) for x (..., I)."""
        weight, bias = self.weight, self.bias
        if isinstance(weight, StoredParameter):
            return weight.linear(x, bias)
        return F.linear(x, weight, bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Embedding(Module):
    """A table of V rows of D features, looked up by id.

    Args:
        num_embeddings, embedding_dim: V and D; weight is (V, D).
        padding_idx: a row that is initialized with zeros and not trained.
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None
    ) -> None:
        super().__init__()
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(
                f"padding_idx must be from 0 to {num_embeddings - 1}, got {padding_idx}"
            )
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.weight = Parameter(init.normal((num_embeddings, embedding_dim), 1.0))
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx] = 0

    def forward(self, ids: Any, name: str = "input") -> Tensor:
        """Return the rows (..., D) of integers ids (...), which errors call `name`."""
        if isinstance(self.weight, StoredParameter):
            return self.weight.rows(as_tensor(ids, self.weight.device), name)
        return F.embedding(ids, self.weight, self.padding_idx, name=name)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class LayerNorm(Module):
    """Normalizes the last axis (or axes) to mean 0 and variance 1, then scales and shifts.

    Args:
        normalized_shape: the size D, or the sizes of several last axes.
        eps: added to the variance inside the root (BERT: 1e-12; torch's default: 1e-5).
    """

    def __init__(self, normalized_shape: int | tuple[int, ...], eps: float = 1e-5) -> None:
        super().__init__()
        shape: Any = (normalized_shape,) if is_integer(normalized_shape) else normalized_shape
        self.normalized_shape, self.eps = tuple(shape), eps
        self.weight = Parameter(init.full(self.normalized_shape, 1.0))
        self.bias = Parameter(init.full(self.normalized_shape, 0.0))

    def forward(self, x: Tensor) -> Tensor:
        """Return y (..., D) for x (..., D)."""
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}"


class Dropout(Module):
    """In training, sets each element to 0 with probability p and scales the rest by 1 / (1 - p)."""

    shared = False  # of attention weights: one mask for all rows and heads, see `nn.attention`

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"p must be from 0 to 1, got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return x, in training with dropout."""
        return F.dropout(x, self.p) if self.training else x

    def extra_repr(self) -> str:
        return f"p={self.p}"
