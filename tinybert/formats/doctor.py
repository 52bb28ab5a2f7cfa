"""Descriptions of files that are not what their reader expects, by their first bytes.

Most "corrupt" downloads are intact files of another kind: a Git LFS pointer, an error page, a
pickle. Each description says what the file is and what to do.
"""

_OPEN = "open it with open_checkpoint(), which recognizes formats"

# (first bytes, description)
_SIGNATURES: tuple[tuple[bytes | tuple[bytes, ...], str], ...] = (
    (
        b"version https://git-lfs",
        "is a Git LFS pointer, not the weights: run `git lfs pull` in its repository, or "
        "download the file itself",
    ),
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


def diagnose(first: bytes, size: int) -> str | None:
    """Return a description of a file, or None if its first bytes are not recognized.

    Parameters
    ----------
    first : the first 512 bytes of the file, or all of a shorter one.
    size : size of the file in bytes.
    """
    if size == 0:
        return "is empty: the download or copy failed; download it again"
    for signature, description in _SIGNATURES:
        if first.startswith(signature):
            return description
    if first[257:262] == b"ustar":
        return (
            "is a tar archive: if PyTorch before 0.1.10 saved it, open it with torch.load and save "
            "it again"
        )
    text = first.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<script")):
        return (
            "is a web page, not the weights: the download was answered with an error or log-in "
            "page; open the address in a browser, then download the file itself"
        )
    if text.startswith(b"{"):
        return "is a JSON text, not the weights: an index, a configuration or an error answer"
    return None
