"""`tinybert plot embeddings`: sentences as points in the plane."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.cli.figures import COLOURS, new_figure
from tinybert.cli.principal_components import principal_components
from tinybert.cli.terminal import one_line, print_json, shorten, table, terminal_width
from tinybert.embedding import SentenceEmbedder
from tinybert.hub import WEIGHT_FILES, resolve
from tinybert.hub_cache import EMBEDDED

MAX_LABELS = 40  # with more texts, points have numbers
MAX_TEXTS = 2000
LABEL_WIDTH = 36  # characters per line of a label
SIZE = (8.0, 6.0)  # inches


def show_embeddings(args: argparse.Namespace, texts: list[str], path: Path | None) -> int:
    """Print the coordinates of texts in the plane of most variance, and draw it; return 0."""
    if not 3 <= len(texts) <= MAX_TEXTS:
        raise ValueError(f"plot embeddings needs 3 to {MAX_TEXTS} texts, got {len(texts)}")
    folder = resolve(args.model or EMBEDDED, WEIGHT_FILES)
    vectors = SentenceEmbedder.from_pretrained(folder, device=args.device).encode(texts)
    if np.allclose(vectors, vectors[0], atol=1e-6):
        raise ValueError("plot embeddings needs texts that differ: all have the same embedding")
    points, shares = principal_components(vectors)
    if path is not None:
        save_points(path, texts, points, shares)
    if args.json:
        print_json({
            "model": str(folder),
            "texts": texts,
            "points": [[round(float(x), 6) for x in point] for point in points],
            "explained_variance": [round(float(share), 6) for share in shares],
        })  # fmt: skip
        return 0
    width = terminal_width() - 24
    rows = [
        [str(number), f"{x:.3f}", f"{y:.3f}", shorten(text, width)]
        for number, (text, (x, y)) in enumerate(zip(texts, points, strict=True), 1)
    ]
    print("\n".join(table(["#", "x", "y", "text"], rows, "rrrl")))
    print(f"\nexplained variance: x {_percent(shares[0])}, y {_percent(shares[1])}")
    return 0


def save_points(path: Path, texts: list[str], points: np.ndarray, shares: np.ndarray) -> None:
    """Draw points (N, 2) with their texts, and save the figure. Labels avoid each other."""
    with new_figure(path, *SIZE, "constrained") as figure:
        axes = figure.subplots()
        axes.scatter(*points.T, s=22, color=COLOURS[0], zorder=3)
        axes.set_aspect("equal", adjustable="datalim")
        axes.margins(0.12)
        axes.grid(alpha=0.25)
        axes.tick_params(labelsize=8, length=0)
        axes.set_xlabel(
            f"first principal component ({_percent(shares[0])} of the variance)", fontsize=9
        )
        axes.set_ylabel(
            f"second principal component ({_percent(shares[1])} of the variance)", fontsize=9
        )
        axes.set_title(
            f"embeddings of {len(texts)} texts in the plane in which they vary most",
            fontsize=9,
            loc="left",
        )
        for side in axes.spines.values():
            side.set_color("0.8")
        labels = [
            textwrap.fill(one_line(text), LABEL_WIDTH, max_lines=3, placeholder=" …")
            for text in texts
        ]
        if len(texts) > MAX_LABELS:
            labels = [str(number) for number in range(1, len(texts) + 1)]
        _write_labels(axes, points, labels)


def _write_labels(axes: Any, points: np.ndarray, labels: list[str]) -> None:
    """Write each label where it covers the least of other labels and points, near to its point."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(axes.figure)
    canvas.draw()  # it decides where the axes are
    axes.set_autoscale_on(False)
    renderer = canvas.get_renderer()
    pixels = axes.transData.transform(points)
    radius = 4.0 * axes.figure.dpi / 72
    taken = np.concatenate([pixels - radius, pixels + radius], axis=1)  # x0, y0, x1, y1
    inside = axes.get_window_extent(renderer)
    for point, label in zip(points, labels, strict=True):
        best = None
        text = axes.annotate(
            label, point, (0, 0), textcoords="offset points", fontsize=8, parse_math=False
        )
        for offset, ha, va in _positions():
            text.set_position(offset)
            text.set(ha=ha, va=va)
            box = np.array(text.get_window_extent(renderer).extents)
            outside = np.maximum([inside.x0 - box[0], inside.y0 - box[1]], 0).sum()
            outside += np.maximum([box[2] - inside.x1, box[3] - inside.y1], 0).sum()
            cost = float(_overlaps(box, taken).sum() + 20 * outside)
            if best is None or cost < best[0]:
                best = cost, offset, ha, va, box
            if cost == 0:
                break
        assert best is not None
        _, offset, ha, va, box = best
        text.set_position(offset)
        text.set(ha=ha, va=va)
        taken = np.vstack([taken, box])
        if np.hypot(*offset) > 12:
            line = {"arrowstyle": "-", "color": "0.6", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}
            axes.annotate("", point, offset, textcoords="offset points", arrowprops=line)


def _positions() -> Iterator[tuple[tuple[float, float], str, str]]:
    """Yield offsets in points and alignments around a point, the nearest first."""
    for distance in (5, 14, 24, 36):
        d = distance * 0.7
        yield (distance, 0), "left", "center"
        yield (-distance, 0), "right", "center"
        yield (0, distance), "center", "bottom"
        yield (0, -distance), "center", "top"
        yield (d, d), "left", "bottom"
        yield (d, -d), "left", "top"
        yield (-d, d), "right", "bottom"
        yield (-d, -d), "right", "top"


def _overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the areas that a box shares with others, each x0, y0, x1, y1."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    return sides.clip(0).prod(axis=1)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
