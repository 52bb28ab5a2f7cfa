"""Save a picture of a record, which is SVG, as SVG or as PNG (drawn by matplotlib).

Only what `trace/pictures.py` and `trace/html/layout.py` write is understood: rectangles, text,
paths of straight lines with an arrowhead, groups, and rules such as ".stairs .op rect {...}".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tinybert.cli.figures import new_figure
from tinybert.weights import atomic_write

SCALE = 72 / 96  # points of a pixel
NAMESPACE = "{http://www.w3.org/2000/svg}"
_RULE = re.compile(r"^\.stairs (?:\.([\w-]+) )?(\.?[\w-]+)(?:, ([^{]*))? \{(.*)\}$", re.MULTILINE)
_MOVE = re.compile(r"([MVHL])(-?[\d.]+)(?: (-?[\d.]+))?")
_PLACE = re.compile(r"translate\((\S+) (\S+)\)( rotate\(-90\))?")


def save_svg(path: Path, text: str) -> None:
    """Write a picture to a file: as it is, or drawn if the name does not end in .svg."""
    if path.suffix.lower() == ".svg":
        with atomic_write(path) as file:
            file.write(text.encode())
        return
    root = ElementTree.fromstring(text)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    with new_figure(path, width / 96, height / 96) as figure:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        axes.set_axis_off()
        _draw(axes, list(_elements(root, _rules(root))), width, height)


def _rules(root: Any) -> list[tuple[str, str, dict[str, str]]]:
    """Return the rules of the style sheet: the class around ("" for any), tag or class, style."""
    sheet = "".join(style.text or "" for style in root.iter(f"{NAMESPACE}style"))
    found = []
    for around, target, other, body in _RULE.findall(sheet):
        pairs = (rule.split(":") for rule in body.split(";") if ":" in rule)
        style = {name.strip(): value.strip() for name, value in pairs}
        found.append((around, target, style))
        if other:  # ".stairs .module text, .stairs .shape"
            found.append(("", other.split()[-1], style))
    return found


def _elements(
    root: Any, rules: list[tuple[str, str, dict[str, str]]], around: str = ""
) -> Iterator[tuple[str, Any, dict[str, str]]]:
    """Yield the tag, the element and the style of everything that is drawn."""
    for element in root:
        tag = element.tag.removeprefix(NAMESPACE)
        own = element.get("class", "")
        style = {key: value for key, value in element.items() if key not in ("d", "class")}
        for outer, name, declared in rules:
            if name in (tag, f".{own}") and outer in ("", around):
                style |= declared
        if tag == "g":
            yield from _elements(element, rules, own)
        elif tag in ("rect", "text", "path"):
            yield tag, element, style


def _draw(axes: Any, elements: list[tuple[str, Any, dict[str, str]]], w: float, h: float) -> None:
    from matplotlib.collections import PolyCollection

    boxes, faces, edges = [], [], []
    for tag, element, style in elements:
        if tag == "rect":
            boxes.append(_corners(element, w, h))
            faces.append(style.get("fill", "#000000"))
            edges.append(style.get("stroke", "none"))
        elif tag == "text":
            _write(axes, element, style)
        else:
            _arrow(axes, element.attrib["d"], style)
    axes.add_collection(
        PolyCollection(boxes, facecolors=faces, edgecolors=edges, linewidths=0.7, zorder=1)
    )


def _corners(element: Any, w: float, h: float) -> list[tuple[float, float]]:
    width, height = (
        whole if element.attrib[name] == "100%" else float(element.attrib[name])
        for name, whole in (("width", w), ("height", h))
    )
    x, y = float(element.get("x", 0)), float(element.get("y", 0))
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]


def _write(axes: Any, element: Any, style: dict[str, str]) -> None:
    moved = _PLACE.match(element.get("transform", ""))
    x, y = moved.groups()[:2] if moved else (element.get("x"), element.get("y"))
    align = {"start": "left", "middle": "center", "end": "right"}[style.get("text-anchor", "start")]
    axes.text(
        float(x), float(y), element.text or "", color=style.get("fill", "#000000"),
        fontsize=float(style.get("font-size", "12").removesuffix("px")) * SCALE, zorder=3,
        ha=align, va="baseline", weight=style.get("font-weight", "normal"), parse_math=False,
        rotation=90 if moved and moved[3] else 0, rotation_mode="anchor",
    )  # fmt: skip


def _arrow(axes: Any, path: str, style: dict[str, str]) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Way

    points: list[tuple[float, float]] = []
    for command, first, second in _MOVE.findall(path):
        x, y = points[-1] if points else (0.0, 0.0)
        ends = {"V": (x, float(first)), "H": (float(first), y)}
        points.append(ends.get(command) or (float(first), float(second)))
    axes.add_patch(
        FancyArrowPatch(
            path=Way(points), arrowstyle="-|>", mutation_scale=5, linewidth=1,
            color=style["stroke"], joinstyle="round", zorder=2,
            linestyle=(0, (4, 2)) if "stroke-dasharray" in style else "solid",
        )
    )  # fmt: skip
