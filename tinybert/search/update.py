"""`Update`: bring an index up to date; only new and changed passages are embedded."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np

from tinybert.embedding import unit
from tinybert.files import FileError
from tinybert.progress import progress_bar
from tinybert.search.files import Source, decode, digest, read_bytes, stamp
from tinybert.search.index import Entry, Index
from tinybert.search.passages import Splitter

BATCH = 32
FEW_BATCHES = 4  # up to this number of batches there is no progress bar
SAVE_EVERY = 60.0  # seconds


class Update:
    """The rows of the new index, and the texts that are still to be embedded.

    Args:
        source: the file or folder.
        old: the index so far; an empty one if there is none.
        splitter: splits new and changed files.
        doubted: files whose entry in the old index is not used.

    Attributes:
        files, spans, digests: as in `Index`.
        origin: for every row where its vector is: its row in the old index, or -1 - i for the i-th
            of `texts`. Equal passages have one vector.
        texts: passages whose vector the old index does not have.
        is_current: whether the old index is right as it is.
    """

    def __init__(
        self, source: Source, old: Index, splitter: Splitter, doubted: Collection[str] = ()
    ) -> None:
        self.source, self.old, self.splitter = source, old, splitter
        self.files: dict[str, Entry] = {}
        self.texts: list[str] = []
        self._known: dict[bytes, int] = {}  # the origin of a passage by its hash
        parts = [(old.spans[:0], old.digests[:0], np.empty(0, np.int64))]
        ends = dict(zip(old.files, old.ends(), strict=True))
        for name in source.names():
            before = None if name in doubted else old.files.get(name)
            try:
                now = stamp(source.folder / name)
                same = before is not None and before.stamp == now != []
                raw = b"" if same else read_bytes(source.folder / name)
            except (OSError, FileError):
                if not source.is_folder:
                    raise
                source.skip("unreadable")
                continue
            content = "" if same else digest(raw).hex()
            if before is not None and (same or before.digest == content):
                self.files[name] = replace(before, stamp=now)
                rows = np.arange(ends[name] - before.count, ends[name])
                parts.append((old.spans[rows], old.digests[rows], rows))
            else:
                self.files[name] = Entry(now, content, 0)
                parts.append(self._split(name, raw))
            if not self.files[name].is_text:
                source.skip("not UTF-8 text")
        self.spans, self.digests, self.origin = map(np.concatenate, zip(*parts, strict=True))
        self.is_current = not (self.texts or doubted) and self.files == old.files

    def _split(self, name: str, raw: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Split a file into passages; return their spans, digests and origins."""
        try:
            text = decode(self.source.folder / name, raw)
        except FileError:
            if not self.source.is_folder:
                raise
            self.files[name].is_text, text = False, ""
        if not self._known:
            self._known = {key.tobytes(): row for row, key in enumerate(self.old.digests)}
        spans = self.splitter.split(text)
        passages = [text[start:end] for start, end in spans]
        keys = [digest(passage.encode()) for passage in passages]
        for key, passage in zip(keys, passages, strict=True):
            if key not in self._known:
                self.texts.append(passage)
                self._known[key] = -len(self.texts)
        self.files[name].count = len(spans)
        return (
            np.array(spans, np.int64).reshape(-1, 2),
            np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 16),
            np.array([self._known[key] for key in keys], np.int64),
        )

    def finish(self, path: Path | None, progress: bool | None = None) -> tuple[Index, bool]:
        """Embed the texts; return the new index, and whether it is saved in the file `path`.

        It is saved every minute too, and if an exception such as KeyboardInterrupt ends the work:
        what was embedded before is not embedded again.
        """
        if self.is_current:
            return self.old, True
        total = len(self.texts)
        vectors = np.empty((total, len(self.old.probe)), np.float32)
        done = np.zeros(total, bool)
        longest_first = sorted(range(total), key=lambda i: -len(self.texts[i]))
        embedder = self.splitter.embedder
        size = BATCH * embedder.ranks
        progress = False if total <= FEW_BATCHES * BATCH else progress
        saved = time.monotonic()
        try:
            with progress_bar("embedding", total, " passages", progress) as advance:
                for start in range(0, total, size):
                    rows = longest_first[start : start + size]
                    texts = [self.texts[i] for i in rows]
                    vectors[rows] = unit(embedder.encode(texts, BATCH, progress=False))
                    done[rows] = True
                    advance(len(rows))
                    if path is not None and time.monotonic() - saved > SAVE_EVERY:
                        path = path if self._result(vectors, done).save(path) else None
                        saved = time.monotonic()
        except BaseException:
            if path is not None and done.any():
                self._result(vectors, done).save(path)
            raise
        index = self._result(vectors, done)
        return index, path is not None and index.save(path)

    def _result(self, vectors: np.ndarray, done: np.ndarray) -> Index:
        """Return the new index, without passages that are not embedded yet.

        A file that lacks passages has no stamp and no digest: it will be read again.
        """
        is_new = self.origin < 0
        kept = ~is_new
        kept[is_new] = done[-1 - self.origin[is_new]]
        index = replace(self.old, files={}, spans=self.spans[kept], digests=self.digests[kept])
        end = 0
        for name, entry in self.files.items():
            end += entry.count
            count = int(kept[end - entry.count : end].sum())
            missing = Entry([], "", count)
            index.files[name] = entry if count == entry.count else missing
        origin, is_new = self.origin[kept], is_new[kept]
        index.vectors = np.empty((len(origin), len(self.old.probe)), np.float32)
        index.vectors[~is_new] = self.old.vectors[origin[~is_new]]
        index.vectors[is_new] = vectors[-1 - origin[is_new]]
        return index
