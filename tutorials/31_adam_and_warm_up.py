# %% [markdown]
# # 31. Adam and warm-up: steps of one size
# Gradients of different weights can differ by a factor of a thousand, and no learning rate fits all
# of them. Adam gives each weight a step size of its own. Its first steps are too large for a deep
# network, and warm-up makes them small.
#
# **You will be able to** write a step of AdamW, say how large it is, and explain warm-up.
#
# **You need** lessons 1 (gradients) and 27 (a training loop).
#
# **Minutes** 20
#
# | symbol | shape | meaning |
# |---|---|---|
# | w, g | (weights) | the weights, and the gradient of the loss with respect to them |
# | m, v | as w | running means of g and of g² |
# | t, lr | | the number of the step, from 1, and the learning rate |
# | beta1, beta2 | | how much of m and of v is kept in each step: 0.9 and 0.999 |
# | eps | | 10⁻⁸: avoids a division by 0 |
# | decay | | weight decay: w shrinks by the factor 1 − lr · decay in each step |

# %%
from tinybert import BertConfig, BertForMaskedLM, Tensor, manual_seed, show
from tinybert.optim import AdamW, get_constant_schedule_with_warmup

# isort: split
import numpy as np  # after tinybert, which lets NumPy's idle threads sleep

SEEDS = range(5)
STEPS, WARM, RATE = 60, 40, 0.005
rng = np.random.default_rng(0)

# %% [markdown]
# ## The step of AdamW
# m and v start at 0, so at first they are too small, by the factors 1 − beta1ᵗ and 1 − beta2ᵗ. We
# divide by these factors. Then m is about the mean of g, √v is about the size of g, and their ratio
# has no unit: gradients a thousand times larger give the same step.


# %%
def adamw(w, g, m, v, t, lr, decay=0.0, beta1=0.9, beta2=0.999, eps=1e-8):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    ratio = m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)
    return w - lr * decay * w - lr * ratio, m, v


w, m, v, parameter = np.ones(3), np.zeros(3), np.zeros(3), Tensor(np.ones(3), requires_grad=True)
optimizer = AdamW([parameter], lr=0.1, weight_decay=0.01)
for t, g in enumerate(rng.standard_normal((5, 3)), 1):
    w, m, v = adamw(w, g, m, v, t, lr=0.1, decay=0.01)
    parameter.grad = Tensor(g)
    optimizer.step()
print("w after 5 steps, by hand:", w.round(6), " by the engine:", parameter.numpy().round(6))
assert np.allclose(parameter.numpy(), w)

# %% [markdown]
# ## One rate for a flat and a steep direction
# The loss (w₀² + 1000 w₁²) / 2 has the gradient (w₀, 1000 w₁). Gradient descent with a rate above
# 2/1000 makes w₁ grow without limit. With a rate below, w₀ hardly moves. Adam takes the same path
# in both directions.

# %%
curvature, m, v, paths = np.array([1.0, 1000.0]), np.zeros(2), np.zeros(2), []
descent = adam = np.ones(2)
for t in range(1, 81):
    descent = descent - 0.0019 * curvature * descent
    adam, m, v = adamw(adam, curvature * adam, m, v, t, lr=0.02)
    paths.append([*descent, *adam])
names = ["descent w0", "descent w1", "adam w0", "adam w1"]
show(np.transpose(paths)[:, 9::10], "weights by step", rows=names, cols=range(10, 90, 10))
assert descent[0] > 0.8
assert np.allclose(adam[0], adam[1], atol=1e-6)

# %% [markdown]
# ## How large a step is
# In step 1 the ratio is g / |g|: every weight moves by lr, whether its gradient is a clear slope or
# the noise of one batch. Later m averages over about ten steps. Noise cancels there, a slope does
# not. The ratio falls to √((1 − beta1) / (1 + beta1)) = 0.23 for noise, and stays 1 for a slope. So
# in the first steps noise moves the weights about four times as far as later (Ma and Yarats 2019,
# arXiv:1910.04209).

# %%
w, m, v, sizes = np.zeros(10_000), np.zeros(10_000), np.zeros(10_000), []
for t in range(1, 51):
    before = w
    w, m, v = adamw(w, rng.standard_normal(10_000), m, v, t, lr=1.0)
    sizes.append(np.sqrt(np.mean((w - before) ** 2)))
at = [1, 2, 3, 5, 10, 20, 50]
show([[sizes[t - 1] for t in at]], "size of a step by noise, in units of lr", cols=at)
limit = np.sqrt((1 - 0.9) / (1 + 0.9))
print(f"size at step 1: {sizes[0]:.3f}, at step 50: {sizes[-1]:.3f}, limit {limit:.3f}")
assert np.allclose([sizes[0], sizes[-1]], [1, limit], rtol=0.05)

# %% [markdown]
# ## Warm-up
# The remedy is a learning rate that rises from 0 in a straight line, RATE · step / WARM until it is
# RATE. We train a BERT of 16 layers and 32 features to fill in masked words of 5 sentences of
# random words. A model that has learnt only how often each word occurs has a loss equal to the
# entropy of the words. One run can be luck, so we train from five seeds.

# %%
# Five sentences of 11 words from 42, each four times; number 0 is the mask.
sentences = np.tile(np.random.default_rng(0).integers(1, 43, (5, 11)), (4, 1))
shares = np.unique(sentences, return_counts=True)[1] / sentences.size
entropy = -(shares * np.log(shares)).sum()
config = BertConfig(
    vocab_size=43, hidden_size=32, num_hidden_layers=16, num_attention_heads=2,
    intermediate_size=128, max_position_embeddings=11, hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0, initializer_range=0.11,
)  # fmt: skip


# %%
def train(seed: int, warm: int) -> np.ndarray:
    """Return the losses of a training, as means of ten steps."""
    manual_seed(seed)
    rng, model, losses = np.random.default_rng(seed), BertForMaskedLM(config), []
    optimizer = AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    schedule = get_constant_schedule_with_warmup(optimizer, warm)
    for _ in range(STEPS):
        masked = rng.random(sentences.shape) < 0.2
        labels = np.where(masked, sentences, -100)  # -100: not counted
        loss = model(input_ids=np.where(masked, 0, sentences), labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return np.reshape(losses, (-1, 10)).mean(axis=1)


# %%
curves = {name: np.array([train(seed, warm) for seed in SEEDS])
          for name, warm in (("at once", 0), ("warm-up", WARM))}  # fmt: skip
medians = [np.median(curve, axis=0) for curve in curves.values()]
show(medians, "loss by step, median of the seeds", rows=list(curves), cols=range(10, STEPS + 1, 10))
print(f"entropy of the words {entropy:.2f}. Loss of the last ten steps, each seed:")
for name, curve in curves.items():
    print(f"{name}: median {np.median(curve[:, -1]):.2f}, seeds", np.sort(curve[:, -1]).round(2))
assert medians[0][-1] > entropy - 0.4
assert medians[1][-1] < entropy - 0.8

# %% [markdown]
# A step of Adam has the size of the learning rate, in the first steps even for noise. So a deep
# network needs a rate that starts small. This is true of medians: a single seed can differ.
#
# Exercises: `parts/adam`, `parts/adamw`, `parts/warmup`, `parts/clip`.
#
# Next: 32_pre_training.py.
