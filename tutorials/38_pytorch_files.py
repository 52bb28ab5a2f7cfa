# %% [markdown]
# # 38. PyTorch files: a zip with a program
# Most older checkpoints are files that `torch.save` wrote: pytorch_model.bin. Such a file is a zip
# archive with numbers and a *pickle*, a small program that rebuilds the objects. A program from an
# untrusted source can do anything. How can a reader load the numbers and run nothing?
#
# **You will be able to** take a PyTorch file apart, compute a view from offset and strides, and say
# why `pickle.load` on a download is dangerous.
#
# **You need** lesson 6 (safetensors) and NumPy's strides.
#
# **Minutes** 18
#
# | symbol | shape | meaning |
# |---|---|---|
# | table | (2, 3) | the numbers of our checkpoint |
# | offset | | position of the first number of a view in its storage |
# | strides | one for each axis | numbers to skip for one step along the axis |

# %%
import atexit
import io
import pickle
import pickletools
import shutil
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from tinybert import CheckpointError, load_checkpoint, show

folder = Path(tempfile.mkdtemp())
atexit.register(shutil.rmtree, folder, ignore_errors=True)
table = np.arange(6, dtype=np.float32).reshape(2, 3) / 4

# %% [markdown]
# ## The pickle
# A pickle is a sequence of opcodes for a stack machine, each one byte with its argument. X pushes a
# string, K a small integer, ( a mark; t makes a tuple of all above the mark. Q refers to a storage,
# the numbers of which are in another member of the zip archive. Two opcodes make it a program: c
# pushes a *function*, imported by its name, and R calls it.


# %%
def text(value: str) -> bytes:
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def sizes(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(b"K%c" % value for value in values) + b"t"


NO_HOOKS = b"ccollections\nOrderedDict\n(tR"  # for gradients: an empty OrderedDict


def tensor(offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    kind = text("storage") + b"ctorch\nFloatStorage\n"
    storage = b"(" + kind + text("0") + text("cpu") + b"K\6tQ"  # file data/0, 6 numbers
    view = b"K%c" % offset + sizes(shape) + sizes(strides)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + view + b"\x89" + NO_HOOKS + b"tR"


# %%
weight = tensor(0, (2, 3), (3, 1))
pickletools.dis(b"\x80\2" + weight + b".")  # prints the opcodes, executes nothing
opcodes = [opcode.name for opcode, _, _ in pickletools.genops(weight + b".")]
print("functions:", opcodes.count("GLOBAL"), " calls:", opcodes.count("REDUCE"))
assert (opcodes.count("GLOBAL"), opcodes.count("REDUCE")) == (3, 2)

# %% [markdown]
# ## Views of one storage
# A tensor is a view: it starts at `offset`, and element (i, j) is number offset + i · strides[0] +
# j · strides[1] of the storage. So a matrix and its transpose can share their numbers.


# %%
def torch_file(**tensors: bytes) -> bytes:
    program = b"\x80\2}(" + b"".join(text(name) + tensors[name] for name in tensors) + b"u."
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/data/0", table.tobytes())
    return file.getvalue()


path = folder / "pytorch_model.bin"
path.write_bytes(torch_file(table=weight, transposed=tensor(0, (3, 2), (1, 3))))
loaded = load_checkpoint(path)
show(loaded["table"], "offset 0, shape (2, 3), strides (3, 1)")
show(loaded["transposed"], "offset 0, shape (3, 2), strides (1, 3)")
print("table.T:", table.T.tolist())
assert np.array_equal(loaded["table"], table)
assert np.array_equal(loaded["transposed"], table.T)

# %% [markdown]
# ## A malicious file
# Change one name, and the "checkpoint" calls os.mkdir; it could call os.system. Python's `pickle`
# makes the call. The engine's reader is a stack machine of its own and imports nothing: it accepts
# a short list of names (an allowlist) and refuses all others. It also refuses a view that exceeds
# its storage, which would read other memory.

# %%
canary = folder / "canary"  # if this folder exists, code of the file was executed
attack = b"cos\nmkdir\n(" + text(str(canary)) + b"tR"
pickle.loads(b"\x80\2" + attack + b".")
print("code executed by pickle:", canary.exists())
assert canary.exists()
canary.rmdir()

# %%
malicious = {
    "instead of a weight": attack,
    "inside a good weight": weight.replace(NO_HOOKS, attack),
    "a view beyond its storage": tensor(1, (2, 3), (3, 1)),
}
for name, program in malicious.items():
    path.write_bytes(torch_file(weight=program))
    try:
        load_checkpoint(path)
        refusal = ""
    except CheckpointError as error:
        refusal = str(error).removeprefix(f"{path}: ")
    print(f"{name}:\n    {refusal}")
    assert refusal
print("code executed by the engine:", canary.exists())
assert not canary.exists()

stride = None  # which one makes a view of shape (2,) at offset 1 the second column of table?
path.write_bytes(torch_file(column=tensor(1, (2,), (stride or 3,))))
assert np.array_equal(load_checkpoint(path)["column"], table[:, 1])

# %% [markdown]
# A PyTorch file holds numbers and a program that makes views of them. A safe reader interprets the
# program with an allowlist; safetensors has no program at all.
#
# Exercises: none.
# Next: 39_bfloat16.py.
