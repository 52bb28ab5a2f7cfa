"""`Source`: a file, or the text files of a folder, in which a search looks."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import time
from collections import Counter
from pathlib import Path

from tinybert.files import FileError, read_regular

MAX_FILE = 10_000_000  # bytes of a file in a folder; a file that is named itself may be larger
SETTLED = 2 * 10**9  # nanoseconds; the times of some file systems have steps of two seconds
OWN = ".tinybert-index-"  # in the name of every index


class Source:
    """A file or folder that the user named.

    Of a folder and its subfolders the UTF-8 text files are searched, whatever their suffix. Hidden
    files and folders, symbolic links, files over 10 MB and files without text are skipped, and
    `skipped` counts them by reason.

    Raises FileNotFoundError if there is no such file or folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.is_folder = stat.S_ISDIR(os.stat(path).st_mode)
        self.folder = self.path if self.is_folder else self.path.parent
        self.skipped: Counter[str] = Counter()

    def index_path(self, by: str) -> Path:
        """Return the path of the index: a hidden file in the folder, or next to the file."""
        name = f"{OWN}{by}.safetensors"
        return self.folder / (name if self.is_folder else f".{self.path.name}{name}")

    def names(self) -> list[str]:
        """Return the paths of the files, relative to the folder, in alphabetical order."""
        self.skipped.clear()
        return self._walk() if self.is_folder else [self.path.name]

    def _walk(self) -> list[str]:
        os.scandir(self.folder).close()  # raises an error if the folder itself is unreadable
        names = []
        for path, folders, files in os.walk(self.folder, onerror=lambda _: self.skip("unreadable")):
            for name in (*folders, *files):
                if name[0] == "." and OWN not in name:
                    self.skip("hidden")
            folders[:] = [name for name in folders if name[0] != "."]
            within = Path(path).relative_to(self.folder)
            for name in files:
                if name[0] != "." and self._is_searched(os.path.join(path, name)):
                    names.append((within / name).as_posix())
        return sorted(names)

    def _is_searched(self, path: str) -> bool:
        try:
            status = os.lstat(path)
            path.encode()  # an index has names in UTF-8
        except (OSError, UnicodeEncodeError):
            self.skip("unreadable")
            return False
        if not stat.S_ISREG(status.st_mode):
            self.skip("not regular")
        elif status.st_size > MAX_FILE:
            self.skip(f"over {MAX_FILE // 10**6} MB")
        else:
            return True
        return False

    def skip(self, reason: str) -> None:
        """Count a file that is skipped."""
        self.skipped[reason] += 1


def stamp(path: Path) -> list[int]:
    """Return size and times of a file; its content cannot change without one of them.

    Times that are too recent are not used, [] is returned: a change could have the same times.
    """
    status = os.stat(path)
    changed = max(status.st_mtime_ns, status.st_ctime_ns)
    if time.time_ns() - changed < SETTLED:
        return []
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def read_bytes(path: Path) -> bytes:
    """Return the content of a regular file of any size."""
    return read_regular(path, sys.maxsize)


def decode(path: Path, raw: bytes) -> str:
    """Return the text of a file. Raises FileError if it is not UTF-8, or has null characters."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(path, f"not UTF-8 text (at byte {error.start})") from None
    if "\0" in text:
        raise FileError(path, "not a text file: it has null characters")
    return text


def digest(data: bytes) -> bytes:
    """Return a hash of 16 bytes; equal contents have equal hashes."""
    return hashlib.blake2b(data, digest_size=16).digest()
