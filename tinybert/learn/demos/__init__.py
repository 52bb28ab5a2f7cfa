"""Short scripts that use the package: each runs as it is and prints what it finds.

They are run, not imported; nothing is downloaded, and nothing is left behind.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

FOLDER = Path(__file__).parent

# In the order in which to run them, with one line about each.
DEMOS = {
    "masked-words": "Predict the word behind [MASK]",
    "sentence-search": "Search a folder of text files by meaning",
    "question-answering": "Train the embedded model to find answers (half a minute)",
    "generation": "Train a small model on six lines and let it continue them",
    "loading-report": "Load a file that does not match; the report explained",
    "first-bytes": "Recognize a broken weights file by its first bytes",
    "seven-formats": "Write one checkpoint in seven formats, and read each",
    "different-logits": "Why do my logits differ? Seven causes, measured",
}


def script_of(name: str) -> Path:
    """Return the script of a demo; ValueError if there is none of this name."""
    if name in DEMOS:
        return FOLDER / f"{name.replace('-', '_')}.py"
    near = get_close_matches(name.replace("_", "-"), DEMOS, 2)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; see `tinybert demo list`"
    raise ValueError(f"there is no demo {name!r}{hint}")
