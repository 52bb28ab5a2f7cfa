"""`tinybert plot graph`: the recorded graph of a model, as boxes and arrows."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tinybert.autograd import no_grad
from tinybert.checks import check_integer
from tinybert.cli.figures import COLOURS, new_figure
from tinybert.cli.graph_layout import Box, arrange, human_count, way_around
from tinybert.cli.terminal import print_json, table
from tinybert.embedding import SentenceEmbedder
from tinybert.hub import WEIGHT_FILES, resolve
from tinybert.hub_cache import EMBEDDED
from tinybert.trace import Trace, Value, record
from tinybert.trace.graph import Graph, graph, parameters, readable_depth
from tinybert.trace.walk import Node

READABLE = 30  # boxes, if --depth is not given
MOST = 400  # boxes; more would be too small to read
FRAMES = ("white", "#f4f7f9", "#e6eef3", "#d9e5ec")  # by depth


def show_graph(args: argparse.Namespace, text: str, path: Path | None) -> int:
    """Print the modules that a text runs through, and draw the graph; return 0."""
    if args.depth is not None:
        check_integer("--depth", args.depth, 1)
    folder = resolve(args.model or EMBEDDED, WEIGHT_FILES)
    trace = recorded(SentenceEmbedder.from_pretrained(folder, device=args.device), text)
    depth = readable_depth(trace, READABLE) if args.depth is None else args.depth
    found = graph(trace, depth)
    if path is not None:
        if len(found.boxes) > MOST:
            raise ValueError(
                f"a picture has at most {MOST} boxes, and --depth {depth} has {len(found.boxes)}: "
                "choose a smaller --depth"
            )
        save_graph(path, found, f"{folder.name}: forward pass of {_shape(trace)}")
    if args.json:
        print_json({"model": str(folder), "depth": depth, **as_dict(found)})
        return 0
    rows = [
        [
            name_of(box), f"{len(box.steps):,}", human_count(parameters(box.steps)),
            shape_of(box.steps[-1].outputs[0]),
        ]
        for box in found.boxes
    ]  # fmt: skip
    print("\n".join(table(["box", "operations", "parameters", "output"], rows, "lrrl")))
    print(f"\n{len(found.boxes)} boxes, {len(found.arrows)} arrows, --depth {depth}")
    return 0


def recorded(embedder: SentenceEmbedder, text: str) -> Trace:
    """Return the record of a forward pass."""
    inputs, _ = embedder.read([text])
    if inputs["input_ids"].shape[1] == 0:
        raise ValueError("plot graph needs a TEXT with tokens")
    with record(embedder.model) as trace, no_grad():
        embedder.model(**inputs)
    return trace


def as_dict(found: Graph) -> dict[str, Any]:
    """Return boxes and arrows as plain data; an arrow has the numbers of its boxes.

    The source of an array that is given to the model is null.
    """
    number = {id(box): i for i, box in enumerate(found.boxes)}
    boxes = [
        {
            "name": name_of(box),
            "operations": [step.operation for step in box.steps],
            "parameters": parameters(box.steps),
        }
        for box in found.boxes
    ]
    arrows = [
        {
            "from": number.get(id(arrow.source)),
            "to": number[id(arrow.target)],
            "shape": list(arrow.value.shape),
            "axes": arrow.value.axes,
        }
        for arrow in found.arrows
    ]
    return {"boxes": boxes, "arrows": arrows}


def name_of(node: Node) -> str:
    """Return the path of a node in the model: "encoder.layer.0.attention"."""
    return ".".join(part.name for part in node.path()[1:])


def shape_of(value: Value) -> str:
    """Return a shape as it is read: "1x16x384"."""
    return "x".join(map(str, value.shape)) or "scalar"


def _shape(trace: Trace) -> str:
    ids = trace.forward[0].inputs[0]
    return f"{ids.shape[-1]} tokens"


def save_graph(path: Path, found: Graph, title: str) -> None:
    """Draw the graph, and save the figure."""
    root = arrange(found)
    boxes = {id(box.node): box for box in root.all()}
    everything = list(root.all())
    with new_figure(path, root.width, root.height) as figure:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_xlim(0, root.width)
        axes.set_ylim(root.height, 0)
        axes.set_axis_off()
        for box in root.inside:
            _draw_box(axes, box, 1)
        labelled: set[tuple[int, Any]] = set()
        for arrow in found.arrows:
            source, target = boxes[id(arrow.source)], boxes[id(arrow.target)]
            key = id(source), arrow.value.source
            label = "" if key in labelled else shape_of(arrow.value)
            labelled.add(key)
            _draw_arrow(axes, source, target, way_around(everything, source, target), label)
        axes.text(0.1, 0.16, title, fontsize=9, parse_math=False)


def _draw_box(axes: Any, box: Box, depth: int) -> None:
    from matplotlib.patches import FancyBboxPatch

    given = not box.node.steps
    rounding = 0.12 if given else 0.05
    face = "white" if given or not box.inside else FRAMES[min(depth, len(FRAMES) - 1)]
    axes.add_patch(
        FancyBboxPatch(
            (box.x + rounding, box.y + rounding), box.width - 2 * rounding,
            box.height - 2 * rounding, boxstyle=f"round,pad={rounding}", facecolor=face,
            edgecolor=COLOURS[1] if given else "0.75" if box.inside else COLOURS[0],
            linewidth=0.8, zorder=depth,
        )
    )  # fmt: skip
    style: dict[str, Any] = {"parse_math": False, "zorder": 50}
    if box.inside:
        axes.text(box.x + 0.08, box.y + 0.17, box.lines[0], fontsize=8, color="0.3", **style)
    for number, line in enumerate([] if box.inside else box.lines):
        y = box.y + box.height / 2 + (number - (len(box.lines) - 1) / 2) * 0.155
        size, colour = (8, "black") if number == 0 else (7, "0.35")
        middle = box.x + box.width / 2
        axes.text(middle, y, line, ha="center", va="center", fontsize=size, color=colour, **style)
    for inner in box.inside:
        _draw_box(axes, inner, depth + 1)


def _draw_arrow(axes: Any, source: Box, target: Box, around: float | None, label: str) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Way

    style: dict[str, Any] = {
        "arrowstyle": "-|>",
        "mutation_scale": 7,
        "linewidth": 0.9,
        "color": COLOURS[2],
    }
    style["joinstyle"] = "round"
    if around is None:
        start = source.x + source.width / 2, source.y + source.height
        end = target.x + target.width / 2, target.y
        axes.add_patch(FancyArrowPatch(start, end, shrinkA=0, shrinkB=0, zorder=60, **style))
        x, y = (start[0] + end[0]) / 2 + 0.06, (start[1] + end[1]) / 2
    else:
        start = source.x + source.width, source.y + source.height / 2
        end = target.x + target.width, target.y + target.height / 2
        way = Way([start, (around, start[1]), (around, end[1]), end])
        axes.add_patch(FancyArrowPatch(path=way, fill=False, zorder=60, **style))
        x, y = around + 0.04, (start[1] + end[1]) / 2
    axes.text(x, y, label, fontsize=6.5, color="0.25", va="center", zorder=61)
