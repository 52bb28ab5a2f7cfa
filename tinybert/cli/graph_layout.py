"""Where the boxes of a graph are drawn: modules as frames around what they contain.

Inside of a module a box is below all boxes that it gets arrays from; boxes that do not depend on
each other are side by side. All sizes are in inches; y grows downwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tinybert.trace.graph import Graph, parameters
from tinybert.trace.walk import Node

CHARACTER, LINE = 0.082, 0.155  # of the text of a box
PADDING = 0.1
GAP_X, GAP_Y = 0.45, 0.42  # between boxes; arrows have their shapes in the gaps
TITLE = 0.2  # above the boxes of a module
BEND = 0.22  # between a box and an arrow that goes around it


@dataclass(eq=False)
class Box:
    """A rectangle for a node, with the rectangles inside of it."""

    node: Node
    lines: list[str]
    inside: list[Box] = field(default_factory=list)
    x: float = 0.0  # of the left side
    y: float = 0.0  # of the top
    width: float = 0.0
    height: float = 0.0

    def all(self) -> Iterator[Box]:
        """Yield this box and all boxes inside of it."""
        yield self
        for box in self.inside:
            yield from box.all()

    def move(self, x: float, y: float) -> None:
        """Move the box and all inside of it."""
        for box in self.all():
            box.x += x
            box.y += y


def arrange(graph: Graph) -> Box:
    """Return the box of the root; the boxes inside have their places."""
    pairs = [(arrow.source, arrow.target) for arrow in graph.arrows]
    root = _box(graph, graph.root, pairs)
    root.lines = []
    return root


def _box(graph: Graph, node: Node, pairs: list[tuple[Node, Node]]) -> Box:
    children = graph.children(node)
    box = Box(node, _lines(graph, node))
    width = CHARACTER * max(map(len, box.lines)) + 2 * PADDING
    if not children:
        box.width, box.height = width, LINE * len(box.lines) + 1.6 * PADDING
        return box
    box.lines = box.lines[:1]
    box.inside = [_box(graph, child, pairs) for child in children]
    rows: dict[int, list[Box]] = {}
    for part, rank in zip(box.inside, _ranks(children, pairs), strict=True):
        rows.setdefault(rank, []).append(part)
    widths = [sum(part.width + GAP_X for part in row) - GAP_X for row in rows.values()]
    side = 0.5 if len(rows) > 2 else 0.25  # room for arrows that go around
    box.width = max(*widths, CHARACTER * len(box.lines[0])) + 2 * side
    y = TITLE + 0.25
    for rank in sorted(rows):
        row = rows[rank]
        x = (box.width - sum(part.width + GAP_X for part in row) + GAP_X) / 2
        for part in row:
            part.move(x, y)
            x += part.width + GAP_X
        y += max(part.height for part in row) + GAP_Y
    box.height = y - GAP_Y + 0.25
    return box


def _ranks(nodes: list[Node], pairs: list[tuple[Node, Node]]) -> list[int]:
    """Return for each node the length of the longest way to it inside of its module.

    An array that is given is right above the first box that it goes to.
    """
    number = {id(node): i for i, node in enumerate(nodes)}
    links: list[tuple[int, int]] = []
    for source, target in pairs:
        first, then = _among(source, number), _among(target, number)
        if first is not None and then is not None and first != then:
            links.append((first, then))
    ranks = [0] * len(nodes)
    for i in range(len(nodes)):  # nodes are in the order in which they ran
        ranks[i] = max((ranks[first] + 1 for first, then in links if then == i), default=0)
    for i, node in enumerate(nodes):
        if not node.steps:
            below = [ranks[then] for first, then in links if first == i]
            ranks[i] = max(min(below, default=1) - 1, 0)
    return ranks


def _among(node: Node | None, number: dict[int, int]) -> int | None:
    """Return which of some nodes is this one or around it."""
    while node is not None:
        if id(node) in number:
            return number[id(node)]
        node = node.parent
    return None


def _lines(graph: Graph, node: Node) -> list[str]:
    if not node.steps:
        return [node.name]
    count = len(node.steps)
    what = f"{count} operations" if count > 1 else "" if node.is_step else node.steps[0].operation
    size = parameters(node.steps) if node in graph.boxes else 0
    details = [what, f"{human_count(size)} parameters" if size else ""]
    return [node.name, *(detail for detail in details if detail)]


def human_count(count: int) -> str:
    """Return a number in words: 384, 1.5 thousand, 11.8 million."""
    for unit, name in ((1e9, "billion"), (1e6, "million"), (1e4, "thousand")):
        if count >= unit:
            return f"{count / (1e3 if name == 'thousand' else unit):.3g} {name}"
    return f"{count:,}"


def way_around(boxes: list[Box], source: Box, target: Box) -> float | None:
    """Return the x of a vertical line from one box to another to the right of all boxes in between.

    None if a straight arrow, from the bottom of one to the top of the other, crosses no box.
    """
    x0, y0 = source.x + source.width / 2, source.y + source.height
    x1, y1 = target.x + target.width / 2, target.y
    between = [
        box for box in boxes
        if not box.inside and box is not source and box is not target
        and box.y < y1 and box.y + box.height > y0
    ]  # fmt: skip

    def is_crossed(box: Box) -> bool:
        for share in (0.1, 0.3, 0.5, 0.7, 0.9):
            y = box.y + share * box.height
            x = x0 + (x1 - x0) * (y - y0) / (y1 - y0)
            if y0 < y < y1 and box.x - 0.05 < x < box.x + box.width + 0.05:
                return True
        return False

    if not any(map(is_crossed, between)):
        return None
    x = max(source.x + source.width, target.x + target.width) + BEND
    for box in sorted(between, key=lambda box: box.x):
        if box.x - 0.05 < x < box.x + box.width + BEND / 2 or is_crossed(box):
            x = max(x, box.x + box.width + BEND)
    return x
