"""Turn the name of a model into its folder: a path, the local Hugging Face cache, or a download."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from tinybert.atomic import settle
from tinybert.hub_cache import ADAPTER, NAMES, WEIGHTS, base_with, cached_folder, download, holds

WEIGHT_FILES = (*WEIGHTS, "tf_model.h5", "flax_model.msgpack", "*.ckpt.index", "*.pt")

_MAX_NAME = 96  # characters, as on the Hub
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_REVISION = re.compile(r"[\w.-]+(/[\w.-]+)*", re.ASCII)


def resolve(
    folder_or_name: str | os.PathLike[str],
    files: Sequence[str] = (),
    *,
    revision: str | None = None,
    token: str | None = None,
) -> Path:
    """Return the folder of a model, given by its path or its name.

    "embedded" and the other names of `tinybert models` are models of this package, "minilm" is the
    one that `tinybert fetch` downloads; a folder of such a name is "./embedded". Another folder is
    returned as it is. A name on the Hub, such as "google-bert/bert-base-uncased", is looked up in
    the local cache (HF_HUB_CACHE, HF_HOME), then downloaded if `huggingface_hub` is installed and
    HF_HUB_OFFLINE is not set; from HF_ENDPOINT, if that is set. What a folder with an adapter lacks
    is in its base model's folder.

    Args:
        folder_or_name: a path or a name.
        files: names or patterns ("*.safetensors") of which the model needs at least one; a cached
            model counts only if it has one, and weights are downloaded only if `files` is empty or
            asks for them. A folder given by its path is not searched.
        revision: a branch, tag or commit; "main" if None.
        token: for models that are not public; None uses HF_TOKEN or the token of a login.

    Raises FileNotFoundError, which says where the model was looked for and what to do.
    """
    if isinstance(folder_or_name, str) and folder_or_name.startswith(NAMES):
        from tinybert.fetch import named_folder  # pip and archives, which other models do not need

        if (named := named_folder(folder_or_name)) is not None:
            return resolve(named, files)
    folder = Path(os.path.expanduser(folder_or_name))  # leaves "~nobody" as it is
    if folder.is_dir():
        settle(folder)
        return base_with(files, folder) if (folder / ADAPTER).exists() else folder
    name = os.fspath(folder_or_name)
    if not _is_name(name):
        raise FileNotFoundError(
            f"there is no folder {name!r}, and it is not a valid name of a model on the Hub"
        )
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise ValueError(f"revision must be a branch, tag or commit, got {revision!r}")
    cached = cached_folder(name, revision or "main")
    if cached is not None and (holds(cached, files) or (cached / ADAPTER).exists()):
        return resolve(cached, files)
    return resolve(download(name, files, revision, token), files)


def _is_name(name: str) -> bool:
    """Return whether a model can have this name; as a path it cannot lead out of the cache."""
    return (
        len(name) <= _MAX_NAME
        and _NAME.fullmatch(name) is not None
        and not any(bad in name for bad in ("..", "--"))
        and name[-1] not in ".-"
    )
