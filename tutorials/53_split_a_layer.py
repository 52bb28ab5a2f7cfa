# %% [markdown]
# # 53. Split a layer between ranks
# A model that no single device can hold is divided. Tensor parallelism gives each rank a part of
# every matrix. A rank is one process of a job; the ranks exchange arrays. We split the feed-forward
# part of a layer by hand, and find which two exchanges it needs, and why they belong together.
#
# **You will be able to** split a linear layer by columns and by rows, say why one sum is enough for
# two layers, and explain the conjugate operators f and g.
#
# **You need** lesson 1 (the tape) and lesson 16 (GELU).
#
# **Minutes** 20
#
# | symbol | shape | meaning |
# |---|---|---|
# | p, r | | number of ranks, number of this rank |
# | B, D, F | | rows, features of a row, neurons: 3, 4, 6 |
# | x, y | (B, D) | input and output of the feed-forward part |
# | W, V | (F, D), (D, F) | its two matrices; y = GELU(x Wᵀ) Vᵀ |
# | Wr, Vr | (F/p, D), (D, F/p) | the parts of rank r |

# %%
import numpy as np

import tinybert.functional as F
from tinybert import Function, Tensor, show
from tinybert.parallel.simulated import run

rng = np.random.default_rng(0)
p = 2
x, dy = rng.standard_normal((2, 3, 4))
W, V = rng.standard_normal((6, 4)), rng.standard_normal((4, 6))

leaves = [Tensor(array, requires_grad=True) for array in (x, W, V)]
whole = F.linear(F.gelu(F.linear(*leaves[:2])), leaves[2])  # on one rank
whole.backward(dy)
y, dx, dW, dV = whole.numpy(), *(leaf.grad.numpy() for leaf in leaves)

# %% [markdown]
# ## By columns, then by rows
# Each neuron is a row of W: rank r computes the neurons of its rows, GELU(x Wrᵀ), which is some
# columns of the result. GELU works on each number alone, so nothing is exchanged. A neuron meets
# one column of V. So rank r also multiplies its neurons by its columns Vr. It has a *term* of y: y
# is the sum of the terms of all ranks.

# %%
terms = []
for r in range(p):
    mine = slice(r * 3, r * 3 + 3)
    neurons = F.gelu(Tensor(x @ W[mine].T)).numpy()
    show(neurons, f"rank {r}: its neurons, a row for each input")
    terms.append(neurons @ V[:, mine].T)
print("largest difference of the sum of the terms to y:", np.abs(sum(terms) - y).max())
assert np.allclose(sum(terms), y)

# %% [markdown]
# If W were split by its columns instead, x Wᵀ would be a sum of two terms. GELU of a sum is not the
# sum of GELUs, so that sum would be needed before GELU: one exchange more.

# %%
halves = [F.gelu(Tensor(x[:, half] @ W[:, half].T)).numpy() for half in (slice(2), slice(2, 4))]
assert not np.allclose(sum(halves), F.gelu(Tensor(x @ W.T)).numpy())

# %% [markdown]
# ## g: a sum forward
# `run(p, job)` starts p simulated ranks: threads that each call `job` with a communicator. Its
# `allreduce` returns the sum of the arrays of all ranks, on every rank. Here is the operator g: it
# adds the terms. Its backward passes dy on unchanged, because y = term 0 + term 1, and the gradient
# of a sum is the same for each term.


# %%
class G(Function):
    """Forward: the sum over all ranks. Backward: dy, unchanged."""

    def forward(self, x, *, world):
        return world.allreduce(x)

    def backward(self, dy):
        return dy


# %%
def job(world, enter):
    """Return y and the gradients of x, Wr and Vr of this rank; `enter` is what x passes first."""
    mine = slice(world.rank * 3, world.rank * 3 + 3)
    leaves = [Tensor(a, requires_grad=True) for a in (x, W[mine], V[:, mine].copy())]
    neurons = F.gelu(F.linear(enter(leaves[0], world), leaves[1]))
    y = G.apply(F.linear(neurons, leaves[2]), world=world)
    y.backward(dy)
    return [y.numpy(), *(leaf.grad.numpy() for leaf in leaves)]


# %%
without_f = run(p, lambda world: job(world, lambda x, world: x))
for r, (got_y, got_dx, got_dW, _) in enumerate(without_f):
    agrees = [np.allclose(got_y, y), np.allclose(got_dW, dW[r * 3 : r * 3 + 3])]
    print(f"rank {r}: y and dW agree: {agrees}, dx agrees: {np.allclose(got_dx, dx)}")
    assert all(agrees)
    assert not np.allclose(got_dx, dx)

# %% [markdown]
# ## f: a sum backward
# y and the gradients of the matrices are right. dx is not: each rank has found only what its own
# neurons say of x. What is missing?

# %%
parts = np.stack([got_dx for _, got_dx, _, _ in without_f])
show(parts[:, 0], "dx of input 0", rows=["rank 0", "rank 1"])
right = None  # compute dx[0, 0] from the numbers of the two ranks, with two digits
if right is not None:
    assert abs(right - dx[0, 0]) < 0.006

# %% [markdown]
# All ranks use x, so dx is the sum over the ranks (lesson 2: a repeat forward is a sum backward).
# The operator f does that: forward nothing, backward an all-reduce. f and g are *conjugate*: the
# backward of each is the forward of the other.


# %%
class Enter(Function):
    """The operator f. Forward: x, unchanged. Backward: the sum of dx over all ranks."""

    def forward(self, x, *, world):
        self.world = world
        return x

    def backward(self, dx):
        return self.world.allreduce(dx)


with_f = run(p, lambda world: job(world, lambda x, world: Enter.apply(x, world=world)))
for got_y, got_dx, *_ in with_f:
    print("largest difference of dx:", np.abs(got_dx - dx).max())
    assert np.allclose(got_y, y)
    assert np.allclose(got_dx, dx)
assert np.allclose(np.concatenate([part[2] for part in with_f]), dW)
assert np.allclose(np.concatenate([part[3] for part in with_f], axis=1), dV)

# %% [markdown]
# Attention is split in the same way: by heads in place of neurons. So a layer needs two all-reduces
# forward and two backward, whatever p is. Under MPI the same `job` runs on real processes: pass it
# `tinybert.parallel.mpi.world()` and start the script with `mpiexec -n 2 python`.
#
# Exercises: `ranks/conjugate`.
# Next: 54_what_an_all_reduce_costs.py.
