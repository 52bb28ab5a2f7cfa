"""Atomic writing: a file has its complete old content or its complete new content, never a part.

The new content is written to a temporary file in the same folder (a rename between disks would be
a copy) and flushed to disk; then the temporary file replaces the old file in one step. Programs
that have the old file open or mapped keep the old content.
"""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "wb") -> Iterator[IO[Any]]:
    """Open ``path`` for writing; it changes only if the ``with`` block raises no exception.

    Parameters
    ----------
    path : the file to create or replace; its folder must exist. Symbolic links are followed.
    mode : ``"wb"`` for bytes, ``"w"`` for UTF-8 text with ``\\n`` line ends.

    The new file has the permissions of the old one, or those of the process's umask. After an
    exception, also ``KeyboardInterrupt``, the temporary file is deleted and ``path`` unchanged.
    """
    if mode not in ("wb", "w"):
        raise ValueError(f"mode must be 'wb' or 'w', got {mode!r}")
    target = os.path.realpath(path)
    temporary = os.path.join(os.path.dirname(target), f".{secrets.token_hex(8)}.tmp")
    text = mode == "w"
    try:
        with open(
            temporary,
            mode.replace("w", "x"),
            encoding="utf-8" if text else None,
            newline="\n" if text else None,
        ) as file:
            with suppress(FileNotFoundError):
                os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
            error.filename = os.fspath(path)  # the system does not name the file
        raise
