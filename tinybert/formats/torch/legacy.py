"""A reader for the files of PyTorch before 1.6: five pickles in a row, then the storages.

The pickles are a magic number, the format's version (1001), facts about the machine, the object
itself, and a list of the storages' keys; then follow for each key, in this order, the count of its
values (8 bytes) and the values, always little-endian. There is no checksum: damaged values are not
detected.
"""

from typing import Any

from tinybert.formats.torch.bytes import FileBytes, Stretch
from tinybert.formats.torch.names import TorchNames
from tinybert.formats.torch.pickle import unpickle
from tinybert.weights.dtypes import FORMATS

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001


def read_legacy(file: FileBytes) -> Any:
    """Return the object that torch.save wrote, with a ``LazyTensor`` for each tensor."""
    data = file.mapping()
    names = TorchNames()
    magic, at = unpickle(data, 0, names)
    if magic != _MAGIC:
        raise ValueError("is a Python pickle, but not one that torch.save wrote")
    version, at = unpickle(data, at, names)
    if version != _VERSION:
        raise ValueError("is of an unknown version of the old PyTorch format")
    _machine, at = unpickle(data, at, names)
    value, at = unpickle(data, at, names)
    keys, at = unpickle(data, at, TorchNames())
    if type(keys) is not list or any(type(key) is not str for key in keys):
        raise ValueError("bad list of storages")
    if len(set(keys)) != len(keys) or set(keys) != set(names.storages):
        raise ValueError("its list of storages does not agree with its tensors")
    for key in keys:
        storage = names.storages[key]
        width = FORMATS[storage.format].bits // 8 if storage.format else 1
        if at + 8 + storage.nbytes > file.size:
            raise ValueError(f"is truncated in storage {key}; download it again")
        if int.from_bytes(file.read(at, 8), "little") * width != storage.nbytes:
            raise ValueError(f"storage {key} is given two sizes")
        storage.source = Stretch(file, at + 8, storage.nbytes)
        at += 8 + storage.nbytes
    if at != file.size:
        raise ValueError(f"has {file.size - at} bytes after the last storage")
    return value
