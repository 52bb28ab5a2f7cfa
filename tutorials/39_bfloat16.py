# %% [markdown]
# # 39. Bfloat16: half a float32
# Most large checkpoints store a number in two bytes instead of four, in the format bfloat16: the
# first half of a float32. Half the memory, but how much is lost, and how does a writer round?
#
# **You will be able to** convert numbers to bfloat16 and back by their bits, round to nearest even,
# and state the largest relative error.
#
# **You need** lesson 6 (dtypes in a file), binary numbers, and Python's `>>` and `&`.
#
# **Minutes** 15
#
# | symbol | shape | meaning |
# |---|---|---|
# | x | (N) | float32 numbers: 1 bit of sign, 8 of exponent, 23 of fraction |
# | bits | (N) | the same 32 bits as an integer without a sign (uint32) |
# | code | (N) | a bfloat16 number: 1 bit of sign, 8 of exponent, 7 of fraction (uint16) |
# | e, f | | exponent and fraction; the number is ± 2ᵉ (1 + f) with 0 ≤ f < 1 |

# %%
import tempfile
from pathlib import Path

import numpy as np

from tinybert import bug, load_checkpoint, save_file, show

# %% [markdown]
# ## The bits of a number
# The sign, the exponent and the fraction are stored one after another. Bfloat16 keeps the first 16
# bits. So it has the range of float32 (numbers up to 3·10³⁸), but fewer digits. The other format of
# two bytes, float16, has 5 bits of exponent and 10 of fraction: more digits, and a range that ends
# at 65,504. Gradients and activations can leave that range, so training prefers bfloat16.

# %%
x = np.array([1.0, -2.5, 1 / 3, 100000.0], np.float32)
bits = x.view(np.uint32)  # the same bytes, read as integers
digits = [[int(bit) for bit in f"{number:032b}"] for number in bits]
names = [f"{number:.5g}" for number in x]
places = ["sign", *["exponent"] * 8, *["fraction"] * 7, *["lost"] * 16]
show(digits, "bits: 1 is dark", rows=names, cols=places)
with np.errstate(over="ignore"):
    half = x.astype(np.float16)
cut = (bits >> 16 << 16).view(np.float32)  # the last 16 bits become 0
print("float32: ", x, "\nfirst 16:", cut, "\nfloat16: ", half)
assert np.isinf(half[3])
assert np.isfinite(cut).all()

# %% [markdown]
# ## Round, do not cut
# To cut the last 16 bits makes the size of every number smaller, so the errors do not cancel in a
# sum. Rounding to the nearest number avoids that: add half of the last bit that is kept, 0x8000,
# and cut. A number exactly in the middle goes to the *even* neighbour, the one whose last kept bit
# is 0: if that bit is 0 already, we add one less, 0x7FFF.


# %%
def to_bfloat16(x: np.ndarray) -> np.ndarray:
    bits = x.view(np.uint32)
    last = bits >> 16 & 1  # the last bit that is kept
    return ((bits + (0x7FFF + last)) >> 16).astype(np.uint16)


def from_bfloat16(code: np.ndarray) -> np.ndarray:
    return (code.astype(np.uint32) << 16).view(np.float32)  # append 16 zeros: exact


# %%
x = np.arange(256, 265, dtype=np.float32)
cut = (x.view(np.uint32) >> 16 << 16).view(np.float32)
rounded = from_bfloat16(to_bfloat16(x))
show(
    [cut, rounded],
    "integers from 256 in bfloat16",
    rows=["cut", "round"],
    cols=[f"{n:g}" for n in x],
)
assert rounded.tolist() == [256, 256, 258, 260, 260, 260, 262, 264, 264]
assert cut.tolist() == [256, 256, 258, 258, 260, 260, 262, 262, 264]

# %% [markdown]
# From 256 = 2⁸ on, neighbours are 2 apart: 7 bits of fraction give 128 steps from 2ᵉ to 2ᵉ⁺¹. A
# step is 2ᵉ / 128, so rounding changes the number by at most 2ᵉ · 2⁻⁸. The number is at least 2ᵉ,
# so the relative error is at most 2⁻⁸ = 0.4%: about two or three decimal digits. (Subnormal
# numbers, and numbers that round to infinity, are exceptions.)

# %%
x = np.random.default_rng(0).standard_normal(100_000, np.float32)
rounded, cut = from_bfloat16(to_bfloat16(x)), (x.view(np.uint32) >> 16 << 16).view(np.float32)
errors = np.array([rounded / x - 1, cut / x - 1])
table = np.stack([np.abs(errors).max(axis=1), errors.mean(axis=1)], axis=1) * 2**8
show(table, "relative errors, in units of 1/256", rows=["round", "cut"], cols=["largest", "mean"])
print("2**-8 =", 2**-8, " largest error of rounding:", np.abs(errors[0]).max())
assert np.abs(errors[0]).max() <= 2**-8
assert abs(errors[0].mean()) < 1e-4 < 1e-3 < abs(errors[1].mean())

# %% [markdown]
# ## The engine does the same
# `save_file(..., dtype="bfloat16")` rounds in this way. NumPy has no bfloat16, so `load_checkpoint`
# returns float32. Inside `bug("bf16-cut-not-rounded")` the engine cuts. One special case remains:
# a NaN (not a number) has an exponent of ones and a fraction that is not 0. If all its bits are
# lost, it becomes infinity. So a writer must treat NaN separately.

# %%
nan = np.array([0x7F800001], np.uint32).view(np.float32)
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "weights.safetensors"
    save_file({"x": x, "nan": nan}, path, dtype="bfloat16")
    engine = load_checkpoint(path)
    with bug("bf16-cut-not-rounded"):
        save_file({"x": x}, path, dtype="bfloat16")
    broken = load_checkpoint(path)["x"]
print("first numbers, ours:", rounded[:3], " engine:", engine["x"][:3], " cut:", broken[:3])
print("NaN, by our formula:", from_bfloat16(to_bfloat16(nan)), " by the engine:", engine["nan"])
assert np.array_equal(engine["x"], rounded)
assert np.array_equal(broken, cut)
assert np.isinf(from_bfloat16(to_bfloat16(nan))).all()
assert np.isnan(engine["nan"]).all()

after_1023 = None  # 1023 lies between 1020 and 1024 in bfloat16: what does it become?
assert after_1023 in (None, from_bfloat16(to_bfloat16(np.array([1023], np.float32)))[0])

# %% [markdown]
# Bfloat16 is the first half of a float32: the same range, with a relative error of at most 2⁻⁸ if
# the writer rounds to nearest even.
#
# Exercises: none.
#
# Next: 40_memory_mapping.py.
