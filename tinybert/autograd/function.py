"""`Function`: a differentiable operation with its forward and backward, and a node of the graph.

To write an operation, subclass it:

    class Square(Function):
        def forward(self, x):
            self.x = x                      # whatever backward needs is kept as a named attribute
            return x * x

        def backward(self, dy):             # dy is dL/dy; return dL/dx, with the shape of x
            return 2 * self.x * dy

    y = Square.apply(tensor)

Both methods take raw arrays, so each can be called without a Tensor. Every call makes an instance,
which is the node of the graph. It refers to the nodes of its inputs and never to its outputs: there
are no cycles, and a graph is freed by reference counting.
"""

from __future__ import annotations

import weakref
from time import perf_counter
from typing import Any

import numpy as np

from tinybert.autograd.half import in_float32
from tinybert.autograd.modes import current, observed
from tinybert.autograd.tensor import Tensor
from tinybert.backend import Array, backend_of, device_of, is_array, is_mixed


class Function:
    """Base of all operations; see the module's docstring.

    Attributes for `forward` and `backward` to read:
        needs_input_grad  one bool an input: whether its gradient will be asked for
    Set by a subclass:
        half_on           the backend that computes float16 as it is: "any", "cuda" or "" for none;
                          the others convert it to float32 and back (see half.py)
    """

    half_on = "any"
    needs_input_grad: tuple[bool, ...] = ()
    parents: tuple[Any, ...] = ()  # an input's leaf Tensor, its (node, output index), or None
    outputs: tuple[tuple[tuple[int, ...], np.dtype], ...] = ()  # shape and dtype of each output
    released = False
    _retained: dict[int, weakref.ref[Tensor]] = {}  # noqa: RUF012  (outputs that keep gradients)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        missing = [
            name
            for name in ("forward", "backward")
            if getattr(cls, name) is getattr(Function, name)
        ]
        if missing:
            raise TypeError(
                f"{cls.__name__} must define both forward and backward; "
                f"{' and '.join(missing)} missing"
            )

    def forward(self, *arrays: Any, **options: Any) -> Any:
        """Compute the output, an array or a tuple of arrays; save what `backward` needs."""
        raise NotImplementedError

    def backward(self, *dy: Any) -> Any:
        """Return the gradients of the inputs, given those of the outputs.

        For several inputs it is a tuple, with None for an input without a gradient.
        """
        raise NotImplementedError

    @classmethod
    def apply(cls, *inputs: Any, **options: Any) -> Any:
        """Run the operation on Tensors, arrays and Python numbers; every operation runs here.

        Returns a Tensor, or a tuple of Tensors if `forward` returns a tuple. The graph is recorded
        if grad mode is on and an input requires a gradient. All arrays must be on one device
        (`RuntimeError` otherwise), and shapes that NumPy cannot broadcast are named in the error.
        """
        grad_enabled = current.grad_enabled
        arrays: list[Any] = []
        needs: list[bool] = []
        for value in inputs:  # one loop: every operation pays for it
            is_tensor = isinstance(value, Tensor)
            needs.append(is_tensor and grad_enabled and value.requires_grad)
            if is_tensor:
                value = value.data
            elif isinstance(value, np.generic):
                value = value.item()  # the dtype of the other operand then decides
            arrays.append(value)
        if is_mixed(arrays):
            devices = ", ".join(device_of(array) for array in arrays if is_array(array))
            raise RuntimeError(
                f"{cls.__name__}: all inputs must be on one device, got {devices}; "
                "move them with .to(device)"
            )
        if cls.half_on != "any" and _is_half(arrays, cls.half_on):
            return in_float32(cls.apply, inputs, options)
        watcher = current.observer if observed else None
        started = 0.0 if watcher is None else perf_counter()
        node = cls()
        node.needs_input_grad = tuple(needs)
        try:
            result = node.forward(*arrays, **options)
        except ValueError as error:
            if not str(error).startswith(("operands could not be broadcast", "input operand has")):
                raise
            shapes = " and ".join(str(array.shape) for array in arrays if is_array(array))
            raise ValueError(f"{cls.__name__}: the shapes {shapes} do not broadcast") from error
        several = isinstance(result, tuple)
        if watcher is None and not several and True not in needs:
            return _as_tensor(result, inputs, arrays)
        outputs = [_as_tensor(y, inputs, arrays) for y in (result if several else (result,))]
        if True in needs:
            node._connect(inputs, outputs)
        if watcher is not None:
            watcher.forward(node, inputs, arrays, options, outputs, started)
        return tuple(outputs) if several else outputs[0]

    def _connect(self, inputs: tuple[Any, ...], outputs: list[Tensor]) -> None:
        """Make this node the `grad_fn` of its outputs, and link it to the nodes of its inputs.

        The versions of the arrays that it saved are remembered, so that `check_versions` can tell
        whether they were changed since.
        """
        saved = set()
        for name, value in vars(self).items():
            if name == "needs_input_grad":
                continue
            for part in value if isinstance(value, tuple) else (value,):
                if is_array(part):
                    saved.add(id(owner_of(part)))
        self._versions = []
        if saved:
            tensors = [value for value in (*inputs, *outputs) if isinstance(value, Tensor)]
            versions = [t._version for t in tensors if id(owner_of(t.data)) in saved]
            self._versions = [(version, version.count) for version in versions]
        parents: list[Any] = []
        for value, needed in zip(inputs, self.needs_input_grad):  # noqa: B905  (strict takes time)
            above = value.grad_fn if needed else None
            parents.append((above, value._output_index) if above else value if needed else None)
        self.parents = tuple(parents)
        made = []
        for index, output in enumerate(outputs):
            shape, dtype = output.data.shape, output.data.dtype
            made.append((shape, dtype))
            if dtype.kind in "fc":
                output.requires_grad, output.grad_fn, output._output_index = True, self, index
        self.outputs = tuple(made)

    def check_versions(self) -> None:
        """Raise RuntimeError if a saved array was changed in place: gradients would be wrong."""
        for version, count in self._versions:
            if version.count != count:
                raise RuntimeError(
                    f"an array that {type(self).__name__} saved for backward was changed in place "
                    f"afterwards by {version.last_change}; make a new tensor instead (x = x + y), "
                    "or change it after backward"
                )

    def check_gradients(self, gradients: tuple[Any, ...]) -> None:
        """Raise if `backward` returned the wrong number of gradients, or one of the wrong shape."""
        if len(gradients) != len(self.parents):
            raise RuntimeError(
                f"{type(self).__name__}.backward returned {len(gradients)} gradient(s) "
                f"for {len(self.parents)} input(s)"
            )
        for position, (grad, parent) in enumerate(zip(gradients, self.parents, strict=True)):
            leaf = not isinstance(parent, tuple)
            shape = getattr(parent, "shape", None) if leaf else parent[0].outputs[parent[1]][0]
            if grad is not None and parent is not None and grad.shape != shape:
                raise RuntimeError(
                    f"{type(self).__name__}.backward returned a gradient of shape {grad.shape} "
                    f"for input {position} of shape {shape}"
                )

    def keep_retained(self, gradients: list[Any]) -> None:
        """Store the gradients of outputs for which `retain_grad()` was called."""
        for index, reference in self._retained.items():
            tensor = reference()
            if tensor is not None:
                tensor.accumulate_grad(gradients[index], fresh=False)

    def retain(self, tensor: Tensor) -> None:
        """Store the gradient of `tensor`, an output, in backward.

        It is referred to weakly: a node never keeps its outputs alive.
        """
        self._retained = {**self._retained, tensor._output_index: weakref.ref(tensor)}

    def release(self) -> None:
        """Drop all that was saved, and the links to the inputs."""
        self.__dict__.clear()
        self.released = True


def _as_tensor(array: Any, inputs: tuple[Any, ...], arrays: list[Any]) -> Tensor:
    """Return an output as a Tensor; a view of an input counts its in-place changes with it."""
    if type(array) is not np.ndarray and not is_array(array):  # NumPy reductions give scalars
        array = np.asarray(array)
    output = Tensor._wrap(array)
    owner = array if array.base is None else owner_of(array)
    for position, other in enumerate(arrays):
        if other is array or (owner is not array and owner_of(other) is owner):
            value = inputs[position]
            output._changes = value._version if isinstance(value, Tensor) else None
            break
    return output


def _is_half(arrays: list[Any], half_on: str) -> bool:
    """Return whether float16 is among `arrays`, on another backend than `half_on`."""
    for x in arrays:
        if is_array(x) and x.dtype.char == "e":
            return backend_of(x).name != half_on
    return False


def owner_of(array: Array) -> Any:
    """Return the object that owns the memory of `array`; views of one array share it."""
    while (base := getattr(array, "base", None)) is not None:
        array = base
    return array
