# %% [markdown]
# # 9. Checkpoint formats: safetensors and PyTorch's .bin, byte by byte
# A checkpoint has names, shapes and numbers. Nearly all published checkpoints use one of two
# formats: safetensors, which is little more than that, and PyTorch's .bin, a zip archive with a
# small *program* (a pickle). We read and write both byte by byte, and then corrupt them: what must
# a reader check in a file from an untrusted source?

# %%
import atexit
import io
import json
import mmap
import os
import pickletools
import shutil
import struct
import tempfile
import zipfile
import zlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from tinybert import BertConfig, BertModel, CheckpointError, load_checkpoint, no_grad, save_file

folder = Path(tempfile.mkdtemp())
atexit.register(shutil.rmtree, folder, ignore_errors=True)
table = np.arange(6, dtype=np.float32).reshape(2, 3) / 4

# %% [markdown]
# ## Safetensors: a length, a header, the numbers
# Eight bytes give the length n of the header, lowest byte first (little-endian). Then follow n
# bytes of JSON and, row by row, the numbers, four bytes per float32. Offsets start after the
# header.

# %%
path = folder / "small.safetensors"
save_file({"table": table, "ids": np.array([7, -1])}, path)
data = path.read_bytes()
for at in range(0, len(data), 16):  # each byte in base 16; letters where they are letters
    row = data[at : at + 16]
    letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
    print(f"{at:5d}  {row.hex(' '):47s}  {letters}")

n = int.from_bytes(data[:8], "little")
header, numbers = json.loads(data[8 : 8 + n]), data[8 + n :]
assert (8 + n) % 8 == 0  # the header ends in spaces, so that the numbers are aligned in memory
assert header["table"] == {"dtype": "F32", "shape": [2, 3], "data_offsets": [16, 40]}

begin, end = header["table"]["data_offsets"]
assert np.array_equal(np.frombuffer(numbers[begin:end], "<f4").reshape(2, 3), table)
assert len(numbers) == 40  # every byte belongs to a tensor

# %% [markdown]
# ## BF16: the upper half of a float32
# A float32 is a sign, 8 bits of exponent, 23 of fraction. BF16 keeps the first 16 of these 32 bits:
# the same range, fewer digits. F16 has fewer bits of exponent, 5, and more of fraction, 10.
#
# To round to nearest, add half of the last bit that is kept, 0x8000, and cut off the rest. If the
# last bit is 0, add one less: then a number exactly in the middle is rounded to even.


# %%
def to_bf16(x: np.ndarray) -> np.ndarray:
    bits = x.view(np.uint32)
    return ((bits + (0x7FFF + (bits >> 16 & 1))) >> 16).astype(np.uint16)


def from_bf16(codes: np.ndarray) -> np.ndarray:
    return (codes.astype(np.uint32) << 16).view(np.float32)  # append 16 zeros: exact


some = np.array([1, -2.5, 1 / 3, np.pi, 1e30], np.float32)
back = from_bf16(to_bf16(some))
with np.errstate(over="ignore"):
    half = some.astype(np.float16)
print("float32     sign exponent fraction, kept | cut      BF16     F16")
for x, bits, kept, f16 in zip(some, some.view(np.uint32), back, half, strict=True):
    b = f"{bits:032b}"
    print(f"{x:<11.5g} {b[0]} {b[1:9]} {b[9:16]} | {b[16:]}  {kept:<8.4g} {f16:.4g}")
assert (half[4], back[4] > 9e29) == (np.inf, True)  # 1e30 is beyond the range of F16 only

x = np.random.default_rng(0).standard_normal(10_000, np.float32)
assert np.abs(from_bf16(to_bf16(x)) / x - 1).max() <= 2**-8  # 8 bits: the fraction's 7 and a 1
nan = np.array([0x7F800001], np.uint32).view(np.float32)  # exponent all ones, fraction not 0
assert np.isinf(from_bf16(to_bf16(nan)))  # a pitfall: after the cut, its fraction is 0
save_file({"nan": nan}, path, dtype="bfloat16")
assert np.isnan(load_checkpoint(path)["nan"])  # so a real writer handles NaN separately


# %% [markdown]
# ## Write a safetensors file
# Write the header as JSON, padded with spaces, then the bytes of the tensors.


# %%
def safetensors(tensors: dict[str, tuple[str, np.ndarray]]) -> bytes:
    """Return the bytes of a file with these tensors: name to (dtype name, array)."""
    header, numbers = {}, b""
    for name, (dtype, array) in tensors.items():
        offsets = [len(numbers), len(numbers) + array.nbytes]
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": offsets}
        numbers += array.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + numbers


data = safetensors({"table": ("F32", table), "some": ("BF16", to_bf16(some))})
path.write_bytes(data)
loaded = load_checkpoint(path)
assert np.array_equal(loaded["table"], table)
assert np.array_equal(loaded["some"], back)  # NumPy has no BF16, so it comes as float32
if find_spec("safetensors"):  # the reference library reads it as well
    from safetensors import safe_open

    assert np.array_equal(safe_open(path, "np").get_tensor("table"), table)


# %% [markdown]
# ## Corrupt and malicious headers
# The header is untrusted input. An unchecked length lets a file request any amount of memory; an
# unchecked offset gives access to memory outside the file.


# %%
def fault(data: bytes) -> str:
    """Return the reader's error message for a file; "" if it is accepted."""
    (folder / "damaged").unlink(missing_ok=True)
    (folder / "damaged").write_bytes(data)
    try:
        load_checkpoint(folder / "damaged")
    except CheckpointError as error:
        return str(error).split("damaged", 1)[1].lstrip(": ")
    return ""


def changed(data: bytes, place: int, byte: int) -> bytes:
    return data[:place] + bytes([byte]) + data[place + 1 :]


def taken(data: bytes, bits: range) -> list[bytes]:
    """Flip each of these bits, one at a time; return the files that the reader accepts."""
    files = [changed(data, i // 8, data[i // 8] ^ 1 << i % 8) for i in bits]
    found = [file for file in files if not fault(file)]
    print(f"{len(files)} bits turned over, one at a time: {len(found)} files are taken")
    return found


def reasons(files: dict[str, bytes]) -> list[str]:
    """Print and return the reader's error message for each file."""
    found = {what: fault(data) for what, data in files.items()}
    print("\n".join(f"{what}:\n    {reason}" for what, reason in found.items()))
    return list(found.values())


damages = {
    "its length: 2^56 bytes of header": changed(data, 7, 1),
    "a larger shape": data.replace(b"[2, 3]", b"[9, 3]"),
    "a larger end": data.replace(b"[0, 24]", b"[0, 94]"),
    "a byte lost": data[:-1],
    "a byte too many": data + b"\0",
}
assert all(reasons(damages))

# %% [markdown]
# And all other errors? Flip each single bit of length and header. Files are accepted only with two
# tensors that fill them exactly, under another name or with another dtype of equal size. The format
# has no checksum: a flipped bit in the numbers is detected only by the SHA-256 of the whole file.

# %%
start = len(data) - 34  # where the numbers begin
survivors = taken(data, range(8 * start))
for damaged in survivors:
    header = json.loads(damaged[8:start])
    assert [entry["data_offsets"] for entry in header.values()] == [[0, 24], [24, 34]]
    assert header.keys() != {"table", "some"}
assert len(survivors) < 0.1 * 8 * start
assert not fault(data.replace(b"F32", b"I32"))
assert not fault(changed(data, len(data) - 1, 0))

# %% [markdown]
# ## Memory-mapped files
# The numbers in the file have the layout of an array in memory, so no copy is needed. `mmap` maps
# the file into memory: the system reads a page when it is used. With ACCESS_COPY a page that is
# written becomes private (copy on write), and the file is not changed. `from_pretrained` does the
# same: the weights are views into the mapped file, at the offsets of the header.

# %%
with open(path, "rb") as file:
    memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
np.ndarray((2, 3), "<f4", memory, start)[0, 0] = 99
assert struct.unpack_from("<f", memory, start) == (99,)
assert path.read_bytes() == data

small = {"vocab_size": 50, "hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2}
BertModel(BertConfig(**small, num_hidden_layers=1)).save_pretrained(folder)
before = (folder / "model.safetensors").read_bytes()
header = json.loads(before[8 : 8 + int.from_bytes(before[:8], "little")])
model = BertModel.from_pretrained(folder)
places = {
    parameter.data.ctypes.data - header[name]["data_offsets"][0]
    for name, parameter in model.named_parameters()
}
assert len(places) == 1 or os.name != "posix"  # elsewhere a mapped file could not be replaced
with no_grad():
    for parameter in model.parameters():
        parameter.fill_(0.0)
assert (folder / "model.safetensors").read_bytes() == before


# %% [markdown]
# ## A zip archive, from its end
# torch.save writes a zip archive. Each member has a short header and its bytes. After all members
# follows the central directory, and at the end of the file its size and offset. So a reader begins
# at the end.


# %%
def zip_archive(members: dict[str, bytes]) -> bytes:
    body, directory, n = b"", b"", len(members)
    for name, content in members.items():
        crc, size = zlib.crc32(content), len(content)
        # version, flags, method (0: not compressed), time, date, CRC, size packed and not, lengths
        facts = struct.pack("<5H3L2H", 20, 0, 0, 0, 33, crc, size, size, len(name), 0)
        where = struct.pack("<3H2L", 0, 0, 0, 0, len(body))  # the last: where the head begins
        directory += b"PK\1\2" + b"\x14\0" + facts + where + name.encode()
        body += b"PK\3\4" + facts + name.encode() + content
    end = struct.pack("<4H2LH", 0, 0, n, n, len(directory), len(body), 0)
    return body + directory + b"PK\5\6" + end


archive = zipfile.ZipFile(io.BytesIO(zip_archive({"one": b"1", "two": b"22"})))
assert archive.read("two") == b"22"  # Python's own reader agrees

# %% [markdown]
# ## The pickle: a program for a stack machine
# One member, data.pkl, describes what was saved. It is a pickle: a sequence of opcodes, each a byte
# with its argument, for a stack machine. X pushes a string, K a small integer, ( a mark; t makes a
# tuple of all above the mark. The numbers are elsewhere: Q ("persistent id") refers to a storage in
# another member, data/0. Two opcodes make it a program: c pushes a *function*, imported by its
# name, and R calls it.
#
# A tensor is a view of its storage: it starts at `offset`, and a step along an axis is `stride`
# numbers long.


# %%
def text(value: str) -> bytes:
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def sizes(values: tuple) -> bytes:
    return b"(" + b"".join(b"K%c" % value for value in values) + b"t"


FLOATS, REBUILD = b"ctorch\nFloatStorage\n", b"ctorch._utils\n_rebuild_tensor_v2\n"
NO_HOOKS = b"ccollections\nOrderedDict\n(tR"  # for gradients: an empty OrderedDict


def tensor(offset: int, shape: tuple, strides: tuple, key: str = "0", count: int = 6) -> bytes:
    storage = b"(" + text("storage") + FLOATS + text(key) + text("cpu") + b"K%ctQ" % count
    window = b"K%c" % offset + sizes(shape) + sizes(strides)
    return REBUILD + b"(" + storage + window + b"\x89" + NO_HOOKS + b"tR"  # \x89: no gradient


def torch_file(**values: bytes) -> bytes:
    pickle = b"\x80\2}(" + b"".join(text(name) + values[name] for name in values) + b"u."
    members = {"data.pkl": pickle, "version": b"3\n", "data/0": table.tobytes()}
    return zip_archive({f"archive/{name}": content for name, content in members.items()})


weight = tensor(0, (2, 3), (3, 1))
pickletools.dis(b"\x80\2" + weight + b".")  # it reads opcodes without executing them
names = [opcode.name for opcode, _, _ in pickletools.genops(weight + b".")]
assert (names.count("GLOBAL"), names.count("REDUCE")) == (3, 2)

# Several tensors can share one storage: tied weights, a transpose, a row.
windows = {"table": (0, (2, 3), (3, 1)), "turned": (0, (3, 2), (1, 3)), "row": (3, (3,), (1,))}
views = {
    name: np.ndarray(shape, "<f4", table, 4 * offset, tuple(4 * n for n in strides))
    for name, (offset, shape, strides) in windows.items()
}
assert np.array_equal(views["turned"], table.T)
assert np.array_equal(views["row"], table[1])

path = folder / "pytorch_model.bin"
path.write_bytes(torch_file(**{name: tensor(*window) for name, window in windows.items()}))
loaded = load_checkpoint(path)
assert all(np.array_equal(loaded[name], view) for name, view in views.items())
if find_spec("torch"):  # PyTorch can load our file
    import torch

    theirs = torch.load(path, weights_only=True)
    assert all(np.array_equal(theirs[name].numpy(), view) for name, view in views.items())
    assert theirs["table"].data_ptr() == theirs["turned"].data_ptr()  # one storage

# %% [markdown]
# ## A malicious file
# Now change the names. This "checkpoint" calls os.mkdir; it could also call os.system. Python's
# `pickle.load` executes the call before any tensor is loaded. Our reader is its own stack machine
# and imports nothing: it has an allowlist of about twenty names, and refuses a file with any other
# name. A list of forbidden names could never be complete.

# %%
canary = folder / "canary"  # if this folder exists, code of the file was executed
attack = b"cos\nmkdir\n(" + text(str(canary)) + b"tR"
line = text(f"__import__('os').mkdir({str(canary)!r})")
malicious = {
    "instead of a weight": attack,
    "inside a good weight": weight.replace(NO_HOOKS, attack),
    "by eval": b"cbuiltins\neval\n(" + line + b"tR",
    "by an older opcode": b"(" + text(str(canary)) + b"ios\nmkdir\n",
}
files = {what: torch_file(weight=value) for what, value in malicious.items()}
assert all("refers to" in reason for reason in reasons(files))
assert not canary.exists()

# %% [markdown]
# A pickle without forbidden functions can still be malicious. A view can exceed its storage (and
# read other memory, perhaps a password), a key can be a path, and a tuple with the same tuple
# twice, nested forty times, has 2^40 entries in 80 bytes.

# %%
lies = {
    "a window beyond its storage": tensor(1, (2, 3), (3, 1)),
    "a storage larger than its bytes": tensor(0, (60,), (1,), count=60),
    "a key that is a path": tensor(0, (6,), (1,), key="../0"),
    "2^40 entries": b")" + b"2\x86" * 40,
}
assert all(reasons({what: torch_file(weight=value) for what, value in lies.items()}))

# %% [markdown]
# A zip archive has a CRC-32 of every member, to detect accidental damage. Flip single bits: the
# file is refused, or it has the same numbers (if the bit is, for example, in a date).

# %%
survivors = taken(path.read_bytes(), range(0, 8 * path.stat().st_size, 7))
for damaged in survivors:
    fault(damaged)  # writes it
    found = load_checkpoint(folder / "damaged")
    assert all(np.array_equal(found[name], view) for name, view in views.items())
assert len(survivors) < 0.2 * 8 / 7 * path.stat().st_size

# %% [markdown]
# ## Try
# Replace a None by your answer and run the script again: the assertion says whether it is right.

# %%
first = None  # a file begins 40 00 00 00 00 00 00 00: at which byte do the numbers begin?
rounded = None  # what does 257 become in BF16?
stride = None  # which one makes a view of shape (2,) at offset 1 the second column of `table`?

assert first in (None, 8 + int.from_bytes(bytes.fromhex("4000000000000000"), "little"))
assert rounded in (None, from_bf16(to_bf16(np.array([257], np.float32)))[0])
path.write_bytes(torch_file(column=tensor(1, (2,), (stride or 3,))))
assert np.array_equal(load_checkpoint(path)["column"], table[:, 1])
# Next: moving averages, 10_moving_average.py.
