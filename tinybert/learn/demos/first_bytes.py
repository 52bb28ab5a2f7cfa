"""Show the first bytes of files that are named model.safetensors, and what the reader says of them.

Most broken downloads are whole files of another kind. Their first bytes tell which.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tinybert import CheckpointError, load_file, save_file

with TemporaryDirectory() as folder:
    path = Path(folder) / "model.safetensors"
    save_file({"weight": np.ones((2, 3), np.float32)}, path)
    good = path.read_bytes()
    files = {
        "as it should be": good,
        "empty": b"",
        "the end is missing": good[:-4],
        "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\nsize 9\n",
        "a web page": b"<!DOCTYPE html><html><title>Log in</title></html>",
        "a JSON text": b'{"error": "access denied"}',
        "PyTorch's zip archive": b"PK\x03\x04\x00\x00\x08\x08" + bytes(60),
        "an old PyTorch pickle": b"\x80\x02}q\x00." + bytes(60),
        "TensorFlow's HDF5": b"\x89HDF\r\n\x1a\n" + bytes(60),
        "llama.cpp's GGUF": b"GGUF\x03\x00\x00\x00" + bytes(60),
    }
    for what, content in files.items():
        path.write_bytes(content)
        text = "".join(chr(byte) if 32 < byte < 127 else "." for byte in content[:8])
        print(f"\n{what}\n  {content[:8].hex(' '):23}  {text}".rstrip())
        try:
            tensors = load_file(path)
            print(f"  read: weight {tensors['weight'].shape}")
        except CheckpointError as error:
            print("  " + str(error).replace(str(path), path.name))

length = int.from_bytes(good[:8], "little")
print(f"\nA good file begins with the length of its header, {length}, and the header is JSON:")
print(" ", good[8 : 8 + length].decode().rstrip())
