"""What a killed save has left: temporary files to delete, and a committed save to finish."""

import errno
import os
import shutil
import stat
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PLAN = ".replaced"  # a file of a committed save: the names of the older files to delete
MAX_PLAN = 10_000_000  # bytes
GRACE = 5  # seconds: more than a save needs from creating a temporary file to locking it
GRACE_WITHOUT_LOCKS = 24 * 3600  # seconds: more than a save takes


def delete_if_abandoned(path: str | os.PathLike[str]) -> None:
    """Delete a temporary file or folder of `tinybert.atomic`, unless its save is in progress."""
    with suppress(OSError):  # deleted by another process, or not ours to delete
        status = os.lstat(path)
        is_folder = stat.S_ISDIR(status.st_mode)
        if not is_folder and not stat.S_ISREG(status.st_mode):
            return
        locked = _is_locked(path)
        grace = GRACE_WITHOUT_LOCKS if locked is None else GRACE
        if locked or time.time() - status.st_mtime < grace:
            return
        if is_folder:
            shutil.rmtree(path)
        else:
            os.unlink(path)


def _is_locked(path: str | os.PathLike[str]) -> bool | None:
    """Return whether a process holds the lock of a file or folder; None if that is unknown."""
    if sys.platform == "win32":
        return None
    import fcntl

    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return False


def plan(new: Path, target: Path, replaced: Iterable[Path]) -> list[Path]:
    """Return the names of the files of `replaced` that the files of `new` do not replace.

    They are also stored, for a save that is killed. The new files get the permissions of the old.
    Raises IsADirectoryError if a new file cannot be moved into `target`.
    """
    moved = [file.relative_to(new) for file in new.rglob("*") if file.is_file()]
    deleted = sorted({file.relative_to(target) for file in replaced}.difference(moved))
    for name in moved:
        if (target / name).is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target / name))
        same_kind = (old for old in deleted if old.suffix == name.suffix)
        for old in (target / old for old in (name, *same_kind)):
            if old.is_file():
                os.chmod(new / name, stat.S_IMODE(old.stat().st_mode))
                break
    with open(new / PLAN, "x", encoding="utf-8", newline="\n") as out:
        out.writelines(f"{name.as_posix()}\n" for name in deleted)
        out.flush()
        os.fsync(out.fileno())
    return deleted


def read_plan(saved: Path, folder: Path) -> list[Path]:
    """Return the names of the files that a committed save deletes in ``folder``.

    A model folder may come from anybody, so ValueError is raised unless ``saved`` is a folder of
    the user, or of the owner of ``folder``, and all names to move and to delete are in ``folder``.
    """
    users = {os.stat(folder).st_uid}
    if sys.platform != "win32":
        users.add(os.geteuid())
    status = os.lstat(saved)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in users:
        raise ValueError(f"{saved}: not the folder of a save of yours; delete it")
    if not os.access(folder, os.W_OK):
        reason = "a save into this folder was interrupted; finishing it needs the right to write"
        raise PermissionError(errno.EACCES, reason, str(folder))
    deleted: list[Path] = []
    if (saved / PLAN).is_file():
        with open(saved / PLAN, encoding="utf-8") as file:
            deleted = [Path(name) for name in file.read(MAX_PLAN).splitlines()]
    moved = (file.relative_to(saved) for file in saved.rglob("*") if not file.is_dir())
    for name in (*moved, *deleted):
        parent = folder / name.parent
        inside = folder in (parent, *parent.parents) and os.path.realpath(parent) == str(parent)
        if not inside or name.name in ("", ".."):
            raise ValueError(f"{saved}: names {str(name)!r}, which is not in the folder; delete it")
    return deleted
