"""`LowRankLinear`: a frozen linear layer with a trained correction of low rank (LoRA).

Fine-tuning changes a weight W (O, I) by some matrix. Its rank may be small without loss, so it is
written as a product of two thin matrices, and only these are trained (Hu et al. 2021,
arXiv:2106.09685, eq. 3):

    y = x W^T + b + (alpha / r) x A^T B^T        A (r, I)   B (O, r)   r much smaller than I and O

r (I + O) numbers are trained and stored instead of I O: for I = O = 384 and r = 8 a 24th. B starts
at 0, so training starts from the function that W computes. alpha / r keeps the correction's size
when r changes. After training W + (alpha / r) B A is one plain matrix again: see `merge`.

Gradients, for dy and h = (alpha / r) x A^T:

    dB = dy^T h      dA = (alpha / r) (dy B)^T x      dx = dy W + (alpha / r) dy B A

Oracle   PEFT's LoraLayer; the names and the initial values of A and B are the same
"""

from __future__ import annotations

from tinybert.autograd import Tensor, no_grad, set_default_device, set_default_dtype
from tinybert.checks import check_integer
from tinybert.nn.init import fill_, skip_init
from tinybert.nn.layers import Dropout, Linear
from tinybert.nn.module import Module, Parameter


class LowRankLinear(Linear):
    """A linear layer that stays as it is, and a low-rank correction that is trained.

    Args:
        linear: the layer to adapt. Its weight and bias are shared, not copied, and frozen.
        rank: r.
        scaling: the factor of the correction, alpha / r.
        dropout: the probability of dropout on the correction's input.

    A starts uniform from -1 / sqrt(I) to 1 / sqrt(I), B at 0.
    """

    def __init__(
        self, linear: Linear, rank: int, scaling: float = 1.0, dropout: float = 0.0
    ) -> None:
        check_integer("rank", rank, 1)
        Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.requires_grad_(False)
        self.rank, self.scaling = rank, scaling
        with set_default_device(self.weight.device), set_default_dtype(self.weight.dtype):
            self.lora_A = Linear(self.in_features, rank, bias=False)
            self.lora_B = Linear(rank, self.out_features, bias=False)
        self.lora_dropout = Dropout(dropout)
        with no_grad():
            fill_(self.lora_B.weight, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Return y (..., O) for x (..., I)."""
        y = super().forward(x)
        low = self.lora_A(self.lora_dropout(x)) * self.scaling  # (..., r)
        return y + self.lora_B(low)

    @property
    def is_watched(self) -> bool:
        """True: a call that is fused with the next one would skip the correction."""
        return True

    @no_grad()
    def merge(self) -> Linear:
        """Return a plain layer with the weight W + (alpha / r) B A; this layer is not changed."""
        with skip_init():
            merged = Linear(self.in_features, self.out_features, bias=False)
        change = (self.lora_B.weight * self.scaling) @ self.lora_A.weight
        merged.weight, merged.bias = Parameter((self.weight + change).data), self.bias
        return merged.train(self.training)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, rank={self.rank}, scaling={self.scaling:g}"
