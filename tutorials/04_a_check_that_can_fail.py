# %% [markdown]
# # 4. A check that can fail
# A backward pass can be wrong without any error: the network still trains, only worse. So gradients
# are compared with finite differences. But some comparisons accept wrong gradients as well. We look
# for a check that accepts the right gradient and rejects every wrong one that we can think of.
#
# **You will be able to** check a gradient by central differences with a step of the right size, and
# say why the outputs must be weighted by random numbers.
#
# **You need** lesson 3 (your own function). Softmax is explained below as far as it is used.
#
# **Minutes** 15
#
# | symbol | shape | meaning |
# |---|---|---|
# | s | (2, 5) | scores: the input of softmax |
# | p | (2, 5) | softmax of each row of s |
# | u | (2, 5) | weights of the outputs; the loss is the sum of u · p |
# | dp, ds | (2, 5) | the gradients of the loss with respect to p and s; dp is u |
# | ε | | the step of a finite difference |

# %%
import numpy as np

from tinybert import GradcheckError, Tensor, bug, gradcheck, show

rng = np.random.default_rng(0)
s = rng.standard_normal((2, 5))

# %% [markdown]
# ## Central differences, and the size of the step
# The slope of f at w is about (f(w + ε) − f(w)) / ε. The error is of the order of ε. If we step to
# both sides, (f(w + ε) − f(w − ε)) / 2ε, it is of the order of ε². A smaller ε is better, but not
# without limit: two almost equal numbers are subtracted, and their rounding errors of about 10⁻¹⁶
# are divided by ε. We try it on tanh, whose slope 1 − tanh² we know.

# %%
w = 0.7
slope = 1 - np.tanh(w) ** 2
steps = 10.0 ** -np.arange(1, 13)
one_sided = (np.tanh(w + steps) - np.tanh(w)) / steps
central = (np.tanh(w + steps) - np.tanh(w - steps)) / (2 * steps)
errors = np.abs(np.stack([one_sided, central]) / slope - 1)
digits = -np.log10(np.maximum(errors, 1e-16))
names = [f"1e-{k}" for k in range(1, 13)]
show(digits[:, :8], "right digits, by the step", rows=["one-sided", "central"], cols=names[:8])
best = digits.max(axis=1)
print("most right digits: one-sided {:.1f}, central {:.1f}".format(*best))
print("with a step of 1e-12: one-sided {:.1f}, central {:.1f}".format(*digits[:, -1]))
assert best[1] > best[0] + 1
assert digits[1, -1] < best[1] - 3

# %% [markdown]
# ## Five gradients for softmax
# Softmax turns each row of scores into positive numbers that sum to 1: p = eˢ / Σ eˢ. (Lesson 15
# derives its gradient.) The first line below is right. The others are mistakes that people make.


# %%
def softmax(s: np.ndarray) -> np.ndarray:
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


CANDIDATES = {
    "right": lambda p, dp: p * (dp - (dp * p).sum(axis=-1, keepdims=True)),
    "zeros": lambda p, dp: np.zeros_like(p),
    "flipped sign": lambda p, dp: -p * (dp - (dp * p).sum(axis=-1, keepdims=True)),
    "plain mean": lambda p, dp: p * (dp - dp.mean(axis=-1, keepdims=True)),
    "sum forgotten": lambda p, dp: p * dp,
}
p = softmax(s)
print("p:", *p.round(2), "sums:", p.sum(axis=-1))
assert np.allclose(p.sum(axis=-1), 1)


# %%
def differences(u: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Return the gradient of sum(u * softmax(s)): one central difference for each element of s."""
    gradient = np.zeros_like(s)
    for index in np.ndindex(s.shape):
        change = np.zeros_like(s)
        change[index] = step
        difference = softmax(s + change) - softmax(s - change)
        gradient[index] = (u * difference).sum() / (2 * step)
    return gradient


# %% [markdown]
# ## Which check rejects the wrong ones?
# The simplest loss is the plain sum of all outputs, so dp is 1 everywhere. The other loss weights
# each output by its own random number u. (In papers, u is called a *cotangent*.) A one below means
# that the check rejects a gradient.

# %%
losses = {"plain sum": np.ones_like(s), "random": rng.standard_normal(s.shape)}
rejected = np.array(
    [
        [not np.allclose(backward(p, u), differences(u), atol=1e-8) for u in losses.values()]
        for backward in CANDIDATES.values()
    ]
)
show(rejected, "which gradients are rejected", rows=list(CANDIDATES), cols=["sum", "random"])
print("by the plain sum: ", differences(losses["plain sum"])[0].round(9))
print("by random weights:", differences(losses["random"])[0].round(4))
print("right gradient:   ", CANDIDATES["right"](p, losses["random"])[0].round(4))
assert rejected[:, 1].tolist() == [False, True, True, True, True]
assert rejected[:, 0].tolist() == [False, False, False, False, True]

# %% [markdown]
# The plain sum accepts three wrong gradients. The reason: a row of softmax sums to 1 for every s,
# so this loss never changes. Its true gradient is zero, and zero has no sign and no size to
# compare. With random weights every output counts differently, and each mistake shows.
#
# ## The engine's check
# `gradcheck` draws random weights by itself. It also refuses to pass when all gradients are zero,
# since such a check could not fail. To see that it finds the mistake, we break the engine: inside
# `bug("zero-softmax-backward")` its softmax returns zeros as the gradient.


# %%
def verdict(function) -> str:
    try:
        gradcheck(function, Tensor(s, requires_grad=True))
    except GradcheckError as error:
        return str(error)
    return "passed"


whole = verdict(lambda scores: scores.softmax(-1))
summed = verdict(lambda scores: scores.softmax(-1).sum())
with bug("zero-softmax-backward"):
    broken = verdict(lambda scores: scores.softmax(-1))
for name, result in (("softmax", whole), ("its plain sum", summed), ("broken softmax", broken)):
    print(f"{name:15s}{result}")
assert whole == "passed"
assert "all gradients are zero" in summed
assert "backward gives 0" in broken

# %% [markdown]
# Before you trust a check, give it something wrong and see it fail. For gradients: central
# differences in float64, a step near 10⁻⁶, every element, and random weights of the outputs.
#
# Exercises: `tape/gradcheck`.
#
# Next: 05_bert_number_by_number.py.
