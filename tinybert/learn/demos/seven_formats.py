"""Write one checkpoint in seven formats, and read each: the same numbers under the same names.

tinybert writes safetensors. The other formats are read only; their files are made here by hand, as
the frameworks write them. `tinybert convert` turns any of them into safetensors.
"""

import struct
import zipfile
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tinybert import BertConfig, BertModel, load_checkpoint, save_file
from tinybert.weights import open_checkpoint, save_sharded

config = BertConfig(
    vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
)
TENSORS = {name: p.numpy() for name, p in BertModel(config).named_parameters()}


def renamed(embedding: str, scale: str, bias: str) -> dict[tuple[str, ...], np.ndarray]:
    """Return the tensors with the names of TensorFlow or Flax; dense matrices are transposed."""
    found = {}
    for name, array in TENSORS.items():
        *above, last = name.split(".")
        if "LayerNorm" in name:
            last = {"weight": scale, "bias": bias}[last]
        elif "embeddings" in name:
            last = embedding
        elif last == "weight":
            last, array = "kernel", np.ascontiguousarray(array.T)
        found[(*above, last)] = array
    return found


FLAX = renamed("embedding", "scale", "bias")
TENSORFLOW = {
    "/".join(("bert", *parts)).replace("/layer/", "/layer_._") + ":0": array
    for parts, array in renamed("embeddings", "gamma", "beta").items()
}

# --- PyTorch: a zip archive with a pickle, which describes the tensors, and their numbers ---------


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"


def pickled(key: str, array: np.ndarray) -> bytes:
    """Return the opcodes that rebuild a tensor from the storage `key`."""
    count = b"J" + struct.pack("<i", array.size)
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + count
    strides = numbers(tuple(step // 4 for step in array.strides))
    window = b"J" + bytes(4) + numbers(array.shape) + strides
    hooks = b"\x89ccollections\nOrderedDict\n(tR"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"tQ" + window + hooks + b"tR"


def write_torch(path: Path) -> None:
    members = [text(n) + pickled(str(i), TENSORS[n]) for i, n in enumerate(TENSORS)]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}(" + b"".join(members) + b"u.")
        archive.writestr("archive/version", "3\n")
        for i, array in enumerate(TENSORS.values()):
            archive.writestr(f"archive/data/{i}", array.tobytes())


# --- Flax: nested maps in MessagePack; an array is [shape, dtype, bytes] --------------------------


def packed(value: Any) -> bytes:
    if isinstance(value, dict):
        members = b"".join(packed(key) + packed(value[key]) for key in value)
        return b"\xde" + struct.pack(">H", len(value)) + members
    if isinstance(value, str):
        return b"\xd9" + bytes([len(value)]) + value.encode()
    if isinstance(value, int):
        return b"\xcd" + struct.pack(">H", value)
    shape = bytes([0x90 + value.ndim]) + b"".join(map(packed, value.shape))
    data = b"\xc6" + struct.pack(">I", value.nbytes) + value.tobytes()
    content = b"\x93" + shape + packed("float32") + data
    return b"\xc9" + struct.pack(">I", len(content)) + b"\x01" + content


def write_flax(path: Path) -> None:
    tree: dict[str, Any] = {}
    for (*above, last), array in FLAX.items():
        branch = tree
        for part in above:
            branch = branch.setdefault(part, {})
        branch[last] = array
    path.write_bytes(packed(tree))


# --- TensorFlow: HDF5 -----------------------------------------------------------------------------


def write_hdf5(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for name, array in TENSORFLOW.items():
            file[f"bert/tf_bert_model/{name}"] = array


print("format                         written by  first bytes            equal tensors")
with TemporaryDirectory() as name:
    folder = Path(name)
    flax = {".".join(parts): array for parts, array in FLAX.items()}
    save_file(TENSORS, folder / "model.safetensors", {"format": "pt"})
    save_sharded(TENSORS, folder / "shards", max_shard_size=3000)
    save_file(flax, folder / "flax.safetensors", {"format": "flax"})
    save_file(TENSORFLOW, folder / "tf.safetensors", {"format": "tf"})
    write_torch(folder / "pytorch_model.bin")
    write_flax(folder / "flax_model.msgpack")
    if find_spec("h5py"):
        write_hdf5(folder / "tf_model.h5")
    else:
        print('TensorFlow\'s HDF5 is left out: it needs pip install "tinybert[tf]"')
    for file in ("model.safetensors", "shards", "flax.safetensors", "tf.safetensors",
                 "pytorch_model.bin", "flax_model.msgpack", "tf_model.h5"):  # fmt: skip
        path = folder / file
        if not path.exists():
            continue
        with open_checkpoint(path) as reader:
            found = reader.format
        first = min(path.glob("*.safetensors")) if path.is_dir() else path
        start = first.read_bytes()[:7].hex(" ")
        loaded = load_checkpoint(path)
        equal = sum(
            key in loaded and np.array_equal(loaded[key], array) for key, array in TENSORS.items()
        )
        writer = "tinybert" if file in ("model.safetensors", "shards") else "hand"
        print(f"{found:30} {writer:11} {start}   {equal} of {len(TENSORS)}")
print(
    "\nThe formats written by hand are read only: tinybert saves safetensors with PyTorch's names."
)
