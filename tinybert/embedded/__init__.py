"""The models inside the package: one folder each, with a card (`card.py` says how to add one).

The folder `encoder` is the model "embedded", the folder `sentiment` the model
"embedded-sentiment", and so on. A folder without a `card.json` is not a model.
"""

from __future__ import annotations

import json
from pathlib import Path

from tinybert.hub_cache import EMBEDDED

CARD = "card.json"
_PACKAGE = Path(__file__).parent
_ENCODER = "encoder"  # the folder of "embedded"


def names() -> list[str]:
    """Return the names of all models of the package, "embedded" first."""
    folders = sorted(path.parent.name for path in _PACKAGE.glob(f"*/{CARD}"))
    return [EMBEDDED, *(f"{EMBEDDED}-{folder}" for folder in folders if folder != _ENCODER)]


def folder_of(name: str) -> Path | None:
    """Return the folder of a model of the package, or None if there is none of this name."""
    if name == EMBEDDED:
        return _PACKAGE / _ENCODER
    return _PACKAGE / name.removeprefix(f"{EMBEDDED}-") if name in names() else None


def default_of(task: str) -> str | None:
    """Return the name of the model whose card says that it is the default of a pipeline's task."""
    for name in names():
        folder = folder_of(name)
        if folder and task in json.loads((folder / CARD).read_text("utf-8"))["default_of"]:
            return name
    return None
