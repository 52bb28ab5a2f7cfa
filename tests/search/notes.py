"""A folder of short texts: seven passages, of which two are equal."""

from __future__ import annotations

from pathlib import Path

NOTES = {
    "a.txt": "The king went to war.\nHe won.\n\nIt rained in Egypt.\n",
    "b.md": "# Ships\n\n\n  A ship of gold,\n  and a ship of salt.  \n \t \nIt rained in Egypt.",
    "deep/er/c.py": "x = 1\n\nprint('Jerusalem')\n",
}


def write_notes(folder: Path) -> Path:
    for name, text in NOTES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())
    return folder
