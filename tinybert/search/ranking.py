"""`search`: the passages of files that are most similar in meaning to a query."""

from __future__ import annotations

import logging
import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tinybert.checks import check_integer
from tinybert.display import visible
from tinybert.embedding import SentenceEmbedder, unit
from tinybert.files import FileError
from tinybert.search.cross_encoder import CrossEncoder
from tinybert.search.files import Source, decode, digest, read_bytes
from tinybert.search.index import PROBE, Index, load_index
from tinybert.search.passages import Splitter
from tinybert.search.update import Update

logger = logging.getLogger("tinybert")


@dataclass(frozen=True)
class Hit:
    """A passage that was found.

    Attributes:
        score: the cosine similarity to the query, from -1 to 1, or the score of the cross-encoder.
        file: the path of the file, in the form in which the user gave it or its folder.
        line: the number of the line where the passage starts, from 1.
        text: the passage.
    """

    score: float
    file: str
    line: int
    text: str


@dataclass
class Found:
    """The result of a search.

    Attributes:
        hits: best first.
        files, passages: the number of those that were searched.
        embedded: the number of passages that were embedded; the others were in the index.
        indexes: the files of the indexes that were saved.
        skipped: the number of files that were skipped, by reason.
    """

    hits: list[Hit] = field(default_factory=list)
    files: int = 0
    passages: int = 0
    embedded: int = 0
    indexes: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def search(
    query: str,
    paths: Iterable[str | os.PathLike[str]],
    embedder: SentenceEmbedder,
    top_k: int = 10,
    by: str = "passage",
    reranker: CrossEncoder | None = None,
    candidates: int = 50,
    keep_index: bool = True,
    progress: bool | None = None,
) -> Found:
    """Search text files for the passages with the largest cosine similarity to a query.

        embedder = SentenceEmbedder.from_pretrained(folder)
        for hit in search("how to save a model", ["README.md"], embedder, top_k=3).hits:
            print(hit.score, hit.file, hit.line, hit.text)

    Args:
        query: a text.
        paths: files, and folders whose text files are searched (see `Source`).
        embedder: computes the vectors.
        top_k: the number of hits.
        by: "passage" searches paragraphs, "line" lines.
        reranker: scores the best `candidates` again, and sorts them by the new scores.
        candidates: at least top_k are used.
        keep_index: whether to keep the vectors in a hidden file in the folder, or next to the
            file, for the next search. If that is not possible, a warning says so.
        progress: whether to show a progress bar while texts are embedded; None: if standard error
            is a terminal.

    Raises ValueError for a blank query, if a named file is not UTF-8 text, and if there is no
    text to search; OSError for a path that cannot be read.
    """
    if not query.strip():
        raise ValueError("query must not be blank")
    check_integer("top_k", top_k, 1)
    check_integer("candidates", candidates, 1)
    sources = [Source(path) for path in paths]
    splitter = Splitter(embedder, by)
    vector, probe = unit(embedder.encode([query, PROBE]))
    empty = Index.empty(f"tinybert search index 1, by {by}, {splitter.limit} tokens", probe)
    found = Found()
    count = top_k if reranker is None else max(candidates, top_k)
    for source in sources:
        place = source.index_path(by) if keep_index else None
        found.hits += _search_source(source, place, splitter, empty, vector, count, found, progress)
    if not found.passages:
        raise ValueError(f"there is no text to search in {', '.join(str(s.path) for s in sources)}")
    found.hits = _without_repetition(sorted(found.hits, key=lambda hit: -hit.score))[:count]
    if reranker is not None:
        scores = reranker.predict(query, [hit.text for hit in found.hits])
        rescored = [replace(hit, score=float(s)) for hit, s in zip(found.hits, scores, strict=True)]
        found.hits = sorted(rescored, key=lambda hit: -hit.score)[:top_k]
    return found


def _search_source(
    source: Source, place: Path | None, splitter: Splitter, empty: Index, vector: np.ndarray,
    count: int, found: Found, progress: bool | None,
) -> list[Hit]:  # fmt: skip
    """Return the best hits of one source, and add its numbers to `found`."""
    index = (load_index(place, empty.form, empty.probe) if place else None) or empty
    doubted: Collection[str] = ()
    for change in ("changed since it was indexed", "changes too often, not searched"):
        update = Update(source, index, splitter, doubted)
        index, saved = update.finish(place, progress)
        found.embedded += len(update.texts)
        hits, doubted = _best(source, index, vector, count)
        if not doubted:
            break
        logger.warning("%s: %s", visible(", ".join(sorted(doubted))), change)
    found.files += sum(entry.is_text for entry in index.files.values())
    found.passages += len(index.vectors)
    found.skipped += source.skipped
    if saved and place is not None and update.texts:
        found.indexes.append(str(place))
    return hits


def _best(
    source: Source, index: Index, vector: np.ndarray, count: int
) -> tuple[list[Hit], set[str]]:
    """Return the `count` best hits, and the files whose text is not that of the index."""
    scores = index.vectors @ vector
    count = min(count, len(scores))
    rows = np.argpartition(-scores, count - 1)[:count] if count else np.empty(0, np.int64)
    # The product rounds each row in its own way; now equal passages get equal scores.
    scores = (index.vectors[rows] * vector).sum(axis=1)
    order = np.lexsort((rows, -scores))
    names, ends = list(index.files), index.ends()
    texts: dict[str, str] = {}
    hits, doubted = list[Hit](), set[str]()
    for row, score in zip(rows[order], scores[order], strict=True):
        name = names[bisect_right(ends, row)]
        path = source.folder / name
        if name not in texts:
            texts[name] = _text(path)
        start, end = index.spans[row]
        text = texts[name][start:end]
        if digest(text.encode()) != index.digests[row].tobytes():
            doubted.add(name)
            continue
        line = texts[name].count("\n", 0, start) + 1
        hits.append(Hit(float(score), str(path), line, text))
    return hits, doubted


def _text(path: Path) -> str:
    """Return the text of a file; "" if it is not a text file any more."""
    try:
        return decode(path, read_bytes(path))
    except (OSError, FileError):
        return ""


def _without_repetition(hits: list[Hit]) -> list[Hit]:
    """Return each passage once; a file may be given twice, or with its folder."""
    first: dict[tuple[str, int, str], Hit] = {}
    for hit in hits:
        first.setdefault((os.path.realpath(hit.file), hit.line, hit.text), hit)
    return list(first.values())
