"""`Tensor`: an array that records the operation that computed it.

This file has its data, its node in the graph and its gradient. Its operators and methods are listed
in `tinybert/methods.py`; the backward pass is in `engine.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tinybert.autograd.engine import run_backward
from tinybert.autograd.keywords import torch_keywords
from tinybert.autograd.modes import get_default_device, get_default_dtype, is_grad_enabled
from tinybert.backend import (
    Array,
    array_module,
    device_of,
    is_array,
    to_device,
    to_host,
)

if TYPE_CHECKING:
    from tinybert.torch_names.methods import TorchMethods as Methods
else:
    Methods = object  # `attach_methods` adds them to Tensor when the package is imported


_accumulating = threading.Lock()  # several threads may run backward into one leaf


class Version:
    """Counts the in-place changes of an array; a tensor and its views share one.

    `before_change` has weak references to functions that run once, before the next change.
    """

    count = 0
    last_change = ""
    before_change: tuple[Any, ...] = ()

    def bump(self, operation: str) -> None:
        """Count one change, which `operation` is about to make."""
        for reference in self.before_change:
            function = reference()
            if function is not None:
                function()
        self.before_change = ()
        self.count += 1
        self.last_change = operation


class Tensor(Methods):
    """An n-dimensional array on a device, with automatic differentiation.

    Args:
        data: an array, a Tensor, a number, or nested lists of numbers; it is copied.
        requires_grad: whether `backward` computes `.grad`; only for floating or complex data.
        dtype: a NumPy dtype; arrays keep theirs by default, lists of floats take the default dtype.
        device: "cpu" or "cuda"; by default the device of the array.

    Attributes:
        data: the NumPy or CuPy array itself; the graph does not notice changes to it.
        requires_grad: whether operations on the tensor are recorded for `backward`.
        grad: dL/d(this tensor), a Tensor of its shape; every `backward` adds to it. None before the
            first, and for intermediate results without `retain_grad()`.
        grad_fn: the operation that computed the tensor, its node in the graph; None for a leaf.

    Raises TypeError for data that are not numbers, and for integers with requires_grad=True.
    """

    __slots__ = (
        "__weakref__",
        "_changes",
        "_output_index",
        "data",
        "grad",
        "grad_fn",
        "requires_grad",
    )
    __array_ufunc__ = None  # `array + tensor` then calls Tensor.__radd__
    __hash__ = object.__hash__

    data: Array
    requires_grad: bool
    grad: Tensor | None
    grad_fn: Any

    def __init__(
        self, data: Any, requires_grad: bool = False, dtype: Any = None, device: str | None = None
    ) -> None:
        array = to_array(data, dtype, device)
        self._init(array.copy() if is_array(data) or isinstance(data, Tensor) else array)
        if requires_grad:
            self.requires_grad_(True)

    def _init(self, array: Array) -> None:
        self.data = array
        self.requires_grad = False
        self.grad = None
        self.grad_fn = None
        self._output_index = 0
        self._changes: Version | None = None

    @classmethod
    def _wrap(cls, array: Array) -> Tensor:
        """Return a Tensor that holds `array` itself, without a copy."""
        tensor = Tensor.__new__(cls)
        tensor.data = array  # as in `_init`, which would be one call more for every operation
        tensor.requires_grad = False
        tensor.grad = tensor.grad_fn = tensor._changes = None
        tensor._output_index = 0
        return tensor

    @property
    def _version(self) -> Version:
        """The counter of in-place changes, created at the first access."""
        if self._changes is None:
            self._changes = Version()
        return self._changes

    # --- what it is -------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each axis."""
        return self.data.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.data.ndim

    @property
    def size(self) -> Any:
        """The number of elements, an int; a call of it gives the shape, as in torch."""
        return self.data.size

    @property
    def dtype(self) -> np.dtype:
        """The NumPy dtype of the elements."""
        return self.data.dtype

    @property
    def device(self) -> str:
        """`"cpu"` or `"cuda:0"`."""
        return device_of(self.data)

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation computed it. `backward` stores gradients in leaves."""
        return self.grad_fn is None

    def numpy(self) -> np.ndarray:
        """Return the data as a NumPy array; on the CPU it is the tensor's memory, not a copy."""
        return to_host(self.data)

    # --- gradients --------------------------------------------------------------------------------

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set whether this leaf gets a gradient; return the tensor itself."""
        if requires_grad and self.dtype.kind not in "fc":
            raise TypeError(
                f"only floating or complex tensors can require a gradient, this one is {self.dtype}"
            )
        if not self.is_leaf and not requires_grad:
            raise RuntimeError(
                "only a leaf can stop requiring a gradient; "
                "use detach() for the result of an operation"
            )
        self.requires_grad = requires_grad
        return self

    def detach(self) -> Tensor:
        """Return the same data outside the graph: memory is shared, gradients are not."""
        tensor = Tensor._wrap(self.data)
        tensor._changes = self._version
        return tensor

    @torch_keywords(gradient="grad")
    def backward(self, grad: Any = None, retain_graph: bool = False) -> None:
        """Compute the gradients of all leaves of the graph and add them to their `.grad`.

        Args:
            grad: dL/d(this tensor), of its shape; 1 by default if the tensor has one element.
            retain_graph: keep what the operations saved, to call `backward` again.
        """
        if not self.requires_grad:
            raise RuntimeError(
                "backward() on a tensor that does not require a gradient "
                "(no input did, or it was made under no_grad())"
            )
        if grad is None:
            if self.data.size != 1:
                raise RuntimeError(
                    f"backward() of a tensor of shape {self.shape} needs grad, "
                    "a tensor of that shape"
                )
            array = array_module(self.data).ones(self.shape, self.dtype)
        else:
            array = to_array(grad, self.dtype, self.device)
            if array.shape != self.shape:
                raise ValueError(
                    f"grad must have the tensor's shape {self.shape}, got {array.shape}"
                )
        self._backward(array, retain_graph, Tensor.accumulate_grad)

    def _backward(self, array: Array, retain_graph: bool, deliver: Callable[..., None]) -> None:
        """Run backward from the gradient `array`; `deliver` takes those of the leaves."""
        if self.grad_fn is None:
            deliver(self, array, False)
        else:
            run_backward(self.grad_fn, self._output_index, array, retain_graph, deliver)

    def retain_grad(self) -> None:
        """Keep the gradient of this intermediate result in `.grad` as well."""
        if not self.requires_grad:
            raise RuntimeError("retain_grad() on a tensor that does not require a gradient")
        if self.grad_fn is not None:
            self.grad_fn.retain(self)

    def accumulate_grad(self, grad: Array, fresh: bool) -> None:
        """Add an array to `.grad`. If `fresh`, no other object holds it, and it is not copied."""
        if grad.dtype != self.dtype:
            grad, fresh = grad.astype(self.dtype), True
        with _accumulating:
            if self.grad is not None:
                self.grad._version.bump("backward")
                self.grad.data += grad
            else:
                self.grad = Tensor._wrap(grad if fresh else grad.copy())

    # --- changes in place -------------------------------------------------------------------------

    def _changed(self, operation: str) -> Array:
        """Return the data for `operation` to change in place, and count the change.

        Raises RuntimeError where a recorded graph would become wrong.
        """
        if self.requires_grad and is_grad_enabled():
            raise RuntimeError(
                f"{operation} would change a tensor that requires a gradient in place; "
                "make a new one (x = x + y), or use no_grad() for an update of parameters"
            )
        self._version.bump(operation)
        return self.data


def to_array(data: Any, dtype: Any = None, device: str | None = None) -> Array:
    """Return an array, a Tensor, a number or nested lists as an array.

    Data are copied only where dtype or device require it. By default, floats in lists take the
    default dtype, and lists go to the default device.
    """
    if isinstance(data, Tensor):
        data = data.data
    if is_array(data):
        array = data
    else:
        array = np.asarray(_checked_list(data))
        if array.dtype == np.float64 and dtype is None and not isinstance(data, np.generic):
            array = array.astype(get_default_dtype())
        device = device or get_default_device()
    if array.dtype.kind not in "biufc":
        raise TypeError(f"data must be numbers, got {type(data).__name__} of dtype {array.dtype}")
    if dtype is not None:
        array = array.astype(dtype, copy=False)
    return array if device is None else to_device(array, device)


def as_tensor(data: Any, device: str | None = None) -> Tensor:
    """Return `data` as a Tensor; a Tensor is returned unchanged, an array is not copied."""
    return data if isinstance(data, Tensor) else Tensor._wrap(to_array(data, None, device))


def _checked_list(data: Any) -> Any:
    """Return `data`; raise for lists of Tensors, ragged lists and other objects.

    A list of Tensors would lose their gradients.
    """
    if isinstance(data, (list, tuple)):
        if any(isinstance(element, Tensor) for element in data):
            raise TypeError(
                "data is a list of Tensors; join them with tinybert.stack(...), "
                "which keeps their gradients"
            )
        lengths = {len(element) if isinstance(element, (list, tuple)) else -1 for element in data}
        if len(lengths) > 1:
            raise ValueError(
                f"data is a ragged list: its rows have lengths {sorted(lengths)}; pad them first"
            )
        return [_checked_list(element) for element in data]
    if data is None or isinstance(data, (str, bytes, Mapping, set)):
        hint = (
            "; unpack it with two asterisks: model(**inputs)" if isinstance(data, Mapping) else ""
        )
        raise TypeError(
            "data must be an array, a number or nested lists of numbers, "
            f"got {type(data).__name__}{hint}"
        )
    return data
