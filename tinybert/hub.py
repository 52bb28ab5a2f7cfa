"""From the name of a model to its folder: a path, the local Hugging Face cache, or a download.

Files are found here and not read; downloading itself is left to `huggingface_hub`, which is
needed for nothing else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

# Text and safetensors only: a pickle (.bin, .pt, .ckpt) can run code, and is never fetched.
TEXTS = ("*.json", "*.txt")
WEIGHTS = ("*.safetensors",)

_MAX_NAME = 96  # characters, as on the Hub
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_COMMIT = re.compile(r"\w+", re.ASCII)
_SHARD = re.compile(r".+-of-(\d{1,6})\.safetensors", re.ASCII)


def resolve(folder_or_name: str | os.PathLike[str], files: Sequence[str] = ()) -> Path:
    """The folder of a model, given as a path or by its name on the Hub.

    An existing folder is returned as it is. A name, such as "google-bert/bert-base-uncased", is
    looked up in the local cache, then downloaded if `huggingface_hub` is installed and
    HF_HUB_OFFLINE is not set.

    files: names or patterns ("*.safetensors") of which the model needs at least one; what is in
        the cache counts only if it is there, and weights are downloaded only if `files` is empty
        or asks for them. A folder given as a path is not searched.

    Raises FileNotFoundError, which says where was looked and what can be done.
    """
    folder = Path(os.path.expanduser(folder_or_name))  # leaves "~nobody" as it is
    if folder.is_dir():
        return folder
    name = os.fspath(folder_or_name)
    if not _is_name(name):
        raise FileNotFoundError(f"there is no folder {name!r}, and a model cannot be named so")
    cached = _cached(name)
    if cached is not None and _holds(cached, files):
        return cached
    return _download(name, files)


def cache_folder() -> Path:
    """Where Hugging Face libraries keep what they download, as the environment says."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if path := os.environ.get(variable):
            return Path(path).expanduser()
    home = os.environ.get("HF_HOME")
    if not home:
        home = os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return Path(home).expanduser() / "hub"


def _is_name(name: str) -> bool:
    """Whether a model can have this name; such a name leads to no place outside the cache."""
    return (
        len(name) <= _MAX_NAME
        and _NAME.fullmatch(name) is not None
        and not any(bad in name for bad in ("..", "--"))
        and name[-1] not in ".-"
    )


def _cached(name: str) -> Path | None:
    """The newest version of a model in the cache: refs/main names a folder in snapshots."""
    folder = cache_folder() / f"models--{name.replace('/', '--')}"
    try:
        with open(folder / "refs" / "main", encoding="ascii") as file:
            commit = file.read(128).strip()
    except (OSError, UnicodeDecodeError):
        return None
    snapshot = folder / "snapshots" / commit
    return snapshot if _COMMIT.fullmatch(commit) and snapshot.is_dir() else None


def _holds(folder: Path, files: Sequence[str]) -> bool:
    """Whether one of `files` is there, and of weights in several parts, every part."""
    found = {path.name for pattern in files for path in folder.glob(pattern) if path.is_file()}
    parts = [int(match[1]) for match in map(_SHARD.fullmatch, found) if match]
    return (bool(found) or not files) and len(parts) >= max(parts, default=0)


def _download(name: str, files: Sequence[str]) -> Path:
    wanted = " or ".join(files) or "anything"
    failed = (
        f"there is no folder {name!r}, and the cache {str(cache_folder())!r} has no {wanted} of a "
        "model of that name"
    )
    cure = "give the path of a folder"
    offline = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    if offline.upper() in ("1", "ON", "YES", "TRUE"):
        raise FileNotFoundError(f"{failed}; {cure}, or unset HF_HUB_OFFLINE to download it")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise FileNotFoundError(
            f'{failed}; {cure}, or pip install "tinybert[hub]" to download it'
        ) from None
    asks_for_weights = not files or any(file.endswith(".safetensors") for file in files)
    patterns = [*TEXTS, *(WEIGHTS if asks_for_weights else ())]
    try:
        folder = snapshot_download(name, allow_patterns=patterns, cache_dir=str(cache_folder()))
    except Exception as error:  # of the network, of the Hub, of the disk: one cure for all
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise FileNotFoundError(f"{failed}; downloading it failed ({reason}); {cure}") from error
    if not _holds(Path(folder), files):
        raise FileNotFoundError(f"{failed}; nor has the one on the Hub; {cure}")
    return Path(folder)
