"""`record`: write down every operation that runs, forwards and backwards.

The engine tells an observer of each operation (`autograd/function.py`), of each step of the
backward pass (`autograd/engine.py`), of each call of a module (`nn/module.py`) and of each update
of a parameter (`optim/optimizer.py`). Without an observer this costs one test each.

While it is recorded, a model computes what is otherwise fused in steps of their own: attention as
scores, softmax and product, and a linear layer apart from its activation.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from types import FrameType
from typing import Any

from tinybert.autograd import Tensor
from tinybert.autograd.function import owner_of
from tinybert.autograd.modes import observer, observing
from tinybert.backend import is_array
from tinybert.checks import check_number
from tinybert.nn import Module
from tinybert.trace.axes import Axes
from tinybert.trace.formulas import input_names
from tinybert.trace.steps import BACKWARD, FORWARD, UPDATE, Step
from tinybert.trace.trace import Trace
from tinybert.trace.values import Value

ROOT = Path(__file__).parent.parent
# Their code calls operations for somebody else: the line to show is that of the caller.
PARTS = (
    "autograd", "ops", "functional", "methods", "trace/recorder.py", "nn/module.py",
    "optim/optimizer.py",
)  # fmt: skip
ENGINE = tuple(str(ROOT / part) for part in PARTS)
NUMBER = "_step"  # a node's attribute with the number of its step
LONGEST_OPTION = 200  # characters


class record:
    """`with record(model) as trace: ...`: record what runs inside, in this thread.

        with tinybert.record(model) as trace:
            loss = model(**inputs, labels=labels).loss
            loss.backward()
        print(trace)

    Args:
        model: gives modules and parameters their names; without it, the names begin at the first
            module that is called.
        limit: bytes of arrays to keep. If there are more, those of the oldest steps are reduced to
            statistics and thumbnails; `trace.shrunk` counts them.

    The record shares the memory of parameters and results; an array is copied when something is
    about to change it in place, such as an optimizer's step. What happens later therefore does not
    change the record. Parameters that are shared are not counted in `limit`.
    """

    def __init__(self, model: Module | None = None, limit: float = 500e6) -> None:
        check_number("limit", limit)
        self.trace = Trace()
        self._observing = observing(Recorder(self.trace, model, limit))

    def __enter__(self) -> Trace:
        if observer() is not None:
            raise RuntimeError("this thread records already: leave the other `record` block first")
        self._observing.__enter__()
        return self.trace

    def __exit__(self, *exc_info: object) -> None:
        self._observing.__exit__(*exc_info)
        self._observing.observer.finish()


class Recorder:
    """The observer that fills a `Trace`."""

    def __init__(self, trace: Trace, model: Module | None, limit: float) -> None:
        self.trace, self.limit, self.size = trace, limit, 0
        self.kept: deque[Value] = deque()
        self.names: dict[int, str] = {}  # of modules, by id
        self.parameters: dict[int, tuple[Tensor, str]] = {}
        self.calls: Counter[str] = Counter()
        self.stack: list[tuple[str, int]] = []
        self.made: dict[int, tuple[Any, tuple[int, int]]] = {}  # array -> the step that made it
        self.delivered: list[tuple[Tensor, Value]] = []  # gradients that leaves may keep as theirs
        self.axes = Axes(getattr(model, "config", None))
        if model is not None:
            self.learn_names(model)

    def learn_names(self, model: Module) -> None:
        """Learn the names of all modules and parameters of a model."""
        self.names.update({id(module): name for name, module in model.named_modules()})
        for name, parameter in model.named_parameters():
            self.parameters[id(parameter)] = parameter, name
        self.axes.learn(getattr(model, "config", None))

    # --- what the engine tells ------------------------------------------------------------------

    def call(self, module: Module, run: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run the call of a module, whose name its operations then have."""
        if id(module) not in self.names:
            self.learn_names(module)
        name = self.names[id(module)]
        self.stack.append((name, self.calls[name]))
        self.calls[name] += 1
        try:
            return run(*args, **kwargs)
        finally:
            self.stack.pop()

    def forward(
        self, node: Any, inputs: Any, arrays: Any, options: Any, outputs: Any, started: float
    ) -> None:
        """Record an operation that has just run."""
        seconds = perf_counter() - started
        kind: Any = type(node)
        step = self._step(FORWARD, kind.__name__, seconds)
        step.module, step.call = self.stack[-1] if self.stack else ("", 0)
        step.options = {name: _text(value) for name, value in options.items()}
        step.rerun, step.arguments = (kind, options), len(arrays)
        names = input_names(kind, len(arrays))
        for name, value, array in zip(names, inputs, arrays, strict=True):
            if array is not None:
                step.inputs.append(self._input(name, value, array))
        several = len(outputs) > 1
        for index, output in enumerate(outputs):
            made = Value.of(f"y{index}" if several else "y", output.data).watch(output._version)
            self._keep(made)
            step.outputs.append(made)
            self.made[id(output.data)] = weakref.ref(output.data), (step.number, index)
        if True in node.needs_input_grad:
            step.saved = self._saved(node, inputs, arrays)
            setattr(node, NUMBER, step.number)

    def backward(self, node: Any, dy: list[Any], gradients: Any, started: float) -> None:
        """Record one step of the backward pass."""
        seconds = perf_counter() - started
        kind: Any = type(node)
        step = self._step(BACKWARD, kind.__name__, seconds)
        number = getattr(node, NUMBER, None)
        if number is not None:
            partner = self.trace.steps[number]
            partner.partner, step.partner, step.forward = step.number, number, partner
            step.module, step.call = partner.module, partner.call
            step.file, step.line, step.saved = partner.file, partner.line, partner.saved
        self._watch_gradients()
        several = len(dy) > 1
        for index, array in enumerate(dy):
            name = f"dy{index}" if several else "dy"
            source = self._source(array)
            step.inputs.append(self._keep(Value.of(name, array, source=source)))
        names = input_names(kind, len(gradients))
        for name, parent, array in zip(names, node.parents, gradients, strict=True):
            if array is not None:
                value = self._keep(Value.of(f"d{name}", array))
                self.made[id(array)] = weakref.ref(array), (step.number, len(step.outputs))
                step.outputs.append(value)
                if isinstance(parent, Tensor):
                    self.delivered.append((parent, value))
                    if sum(other is parent for other in node.parents) > 1:
                        value.copy()  # the leaf adds the other gradient to this one

    def update(self, optimizer: Any, parameter: Tensor, before: Any, group: Any) -> None:
        """Record the update of a parameter."""
        step = self._step(UPDATE, type(optimizer).__name__, 0.0)
        _, name = self.parameters.get(id(parameter), (parameter, ""))
        step.module = name.rpartition(".")[0]
        step.options = {k: _text(v) for k, v in group.items() if k != "params"}
        grad = parameter.grad
        assert grad is not None
        step.inputs = [
            self._keep(Value.of("weight", before, parameter=name)),
            self._keep(Value.of("dweight", grad.data).watch(grad._version)),
        ]
        step.outputs = [self._parameter("weight", parameter)]
        for key, tensor in optimizer.state.get(parameter, {}).items():
            if isinstance(tensor, Tensor):
                step.saved.append(self._keep(Value.of(key, tensor.data)))
                step.saved[-1].copy()  # the next step changes it in place
            else:
                step.options[key] = _text(tensor)  # the number of the update

    def finish(self) -> None:
        """Name the axes, and forget all that is not part of the trace."""
        self._watch_gradients()
        for step in self.trace.steps:
            for value in step.values():
                value.axes = value.axes or self.axes.letters(value.shape)
        self.made.clear()

    # --- parts of a step --------------------------------------------------------------------------

    def _step(self, phase: str, operation: str, seconds: float) -> Step:
        step = Step(len(self.trace.steps), phase, operation, seconds=seconds)
        self.trace.steps.append(step)
        frame = caller()
        if frame is not None and phase != BACKWARD:
            step.file, step.line = frame.f_code.co_filename, frame.f_lineno
        return step

    def _input(self, name: str, value: Any, array: Any) -> Value:
        if id(value) in self.parameters:
            return self._parameter(name, value)
        found = self._keep(Value.of(name, array, source=self._source(array)))
        return found.watch(value._version) if isinstance(value, Tensor) else found

    def _parameter(self, name: str, parameter: Tensor) -> Value:
        """Return a parameter, with the same array each time until it changes."""
        known = self.parameters.get(id(parameter), (parameter, ""))[1]
        return Value.of(name, parameter.data, parameter=known).watch(parameter._version)

    def _watch_gradients(self) -> None:
        """Copy a gradient that a leaf has taken for its own before something is added to it."""
        for leaf, value in self.delivered:
            if leaf.grad is not None and leaf.grad.data is value.array:
                value.watch(leaf.grad._version)
        self.delivered.clear()

    def _saved(self, node: Any, inputs: Any, arrays: Any) -> list[Value]:
        """Return what a node keeps for its backward, but for its inputs."""
        given = {id(array) for array in arrays if is_array(array)}
        versions = {
            id(owner_of(value.data)): value._version
            for value in inputs
            if isinstance(value, Tensor)
        }
        saved = []
        for name, array in vars(node).items():
            if is_array(array) and id(array) not in given and not name.startswith("_"):
                saved.append(self._keep(Value.of(name, array)))
                if id(owner_of(array)) in versions:  # a view of an input
                    saved[-1].watch(versions[id(owner_of(array))])
        return saved

    def _source(self, array: Any) -> tuple[int, int] | None:
        found = self.made.get(id(array))
        return found[1] if found is not None and found[0]() is array else None

    def _keep(self, value: Value) -> Value:
        """Count the memory of a value; if it is too much, reduce the oldest ones."""
        self.size += value.nbytes
        self.kept.append(value)
        while self.size > self.limit and self.kept:
            oldest = self.kept.popleft()
            self.size -= oldest.nbytes
            oldest.shrink()
            self.trace.shrunk += 1
        return value


def caller() -> FrameType | None:
    """Return the frame of the first code outside the engine."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(ENGINE):
        frame = frame.f_back
    return frame


def _text(value: Any) -> str:
    if is_array(value):
        return f"array {'x'.join(map(str, value.shape))}"
    text = repr(value)
    return text if len(text) <= LONGEST_OPTION else text[:LONGEST_OPTION] + "..."
