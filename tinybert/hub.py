"""From the name of a model to its folder: a path, the local Hugging Face cache, or a download.

Files are found here and not read; downloading itself is left to `huggingface_hub`, which is
needed for nothing else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

TEXTS = ("*.json", "*.txt", "*.jinja")  # the last are templates of conversations
# What of a model's weights is fetched: safetensors, and only where there are none PyTorch's files,
# which are pickles; our reader runs nothing that is in them, others do.
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
WEIGHT_FILES = (*WEIGHTS, "tf_model.h5", "flax_model.msgpack", "*.ckpt.index", "*.pt")

_MAX_NAME = 96  # characters, as on the Hub
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_COMMIT = re.compile(r"\w+", re.ASCII)
_SHARD = re.compile(r".+-of-(\d{1,6})\.(?:safetensors|bin)", re.ASCII)
_REVISION = re.compile(r"[\w.-]+(/[\w.-]+)*", re.ASCII)


def resolve(
    folder_or_name: str | os.PathLike[str],
    files: Sequence[str] = (),
    *,
    revision: str | None = None,
    token: str | None = None,
) -> Path:
    """The folder of a model, given as a path or by its name on the Hub.

    An existing folder is returned as it is. A name, such as "google-bert/bert-base-uncased", is
    looked up in the local cache (HF_HUB_CACHE, HF_HOME), then downloaded if `huggingface_hub` is
    installed and HF_HUB_OFFLINE is not set; from HF_ENDPOINT, if that is.

    files: names or patterns ("*.safetensors") of which the model needs at least one; what is in
        the cache counts only if it is there, and weights are downloaded only if `files` is empty
        or asks for them. A folder given as a path is not searched.
    revision: a branch, tag or commit; "main" if None.
    token: for models that are not public; if None, the one that HF_TOKEN or a login has left.

    Raises FileNotFoundError, which says where was looked and what can be done.
    """
    folder = Path(os.path.expanduser(folder_or_name))  # leaves "~nobody" as it is
    if folder.is_dir():
        return folder
    name = os.fspath(folder_or_name)
    if not _is_name(name):
        raise FileNotFoundError(f"there is no folder {name!r}, and a model cannot be named so")
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise ValueError(f"revision must be a branch, tag or commit, got {revision!r}")
    cached = _cached(name, revision or "main")
    if cached is not None and _holds(cached, files):
        return cached
    return _download(name, files, revision, token)


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


def _cached(name: str, revision: str) -> Path | None:
    """A version of a model in the cache: refs/main, say, names a folder in snapshots."""
    folder = cache_folder() / f"models--{name.replace('/', '--')}"
    try:
        with open(folder / "refs" / revision, encoding="ascii") as file:
            commit = file.read(128).strip()
    except FileNotFoundError:
        commit = revision
    except (OSError, UnicodeDecodeError):
        return None
    snapshot = folder / "snapshots" / commit
    return snapshot if _COMMIT.fullmatch(commit) and snapshot.is_dir() else None


def _holds(folder: Path, files: Sequence[str]) -> bool:
    """Whether one of `files` is there, and of weights in several parts, every part."""
    found = {path.name for pattern in files for path in folder.glob(pattern) if path.is_file()}
    parts = [int(match[1]) for match in map(_SHARD.fullmatch, found) if match]
    return (bool(found) or not files) and len(parts) >= max(parts, default=0)


def _download(name: str, files: Sequence[str], revision: str | None, token: str | None) -> Path:
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
    options = {"revision": revision, "token": token, "cache_dir": str(cache_folder())}
    options = {option: value for option, value in options.items() if value is not None}
    for weights in WEIGHTS if asks_for_weights else ("",):
        patterns = [*TEXTS, weights] if weights else [*TEXTS]
        try:
            folder = Path(snapshot_download(name, allow_patterns=patterns, **options))
        except Exception as error:  # of the network, of the Hub, of the disk: one cure for all
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise FileNotFoundError(
                f"{failed}; downloading it failed ({reason}); {cure}"
            ) from error
        if _holds(folder, files or ([weights] if weights else ())):
            return folder
    raise FileNotFoundError(f"{failed}; nor has the one on the Hub; {cure}")
