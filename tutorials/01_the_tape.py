# %% [markdown]
# # 1. The tape: how gradients come back
# Training a network needs gradients: for every parameter, how much does the loss grow if this
# parameter grows a little? We compute them for a small network, first by hand in NumPy. Then the
# engine computes them by automatic differentiation, and we look at how it does that.
#
# **You will be able to** write the backward pass of a two-layer network by hand, and walk the
# engine's record of a computation, the *tape*, to get the same gradients.
#
# **You need** NumPy (`@`, `.T`, sums over an axis) and the chain rule.
#
# **Minutes** 20
#
# | symbol | shape | meaning |
# |---|---|---|
# | B, D, N, C | | examples, input features, neurons, outputs: 2, 3, 5, 4 |
# | x, target | (B, D), (B, C) | the input, and the output that we want |
# | w1, b1 | (N, D), (N) | weight and bias of the first layer |
# | w2, b2 | (C, N), (C) | weight and bias of the second layer |
# | h, a | (B, N) | the first layer's output, and its tanh |
# | z, error | (B, C) | the second layer's output, and `z - target` |
# | loss | () | the mean of the squared errors |
# | derror, dz, dw1, ... | as error, z, w1, ... | gradients of the loss with respect to them |

# %%
import numpy as np

import tinybert.functional as F
from tinybert import Tensor, no_grad, show

rng = np.random.default_rng(0)
B, D, N, C = 2, 3, 5, 4  # all different, so that an array of the wrong shape rarely fits
x, target = rng.standard_normal((B, D)), rng.standard_normal((B, C))
w1, b1 = rng.standard_normal((N, D)), rng.standard_normal(N)
w2, b2 = rng.standard_normal((C, N)), rng.standard_normal(C)

# %% [markdown]
# ## Forward, by hand
# Two linear layers with a tanh between them, and the mean squared error. A weight has the shape
# (outputs, inputs), as in every BERT checkpoint, so the product needs `.T`.

# %%
h = x @ w1.T + b1  # (B, N)
a = np.tanh(h)  # (B, N)
z = a @ w2.T + b2  # (B, C)
error = z - target  # (B, C)
loss = (error**2).mean()
one = sum(x[1, d] * w1[2, d] for d in range(D)) + b1[2]  # neuron 2 of example 1, as a plain sum
print(f"loss {loss:.4f}; h[1, 2] is {h[1, 2]:.4f}, and as a plain sum {one:.4f}")
assert np.isclose(h[1, 2], one)

# %% [markdown]
# ## Backward, by hand
# We go through these lines from the last to the first. Each line has its own derivative. By the
# chain rule we multiply it by the gradient that the later lines have already computed.
#
# - `loss = (error**2).mean()`: the mean divides by B·C, and the slope of e² is 2e
# - `error = z - target`: dz equals derror
# - `z = a @ w2.T + b2`: da = dz w2, dw2 = dzᵀ a, and db2 is dz summed over the examples
# - `a = tanh(h)`: the slope of tanh is 1 − a², so dh = da · (1 − a²)
# - `h = x @ w1.T + b1`: as the other layer

# %%
dz = 2 * error / (B * C)  # derror and dz are equal
da, dw2, db2 = dz @ w2, dz.T @ a, dz.sum(axis=0)
dh = da * (1 - a**2)
dx, dw1, db1 = dh @ w1, dh.T @ x, dh.sum(axis=0)


# %%
# The same by brute force: make one weight larger by a tiny step, and see how much the loss grows.
def loss_with(changed: np.ndarray) -> float:
    return (((np.tanh(x @ changed.T + b1) @ w2.T + b2) - target) ** 2).mean()


measured, step = np.zeros((N, D)), 1e-6
for index in np.ndindex(N, D):
    changed = w1.copy()
    changed[index] += step
    measured[index] = (loss_with(changed) - loss) / step
show(dw1, "dw1, by the chain rule")
show(measured, "the growth of the loss, measured for each weight of w1")
assert np.allclose(dw1, measured, atol=1e-5)

# %% [markdown]
# ## The engine does the same
# A `Tensor` is an array that records how it was computed. `backward()` computes the gradients and
# stores them in `.grad` of the *leaves*: the tensors that you made yourself.

# %%
leaves = [Tensor(array, requires_grad=True) for array in (x, w1, b1, w2, b2)]
X, W1, B1, W2, B2 = leaves


def loss_of_engine() -> Tensor:
    return ((F.linear(F.linear(X, W1, B1).tanh(), W2, B2) - target) ** 2).mean()


loss_of_engine().backward()
by_hand = [dx, dw1, db1, dw2, db2]
for name, ours, leaf in zip(["dx", "dw1", "db1", "dw2", "db2"], by_hand, leaves, strict=True):
    theirs = leaf.grad.numpy()
    print(f"{name:3s} first number: by hand {ours.flat[0]:8.5f}, engine {theirs.flat[0]:8.5f}")
    assert np.allclose(theirs, ours)

# %% [markdown]
# ## What the tape is
# Each operation makes a *node*: an object that keeps the arrays which its derivative needs, and
# points to its `parents`, the nodes and leaves that gave its inputs (None for a constant, as the
# target). `grad_fn` of the loss is the last node. Together the nodes are the computation graph, or
# tape. A node's `backward` is one line of our list above. Each node below has at most one parent
# that is a node, so a loop can walk the tape:

# %%
node, gradient, names, found = loss_of_engine().grad_fn, np.ones(()), [], {}
while node is not None:
    names.append(type(node).__name__)
    results = node.backward(gradient)  # one gradient for each input
    results = results if isinstance(results, tuple) else (results,)
    parents, node = node.parents, None
    for parent, result in zip(parents, results, strict=True):
        if isinstance(parent, Tensor):  # a leaf: this is its gradient
            found[parent] = result
        elif parent is not None:  # (node, number of its output): the node to visit next
            node, gradient = parent[0], result
print("the tape from its end:", " -> ".join(names))
print("dw1[0] by the walk:", found[W1][0].round(4), "by backward():", W1.grad.numpy()[0].round(4))
assert names == ["Mean", "Pow", "Sub", "Linear", "Tanh", "Linear"]
assert all(np.array_equal(found[leaf], leaf.grad.numpy()) for leaf in leaves)  # to the last bit

# %% [markdown]
# Predictions need no gradient. Under `no_grad()` no tape is recorded, and no array is kept for it.

# %%
with no_grad():
    untracked = loss_of_engine()
print("type of grad_fn:", type(loss_of_engine().grad_fn), "under no_grad:", type(untracked.grad_fn))
assert untracked.grad_fn is None

# A third linear layer and a second tanh are added to the network. How many nodes has its tape?
nodes = None  # your answer: a number
assert nodes in (None, len(names) + len(["Linear", "Tanh"]))

# %% [markdown]
# Backward is the list of forward operations read from its end, with one derivative for each. The
# tape is that list, so the engine needs to know only the derivative of each operation.
#
# Exercises: `tape/chain_rule`, `tape/linear_backward`, `tape/matmul_backward`, `tape/walk`.
#
# Next: 02_broadcasting.py.
