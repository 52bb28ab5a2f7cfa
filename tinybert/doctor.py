"""Descriptions of files that are not what their reader expects, by their first bytes.

Most "corrupt" downloads are intact files of another kind: a Git LFS pointer, an error page, a
pickle. Each description says what the file is and what to do.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

PREVIEW = 512  # how many of the first bytes `diagnose` needs

_OPEN = "open it with open_checkpoint(), which recognizes formats"
_LFS = b"version https://git-lfs"
_PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<script")
_ANSWERS = (b"entry not found", b"repository not found", b"invalid username or password", b"404:")

# (first bytes, description)
_SIGNATURES: tuple[tuple[bytes | tuple[bytes, ...], str], ...] = (
    (b"PK\x03\x04", f"is a zip archive (a PyTorch .bin/.pt, or .npz): {_OPEN}"),
    (
        (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),  # PROTO and the pickle protocol
        f"is a Python pickle (an old PyTorch .bin/.pt): {_OPEN}",
    ),
    (b"\x89HDF\r\n\x1a\n", f"is an HDF5 file (TensorFlow .h5): {_OPEN}"),
    (b"GGUF", "is a GGUF file (llama.cpp), which is not supported"),
    (b"\x93NUMPY", "is a NumPy .npy file: open it with numpy.load"),
    (b"\x1f\x8b", "is compressed with gzip: unpack it first, a .nemo or .tar.gz with tar -xf"),
)
_TEXT_SIGNATURES: tuple[tuple[bytes | tuple[bytes, ...], str], ...] = (
    (b"PK\x03\x04", "is a zip archive: unpack it first"),
    (b"\x1f\x8b", "is compressed with gzip: unpack it first"),
    (
        b"\xef\xbb\xbf",
        "begins with a byte order mark (BOM, U+FEFF), which would become part of the first token: "
        "save the file as UTF-8 without BOM",
    ),
    ((b"\xff\xfe", b"\xfe\xff"), "is UTF-16 text: save the file as UTF-8 without BOM"),
)


def diagnose(first: bytes, size: int) -> str | None:
    """Return a description of a file that should hold weights, or None if it is not recognized.

    Parameters
    ----------
    first : the first 512 bytes of the file, or all of a shorter one.
    size : size of the file in bytes.
    """
    if fault := _failed_download(first, size, "the weights"):
        return fault
    for signature, description in _SIGNATURES:
        if first.startswith(signature):
            return description
    if first[257:262] == b"ustar":
        return (
            "is a tar archive: if PyTorch before 0.1.10 saved it, open it with torch.load and save "
            "it again"
        )
    if first.lstrip().startswith(b"{"):
        return "is a JSON text, not the weights: an index, a configuration or an error answer"
    return None


def diagnose_text(path: Path) -> str | None:
    """Return a description of a file that should hold text, or None if it may be such a file."""
    with path.open("rb") as file:
        first = file.read(PREVIEW)
    if fault := _failed_download(first, path.stat().st_size, f"the {path.name}"):
        return fault
    for signature, description in _TEXT_SIGNATURES:
        if first.startswith(signature):
            return description
    if b"\0" in first:
        return "holds zero bytes, so it is not text: the download or copy failed; download it again"
    if first.lower().startswith(_ANSWERS):
        answer = first.split(b"\n")[0].decode("utf-8", "replace")
        return (
            f"is an error answer, not the {path.name}: {answer!r:.80}; check its address, then "
            "download it again"
        )
    if first.startswith(b"{") and path.suffix == ".txt" and _is_json(path):
        return f"is a JSON text, not the {path.name}: a configuration or an error answer"
    return None


def _failed_download(first: bytes, size: int, wanted: str) -> str | None:
    """Return a description of what a failed download leaves in place of any file."""
    if size == 0:
        return "is empty: the download or copy failed; download it again"
    if first.startswith(_LFS):
        return (
            f"is a Git LFS pointer, not {wanted}: run `git lfs pull` in its repository, or "
            "download the file itself"
        )
    if first.lstrip().lower().startswith(_PAGES):
        return (
            f"is a web page, not {wanted}: the download was answered with an error or log-in "
            "page; open the address in a browser, then download the file itself"
        )
    return None


def _is_json(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except (ValueError, RecursionError):
        return False


def diagnose_json(path: Path, error: Exception) -> str:
    """Return a description of a file that should hold JSON and does not."""
    if fault := diagnose_text(path):
        return fault
    if isinstance(error, json.JSONDecodeError):
        text = error.doc.rstrip()
        if error.pos >= len(text) or not text.endswith("}"):
            return f"not valid JSON: it is truncated; download it again ({error})"
    return f"not valid JSON ({error})"


def diagnose_tokenizer(value: Any) -> str | None:
    """Return a description of a JSON value that is not the content of a tokenizer.json, or None."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if isinstance(value, dict) and "model" not in value:
        if value.get("class_name") == "Tokenizer":
            return (
                "is written by the Tokenizer of Keras (keras.preprocessing.text), not by the "
                "library tokenizers: it has words and their counts, but no model"
            )
        if "vocab" in value or "added_tokens" in value or "version" in value:
            return "is not complete: a tokenizer.json has a model"
    return None


def warn_if_truncated(path: Path, n_tokens: int) -> None:
    """Warn of a vocabulary without a line end after its last token, if config.json has more.

    A truncated vocabulary is a valid one: only its length shows what happened.
    """
    try:
        size = json.loads(path.with_name("config.json").read_text("utf-8"))["vocab_size"]
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return  # there is nothing to compare with
    if isinstance(size, int) and size > n_tokens:
        logger.warning(
            f"{path} has {n_tokens} tokens and no line end after the last, but the vocab_size of "
            f"config.json is {size}: the file may be truncated; compare its size with the original"
        )
