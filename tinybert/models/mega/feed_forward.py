"""The smaller parts of a MEGA block: its norms, its dropout, and its feed-forward network."""

from __future__ import annotations

from typing import Any

from tinybert import functional as F
from tinybert.autograd import Tensor, as_tensor
from tinybert.backend import array_module
from tinybert.models.activations import activation
from tinybert.nn import BatchNorm, LayerNorm, Linear, Module, RMSNorm, ScaleNorm

EPS = 1e-5


class WeightOnly(RMSNorm):
    """y = weight * x: what transformers' MegaRMSNorm computes; it discards the normalised x."""

    def forward(self, x: Tensor) -> Tensor:
        return x if self.weight is None else x * self.weight


class PlainLayerNorm(Module):
    """LayerNorm without weights."""

    def forward(self, x: Tensor) -> Tensor:
        """Map x (..., D) to (..., D)."""
        return F.layer_norm(x, x.shape[-1:], eps=EPS)


class SequenceNorm(Module):
    """The norm that `config.normalization_type` names, under the name `norm`."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        kind, size, affine = config.normalization_type, config.hidden_size, config.norm_affine
        self.norm: Module
        if kind == "layernorm":
            self.norm = LayerNorm(size, EPS) if affine else PlainLayerNorm()
        elif kind == "scalenorm":
            self.norm = ScaleNorm(EPS, affine)
        elif kind == "rmsnorm":
            family = WeightOnly if config.reference == "transformers" else RMSNorm
            self.norm = family(size, EPS, affine)
        else:
            self.norm = BatchNorm(size, EPS, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, T, D) to (B, T, D)."""
        return self.norm(x)


class FeatureDropout(Module):
    """Dropout, of single elements or, `by_feature`, of a feature at all steps."""

    def __init__(self, p: float, by_feature: bool) -> None:
        super().__init__()
        self.p, self.by_feature = p, by_feature

    def forward(self, x: Tensor) -> Tensor:
        """Return x (B, T, D) with dropout in training. By feature, whole chunks of x (B, C, T, V)
        are dropped, as in transformers.
        """
        if not (self.training and self.p):
            return x
        if not self.by_feature:
            return F.dropout(x, self.p)
        shape = (x.shape[0], 1, x.shape[2]) if x.ndim == 3 else (*x.shape[:2], 1, 1)
        return x * F.dropout(as_tensor(array_module(x.data).ones(shape, x.dtype)), self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}, by_feature={self.by_feature}"


class FeedForward(Module):
    """MEGA's normalised feed-forward network (NFFN): D to F features and back, token by token."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.norm_first = config.normalize_before_ffn
        self.activation = activation(config.activation, "activation")
        self.dropout = FeatureDropout(config.dropout_prob, config.use_feature_dropout)
        self.hidden_dropout = FeatureDropout(
            config.nffn_activation_dropout_prob, config.use_feature_dropout
        )
        self.norm = SequenceNorm(config)
        self.fc1 = Linear(config.hidden_size, config.nffn_hidden_size)
        self.fc2 = Linear(config.nffn_hidden_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, T, D) to (B, T, D)."""
        hidden = self.activation(self.fc1(self.norm(x) if self.norm_first else x))
        y = x + self.dropout(self.fc2(self.hidden_dropout(hidden)))
        return y if self.norm_first else self.norm(y)
