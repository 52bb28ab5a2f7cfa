# %% [markdown]
# # 47. Rotary position embeddings
# BERT adds a vector for each position to its input. Modern decoders rotate queries and keys instead
# (RoPE, Su et al. 2021, arXiv:2104.09864). Why does a rotation tell attention how far apart two
# tokens are? And which mistakes keep all shapes right, but make the scores wrong?
#
# **You will be able to** write rotary embeddings in NumPy, show that scores depend on the distance
# of two tokens only, and convert weights between the two orders of features.
#
# **You need** lesson 18 (attention) and rotation matrices of 2 × 2 numbers.
#
# **Minutes** 20
#
# | symbol | shape | meaning |
# |---|---|---|
# | T | | number of tokens |
# | m, n | | positions of a query and of a key, from 0 |
# | q, k | (2,), then (T, K) | queries and keys |
# | θ | | angle per token; the matrix Rot(θ) rotates a vector by θ |
# | K | | size of a head |
# | R | | number of features that are rotated, even, at most K |
# | i | | number of a pair of features, 0 to R/2 − 1; it has its own angle θᵢ |

# %%
import math

import numpy as np

import tinybert.functional as F
from tinybert import NemotronConfig, show

rng = np.random.default_rng(0)

# %% [markdown]
# ## A position is an angle
# Begin with a head of two features. Rotate the query at position m by the angle mθ, and the key at
# position n by nθ. The inverse of a rotation is its transpose, and angles add up, so the score is
#
#     (Rot(mθ) q) · (Rot(nθ) k)  =  qᵀ Rot(mθ)ᵀ Rot(nθ) k  =  qᵀ Rot((n − m)θ) k
#
# It depends on n − m, the distance, and not on m alone. Below, all tokens have the same q and k, so
# only positions differ. Scores are equal along each diagonal of the picture.


# %%
def rotation(angle: float) -> np.ndarray:
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


q, k = rng.standard_normal((2, 2))
rate = 0.3
scores = np.array(
    [[(rotation(m * rate) @ q) @ (rotation(n * rate) @ k) for n in range(8)] for m in range(8)]
)
show(scores, "scores: a row for each query, a column for each key")
far = (rotation(4000 * rate) @ q) @ (rotation(4003 * rate) @ k)
print(f"distance 3: {scores[0, 3]:.6f} {scores[4, 7]:.6f} {far:.6f}")
assert np.allclose(scores[1:, 1:], scores[:-1, :-1])
assert np.allclose(far, q @ rotation(3 * rate) @ k)

# %% [markdown]
# ## Each pair has its own frequency
# A rotation by θ repeats after 2π/θ tokens: its wavelength. One pair of features could not tell
# apart two distances that differ by a wavelength. So R features form R/2 pairs, and pair i is
# rotated by θᵢ = 10000^(−2i/R) per token. The first pairs distinguish neighbours, the last ones
# long distances. Pair i consists of the features i and i + R/2; features from R on stay unchanged.


# %%
def angles(T: int, R: int) -> np.ndarray:
    """Return the angles (T, R/2) of positions 0 to T - 1."""
    return np.arange(T)[:, None] * 10000.0 ** (-np.arange(0, R, 2) / R)


def rotate(x: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Rotate the first R features of x (T, K) by angles (T, R/2)."""
    half = angle.shape[-1]
    a, b, rest = np.split(x, [half, 2 * half], axis=-1)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin, rest], axis=-1)


# %%
T, R, K = 12, 8, 16
angle = angles(T, R)
pairs = [f"pair {i}" for i in range(R // 2)]
show(np.cos(angle).T, "cosine of the angle at each position", rows=pairs)
config = NemotronConfig.preset("minitron-4b")  # its sizes, without weights
wavelengths = 2 * math.pi / angles(2, config.features_to_turn)[1]  # in tokens
print("wavelengths in Minitron-4B:", *(f"{length:.0f}" for length in wavelengths[::8]))
print("longest:", f"{wavelengths[-1]:.0f}", " most tokens:", config.max_position_embeddings)
assert wavelengths[-1] > 11 * config.max_position_embeddings  # never a full rotation

# %% [markdown]
# ## The same by the engine
# `rotary_embedding` takes the cosines and sines of all R features, the angles of the pairs twice.

# %%
q, k = rng.standard_normal((2, T, K))
twice = np.concatenate([angle, angle], axis=-1)  # (T, R)
by_engine = F.rotary_embedding(q, np.cos(twice), np.sin(twice)).numpy()
print("NumPy: ", rotate(q, angle)[3, :6].round(4))
print("engine:", by_engine[3, :6].round(4))
assert np.allclose(rotate(q, angle), by_engine)

# %% [markdown]
# ## Two orders of features
# The paper pairs the features 2i and 2i + 1; GPT-NeoX and Nemotron pair i and i + R/2. The two are
# the same rotation with permuted features. A permutation of both q and k changes no score, so a
# converter permutes the rows of the weights that make q and k. If it does not, all shapes fit, but
# scores between different positions are wrong. In the paper's order a pair is a complex number, and
# a rotation by an angle multiplies it by e^(i·angle), where this i is the imaginary unit.

# %%
q, k = q[:, :R], k[:, :R]
turned_q, turned_k = ((x[:, ::2] + 1j * x[:, 1::2]) * np.exp(1j * angle) for x in (q, k))
paper = (turned_q.conj() @ turned_k.T).real
order = [*range(0, R, 2), *range(1, R, 2)]
permuted = rotate(q[:, order], angle) @ rotate(k[:, order], angle).T
forgotten = rotate(q, angle) @ rotate(k, angle).T
print("largest difference to the paper's scores, permuted:", np.abs(permuted - paper).max())
show(np.abs(forgotten - paper).round(9), "difference to the paper's scores without the permutation")
assert np.allclose(permuted, paper)
assert np.abs(forgotten - paper).max() > 1
assert np.allclose(forgotten.diagonal(), paper.diagonal())  # distance 0: no rotation

number_of_pairs = None  # question: how many pairs, if a quarter of 128 features is rotated?
assert number_of_pairs in (None, angles(1, 128 // 4).size)

# %% [markdown]
# A rotation by an angle that grows with the position makes the score of a query and a key depend on
# their distance. It has no parameters and keeps the length of every vector.
#
# Exercises: none.
# Next: 48_grouped_queries.py.
