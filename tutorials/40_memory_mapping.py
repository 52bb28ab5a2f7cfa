# %% [markdown]
# # 40. Memory mapping: weights that stay in their file
# A model of 8 GB loads in a moment, before 8 GB have been read. How? The numbers in a safetensors
# file are laid out as in memory. So the operating system can show the file *as* memory, and reads a
# part when the program uses it.
#
# **You will be able to** make an array of a mapped file from offset, dtype and shape, and say
# when a write to it changes the file.
#
# **You need** lesson 6 (safetensors by hand); lesson 39 (bfloat16) for the last part.
#
# **Minutes** 12
#
# | symbol | shape | meaning |
# |---|---|---|
# | memory | | the file as memory, a mapping |
# | start | | position of the first number in the file: 8 + the length of the header |
# | begin | | offset of a tensor, counted from `start` |
# | address | | position of an array in the memory of the program |

# %%
import atexit
import json
import mmap
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from tinybert import NemotronConfig, NemotronForCausalLM, manual_seed, no_grad, show

manual_seed(0)
folder = Path(tempfile.mkdtemp())
atexit.register(shutil.rmtree, folder, ignore_errors=True)

# %% [markdown]
# ## A file as memory
# We save a small model and map its file. `np.ndarray` makes an array of any memory: no number is
# copied. ACCESS_COPY means *copy on write*: a page (a block of usually 4,096 bytes) that the
# program writes to becomes its own copy, and the file does not change.

# %%
shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 100}
config = NemotronConfig(**shape, num_attention_heads=4, num_key_value_heads=2, head_dim=8)
NemotronForCausalLM(config).save_pretrained(folder)
path = folder / "model.safetensors"
before = path.read_bytes()
start = 8 + int.from_bytes(before[:8], "little")
header = json.loads(before[8:start])
entry = header["model.layers.0.self_attn.k_proj.weight"]
with open(path, "rb") as file:
    memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
mapped = np.ndarray(entry["shape"], "<f4", memory, start + entry["data_offsets"][0])
copied = np.frombuffer(before, "<f4", mapped.size, start + entry["data_offsets"][0])
show(mapped[:2, :6], "the first numbers, mapped")
show(copied.reshape(mapped.shape)[:2, :6], "read as bytes")
assert np.array_equal(mapped.ravel(), copied)

# %%
mapped[0, 0] = 99.0
in_file = np.fromfile(path, "<f4", 1, offset=start + entry["data_offsets"][0])
print("in the mapping:", mapped[0, 0], " in the file:", in_file[0])
assert mapped[0, 0] == 99.0
assert path.read_bytes() == before

# %% [markdown]
# ## The engine does the same
# `from_pretrained` maps the file, and each parameter is an array in the mapping. So the address of
# a parameter minus its offset `begin` is the same number for all of them: the address of the first
# number. A training step writes to the parameters, and the file stays as it is.

# %%
model = NemotronForCausalLM.from_pretrained(folder)
parameters = dict(model.named_parameters())
names = [f"model.layers.{i}.self_attn.{part}_proj.weight" for i in (0, 1) for part in "qk"]
begins = np.array([header[name]["data_offsets"][0] for name in names])
addresses = np.array([parameters[name].data.ctypes.data for name in names])
distances = np.array([begins - begins[0], addresses - addresses[0]])
labels = [f"layer {i}, {part}" for i in (0, 1) for part in "qk"]
show(
    distances,
    "bytes from the first of these tensors",
    rows=["in the file", "in memory"],
    cols=labels,
)
with no_grad():
    for parameter in model.parameters():
        parameter.fill_(0.0)
print("parameters set to 0; the file is unchanged:", path.read_bytes() == before)
# Elsewhere than on POSIX systems (Linux, macOS) a mapped file could not be replaced, so it is read.
assert os.name != "posix" or np.array_equal(distances[0], distances[1])
assert path.read_bytes() == before

# %% [markdown]
# ## Numbers of another type
# A processor computes in float32, but the file may hold bfloat16 (lesson 39). Then each number has
# to be converted, and the converted weights are twice as large as the file. With `low_memory=True`
# a weight stays in the file, and is converted when a layer uses it, block by block.

# %%
half = folder / "half"
NemotronForCausalLM(config).save_pretrained(half, dtype="bfloat16")
ids = np.array([[1, 2, 3]])
models = {
    kind: NemotronForCausalLM.from_pretrained(half, low_memory=kind) for kind in (False, True)
}
with no_grad():
    logits = np.array([model(ids).logits.numpy()[0, -1, :6] for model in models.values()])
show(logits, "logits", rows=["converted at once", "low_memory"])
own = [
    sum(p.data.nbytes for p in model.parameters() if type(p).__name__ == "Parameter")
    for model in models.values()
]
print("bytes of converted weights, at once:", own[0], " low_memory:", own[1])
assert np.allclose(logits[0], logits[1], atol=1e-5)
assert own[1] < own[0] / 10

# %% [markdown]
# A mapped file is memory that is read when it is used. Weights in the type of the computation need
# no copy at all, and a write never reaches the file.
#
# Exercises: none.
#
# Next: 41_moving_average.py.
