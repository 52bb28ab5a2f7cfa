"""Check of tape/walk."""

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

from tinybert.autograd import Tensor
from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.gradients import leaf_gradients
from tinybert.learn.patches import Patch

EXERCISE = Exercise(
    minutes=25,
    level=4,
    lesson=1,
    hints=(
        "While a node is ready: take it, run it with run_node, and look at its parents and their "
        "shares together, with zip.",
        "A leaf: add the share to what `found` has for it. A pair: add it to what `arrived` has "
        "for this pair; the pair itself is the key. None: nothing.",
        "Each share that arrives at a node lowers uses[node] by 1. At 0 the node is ready.",
    ),
    forbidden={
        "run_backward": "this is the engine's walk; write your own",
        "grad": "the engine fills .grad with a walk of its own; write yours",
    },
    mutants=(
        Mutant(
            "a node runs once for each use",
            "if uses[parent[0]] == 0:",
            "if True:",
            "gradient",
            "a node that is used twice runs twice, and passes its first share on twice: wait until "
            "all shares have arrived.",
        ),
        Mutant(
            "a node runs too soon",
            "uses[parent[0]] -= 1",
            "uses[parent[0]] = 0 if uses[parent[0]] > 0 else -1",
            "gradient",
            "the node ran when its first share arrived; the later ones were lost: wait for all.",
        ),
        Mutant(
            "a share is overwritten",
            "arrived[parent] = arrived.get(parent, 0) + share",
            "arrived[parent] = share",
            "gradient",
            "a result that is used twice gets the sum of both shares, not the last one.",
        ),
        Mutant(
            "the gradient of a leaf is overwritten",
            "found[parent] = found.get(parent, 0) + share",
            "found[parent] = share",
            "gradient",
            "a leaf that is used twice gets the sum of both shares, not the last one.",
        ),
        Mutant(
            "the number of the output is lost",
            "arrived[parent] = arrived.get(parent, 0) + share",
            "arrived[parent[0], 0] = arrived.get((parent[0], 0), 0) + share",
            "gradient",
            "a node may have several outputs, and each has a gradient of its own: use the whole "
            "pair (node, index) as the key.",
        ),
        Mutant(
            "stops at a leaf",
            "found[parent] = found.get(parent, 0) + share",
            "found[parent] = found.get(parent, 0) + share\n                break",
            "shape",
            "the other parents of the node need their shares as well: go on after a leaf.",
        ),
        Mutant(
            "adds in place",
            "arrived[parent] = arrived.get(parent, 0) + share",
            "arrived[parent] = share if parent not in arrived else arrived[parent].__iadd__(share)",
            "gradient",
            "Add returns the same array for both inputs: += changes the share of the other one as "
            "well. Make a new array.",
        ),
    ),
)


def _chain(x: Tensor, w: Tensor) -> Tensor:
    return (x * w).tanh()


def _leaf_used_twice(x: Tensor, w: Tensor) -> Tensor:
    return x * w + x


def _result_used_twice(x: Tensor, w: Tensor) -> Tensor:
    y = x.exp()
    return y * w + y


def _in_the_other_order(x: Tensor, w: Tensor) -> Tensor:
    y = x.exp()
    return y + y.tanh() * w


def _two_outputs(x: Tensor, w: Tensor) -> Tensor:
    left, right = (x * w).chunk(2, -1)
    return left * right.tanh()


def _one_output_unused(x: Tensor, w: Tensor) -> Tensor:
    return (x * w).chunk(2, -1)[1].exp()


def _shares_in_one_array(x: Tensor, w: Tensor) -> Tensor:
    y, z = x.exp(), w.tanh()
    return z.exp() * y + (y + z)


def _not_all_need_a_gradient(x: Tensor, w: Tensor) -> Tensor:
    return (x * Tensor(w.numpy()) + w.exp()) * 3.0


def _long_chain(x: Tensor, w: Tensor) -> Tensor:
    y = x
    for _ in range(600):
        y = y * 0.999 + w
    return y


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the engine's walk on programs of all kinds."""

    def run(program: Callable[..., Tensor], x: np.ndarray, w: np.ndarray) -> dict[str, Any]:
        leaves = [Tensor(value, requires_grad=True) for value in (x, w)]
        output = program(*leaves)
        dy = np.random.default_rng(1).normal(size=output.shape)
        found = student.walk(output.grad_fn, dy)
        if not isinstance(found, dict):
            return found
        return {name: found[leaf] for name, leaf in zip("xw", leaves, strict=True) if leaf in found}

    rng = np.random.default_rng(0)
    for program in (
        _chain,
        _leaf_used_twice,
        _result_used_twice,
        _in_the_other_order,
        _two_outputs,
        _one_output_unused,
        _shares_in_one_array,
        _not_all_need_a_gradient,
        _long_chain,
    ):
        x, w = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
        leaves = [Tensor(value, requires_grad=True) for value in (x, w)]
        output = program(*leaves)
        dy = np.random.default_rng(1).normal(size=output.shape)
        dx, dw = leaf_gradients(output, dy, *leaves)
        yield Case(
            run,
            (program, x, w),
            {"x": dx, "w": dw},
            stage="edges" if program is _long_chain else "gradient",
            what=f"walk, on a graph: {program.__name__.strip('_').replace('_', ' ')}",
        )


def plug(student: ModuleType) -> tuple[Patch, ...]:
    """Compute all gradients of the model with the learner's walk."""

    def run_backward(
        root: Any, index: int, gradient: np.ndarray, retain: bool, deliver: Callable[..., None]
    ) -> None:
        for leaf, found in student.walk(root, gradient).items():
            deliver(leaf, found, fresh=False)

    return (Patch("tinybert.autograd.tensor.run_backward", run_backward),)
