"""The local cache of the Hugging Face Hub: find a model in it, or download one into it.

Only the download needs `huggingface_hub`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from tinybert.files import read_regular

# Names that are not on the Hub: "embedded" and "embedded-...", the models of this package, and the
# model of `tinybert fetch`.
NAMES = EMBEDDED, FETCHED = ("embedded", "minilm")
ADAPTER = "adapter_config.json"  # in a folder with low-rank adapters, see `lora_config.py`
# f(folder with an adapter): it, its base model's folder, and so on; `tinybert.formats` adds it.
find_bases: list[Callable[[Path], list[Path]]] = []
TEXTS = ("*.json", "*.txt", "*.jinja")  # *.jinja: templates of conversations
# The weights to download: safetensors, and only without them PyTorch's files, which are pickles
# (our reader runs nothing that they contain; other programs do).
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")

_COMMIT = re.compile(r"\w+", re.ASCII)
_SHARD = re.compile(r".+-of-(\d{1,6})\.(?:safetensors|bin)", re.ASCII)


class FetchError(RuntimeError):
    """A model could not be downloaded or found; the message is one line that says what to do."""


def cache_folder() -> Path:
    """Return where Hugging Face libraries keep downloads, by the environment's variables."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if path := os.environ.get(variable):
            return expanded(path, variable)
    home = os.environ.get("HF_HOME")
    if not home:
        home = os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return expanded(home, "HF_HOME") / "hub"


def expanded(path: str, variable: str) -> Path:
    """Return a path with `~` replaced by the user's home folder.

    Raises FileNotFoundError, which names the environment's variable to set, if that is unknown.
    """
    result = os.path.expanduser(path)
    if result.startswith("~"):
        raise FileNotFoundError(f"the home folder of {path!r} is unknown: set {variable}")
    return Path(result)


def cached_folder(name: str, revision: str) -> Path | None:
    """Return the folder of a cached revision: refs/main, for example, names it in snapshots."""
    folder = cache_folder() / f"models--{name.replace('/', '--')}"
    try:
        commit = read_regular(folder / "refs" / revision, 128).decode("ascii").strip()
    except FileNotFoundError:
        commit = revision
    except (OSError, ValueError):  # not a regular file, too long, or not text
        return None
    snapshot = folder / "snapshots" / commit
    return snapshot if _COMMIT.fullmatch(commit) and snapshot.is_dir() else None


def holds(folder: Path, files: Sequence[str]) -> bool:
    """Return whether the folder has one of `files`, and all files of weights in several parts."""
    found = {path.name for pattern in files for path in folder.glob(pattern) if path.is_file()}
    parts = [int(match[1]) for match in map(_SHARD.fullmatch, found) if match]
    return (bool(found) or not files) and len(parts) >= max(parts, default=0)


def base_with(files: Sequence[str], folder: Path) -> Path:
    """Return a folder with an adapter if it has one of `files`, else the first of its base models'
    folders that has; the folder itself if none has.
    """
    if holds(folder, files):
        return folder
    return next((base for base in find_bases[0](folder) if holds(base, files)), folder)


def download(name: str, files: Sequence[str], revision: str | None, token: str | None) -> Path:
    """Download a model into the cache and return its folder. Raises FileNotFoundError."""
    needed = f"{' or '.join(files)} of a model" if files else "model"
    failed = (
        f"there is no folder {name!r}, and the cache {str(cache_folder())!r} has no {needed} of "
        "that name"
    )
    advice = "give the path of a folder"
    offline = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    if offline.upper() in ("1", "ON", "YES", "TRUE"):
        raise FileNotFoundError(f"{failed}; {advice}, or unset HF_HUB_OFFLINE to download it")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise FileNotFoundError(
            f'{failed}; {advice}, or pip install "tinybert[hub]" to download it'
        ) from None
    asks_for_weights = not files or any(file.endswith(".safetensors") for file in files)
    options = {"revision": revision, "token": token, "cache_dir": str(cache_folder())}
    options = {option: value for option, value in options.items() if value is not None}
    for weights in WEIGHTS if asks_for_weights else ("",):
        patterns = [*TEXTS, weights] if weights else [*TEXTS]
        try:
            folder = Path(snapshot_download(name, allow_patterns=patterns, **options))
        except Exception as error:  # of the network, the Hub or the disk
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise FileNotFoundError(
                f"{failed}; downloading it failed ({reason}); {advice}"
            ) from error
        if holds(folder, files or ([weights] if weights else ())):
            return folder
    raise FileNotFoundError(f"{failed}; the model on the Hub has none either; {advice}")
