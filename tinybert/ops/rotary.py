"""Rotary position embedding: pairs of features are rotated by the angle of their position."""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import Array, array_module, kernel
from tinybert.ops.arguments import operand


class RotaryEmbedding(Function):
    """Rotate features i and i + R/2 of every vector together by the angle of its position.

        y_i       = x_i * cos_i       - x_(i+R/2) * sin_i            for i < R/2
        y_(i+R/2) = x_(i+R/2) * cos_(i+R/2) + x_i * sin_(i+R/2)

    Shapes   x, y (..., T, K)   cos, sin (..., T, R), R even and at most K; other features
             pass unchanged (partial rotation)
    Source   Su et al. 2021, arXiv:2104.09864, eq. 34, in the half-split order of GPT-NeoX

    The map is linear in x, so backward is its transpose; for a true rotation that is the rotation
    back by the same angle.
    """

    half_on = "cuda"

    def forward(self, x: Any, cos: Any, sin: Any) -> Any:
        width = cos.shape[-1]
        if cos.shape != sin.shape or width % 2 or width > x.shape[-1]:
            raise ValueError(
                f"rotary_embedding: cos {cos.shape} and sin {sin.shape} must have one shape that "
                f"ends in an even number of at most {x.shape[-1]} features"
            )
        self.cos, self.sin = cos, sin
        return rotated(x, cos, sin, False)

    def backward(self, dy: Any) -> Any:
        return rotated(dy, self.cos, self.sin, True), None, None


def rotary_embedding(input: Any, cos: Any, sin: Any) -> Tensor:
    """Return input with the first R features of each vector rotated by the angles of its position.

    input (..., T, K); cos and sin (..., T, R), R even, at most K. Features i and i + R/2 are
    rotated together; features from R on pass unchanged.
    """
    x = as_tensor(input)
    angles = operand(cos, x), operand(sin, x)
    if any(isinstance(a, Tensor) and a.requires_grad for a in angles):
        raise ValueError(
            "rotary_embedding: cos and sin are constants and cannot require a gradient"
        )
    return RotaryEmbedding.apply(x, *angles)


# --- kernel ---------------------------------------------------------------------------------------


@kernel
def rotated(x: Array, cos: Array, sin: Array, back: bool) -> Array:
    """Return x (..., T, K) with its first R features rotated, or `back` by the transposed map."""
    xp, width = array_module(x), cos.shape[-1]
    half, part, rest = width // 2, x[..., :width], x[..., width:]
    if back:
        by_sin = part * sin
        turned = xp.concatenate([by_sin[..., half:], -by_sin[..., :half]], axis=-1)
    else:
        turned = xp.concatenate([-part[..., half:], part[..., :half]], axis=-1) * sin
    return xp.concatenate([part * cos + turned, rest], axis=-1)
