"""Atomic writing: a reader finds the complete old content or the complete new content, never a mix.

`atomic_write` replaces one file: the new content is written to a temporary file in the same folder
(a rename between disks would be a copy) and flushed to disk; then the temporary file replaces the
old file in one step. Programs that have the old file open or mapped keep the old content.

`saving` replaces several files of a folder, which can have two more folders in it:

    .saving-...   files of a save in progress, or of one that was killed: not used
    .saved        files of a complete save that have not all been moved into the folder yet

Renaming `.saving-...` to `.saved` commits the save. If the process is killed after that, the next
function that reads or writes the folder moves the rest. Locks of the system (`flock`) end with
their process: a save locks its temporary file or folder, so that a later save can tell what is
abandoned, and the folder while it commits. Without locks (Windows, some network disks) two
processes must not save into one folder at the same time.
"""

import errno
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from tinybert.recovery import PLAN, delete_if_abandoned, plan, read_plan

if sys.platform != "win32":
    import fcntl

UNFINISHED, SAVED = ".saving-", ".saved"
_TEMPORARY = re.compile(rf"\.[0-9a-f]{{16}}\.tmp|{re.escape(UNFINISHED)}\w+")
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
    target = Path(os.path.realpath(path))
    settle(target.parent)
    _clean(target.parent)
    temporary = target.with_name(f".{os.urandom(8).hex()}.tmp")
    text = {"encoding": "utf-8", "newline": "\n"} if mode == "w" else {}
    try:
        with open(temporary, mode.replace("w", "x"), **text) as file, locked(temporary):  # type: ignore[call-overload]
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


@contextmanager
def saving(
    folder: str | os.PathLike[str], replaced: Callable[[Path], Iterable[Path]] = lambda folder: ()
) -> Iterator[Path]:
    """Yield a new folder; after the ``with`` block all its files are moved to ``folder`` at once.

    Parameters
    ----------
    folder : created if needed; its other files stay. A save into the folder that was yielded is a
        part of the outer save.
    replaced : f(folder) gives the files of older saves; those that the new save has not written
        again are deleted.

    Files keep the permissions of those that they replace. After an exception the folder is as it
    was. If two processes save, the files of the last to finish remain.
    """
    target = Path(os.path.realpath(folder))
    if target.name.startswith(UNFINISHED):
        yield target
        return
    missing = [path for path in (target, *target.parents) if not path.exists()]
    target.mkdir(parents=True, exist_ok=True)
    _clean(target)
    new = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=target))
    try:
        with locked(new):
            yield new
            with locked(target):
                _finish(target)
                is_first = os.listdir(target) == [new.name]
                deleted = [] if is_first else plan(new, target, replaced(target))
                os.rename(new, target / SAVED)
                _move(target, deleted)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        for path in missing:
            with suppress(OSError):  # another process has saved into it
                path.rmdir()
        raise


@contextmanager
def reading(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Let no save change the files of a folder during the ``with`` block."""
    while True:
        settle(folder)
        with locked(folder, shared=True):
            if not os.path.lexists(os.path.join(folder, SAVED)):
                yield
                return


def settle(folder: str | os.PathLike[str]) -> None:
    """Finish a save into ``folder`` that was killed after it was committed, if there is one."""
    if os.path.lexists(os.path.join(folder, SAVED)):
        with locked(folder):
            _finish(Path(os.path.realpath(folder)))


def _finish(folder: Path) -> None:
    if os.path.lexists(folder / SAVED):
        _move(folder, read_plan(folder / SAVED, folder))


def _move(folder: Path, deleted: list[Path]) -> None:
    """Move the files of a committed save, JSON last: an index names files that are there."""
    saved = folder / SAVED
    names = [f.relative_to(saved) for f in saved.rglob("*") if not f.is_dir() and f.name != PLAN]
    for name in sorted(names, key=lambda name: (name.suffix == ".json", name)):
        (folder / name).parent.mkdir(exist_ok=True)
        os.replace(saved / name, folder / name)
    for name in deleted:
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(saved)


@contextmanager
def locked(path: str | os.PathLike[str], shared: bool = False) -> Iterator[None]:
    """Wait for the lock of a file or folder, and hold it; without locks, only run the block."""
    with ExitStack() as stack:
        if sys.platform != "win32":
            with suppress(OSError):  # a disk without locks, or no right to read
                descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
                stack.callback(os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
                stack.callback(fcntl.flock, descriptor, fcntl.LOCK_UN)  # in forked children too
        yield


def _clean(folder: Path) -> None:
    """Delete temporary files of killed saves."""
    for name in filter(_TEMPORARY.fullmatch, os.listdir(folder)):
        delete_if_abandoned(folder / name)
