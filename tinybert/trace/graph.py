"""The recorded graph: boxes for modules or operations, arrows for the arrays between them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from tinybert.checks import check_integer
from tinybert.trace.steps import Step
from tinybert.trace.trace import Trace
from tinybert.trace.values import Value
from tinybert.trace.walk import Node, tree


@dataclass(frozen=True)
class Arrow:
    """An array that goes from one box to another."""

    source: Node
    target: Node
    value: Value


@dataclass(frozen=True)
class Graph:
    """What ran forward, down to a depth.

    Attributes:
        root: the node around all boxes; its children are modules, as in `Walk`.
        boxes: the modules and operations that are shown, in the order in which they ran.
        given: nodes without steps, for the arrays that no recorded step made: the model's input.
            The parent of such a node is the module around the box that the array goes to.
        arrows: the arrays between boxes, each once.
    """

    root: Node
    boxes: list[Node]
    given: list[Node]
    arrows: list[Arrow]

    def children(self, node: Node) -> list[Node]:
        """Return the nodes right inside of another one: boxes, modules with boxes, and arrays."""
        if node in self.boxes:
            return []
        return [*(array for array in self.given if array.parent is node), *node.children]


def graph(trace: Trace, depth: int) -> Graph:
    """Return the graph of the forward steps: modules down to `depth`, 1 for the outermost ones.

    A module that runs a single operation is one box. Raises ValueError if nothing ran forward.
    """
    check_integer("depth", depth, 1)
    if not trace.forward:
        raise ValueError("the record has no forward steps")
    (root,) = tree(Trace(trace.forward)).children
    boxes = list(_shown(root, root.depth + depth))
    box_of = {step.number: box for box in boxes for step in box.steps}
    given: dict[tuple[int, int], Node] = {}
    arrows: dict[tuple[int, int, tuple[int, int] | None], Arrow] = {}
    for step in trace.forward:
        target = box_of[step.number]
        for value in step.inputs:
            if value.parameter is not None or value.number:
                continue
            if value.source is not None:
                source = box_of[value.source[0]]
            else:
                around = target.parent or root
                key = id(value if value.array is None else value.array), id(around)
                source = given.setdefault(key, Node(value.name, around))
            if source is not target:
                arrow = Arrow(source, target, value)
                arrows.setdefault((id(source), id(target), value.source), arrow)
    return Graph(root, boxes, list(given.values()), list(arrows.values()))


def readable_depth(trace: Trace, most: int) -> int:
    """Return the largest depth at which a graph has at most `most` boxes, at least 1."""
    depth, found = 1, graph(trace, 1)
    while not all(box.is_step or len(box.steps) == 1 for box in found.boxes):
        found = graph(trace, depth + 1)
        if len(found.boxes) > most:
            break
        depth += 1
    return depth


def parameters(steps: list[Step]) -> int:
    """Return the number of elements of all parameters that some steps use."""
    sizes = {
        value.parameter: math.prod(value.shape)
        for step in steps
        for value in step.inputs
        if value.parameter is not None
    }
    return sum(sizes.values())


def _shown(node: Node, depth: int) -> Iterator[Node]:
    if node.is_step or node.depth == depth or len(node.steps) == 1:
        yield node
        return
    for child in node.children:
        yield from _shown(child, depth)
