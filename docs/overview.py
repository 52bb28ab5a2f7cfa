"""Draw `docs/overview.png`, the picture at the top of the README, from a run of MiniLM.

    python docs/overview.py [FILE]

Left: a sentence at each stage of the engine, as a staircase; all numbers and colours are the
model's. Right: the cosine similarities of six sentences. Needs matplotlib
(`pip install "tinybert[plot]"`) and the weights (`tinybert fetch minilm`).
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from tinybert import BertModel, BertTokenizer, no_grad
from tinybert.cli.command import optional
from tinybert.embedding import SentenceEmbedder, similarity
from tinybert.fetch import FetchError, model_folder

SENTENCES = [
    "A man eats food.",
    "Someone is having lunch.",
    "The sky is blue.",
    "Not a cloud to be seen today.",
    "My laptop will not start.",
    "How do I repair a computer?",
]
INK, PAPER, BACK = "#20304a", "white", "#b8442c"
STEPS = ("#eef3f8", "#e0eaf3", "#cfdfed", "#bdd3e7", "#abc7e1", "#98bada")  # from the ground up
WIDTH, FIRST, RISE = 2.0, 1.2, 0.62  # of a step; heights
LAYER, HEAD = 3, 1  # whose attention is shown


def main(file: Path) -> None:
    """Run the model and write the picture."""
    rc_context = optional("matplotlib", "plot", "the picture").rc_context
    figure_class = optional("matplotlib.figure", "plot", "the picture").Figure
    folder = model_folder("minilm")
    tokenizer, model = BertTokenizer.from_pretrained(folder), BertModel.from_pretrained(folder)
    inputs = tokenizer(SENTENCES[0], return_tensors="np")
    with no_grad():
        output = model(**inputs, output_hidden_states=True, output_attentions=True)
    vectors = SentenceEmbedder.from_pretrained(folder).encode(SENTENCES)
    with rc_context({"font.size": 10, "text.color": INK}):
        figure = figure_class(figsize=(13, 4.1), facecolor=PAPER)
        stairs = figure.add_axes((0.002, 0.02, 0.575, 0.96))
        draw_stairs(stairs, tokenizer, inputs["input_ids"][0], output, vectors[0])
        draw_similarity(figure.add_axes((0.745, 0.03, 0.25, 0.88)), similarity(vectors))
        figure.savefig(file, dpi=120, metadata={"Software": None})


def draw_stairs(axes: Any, tokenizer: BertTokenizer, ids: Any, output: Any, vector: Any) -> None:
    """Draw one step for each stage: its name, and the form of the sentence there."""
    axes.set(xlim=(0, 6 * WIDTH), ylim=(0, 5.6))
    axes.axis("off")
    tokens = tokenizer.convert_ids_to_tokens(ids)
    lines = " ".join(tokens), " ".join(map(str, ids))
    layers, heads = len(output.attentions), output.attentions[LAYER].numpy()[0]
    first, last = (output.hidden_states[i].numpy()[0] for i in (0, -1))
    size = "{} × {}".format(*last.shape)
    step(axes, 0, "text", f"“{SENTENCES[0]}”")
    step(axes, 1, "tokenizers", "\n".join(textwrap.fill(line, 16) for line in lines))
    step(axes, 2, "embeddings", size, first[:, ::8], 2)
    step(
        axes, 3, f"attention\n× {layers}", "{} heads, {} × {}".format(*heads.shape), heads[HEAD], 1
    )
    step(axes, 4, f"feed-forward\n× {layers}", size, last[:, ::8], 2)
    step(axes, 5, "mean", str(len(vector)), vector[None, ::8], 0.12)
    arrow = {"arrowstyle": "->", "color": BACK, "linewidth": 1.6}
    axes.annotate("", (2.3 * WIDTH, 0.62), (5.7 * WIDTH, 0.62 + 2 * RISE), arrowprops=arrow)
    note = "backward: gradients come down the same stairs"
    axes.text(4.1 * WIDTH, 0.3, note, color=BACK, ha="center", style="italic")


def step(
    axes: Any, number: int, name: str, content: str, picture: Any = None, limit: float = 0
) -> None:
    """Draw a step of the stairs, with `content` on it, and numbers as colours above it."""
    left, top = number * WIDTH, FIRST + number * RISE
    axes.bar(left, top, WIDTH, align="edge", color=STEPS[number], edgecolor=PAPER, linewidth=2)
    axes.text(left + WIDTH / 2, top - 0.14, name, ha="center", va="top", weight="bold")
    axes.text(left + WIDTH / 2, top + 0.12, content, ha="center", va="bottom", fontsize=9)
    if picture is not None:
        height = 0.085 * len(picture) + 0.1
        box = (left + 0.25, left + WIDTH - 0.25, top + 0.5, top + 0.5 + height)
        colours = {"cmap": "RdBu", "vmin": -limit, "vmax": limit, "interpolation": "nearest"}
        axes.imshow(picture, extent=box, aspect="auto", **colours)


def draw_similarity(axes: Any, cosines: np.ndarray) -> None:
    """Draw the cosines of all pairs, each cell with its number."""
    axes.imshow(cosines, cmap="YlGnBu", vmin=0, vmax=1)
    axes.set_yticks(range(len(SENTENCES)), SENTENCES)
    axes.set_xticks([])
    axes.set_title("cosine similarity of their vectors", fontsize=10)
    axes.tick_params(length=0, labelcolor=INK)
    for (row, column), cosine in np.ndenumerate(cosines):
        shade = PAPER if cosine > 0.55 else INK
        number = f"{cosine:.2f}".replace("-0.00", "0.00")
        axes.text(column, row, number, ha="center", va="center", color=shade, fontsize=9)
    for spine in axes.spines.values():
        spine.set_visible(False)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("overview.png"))
    except (FetchError, ImportError) as reason:  # they say what to do
        raise SystemExit(str(reason)) from None
