"""The backward pass: every node after all nodes that use its outputs, without recursion.

A node refers to its parents, never to its children. The pass therefore first counts, for every node
that can be reached from the result, the edges that lead to it. It visits a node when each of these
edges has delivered its part of the gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from tinybert.autograd.modes import observer
from tinybert.backend import array_module, is_array


def run_backward(
    root: Any, output_index: int, gradient: Any, retain_graph: bool, deliver: Callable[..., None]
) -> None:
    """Propagate `gradient` (an array) from output `output_index` of node `root` to all leaves.

    deliver: called with a leaf, its gradient, and whether the leaf may keep that array.

    Gradients of intermediate results are held in `pending` for as long as they are needed. What a
    node saved is dropped as soon as the node is done, unless `retain_graph`.
    """
    waiting, watcher = _count_edges(root), observer()
    pending = {
        root: {output_index: (gradient, False)}
    }  # node -> output index -> (gradient, do we own the array?)
    ready = [root]
    while ready:
        node = ready.pop()
        outputs = _complete(node, pending.pop(node, {}))
        if node._retained:
            node.keep_retained(outputs)
        started = 0.0 if watcher is None else perf_counter()
        gradients = node.backward(*outputs)
        if not isinstance(gradients, tuple):
            gradients = (gradients,)
        gradients = tuple([None if grad is None else _as_array(grad) for grad in gradients])
        node.check_gradients(gradients)
        if watcher is not None:
            watcher.backward(node, outputs, gradients, started)
        parents = node.parents
        for position, parent in enumerate(parents):
            if parent is None:
                continue
            grad = gradients[position]
            if not isinstance(parent, tuple):
                if grad is not None:
                    fresh = _is_fresh(grad, position, gradients, outputs, node)
                    deliver(parent, grad, fresh)
                continue
            above, index = parent
            if grad is not None:
                _add(pending.setdefault(above, {}), index, grad)
            waiting[above] -= 1
            if waiting[above] == 0:
                if above in pending:
                    ready.append(above)
                else:
                    ready.extend(_skip(above, waiting, pending))
        if not retain_graph:
            node.release()


def _count_edges(root: Any) -> dict[Any, int]:
    """Return for every node reachable from `root` the number of edges that lead to it."""
    waiting = {root: 0}
    stack = [root]
    while stack:
        node = stack.pop()
        if node.released:
            raise RuntimeError(
                f"a second backward through {type(node).__name__}: what it had saved was freed by "
                "the first; call the first backward with retain_graph=True if you need both"
            )
        node.check_versions()
        for parent in node.parents:
            if isinstance(parent, tuple):
                if parent[0] not in waiting:
                    waiting[parent[0]] = 0
                    stack.append(parent[0])
                waiting[parent[0]] += 1
    return waiting


def _skip(node: Any, waiting: dict[Any, int], pending: dict[Any, Any]) -> list[Any]:
    """Return the nodes that become ready when `node`, which got no gradient, is skipped."""
    ready: list[Any] = []
    stack = [node]
    while stack:
        for parent in stack.pop().parents:
            if isinstance(parent, tuple):
                above = parent[0]
                waiting[above] -= 1
                if waiting[above] == 0:
                    (ready if above in pending else stack).append(above)
    return ready


def _add(slots: dict[int, tuple[Any, bool]], index: int, grad: Any) -> None:
    """Add `grad` to the gradient collected for one output.

    The sum of the first two is a new array; later ones are added to it in place.
    """
    if index not in slots:
        slots[index] = grad, False
        return
    total, owned = slots[index]
    if owned and total.dtype == grad.dtype:
        total += grad
    else:
        total = _as_array(total + grad)
    slots[index] = total, True


def _complete(node: Any, slots: dict[int, tuple[Any, bool]]) -> list[Any]:
    """Return the gradients of all outputs of `node`, zeros for an output that was not used."""
    if len(slots) < len(node.outputs):
        xp = array_module(next(iter(slots.values()))[0])
        for index, (shape, dtype) in enumerate(node.outputs):
            if index not in slots:
                slots[index] = xp.zeros(shape, dtype), True
    return [slots[index][0] for index in sorted(slots)]


def _as_array(grad: Any) -> Any:
    """Return `grad` as an array, also where NumPy made a scalar of a result without axes."""
    return grad if is_array(grad) else np.asarray(grad)


def _is_fresh(
    grad: Any, position: int, gradients: tuple[Any, ...], outputs: list[Any], node: Any
) -> bool:
    """Whether a leaf may keep `grad` as its own: a new array that nothing else refers to."""
    if grad.base is not None:
        return False
    others = [*outputs, *gradients[:position], *gradients[position + 1 :]]
    for value in vars(node).values():
        others.extend(value if isinstance(value, (tuple, list)) else (value,))
    return not any(other is grad or getattr(other, "base", None) is grad for other in others)
