"""The functions of `tf` that the documents' examples use, and the gradient tape."""

from __future__ import annotations

from typing import Any

from tinybert import functional as F
from tinybert.autograd import Tensor, as_tensor, get_default_device
from tinybert.backend import array_module
from tinybert.transforms.derivatives import leaf_gradients


def constant(value: Any, dtype: Any = None, shape: Any = None) -> Tensor:
    """Return a value as a Tensor on the default device; one number fills a given `shape`."""
    tensor = as_tensor(value, get_default_device())
    tensor = tensor if dtype is None else tensor.to(dtype)
    if shape is None:
        return tensor
    return tensor.expand(shape) if tensor.size == 1 else tensor.reshape(shape)


def where(condition: Any, x: Any = None, y: Any = None) -> Tensor:
    """Return x where the condition is true and y elsewhere; without both, the indices (n, axes) of
    the true elements.
    """
    if (x is None) != (y is None):
        raise ValueError("where needs both x and y, or neither")
    if x is not None:
        return F.where(condition, x, y)
    array = as_tensor(condition).data
    return as_tensor(array_module(array).argwhere(array))


def gather_nd(params: Any, indices: Any) -> Tensor:
    """Return params[i, j, ...] for every row (i, j, ...) of indices (..., axes)."""
    indices = as_tensor(indices)
    return as_tensor(params)[tuple(indices.data[..., i] for i in range(indices.shape[-1]))]


def expand_dims(input: Any, axis: int) -> Tensor:
    """Return the input with an axis of size 1 at `axis`."""
    return as_tensor(input).unsqueeze(axis)


class GradientTape:
    """Gradients with respect to variables:

    with GradientTape() as tape:
        loss = model(inputs, training=True).loss
    gradients = tape.gradient(loss, model.trainable_variables)

    The operations are recorded anyway; outside the block too.
    """

    def __enter__(self) -> GradientTape:
        return self

    def __exit__(self, *error: Any) -> None:
        """Do nothing: the record belongs to the result."""

    def gradient(self, target: Tensor, sources: Any) -> Any:
        """Return the gradient of the sum of `target` for each source, or for one that is no list;
        None for a source that it does not depend on.

        Args:
            sources: Variables of a model, or Tensors that require a gradient and are leaves.

        A target gives its gradients once. No `.grad` changes. Raises RuntimeError for a target that
        was computed without gradients.
        """
        if not isinstance(sources, (list, tuple)):
            return self.gradient(target, [sources])[0]
        if not target.requires_grad:
            raise RuntimeError(
                "the target does not depend on a weight, or was computed under no_grad()"
            )
        leaves: list[Any] = [getattr(source, "parameter", source) for source in sources]
        found = leaf_gradients(target.sum(), {id(leaf): leaf for leaf in leaves})
        gradients: list[Any] = []
        for source, leaf in zip(sources, leaves, strict=True):
            array = found.get(id(leaf))
            if array is not None and getattr(source, "is_kernel", False):
                array = array.swapaxes(0, 1)
            gradients.append(None if array is None else as_tensor(array))
        return gradients
