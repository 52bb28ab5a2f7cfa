"""`Graph`: the nodes of an ONNX file while it is written, and the operators that mappings use.

A value is named by a text. Integers that depend on the sizes of the inputs are computed in the file
itself, from the shapes of its inputs.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from tinybert.export.record import Array, Recorded
from tinybert.export.sizes import Size, Term

LARGEST, SMALLEST = np.iinfo(np.int64).max, np.iinfo(np.int64).min


class Graph:
    """The nodes and constants of a file.

    Args:
        onnx: the library.
        steps: the record.
        sizes: for each size its input and the axis.
    """

    def __init__(self, onnx: Any, steps: list[Recorded], sizes: dict[str, tuple[str, int]]) -> None:
        self.onnx, self.steps, self.sizes = onnx, steps, sizes
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self.names: dict[tuple[int, int], str] = {}  # of the results of steps
        self.scope, self.result = "", steps[0].results[0]
        self._known: dict[Any, str] = {}
        self._numbers = itertools.count()

    # --- values -----------------------------------------------------------------------------------

    def op(self, kind: str, *inputs: Any, **attributes: Any) -> str:
        """Add a node with one output and return its name."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, count: int, *inputs: Any, **attributes: Any) -> list[str]:
        """Add a node and return the names of its outputs."""
        number = next(self._numbers)
        name = "/".join(("", *filter(None, self.scope.split("/")), f"{kind}_{number}"))
        outputs = [f"{name}_output_{i}" for i in range(count)]
        names = [self.name(value) for value in inputs]
        node = self.onnx.helper.make_node(kind, names, outputs, name=name, **attributes)
        self.nodes.append(node)
        return outputs

    def name(self, value: Any) -> str:
        """Return the name of a value: an array of the record, a constant, or a name."""
        if isinstance(value, str):
            return value
        if isinstance(value, Array):
            return self.names[value.step, value.result]
        return self.constant(value)

    def constant(self, value: Any, dtype: Any = None) -> str:
        """Return the name of a constant; equal ones are stored once."""
        array = np.ascontiguousarray(value, dtype).reshape(np.shape(value))
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self._known:
            self._known[key] = f"constant_{len(self._known)}"
            self.constants[self._known[key]] = array
        return self._known[key]

    def operand(self, value: Any, dtype: Any) -> str:
        """Return an array, number or size as a value of a dtype."""
        if isinstance(value, Size):
            value = self.op("Squeeze", self.size(value), self.integers(0))
            return value if dtype == np.int64 else self.cast(value, dtype)
        if isinstance(value, Array):
            return self.name(value) if value.dtype == dtype else self.cast(value, dtype)
        return self.constant(value, dtype)

    def cast(self, value: Any, dtype: Any) -> str:
        """Convert a value to a dtype."""
        kind = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.op("Cast", value, to=kind)

    # --- sizes ------------------------------------------------------------------------------------

    def integers(self, *numbers: Any) -> str:
        """Return integers and sizes as a list of int64."""
        if not any(isinstance(number, Size) for number in numbers):
            return self.constant(np.array(numbers, np.int64))
        if numbers not in self._known:
            parts = [self.size(number) for number in numbers]
            self._known[numbers] = (
                parts[0] if len(parts) == 1 else self.at_top("Concat", *parts, axis=0)
            )
        return self._known[numbers]

    def shape(self, shape: tuple[Any, ...]) -> str:
        """Return a shape for `Reshape`, with -1 for the one axis whose size depends on the input,
        if there is one.
        """
        unknown = [isinstance(size, Size) for size in shape]
        if sum(unknown) == 1 and 0 not in shape:
            shape = tuple(
                -1 if variable else size for variable, size in zip(unknown, shape, strict=True)
            )
        return self.integers(*shape)

    def at_top(self, kind: str, *inputs: Any, **attributes: Any) -> str:
        """Add a node that belongs to no module: several may use its result."""
        before, self.scope = self.scope, "sizes"
        try:
            return self.op(kind, *inputs, **attributes)
        finally:
            self.scope = before

    def size(self, number: Any) -> str:
        """Return an integer or a size as a list with one int64."""
        if not isinstance(number, Size):
            return self.constant(np.array([number], np.int64))
        if number not in self._known:
            whole = number.divisor
            total = None
            for term, factor in number.terms.items():
                part = self._term(term, int(factor * whole))
                total = part if total is None else self.at_top("Add", total, part)
            assert total is not None
            if whole > 1:
                total = self.at_top("Div", total, self.integers(whole))
            self._known[number] = total
        return self._known[number]

    def _term(self, term: Term, factor: int) -> str:
        """Return factor * the product of the sizes that a term names."""
        value = self.integers(factor)
        for name in term:
            if name not in self._known:
                source, axis = self.sizes[name]
                shape = self.at_top("Shape", source)
                self._known[name] = self.at_top("Gather", shape, self.integers(axis), axis=0)
            known = self._known[name]
            value = known if value == self.integers(1) else self.at_top("Mul", value, known)
        return value
