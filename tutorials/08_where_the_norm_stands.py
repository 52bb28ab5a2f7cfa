# %% [markdown]
# # 8. Where the norm stands
# BERT normalises *after* each residual (post-LN), MegatronBERT *before* each block (pre-LN):
#
#     post-LN   x ← LN(x + f(x))          pre-LN   x ← x + f(LN(x)), and one LN behind the last
#
# Shoeybi et al. (2019, arXiv:1909.08053, section 5.3, figure 7) moved the norm because BERTs larger
# than BERT-large came out worse; with the norm moved they came out better. Xiong et al. (2020,
# arXiv:2002.04745) explain by the gradients at the start why post-LN needs warm-up, and pre-LN not.
# We derive what to expect, measure it, and train both, 12 layers deep and very narrow. A single run
# can be luck, so each model is trained from five seeds, and claims are about the median.

# %%
import math
import sys

from tinybert import (
    BertConfig,
    BertForMaskedLM,
    MegatronBertConfig,
    MegatronBertForMaskedLM,
    manual_seed,
    nn,
)
from tinybert.optim import AdamW

# isort: split
import numpy as np  # after tinybert, which lets NumPy's idle threads sleep

LINES = """the malt that lay in the house that jack built
the rat that ate the malt that lay in the house
the cat that killed the rat that ate the malt
the dog that worried the cat that killed the rat
the cow with the crumpled horn that tossed the dog
the maiden all forlorn that milked the cow
the man all tattered and torn that kissed the maiden
the priest all shaven and shorn that married the man
the cock that crowed in the morn that waked the priest
the farmer sowing his corn that kept the cock"""
lines = 2 * [line.split() for line in LINES.splitlines()]  # each twice, hidden in other places
words = ["[PAD]", "[MASK]", *sorted({word for line in lines for word in line})]
B, T, V, D, L = len(lines), max(map(len, lines)), len(words), 32, 12
ids = np.array([[*map(words.index, line)] + [0] * (T - len(line)) for line in lines])  # (B, T)
SEEDS, STEPS, WARM, RATE = range(5), 60, 40, 0.003
assert (B, T, V) == (20, 11, 43)


# %%
def model_of(kind: str, seed: int, layers: int = L) -> nn.Module:
    """Build a fresh model, "post" or "pre", with the same sizes and spread of its weights."""
    manual_seed(seed)
    sizes = {
        "vocab_size": V, "hidden_size": D, "num_hidden_layers": layers, "num_attention_heads": 2,
        "intermediate_size": 4 * D, "max_position_embeddings": T, "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.02 * math.sqrt(1024 / D),  # BERT-large's, for our width
    }  # fmt: skip
    if kind == "post":
        return BertForMaskedLM(BertConfig(**sizes))
    return MegatronBertForMaskedLM(MegatronBertConfig(**sizes))


def batch(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Mask a fifth of the words of all lines."""
    hidden = (rng.random((B, T)) < 0.2) & (ids > 0)
    labels = np.where(hidden, ids, -100)
    return {"input_ids": np.where(hidden, 1, ids), "attention_mask": ids > 0, "labels": labels}


# %% [markdown]
# ## What to expect
# Say that a block gives numbers of variance s² for a normalised input, independent of x, and that
# backward it changes the size of a gradient as much as it changes the size of numbers forward: so
# it is for random square matrices. (A layer has two blocks: attention and feed-forward.)
#
# **Pre-LN.** Each block adds s² to the variance: after k of them σₖ² = σ₀² + k s². The numbers grow
# like √k, and the norm at the end is needed to bring them back to size 1. Backward, that norm
# divides the gradient by its σ. Then each block passes it on through x, and adds what comes through
# f, divided by the σₖ of its own norm: the square grows by the factor 1 + s²/σₖ² = σₖ₊₁²/σₖ². In
# the product of these factors all but the first and the last cancel:
#
#     |dxₖ| = |dy| / σₖ        dy: the gradient of the output of the last norm
#
# **Post-LN.** Each norm divides x + f(x) by √(1+s²), in both directions. Backward, the square gets
# a factor (1 + s²)/(1 + s²) = 1. That is fine as well, but it needs both terms: the residuals alone
# leave only (1+s²)⁻ᴸ after 2L norms, and the rest must come through the blocks. If the blocks pass
# back less than they add forward, the gradient shrinks exponentially with depth.


# %%
def measure(model: nn.Module) -> dict[str, list[float]]:
    """Measure size, gradient and cosine of the hidden states, and what each norm divides by."""
    divided: list[float] = []
    for module in model.bert.encoder.modules():
        if isinstance(module, nn.LayerNorm):
            module.register_forward_pre_hook(
                lambda _, inputs: divided.append(float(inputs[0].numpy().std(axis=-1).mean()))
            )
    output = model(**batch(np.random.default_rng(99)), output_hidden_states=True)
    states = output.hidden_states  # (B, T, D) each
    for state in states:
        state.retain_grad()
    output.loss.backward()
    units = [s.numpy() / np.linalg.norm(s.numpy(), axis=-1, keepdims=True) for s in states]
    return {
        "size": [float(s.numpy().std()) for s in states],
        "gradient": [float(np.linalg.norm(s.grad.numpy())) for s in states],
        "alike": [float((u[ids > 0].mean(axis=0) ** 2).sum()) for u in units],  # mean cosine
        "divided": divided,
    }


def over_seeds(measured: list[dict[str, list[float]]], key: str) -> np.ndarray:
    """One measure of all seeds, by depth: (seeds, depth)."""
    return np.array([one[key] for one in measured])


def median(values: np.ndarray) -> np.ndarray:
    return np.median(values, axis=0)


# %%
fresh = {kind: [measure(model_of(kind, seed)) for seed in SEEDS] for kind in ("post", "pre")}
size = {kind: over_seeds(fresh[kind], "size") for kind in fresh}
gradient = {kind: over_seeds(fresh[kind], "gradient") for kind in fresh}
expected = gradient["pre"][:, L:] / size["pre"]  # |dy| / σ of each layer
residuals = np.prod(1 / over_seeds(fresh["post"], "divided"), axis=1)
print("fresh    post-LN             pre-LN              (medians)")
print("layer    size  gradient      size  gradient  expected")
for k, row in enumerate(zip(*(median(x[kind]) for kind in fresh for x in (size, gradient)),
                            median(expected), strict=True)):  # fmt: skip
    print("{:5d} {:8.2f}  {:8.3f}  {:8.2f}  {:8.3f}  {:8.3f}".format(k, *row))
print(f"post-LN: the residuals alone would leave {median(residuals):.2f} of the gradient")

# Pre-LN grows; the last norm (k = L) brings the size back to 1.
assert median(size["pre"][:, L - 1] / size["pre"][:, 1]) > 2
assert np.allclose(size["pre"][:, L], 1, atol=0.01)
ratio = median(gradient["pre"] / expected)[1:]
assert np.all((ratio > 0.45) & (ratio < 1.4))  # least at the bottom: blocks pass back less
# Post-LN: size 1 everywhere; more of the gradient arrives than the residuals alone would leave.
assert np.allclose(size["post"], 1, atol=0.01)
assert median(gradient["post"][:, 0] / gradient["post"][:, L] / residuals) > 2

# %% [markdown]
# So at the start both are sound. It is the bottom of pre-LN that gets the largest gradients. The
# gradients of weights follow: dW = dyᵀ x (tutorial 5), with a normalised x in both. Xiong et al.
# compare the weights next to the *output*: those of post-LN get more, by about the σ of the last
# norm.


# %%
def last_weight(kind: str, seed: int) -> float:
    """The gradient's norm at the last matrix of a fresh model's last layer, for |dy| = 1."""
    model = model_of(kind, seed)
    model(**batch(np.random.default_rng(99))).loss.backward()
    dweight = model.bert.encoder.layer[L - 1].output.dense.weight.grad.numpy()
    return float(np.linalg.norm(dweight)) / gradient[kind][SEEDS.index(seed), L]


ratio = median([last_weight("post", seed) / last_weight("pre", seed) for seed in SEEDS])
last_norm = median(over_seeds(fresh["pre"], "divided"))[-1]
print(f"at the last weight post-LN gets {ratio:.2f} times the gradient of pre-LN,")
print(f"whose last norm divides by {last_norm:.2f}")
assert 1.2 < ratio < 3

# %% [markdown]
# ## Train
# All with the same learning rate and the same batches: at once at full rate, or with a warm-up in
# which the rate rises from 0 in a straight line. A model that ignores the context and only knows
# how often each word occurs has a loss equal to the entropy of the words; a model that uses the
# rest of the line can do much better.


# %%
def train(kind: str, seed: int, warm: int, layers: int = L) -> tuple[nn.Module, np.ndarray]:
    """Train a model; return it and its losses, as means of ten steps."""
    model, rng, losses = model_of(kind, seed, layers), np.random.default_rng(seed), []
    optimizer = AdamW(model.parameters(), weight_decay=0.0)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = RATE * min(1.0, (step + 1) / max(warm, 1))
        loss = model(**batch(rng)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return model, np.reshape(losses, (-1, 10)).mean(axis=1)


share = np.bincount(ids[ids > 0]) / (ids > 0).sum()
entropy = -(share[share > 0] * np.log(share[share > 0])).sum()
print(f"\nentropy of the words: {entropy:.2f}. Loss, mean of ten steps, median of the seeds:")
runs, curves, last = {}, {}, {}
for name, (kind, *arguments) in {
    "post-LN": ("post", 0), "post-LN, warm-up": ("post", WARM), "pre-LN": ("pre", 0),
    "post-LN, 4 layers": ("post", 0, 4),
}.items():  # fmt: skip
    trained = [train(kind, seed, *arguments) for seed in SEEDS]
    runs[name] = [measure(model) for model, _ in trained]
    curves[name] = np.array([losses for _, losses in trained])  # (seeds, tens of steps)
    ends = curves[name][:, -1]
    last[name] = median(ends)
    shown = " ".join(f"{mean:5.2f}" for mean in median(curves[name]))
    print(f"{name:18s} {shown}   last: {ends.min():.2f} to {ends.max():.2f}")
assert abs(last["post-LN"] - entropy) < 0.15  # it has learnt nothing else
for name in ("post-LN, warm-up", "pre-LN"):
    assert last[name] < entropy - 0.1
assert last["post-LN, 4 layers"] < 2

# %% [markdown]
# In the median, the deep post-LN model without warm-up learns how often words occur, and then
# nothing. With 4 layers it learns, at the same rate; with warm-up the deep one learns too; pre-LN
# learns without warm-up. The seeds differ: the ranges overlap, some post-LN models escape without
# warm-up, and some do not learn with it. Below are the gradients at the end, the median of the
# seeds on a logarithmic scale: two marks are a factor of 10.

# %%
deep = {name: measured for name, measured in runs.items() if name != "post-LN, 4 layers"}
gradient = {name: over_seeds(measured, "gradient") for name, measured in deep.items()}
alike = {name: over_seeds(measured, "alike") for name, measured in deep.items()}


def bar(value: float) -> str:
    return "#" * max(0, round(2 * math.log10(value / 1e-7)))


print("\nlayer ", *(f"{name:16s}" for name in deep))
for k in range(L + 1):
    print(f"{k:5d} ", *(f"{bar(median(gradient[name])[k]):16s}" for name in deep))
reach = {name: gradient[name][:, 0] / gradient[name][:, L] for name in deep}
for name in deep:
    spread = f"({reach[name].min():.2g} to {reach[name].max():.2g})"
    cosine = median(alike[name])[L]
    print(f"{name:16s} bottom / top {median(reach[name]):7.2g} {spread:20s} cosine {cosine:4.2f}")
assert median(reach["post-LN"]) < 0.01
for name in ("post-LN, warm-up", "pre-LN"):
    assert median(reach[name]) > 0.3

# %% [markdown]
# The gradients were not bad at the start. But Adam moves every weight of every layer by about the
# learning rate, from the first step on. The result: the blocks are larger than they were, and all
# hidden states are alike, whatever the words (their mean cosine is 1). Blocks that give the same
# output for all inputs pass back almost nothing. What is left is about what the residuals leave,
# and that shrinks exponentially with depth, as derived. No gradient tells the lower layers how to
# make words differ again.
#
# In pre-LN the blocks grow too, and with them σ, so its gradients get smaller. But they shrink by
# about the same factor at all depths, and Adam divides by their size.

# %%
divided = over_seeds(runs["post-LN"], "divided")
print(f"post-LN, no warm-up: the residuals leave {median(np.prod(1 / divided, axis=1)):.1g}")
larger = divided.mean(axis=1) / over_seeds(fresh["post"], "divided").mean(axis=1)
assert median(larger) > 1.25  # larger blocks
assert median(alike["post-LN"][:, L]) > 0.95
assert median(alike["post-LN, warm-up"][:, L]) < 0.7
assert median(alike["pre-LN"].max(axis=1)) < 0.9
assert median(over_seeds(runs["pre-LN"], "size")[:, L - 1] / size["pre"][:, L - 1]) > 2
inner = gradient["pre-LN"][:, 2:L]
assert median(inner.max(axis=1) / inner.min(axis=1)) < 4

# %% [markdown]
# ## What this does not show
# Megatron's BERTs had 24 layers and more, warm-up, and weeks of training; ours have a rhyme. We saw
# that depth without warm-up breaks most post-LN models and few pre-LN models, at one learning rate
# and in 60 steps. We did not see that post-LN is worse where it trains: the shallow model learnt
# best of all, and with warm-up the deep post-LN model is not behind pre-LN. And the numbers of
# pre-LN grow, which has a price: the deeper a layer, the smaller is its share of the sum.

# %%
assert min(last, key=lambda name: last[name]) == "post-LN, 4 layers"
assert last["post-LN, warm-up"] < last["pre-LN"] + 0.2

# %% [markdown]
# ## Try
# Before you run it, say what you expect. What changes
# - with `RATE = 0.001`, and with `RATE = 0.01`? With 24 layers?
# - with other seeds? How many does a claim about warm-up need? Does pre-LN gain by it?
# - if the last map of each block is divided by √(2L) at the start, as Shoeybi et al. do (section
#   4.2)? Multiply the weights of `attention.output.dense` and `output.dense` in `model_of`.
# - with SGD instead of Adam?
#
# `python 08_where_the_norm_stands.py norms.png` draws it all.

# %%
assert {curve.shape for curve in curves.values()} == {(len(SEEDS), STEPS // 10)}
for path in (argument for argument in sys.argv[1:] if argument.endswith(".png")):
    from matplotlib.figure import Figure  # pip install "tinybert[plot]"

    figure = Figure(figsize=(13, 4.2), layout="constrained")
    start, end, course = figure.subplots(1, 3)
    for kind in fresh:
        start.semilogy(median(over_seeds(fresh[kind], "gradient")), "o-", label=f"{kind}-LN")
    start.semilogy(range(1, L + 1), median(expected)[1:], "k:", label="pre-LN, expected")
    for name in deep:
        end.semilogy(median(gradient[name]), "o-", label=name)
    for name, curve in curves.items():
        steps = 10 * np.arange(curve.shape[1]) + 5
        (line,) = course.plot(steps, median(curve), label=name)
        course.fill_between(
            steps, curve.min(axis=0), curve.max(axis=0), alpha=0.15, fc=line.get_color()
        )
    course.axhline(entropy, color="k", linestyle=":", label="word frequencies")
    for axes, title in ((start, "at the start"), (end, f"after {STEPS} steps")):
        axes.set(title=title, xlabel="layer", ylabel="norm of the gradient")
    course.set(title="training", xlabel="step", ylabel="loss")
    for axes in figure.axes:
        axes.legend(fontsize=8)
    figure.savefig(path)
# Next: the files in which weights are kept, 09_weights_by_hand.py.
