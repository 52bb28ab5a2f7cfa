"""`Walk`: a place in a record, and the moves from it. All views of a record are drawn from one.

The steps form a tree: forward, backward and update at the top, below them the modules as they are
nested in the model, and at the bottom the operations. A place is a node of this tree. A move goes
along the nodes of one depth; `into` and `out` change the depth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from tinybert.trace.steps import BACKWARD, FORWARD, Step
from tinybert.trace.values import Value

if TYPE_CHECKING:
    from tinybert.trace.trace import Trace


@dataclass(eq=False)
class Node:
    """A module's call, or one operation.

    Attributes:
        name: "encoder", "layer.0", "Softmax"; for the tops "forward", "backward", "update".
        steps: all steps inside of it, in their order; one for an operation.
        parent: the node around it, None for the root.
        children: the nodes inside of it; none for an operation.
    """

    name: str
    parent: Node | None = None
    steps: list[Step] = field(default_factory=list)
    children: list[Node] = field(default_factory=list)

    @property
    def depth(self) -> int:
        """The number of nodes around it."""
        return 0 if self.parent is None else self.parent.depth + 1

    @property
    def is_step(self) -> bool:
        """Whether it is one operation."""
        return not self.children

    def path(self) -> list[Node]:
        """Return the nodes from the top down to this one, without the root."""
        return [] if self.parent is None else [*self.parent.path(), self]

    @property
    def dotted(self) -> str:
        """The names from below the phase down to this one: "encoder.layer.0.attention"."""
        return ".".join(node.name for node in self.path()[1:])

    def leaves(self) -> Iterator[Node]:
        """Yield the operations inside of it."""
        if self.is_step:
            yield self
        for child in self.children:
            yield from child.leaves()

    def __repr__(self) -> str:
        return f"<Node {'.'.join(node.name for node in self.path())}: {len(self.steps)} steps>"


def tree(trace: Trace) -> Node:
    """Return the root of the tree of all steps.

    Steps that follow each other and are in the same call of a module share a node.
    """
    root = Node("record")
    open_nodes: list[tuple[tuple[str, int], Node]] = []
    for step in trace.steps:
        keys = [(step.phase, 0), *((name, step.call) for name in parts_of(step.module))]
        shared = 0
        while (
            shared < min(len(keys), len(open_nodes)) and keys[shared] == open_nodes[shared][0]
        ):  # the modules around it may have been called another number of times
            shared += 1
        del open_nodes[shared:]
        for key in keys[shared:]:
            around = open_nodes[-1][1] if open_nodes else root
            node = Node(key[0], around)
            around.children.append(node)
            open_nodes.append((key, node))
        inside = open_nodes[-1][1]
        inside.children.append(Node(step.operation, inside, [step]))
        for node in [root, *(node for _, node in open_nodes)]:
            node.steps.append(step)
    return root


def parts_of(module: str) -> list[str]:
    """Return the names of nested modules, a number with the list that it is in:
    "encoder.layer.0.output" gives encoder, layer.0, output.
    """
    parts: list[str] = []
    for part in module.split(".") if module else []:
        if part.isdigit() and parts:
            parts[-1] += f".{part}"
        else:
            parts.append(part)
    return parts


class Walk:
    """A place in a record.

    Attributes:
        trace: the record.
        root: the tree of its steps.
        node: the place.
    """

    def __init__(self, trace: Trace) -> None:
        """Begin at the softmax of the first attention; without one, at the first step."""
        if not trace.steps:
            raise ValueError("the record has no steps: nothing ran inside of the `record` block")
        self.trace, self.root = trace, tree(trace)
        leaves = list(self.root.leaves())
        softmax = (leaf for leaf in leaves if leaf.steps[0].operation == "Softmax")
        self.node = next(softmax, leaves[0])

    @property
    def step(self) -> Step:
        """The operation at this place: the first one of a module."""
        return self.node.steps[0]

    @cached_property
    def depth(self) -> int:
        """The depth of the deepest operation."""
        return max(leaf.depth for leaf in self.root.leaves())

    # --- moves; each returns whether it could be made --------------------------------------------

    def next(self) -> bool:
        """Go to the next node of this depth, or to a higher operation on the way."""
        return self._along(1)

    def back(self) -> bool:
        """Go to the node before."""
        return self._along(-1)

    def into(self) -> bool:
        """Go to the first part of this module."""
        if self.node.is_step:
            return False
        self.node = self.node.children[0]
        return True

    def out(self) -> bool:
        """Go to the module around this place."""
        if self.node.parent is None or self.node.parent is self.root:
            return False
        self.node = self.node.parent
        return True

    def turn(self) -> bool:
        """Go from an operation to its step in the other direction."""
        partner = self.step.partner
        return partner is not None and self.to_step(partner)

    def to_step(self, number: int) -> bool:
        """Go to the step with this number."""
        for leaf in self.root.leaves():
            if leaf.steps[0].number == number:
                self.node = leaf
                return True
        return False

    def jump(self, path: str, phase: str = FORWARD) -> bool:
        """Go to the first node whose path is `path`, or begins with it, or has it inside."""
        node = next(iter(self.matches(path, phase)), None)
        self.node = node or self.node
        return node is not None

    def matches(self, path: str, phase: str = FORWARD) -> list[Node]:
        """Return the nodes that `jump` can mean, the best first."""
        nodes = [node for node in self._all() if node.steps[0].phase == phase and node.depth > 1]
        paths = [node.dotted for node in nodes]
        for fits in (
            lambda p: p == path,
            lambda p: p.startswith(path),
            lambda p: path.lower() in p.lower(),
        ):
            if found := [node for node, p in zip(nodes, paths, strict=True) if fits(p)]:
                return found
        return []

    def half(self, phase: str) -> bool:
        """Go to the first step of the last backward pass, or of the forward pass before it."""
        phases = [step.phase for step in self.trace.steps]
        end = len(phases) - phases[::-1].index(BACKWARD) if BACKWARD in phases else len(phases)
        while end > 0 and phases[end - 1] != phase:
            end -= 1
        start = end
        while start > 0 and phases[start - 1] == phase:
            start -= 1
        return start < end and self.to_step(start)

    def search(self, text: str) -> bool:
        """Go to the next step, after the last one also from the first, that has a text in its path,
        its line of code or the names of its arrays.
        """
        text, count = text.lower(), len(self.trace)
        for distance in range(1, count + 1):
            step = self.trace[(self.node.steps[-1].number + distance) % count]
            names = [value.parameter or value.name for value in step.values()]
            if any(text in line.lower() for line in (step.path, step.code, step.place, *names)):
                return self.to_step(step.number)
        return False

    def _along(self, direction: int) -> bool:
        row = self.row()
        index = next(i for i, node in enumerate(row) if node is self.node) + direction
        if not 0 <= index < len(row):
            return False
        self.node = row[index]
        return True

    def row(self) -> list[Node]:
        """Return all nodes of this depth, and the operations above it, in their order."""
        return list(_at_depth(self.root, self.node.depth))

    def _all(self) -> Iterator[Node]:
        pending = [self.root]
        while pending:
            node = pending.pop()
            if node.parent is not None:
                yield node
            pending.extend(reversed(node.children))

    # --- what there is to see --------------------------------------------------------------------

    def values(self) -> list[Value]:
        """Return the arrays at this place; of a module, what enters it and what leaves it."""
        if self.node.is_step:
            return self.step.values()
        inside = {step.number for step in self.node.steps}
        entering = [
            value
            for step in self.node.steps
            for value in step.inputs
            if value.parameter is None and (value.source is None or value.source[0] not in inside)
        ]
        distinct: dict[int, Value] = {}
        for value in entering:  # an array that enters twice is listed under its first name
            distinct.setdefault(id(value if value.array is None else value.array), value)
        return [*distinct.values(), *self.node.steps[-1].outputs]


def _at_depth(node: Node, depth: int) -> Iterator[Node]:
    if node.depth == depth or node.is_step:
        yield node
        return
    for child in node.children:
        yield from _at_depth(child, depth)
