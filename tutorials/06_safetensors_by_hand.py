# %% [markdown]
# # 6. Safetensors by hand
# How did the numbers of lesson 5 get into the model? A checkpoint holds names, shapes and numbers,
# and safetensors is a file format with little more than that. We read a file byte by byte, then a
# trained model, write a file, and damage it: what must a reader check?
#
# **You will be able to** read and write a safetensors file without a library, and name the checks
# that a reader needs.
#
# **You need** lesson 5, JSON, and NumPy's dtypes (float32, int8).
#
# **Minutes** 18
#
# | symbol | shape | meaning |
# |---|---|---|
# | n | | length of the header, in bytes |
# | begin, end | | first byte of a tensor, and the byte after its last |
# | table | (2, 3) | a small float32 array to store |
# | q, scale | (out, in), (out, 1) | a weight as 8-bit integers, and the factor of each row |

# %%
import atexit
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np

import tinybert
from tinybert import BertModel, CheckpointError, load_checkpoint, save_file, show

folder = Path(tempfile.mkdtemp())
atexit.register(shutil.rmtree, folder, ignore_errors=True)

# %% [markdown]
# ## A length, a header, the numbers
# The first eight bytes are the length n of the header, lowest byte first (little-endian). Then
# follow n bytes of JSON, and the numbers, row by row. Offsets count from the end of the header.

# %%
table = np.arange(6, dtype=np.float32).reshape(2, 3) / 4
path = folder / "small.safetensors"
save_file({"table": table}, path)
data = path.read_bytes()
for at in range(0, len(data), 16):  # 16 bytes a line, in base 16, and as letters
    row = data[at : at + 16]
    print(f"{at:3} {row.hex(' '):47} ", "".join(chr(b) if 32 <= b < 127 else "." for b in row))

n = int.from_bytes(data[:8], "little")
header = json.loads(data[8 : 8 + n])
begin, end = header["table"]["data_offsets"]
numbers = np.frombuffer(data[8 + n + begin : 8 + n + end], "<f4")  # "<": little-endian
print(n, header)
show(numbers.reshape(header["table"]["shape"]), "read by hand")
assert np.array_equal(numbers.reshape(2, 3), table)
assert 8 + n + end == len(data)  # every byte belongs to a tensor

# %% [markdown]
# ## A trained model
# The embedded model stores its matrices as 8-bit integers q with a factor for each row, to make the
# file four times smaller: weight = q · scale. The engine does this product when it loads the model.


# %%
def tensor(data: bytes, name: str) -> np.ndarray:
    n = int.from_bytes(data[:8], "little")
    entry = json.loads(data[8 : 8 + n])[name]
    begin, end = entry["data_offsets"]
    dtype = {"F32": "<f4", "I8": "i1"}[entry["dtype"]]
    return np.frombuffer(data[8 + n + begin : 8 + n + end], dtype).reshape(entry["shape"])


trained = (Path(tinybert.__file__).parent / "embedded/encoder/model.safetensors").read_bytes()
name = "encoder.layer.0.attention.self.query.weight"
q, scale = tensor(trained, f"bert.{name}"), tensor(trained, f"bert.{name}_scale")
by_hand = q * scale
model = BertModel.from_pretrained("embedded", add_pooling_layer=False)
by_engine = model.state_dict()[name].numpy()
show(q[:1, :8], "row 0 of q, as stored")
show([by_hand[0, :8], by_engine[0, :8]], "row 0 of the weight", rows=["q · scale", "engine"])
assert np.array_equal(by_hand, by_engine)

# %% [markdown]
# ## Write a file
# Build the header as JSON. Pad it with spaces to a multiple of 8 bytes, which aligns the numbers in
# memory. Append the bytes of the tensors.


# %%
def safetensors(tensors: dict[str, np.ndarray]) -> bytes:
    header, numbers = {}, b""
    for name, array in tensors.items():
        offsets = [len(numbers), len(numbers) + array.nbytes]
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": offsets}
        numbers += array.astype("<f4").tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + numbers


good = safetensors({"table": table, "row": table[0]})
path.write_bytes(good)
loaded = load_checkpoint(path)["table"]
show(loaded, "written by hand, read by the engine")
assert np.array_equal(loaded, table)

# %% [markdown]
# ## What a reader must check
# Without checks, a false length makes the reader reserve any amount of memory, and a false offset
# makes it read bytes that do not belong to the tensor. So: the header must be in the file, the
# tensors must fill the rest without gap or overlap, and each size must agree with shape and dtype.
# A changed bit *of a number* is not found: only a hash of the whole file, a checksum, finds it.


# %%
def refusal(data: bytes) -> str:
    path.write_bytes(data)
    try:
        load_checkpoint(path)
    except CheckpointError as error:
        return str(error).removeprefix(f"{path}: ")
    return ""


# %%
damages = {
    "a header of 2^56 bytes": good[:7] + b"\1" + good[8:],
    "a larger shape": good.replace(b"[2, 3]", b"[9, 3]"),
    "a larger end": good.replace(b"[0, 24]", b"[0, 94]"),
    "a byte lost": good[:-1],
    "a byte too many": good + b"\0",
}
for damage, data in damages.items():
    print(f"{damage}:\n    {refusal(data)}")
    assert refusal(data)

flipped = good[:-1] + bytes([good[-1] ^ 1])
print("a bit of the last number flipped:", refusal(flipped) or "accepted")
assert not refusal(flipped)

start = None  # a file begins with the bytes 80 01 00 00 00 00 00 00: where do the numbers begin?
assert start in (None, 8 + int.from_bytes(bytes.fromhex("8001000000000000"), "little"))

# %% [markdown]
# A safetensors file is a length, a JSON header and numbers. A reader checks that the header agrees
# with the file before it uses any number.
#
# Exercises: `files/safetensors`.
# Next: 07_clean_and_split.py.
