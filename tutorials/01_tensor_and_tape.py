# %% [markdown]
# # 1. The tape: how gradients come back
# Training a network needs the gradient: for every parameter, *how much does the loss grow if this
# parameter grows a little?* We first compute it in NumPy, line by line, for a small network. Then
# the engine does the same by automatic differentiation, and we look at how it works. You need NumPy
# and the chain rule; every claim is followed by an `assert`.

# %%
import tracemalloc

import numpy as np

import tinybert.functional as F
from tinybert import Function, GradcheckError, Tensor, enable_grad, gradcheck, no_grad

rng = np.random.default_rng(0)
# Sizes that all differ, so that arrays of the wrong shape do not fit by chance.
B, D, N, C = 2, 3, 11, 5  # batch, features, neurons, classes
x = rng.standard_normal((B, D))
weight1, bias1 = rng.standard_normal((N, D)), rng.standard_normal(N)
weight2, bias2 = rng.standard_normal((C, N)), rng.standard_normal(C)
target, rows = np.array([4, 1]), np.arange(B)  # the right class of each row

# %% [markdown]
# ## Forward, by hand
# Two linear layers with a tanh between them, softmax, and the cross-entropy −log p[target].
# A weight is (out, in), as in every BERT checkpoint, hence the `.T`.

# %%
h = x @ weight1.T + bias1  # (B, N)
a = np.tanh(h)  # (B, N)
logits = a @ weight2.T + bias2  # (B, C)
e = np.exp(logits - logits.max(axis=-1, keepdims=True))  # the maximum cancels in p
p = e / e.sum(axis=-1, keepdims=True)  # (B, C)
loss = -np.log(p[rows, target]).mean()
assert np.allclose(p.sum(axis=-1), 1)  # each row is a distribution

# %% [markdown]
# ## Backward, by hand
# `dname` means dL/d`name`, and has the shape of `name`. We go through the lines above from the last
# to the first. Each line needs its own derivative and the gradient passed back by the next line.
#
# - mean of −log p:  dp = −1 / (B p) at the target, 0 elsewhere
# - softmax, from ∂pᵢ/∂zⱼ = pᵢ(δᵢⱼ − pⱼ):  dz = p · (dp − Σ dp·p)
# - linear, z = a Wᵀ + b:  da = dz W,  dW = dzᵀ a,  db = dz summed over the rows
# - tanh:  dh = da · (1 − a²)

# %%
dp = -np.eye(C)[target] / (B * p)
dlogits = p * (dp - (dp * p).sum(axis=-1, keepdims=True))
da, dweight2, dbias2 = dlogits @ weight2, dlogits.T @ a, dlogits.sum(axis=0)
dh = da * (1 - a**2)
dx, dweight1, dbias1 = dh @ weight1, dh.T @ x, dh.sum(axis=0)

# Softmax and cross-entropy together simplify to prediction minus target:
assert np.allclose(dlogits, (p - np.eye(C)[target]) / B)

# %% [markdown]
# Check it with finite differences: change one bias by 10⁻⁶, and compare the loss.
# %%
z = np.tanh(x @ weight1.T + bias1 + 1e-6 * np.eye(N)[7]) @ weight2.T + bias2
grown = (np.log(np.exp(z).sum(axis=-1)) - z[rows, target]).mean()
assert np.isclose((grown - loss) / 1e-6, dbias1[7], rtol=1e-4)

# %% [markdown]
# ## The engine does the same
# A `Tensor` is an array that records how it was computed. `backward()` sets `.grad` of the leaves.

# %%
by_hand = [dx, dweight1, dbias1, dweight2, dbias2]
arrays = x, weight1, bias1, weight2, bias2
X, W1, B1, W2, B2 = tensors = [Tensor(array, requires_grad=True) for array in arrays]
result = F.cross_entropy(F.linear(F.linear(X, W1, B1).tanh(), W2, B2), target)
result.backward()
assert np.isclose(result.item(), loss)
assert all(np.allclose(t.grad.numpy(), d) for t, d in zip(tensors, by_hand, strict=True))

# %% [markdown]
# ## What the tape is
# Each operation is a `Function`: an object that saves what its backward needs and points to its
# `parents`, the operations that computed its inputs. The loss has the last one in `grad_fn`. These
# nodes form the computation graph (the tape). They work on raw arrays, so we can walk it ourselves:

# %%
assert result.grad_fn.released  # backward frees the saved arrays, so run forward again
result = F.cross_entropy(F.linear(F.linear(X, W1, B1).tanh(), W2, B2), target)
node, dy, names, found = result.grad_fn, np.ones(()), [], {}
while node is not None:
    names.append(type(node).__name__)
    gradients = node.backward(dy)  # one for each input; alone, if there is one input
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    node, parents = None, node.parents
    for parent, gradient in zip(parents, gradients, strict=True):
        if isinstance(parent, Tensor):  # a leaf: this is its gradient
            found[parent] = gradient
        elif parent is not None:  # (node, which of its outputs): go on there
            node, dy = parent[0], gradient
print("the tape, from its end:", " -> ".join(names))
assert names == ["CrossEntropy", "Linear", "Tanh", "Linear"]
assert all(np.array_equal(found[t], t.grad.numpy()) for t in tensors)  # equal to the last bit

# %% [markdown]
# ## Two rules that cover everything else
# **Broadcasting repeats, so its gradient is a sum.** **A value used twice gets both gradients,
# added** — which is why the engine visits a node only after all that used it, and why `.grad` adds
# up over several `backward` calls until you clear it.

# %%
u, v, dy = (rng.standard_normal(shape) for shape in ((2, 3, 1), (11,), (2, 3, 11)))
U, V = Tensor(u, requires_grad=True), Tensor(v, requires_grad=True)
(U * V).backward(dy)
assert np.allclose(U.grad.numpy(), (dy * v).sum(axis=2, keepdims=True))
assert np.allclose(V.grad.numpy(), (dy * u).sum(axis=(0, 1)))

X = Tensor(x, requires_grad=True)
t = X.exp()
(t * X + t).sum().backward()  # t is used twice, X is used twice
assert np.allclose(X.grad.numpy(), np.exp(x) * x + 2 * np.exp(x))
X.exp().sum().backward()
assert np.allclose(X.grad.numpy(), np.exp(x) * x + 3 * np.exp(x))  # it was added

# %% [markdown]
# ## Your own operation
# Write `forward` and `backward`. `gradcheck` compares `backward` with finite differences, element
# by element, and reports the elements that differ.


# %%
class Softplus(Function):
    """y = log(1 + exp x), so dx = dy / (1 + exp(−x)). Saved: x."""

    def forward(self, x):
        self.x = x
        return np.logaddexp(0, x)

    def backward(self, dy):
        return dy / (1 + np.exp(-self.x))


class WrongSoftplus(Softplus):  # with a sign lost
    def backward(self, dy):
        return dy / (1 + np.exp(self.x))


def complaint(action, *arguments) -> str:
    try:
        return action(*arguments) and "no error"
    except (GradcheckError, RuntimeError) as error:
        return str(error)


assert gradcheck(Softplus.apply, Tensor(x, requires_grad=True))
message = complaint(gradcheck, WrongSoftplus.apply, Tensor(x, requires_grad=True))
print("gradcheck says:", message)
assert "gradient of input 0 at index" in message

# %% [markdown]
# ## A check that cannot fail proves nothing
# A row of softmax sums to 1 for every input: the true gradient of `softmax(x).sum()` is zero. With
# a plain sum as the loss, a backward that *returns zeros* passes the check. With a random cotangent
# u, the loss Σ u·y, every element has its own weight, and the error is found.

# %%
for u, looks_right in ((np.ones((B, C)), True), (rng.standard_normal((B, C)), False)):
    Z = Tensor(logits, requires_grad=True)
    (u * Z.softmax(-1)).sum().backward()
    lazy = np.zeros((B, C))  # what a backward that does nothing would return
    assert np.allclose(Z.grad.numpy(), lazy, atol=1e-12) == looks_right

# %% [markdown]
# ## In-place changes of saved arrays are an error
# exp saves its output, which is its derivative. If it is overwritten before `backward`, the
# gradient would be wrong. Tensors count in-place changes, and the node checks the count.

# %%
y = Tensor(x, requires_grad=True).exp()
assert "use no_grad() for an update" in complaint(y.add_, 1.0)  # refused at once ...
with no_grad():
    y.add_(1.0)  # ... unless you insist
assert "Exp saved for backward was changed in place" in complaint(y.sum().backward)

# %% [markdown]
# ## What `no_grad` saves
# The tape keeps what backward needs: here the output of every tanh. Without a tape each array is
# freed as soon as the next one is computed, so a long chain needs no more memory than a short one.

# %%
for mode, most in ((enable_grad, 20), (no_grad, 2)):
    y = Tensor(np.ones(100_000), requires_grad=True)
    tracemalloc.start()
    with mode():
        for _ in range(20):
            y = y.tanh()
    peak = tracemalloc.get_traced_memory()[1] / y.data.nbytes
    tracemalloc.stop()
    print(f"{mode.__name__}: at most {peak:.1f} arrays were alive at once")
    assert most <= peak < most + 2
# Next: a real BERT, 02_a_real_bert.py.
