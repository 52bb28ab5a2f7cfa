"""Walk: backward through a whole graph of operations.

Every operation that ran is a node. `node.parents` has an entry for each input of the operation:

    a Tensor         the input is a leaf, such as a parameter; its gradient is asked for
    (node, index)    the input is output number `index` of this earlier node
    None             no gradient is needed

A value that is used twice gets two shares of its gradient, and their sum is its gradient. So two
rules make the walk: add the shares, and visit a node only when all of its shares have arrived.

    y = x.exp();  z = y * w + y        Add -> Mul -> Exp, and Add -> Exp: Exp has to wait for Mul
"""

from collections import Counter
from typing import Any

import numpy as np

from tinybert import Tensor


def count_uses(root: Any) -> Counter[Any]:
    """Return how many shares each node will get: {node: number}."""
    uses: Counter[Any] = Counter()
    stack = [root]
    while stack:
        for parent in stack.pop().parents:
            if isinstance(parent, tuple):
                uses[parent[0]] += 1
                if uses[parent[0]] == 1:
                    stack.append(parent[0])
    return uses


def run_node(node: Any, arrived: dict[tuple[Any, int], np.ndarray]) -> tuple[Any, ...]:
    """Return the gradient for each parent, given those of the node's outputs (0 if unused)."""
    dy = [arrived.get((node, i), np.zeros(*output)) for i, output in enumerate(node.outputs)]
    gradients = node.backward(*dy)
    return gradients if isinstance(gradients, tuple) else (gradients,)


def walk(root: Any, gradient: np.ndarray) -> dict[Tensor, np.ndarray]:
    """Return the gradients of all leaves, {leaf: gradient}, from that of output 0 of `root`."""
    found: dict[Tensor, np.ndarray] = {}
    arrived, uses = {(root, 0): gradient}, count_uses(root)
    ready = [root]  # nodes whose shares have all arrived
    # TODO: run the ready nodes, hand out the shares, until no node is left.
    # --- solution
    while ready:
        node = ready.pop()
        for parent, share in zip(node.parents, run_node(node, arrived), strict=True):
            if isinstance(parent, Tensor):
                found[parent] = found.get(parent, 0) + share
            elif parent is not None:
                arrived[parent] = arrived.get(parent, 0) + share
                uses[parent[0]] -= 1
                if uses[parent[0]] == 0:
                    ready.append(parent[0])
    return found
    # --- end
