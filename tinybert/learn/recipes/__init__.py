"""Recipes for the command line, in Markdown: what a user wants to do, and the commands for it.

A fenced block with the name of a file is that file. A block `console` has commands after `$ `, each
followed by its output. A test writes the files and runs the commands in an empty folder, and
compares: in the output `...` stands for any text.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent

# The recipes by subject, in their order.
GROUPS = {
    "Texts": "find-a-sentence near-duplicates better-word embeddings-in-a-script tokens",
    "Checkpoints": "unknown-file compare-checkpoints smaller-files why-nan attention",
    "Training": "classify-csv tag-words own-language-model same-again",
}


def text_of(name: str) -> str:
    """Return the Markdown of a recipe; its first line is its title, after `# `."""
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8")
