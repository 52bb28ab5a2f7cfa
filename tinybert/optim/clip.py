"""`clip_grad_norm_`: limit the norm of the gradients of all parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinybert.autograd import Tensor, as_tensor
from tinybert.backend import Array, array_module, kernel
from tinybert.checks import is_number
from tinybert.ops.arguments import sum_dtype


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float | str = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale all gradients in place; their total norm becomes at most `max_norm`.

    The gradients count as one long vector g; each is multiplied by
    min(1, max_norm / (|g| + 1e-6)), as in torch (Pascanu et al. 2013, "On the difficulty of
    training recurrent neural networks", algorithm 1). Tensors without a gradient are skipped.

    Args:
        parameters: a Tensor or several, all on one device.
        max_norm: the largest norm allowed.
        norm_type: p of the p-norm; `math.inf` or "inf" for the largest absolute value.
        error_if_nonfinite: raise if the norm is infinite or NaN, before anything is scaled.

    Returns the norm before clipping: a Tensor without axes on the device of the gradients. The
    function does not wait for a GPU; `error_if_nonfinite` and `float(norm)` do. If the norm is NaN,
    all gradients become NaN.

    Raises ValueError for a negative `max_norm`, a `norm_type` that is not positive, and, if asked,
    RuntimeError for a norm that is not finite.
    """
    if not max_norm >= 0:
        raise ValueError(f"max_norm must be at least 0, got {max_norm!r}")
    order: Any = math.inf if norm_type == "inf" else norm_type
    if not (is_number(order) and order > 0):
        raise ValueError(f"norm_type must be greater than 0 (or math.inf), got {norm_type!r}")
    tensors = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    gradients = [tensor.grad for tensor in tensors if tensor.grad is not None]
    for gradient in gradients:
        if not isinstance(gradient, Tensor):
            raise TypeError(f".grad must be a Tensor or None, got {type(gradient).__name__}")
    if not gradients:
        return as_tensor(0.0)
    xp = array_module(gradients[0].data)
    arrays = [gradient.data for gradient in gradients]
    total = euclidean_norm(arrays) if order == 2 else _joint_norm(arrays, order)
    if error_if_nonfinite and not math.isfinite(float(total)):
        raise RuntimeError(
            f"the gradient's norm of order {norm_type} is {float(total)}; with "
            "error_if_nonfinite=False the gradients would have been scaled by it"
        )
    scale = xp.minimum(float(max_norm) / (total + 1e-6), 1.0)
    scale_all([gradient._changed("clip_grad_norm_") for gradient in gradients], scale)
    return Tensor._wrap(total)


def _joint_norm(arrays: list[Array], order: float) -> Array:
    """Return the p-norm of all elements of all arrays as a scalar array."""
    xp = array_module(arrays[0])
    norms = xp.stack([_norm(xp, array, order) for array in arrays])
    return xp.asarray(_norm(xp, norms, order))


def _norm(xp: Any, array: Array, order: float) -> Any:
    """Return the p-norm of all elements as a scalar array; float16 is summed in float32."""
    sizes = xp.abs(array.astype(np.float32) if array.dtype == np.float16 else array)
    if order == math.inf:
        return sizes.max() if sizes.size else sizes.sum()
    if order == 2:
        return xp.sqrt((sizes * sizes).sum())
    return (sizes**order).sum() ** (1 / order)


# --- kernels --------------------------------------------------------------------------------------


@kernel
def euclidean_norm(arrays: list[Array]) -> Array:
    """Return the 2-norm of all elements of all arrays as a scalar array."""
    return _joint_norm(arrays, 2)


PART = 128  # numbers whose squares are added one by one, in the dtype of the array


@euclidean_norm.on("cpu")
def euclidean_norm_on_cpu(arrays: list[Array]) -> Array:
    """Sum the squares without storing them, and the sums of parts in float64."""
    sums = []
    for array in arrays:
        x, whole = array.reshape(-1), array.size // PART * PART
        for part in (x[:whole].reshape(-1, PART), x[whole:].reshape(1, -1)):
            if part.size or not whole:
                sums.append(np.einsum("ij,ij->i", part, part.conj(), dtype=sum_dtype(x)).real)
    joined = np.concatenate(sums)
    return np.asarray(np.sqrt(joined.sum(dtype=np.float64)), joined.dtype)


@kernel
def scale_all(arrays: list[Array], factor: Array) -> None:
    """Multiply all arrays in place by a scalar array."""
    for array in arrays:
        array *= factor.astype(array.dtype)
