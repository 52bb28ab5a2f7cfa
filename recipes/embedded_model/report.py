"""Print what the model card says of the embedded model.

usage: report.py MODEL MINILM HELD_OUT [CARD]

MODEL      the folder of the model (`embedded` for the one of the package)
MINILM     the folder of all-MiniLM-L6-v2, or `minilm`
HELD_OUT   `held_out.txt` of start.py
CARD       the model card, `tinybert/embedded/encoder/README.md`, whose section is replaced
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import tinybert
from tinybert.atomic import atomic_write
from tinybert.embedding import similarity
from tinybert.hub import resolve
from tinybert.training import TokenFile
from tinybert.training.distillation import SentenceDistillation, SentenceVectors
from tinybert.training.language_modeling import LanguageModeling

BEGIN, END = "<!-- report -->", "<!-- /report -->"
# Chosen before the model was trained.
PROMPTS = (
    "Paris is the capital of [MASK].",
    "Tokyo is the capital of [MASK].",
    "The [MASK] of the United States lives in the White House.",
    "Water freezes at zero [MASK].",
    "She opened the [MASK] and walked in.",
    "He drank a cup of [MASK].",
    "The cat sat on the [MASK].",
    "The opposite of hot is [MASK].",
    "Two plus two is [MASK].",
    "Dogs [MASK] at strangers.",
    "The ship [MASK] in the storm.",
    "I forgot my [MASK] at home.",
    "The film was directed by [MASK] Spielberg.",
    "World War II ended in [MASK].",
    "A week has [MASK] days.",
    "The children are playing [MASK] the garden.",
    "They have been married [MASK] ten years.",
    "The doctor said that [MASK] was busy.",
    "The nurse said that [MASK] was busy.",
    "To be or not to [MASK], that is the question.",
)
TEXTS = (
    "A man eats food.", "Someone is having lunch.", "The sky is blue.",
    "How do I reset my password?", "I cannot log in to my account.", "The invoice is wrong.",
)  # fmt: skip


def main(model: str, minilm: str, held_out: str, card: str | None = None) -> None:
    """Print size, accuracy, similarity to MiniLM and predictions; replace them in the card."""
    lines = [*figures(model, minilm, held_out), "", *predictions(model)]
    print(*lines, sep="\n")
    if card is not None:
        before, begin, rest = Path(card).read_text("utf-8").partition(BEGIN)
        _, end, after = rest.partition(END)
        if not end:
            raise ValueError(f"{card} has no section between {BEGIN} and {END}")
        with atomic_write(card, "w") as file:
            file.write("\n".join([before + begin, "", *lines, "", end + after]))


def figures(model: str, minilm: str, held_out: str) -> Iterator[str]:
    """Yield a table with what is measured on held-out text."""
    folder = resolve(model)
    masked = tinybert.BertForMaskedLM.from_pretrained(folder)
    tokenizer = tinybert.AutoTokenizer.from_pretrained(folder)
    teacher = tinybert.SentenceEmbedder.from_pretrained(minilm)
    with tempfile.TemporaryDirectory() as work:
        tokens = TokenFile.build(Path(work, "tokens"), [held_out], tokenizer)
        vectors = SentenceVectors.build(
            Path(work, "vectors"), tokens, [held_out], tokenizer, teacher
        )
        task = LanguageModeling(tokenizer, whole_words=False)
        scores = SentenceDistillation(task, vectors, held_out=vectors).evaluate(masked, tokens)
        words = LanguageModeling(tokenizer).evaluate(masked, tokens)
    embedder = tinybert.SentenceEmbedder.from_pretrained(folder)
    ours, theirs = (similarity(e.encode(list(TEXTS))) for e in (embedder, teacher))
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())

    yield "| figure | value |"
    yield "|---|---|"
    yield f"| parameters | {masked.num_parameters():,} |"
    yield f"| files | {size / 1e6:.1f} MB |"
    for name, found in (("tokens", scores), ("whole words", words)):
        yield f"| masked {name} (15 %), accuracy | {found['accuracy']:.1%} |"
        yield f"| masked {name} (15 %), perplexity | {found['perplexity']:.1f} |"
    largest = np.abs(ours - theirs).max()
    yield f"| correlation of similarities with MiniLM's | {scores['similarity']:.3f} |"
    yield f"| largest difference of the similarities of six short texts | {largest:.2f} |"


def predictions(model: str) -> Iterator[str]:
    """Yield a table with the five most likely words for each prompt."""
    fill = tinybert.pipeline("fill-mask", model)
    yield "| prompt | most likely words |"
    yield "|---|---|"
    for prompt in PROMPTS:
        best = fill(prompt, top_k=5)
        words = " · ".join(f"{word['token_str']} {word['score']:.2f}" for word in best)
        yield f"| {prompt} | {words} |"


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    main(*sys.argv[1:])
