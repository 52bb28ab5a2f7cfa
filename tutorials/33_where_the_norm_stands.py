# %% [markdown]
# # 33. Pre-LN and post-LN: layer norm before or after the block
# A Transformer adds the output of each block to its input. BERT normalizes the sum (*post-LN*).
# MegatronBERT normalizes the input of the block (*pre-LN*), as most later models do. The choice
# decides whether a deep model trains without warm-up (Xiong et al. 2020, arXiv:2002.04745).
#
# **You will be able to** derive how states and gradients change with depth in both forms, and say
# what goes wrong in deep post-LN models.
#
# **You need** lessons 17 (layer norm), 24 (a layer backward) and 31 (Adam and warm-up).
#
# **Minutes** 20
#
# | symbol | shape | meaning |
# |---|---|---|
# | B, D, L | | vectors, features, blocks: 64, 256, 24 in the first part |
# | x | (B, D) | the state, the input of a block; x[k] is the state after k blocks |
# | f(x), LN(x) | (B, D) | a block (attention or feed-forward), and layer norm |
# | size[k], s | | the standard deviations of x[k], and of f(x) for a normalized x |
# | dy, dx[k] | (B, D) | the gradients of the loss with respect to the result, and to x[k] |

# %%
import tinybert
import tinybert.functional as F
from tinybert import Tensor, show
from tinybert.optim import AdamW

# isort: split
import numpy as np  # after tinybert, which lets NumPy's idle threads sleep

SEEDS = range(5)
STEPS, RATE, rng = 80, 0.003, np.random.default_rng(0)

# %% [markdown]
# ## What to expect
#
#     post-LN   x ← LN(x + f(x))          pre-LN   x ← x + f(LN(x)), and one LN after the last block
#
# **Pre-LN, forward.** Each block adds numbers of variance s², so size[k]² = size[0]² + k s². The
# last LN brings the states back to size 1. **Backward**, this LN divides the gradient by size[L].
# Each block passes it on along the sum, and adds what comes through f, whose LN divides by size[k]:
# |dx[k]|² grows by the factor 1 + s² / size[k]² = size[k + 1]² / size[k]². In the product of these
# factors all but two numbers cancel, and |dx[k]| = |dy| / size[k].
#
# **Post-LN, forward.** Each LN divides x + f(x) by √(1 + s²), so the size is always 1.
# **Backward**, what comes through f makes the gradient √(1 + s²) times as large, and the LN divides
# it by the same number. But if nothing comes through f ("no f" below), only the division is left,
# and the gradient shrinks exponentially with depth. We test this with random matrices as blocks.

# %%
B, D, L, s = 64, 256, 24, 0.7
matrices = rng.standard_normal((L, D, D)) * s / np.sqrt(D)
start, dy = rng.standard_normal((B, D)), rng.standard_normal((B, D))
BLOCKS = {
    "pre": lambda x, w: x + F.layer_norm(x, D) @ w,
    "post": lambda x, w: F.layer_norm(x + x @ w, D),
    "no f": lambda x, w: F.layer_norm(x + (x @ w).detach(), D),  # nothing comes back through x @ w
}


def measure(form: str) -> list[np.ndarray]:
    """Return size[k] and |dx[k]| / |dy| for k = 0 to L."""
    states = [Tensor(start, requires_grad=True)]
    for w in matrices:
        states.append(BLOCKS[form](states[-1], w))
        states[-1].retain_grad()
    (F.layer_norm(states[-1], D) if form == "pre" else states[-1]).backward(dy)
    gradients = [np.linalg.norm(x.grad.numpy()) / np.linalg.norm(dy) for x in states]
    return [np.array([x.numpy().std() for x in states]), np.array(gradients)]


# %%
k, ones = np.arange(L + 1), np.ones(L + 1)
grown, shrunk = np.sqrt(1 + k * s**2), (1 + s**2) ** (-(L - k) / 2)
expected = {"pre": [grown, 1 / grown], "post": [ones, ones], "no f": [ones, shrunk]}
measured = {form: measure(form) for form in expected}
names = [name for form in BLOCKS for name in (form, "  expected")]
for i, what in enumerate(["size[k]", "|dx[k]| / |dy|"]):
    rows = [values[form][i][::4] for form in BLOCKS for values in (measured, expected)]
    show(rows, f"{what}, measured and expected, by k", rows=names, cols=k[::4])
assert all(np.allclose(measured[form], expected[form], rtol=0.2) for form in BLOCKS)

# %% [markdown]
# ## Training without warm-up
# Now we train deep models of both forms without warm-up, on the masked words of lesson 31. A model
# that has learnt only how often each word occurs has a loss equal to the entropy of the words. At
# the end we measure |dx[k]| after k layers, and the mean correlation of the last states of words.

# %%
sentences = np.tile(np.random.default_rng(0).integers(1, 43, (5, 11)), (4, 1))
shares = np.unique(sentences, return_counts=True)[1] / sentences.size
entropy = -(shares * np.log(shares)).sum()
sizes = {
    "vocab_size": 43, "hidden_size": 32, "num_hidden_layers": 16, "num_attention_heads": 2,
    "intermediate_size": 128, "max_position_embeddings": 11, "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0, "initializer_range": 0.11,
}  # fmt: skip
KINDS = {
    "post": (tinybert.BertForMaskedLM, tinybert.BertConfig),
    "pre": (tinybert.MegatronBertForMaskedLM, tinybert.MegatronBertConfig),
}


# %%
def train(form: str, seed: int) -> tuple[float, np.ndarray, float]:
    """Return the last loss, |dx[k]| / |dx[16]|, and the mean correlation of the last states."""
    tinybert.manual_seed(seed)
    kind, config = KINDS[form]
    rng, model, losses = np.random.default_rng(seed), kind(config(**sizes)), []
    optimizer = AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    for _ in range(STEPS):
        masked = rng.random(sentences.shape) < 0.2
        inputs, labels = np.where(masked, 0, sentences), np.where(masked, sentences, -100)
        output = model(input_ids=inputs, labels=labels, output_hidden_states=True)
        for state in output.hidden_states:
            state.retain_grad()
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        losses.append(output.loss.item())
    norms = np.array([np.linalg.norm(x.grad.numpy()) for x in output.hidden_states])
    words = output.hidden_states[-1].numpy().reshape(-1, 32)  # (words, D)
    return np.mean(losses[-10:]), norms / norms[-1], np.corrcoef(words).mean()


# %%
medians, reach = {}, []
for form in KINDS:
    runs = zip(*(train(form, seed) for seed in SEEDS), strict=True)
    losses, norms, means = (np.array(values) for values in runs)
    medians[form] = np.median(losses), np.median(means)
    reach.append(np.log10(np.median(norms, axis=0)))
    print("{}: median loss {:.2f}, median correlation {:.2f}".format(form, *medians[form]))
    print("  seeds: losses", np.sort(losses).round(2), " correlations", np.sort(means).round(2))
print(f"entropy of the words: {entropy:.2f}")
rows, cols = list(KINDS), range(0, 17, 2)
show(np.array(reach)[:, ::2], "log10 of |dx[k]| / |dx[16]|, by k, medians", rows=rows, cols=cols)
assert medians["post"][0] > entropy - 0.3 > medians["pre"][0]
assert medians["post"][1] > 0.9 > medians["pre"][1]
assert reach[0][0] < -1 < 0 < reach[1][0]

# %% [markdown]
# The post-LN models know only how often words occur. Adam's first large steps have made their last
# states the same for all words. Blocks with the same output for all words send almost no gradient
# back, and the rest shrinks with depth, as in "no f". In pre-LN the gradient also passes along the
# sum, which no LN divides. It is largest at k = 0, since the first states, the embeddings, are the
# smallest. With warm-up, deep post-LN models learn as well (lesson 31).
#
# Exercises: `bert/pre_ln`.
# Next: 34_greedy_and_sampling.py.
