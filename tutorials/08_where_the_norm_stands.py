# %% [markdown]
# # 8. Where the norm stands
# BERT normalises *after* each residual (post-LN), MegatronBERT *before* each block (pre-LN):
#
#     post-LN   x ← LN(x + f(x))          pre-LN   x ← x + f(LN(x)), and one LN behind the last
#
# Shoeybi et al. (2019, arXiv:1909.08053, section 5.3, figure 7) moved the norm because BERTs larger
# than BERT-large came out worse; with the norm moved they came out better. Xiong et al. (2020,
# arXiv:2002.04745) explain by the gradients at the start why post-LN needs warm-up, and pre-LN not.
# We derive what to expect, measure it, and train both, 12 layers deep and very narrow.

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
SEED, STEPS, WARM, RATE = 4, 80, 40, 0.003
assert (B, T, V) == (20, 11, 43)


# %%
def model_of(kind: str, layers: int = L) -> nn.Module:
    """A fresh model, "post" or "pre", with the same sizes and the same spread of its weights."""
    manual_seed(SEED)
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
    """All lines, a fifth of their words hidden."""
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
# f, divided by the σₖ of its own norm: the square grows by the factor 1 + s²/σₖ² = σₖ₊₁²/σₖ². All
# these factors cancel but for the first and the last, and
#
#     |dxₖ| = |dy| / σₖ        dy: behind the last norm
#
# **Post-LN.** Each norm divides x + f(x) by √(1+s²), in both directions. Backward, the square gets
# a factor (1 + s²)/(1 + s²) = 1: also fine, but as the balance of two large things. By the
# residuals alone only (1+s²)⁻ᴸ would be left after 2L norms; the rest must come through the blocks.
# There is no free road down. Where the blocks let less back than they give forward, it gets
# exponentially less with depth.


# %%
def measure(model: nn.Module) -> dict[str, list[float]]:
    """By depth: size, gradient, likeness of the hidden states; what each norm divides by."""
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


# %%
fresh = {kind: measure(model_of(kind)) for kind in ("post", "pre")}
sizes, gradients = np.array(fresh["pre"]["size"]), np.array(fresh["pre"]["gradient"])
expected = gradients[L] / sizes  # |dy| / σ, place by place
road = math.prod(1 / n for n in fresh["post"]["divided"])
print("fresh    post-LN             pre-LN")
print("layer    size  gradient      size  gradient  expected")
for k in range(L + 1):
    post = f"{fresh['post']['size'][k]:8.2f}  {fresh['post']['gradient'][k]:8.3f}"
    print(f"{k:5d} {post}  {sizes[k]:8.2f}  {gradients[k]:8.3f}  {expected[k]:8.3f}")
print(f"post-LN: the norms alone would leave {road:.2f} of the gradient")

# Pre-LN grows; behind the last norm (k = L) the size is 1.
assert sizes[L - 1] > 2.5 * sizes[1]
assert abs(sizes[L] - 1) < 0.01
ratio = gradients[1:] / expected[1:]
assert np.all((ratio > 0.45) & (ratio < 1.4))  # least below: blocks return less than they give
# Post-LN: size 1 everywhere; more of the gradient arrives than the norms alone would leave.
assert np.allclose(fresh["post"]["size"], 1, atol=0.01)
assert fresh["post"]["gradient"][0] / fresh["post"]["gradient"][L] > 2 * road

# %% [markdown]
# So at the start both are sound, here. It is the bottom of pre-LN that gets the largest gradients.
# The weights follow: dW = dyᵀ x (tutorial 5), with a normalised x in both. Xiong et al. compare
# the weights next to the *output*: those of post-LN get more, by about the σ of the last norm.


# %%
def last_weight(kind: str) -> float:
    """The gradient's norm at the last map of a fresh model's last layer, for |dy| = 1."""
    model = model_of(kind)
    model(**batch(np.random.default_rng(99))).loss.backward()
    dweight = model.bert.encoder.layer[L - 1].output.dense.weight.grad.numpy()
    return float(np.linalg.norm(dweight)) / fresh[kind]["gradient"][L]


ratio = last_weight("post") / last_weight("pre")
print(f"at the last weight post-LN gets {ratio:.2f} times the gradient of pre-LN,")
print(f"whose last norm divides by {fresh['pre']['divided'][-1]:.2f}")
assert 1.3 < ratio < 3

# %% [markdown]
# ## Train
# All with the same learning rate and the same batches: at once at full rate, and with a warm-up in
# which the rate rises from 0 in a straight line. Who looks at nothing and only knows how often each
# word comes pays the entropy of the words; who reads the rest of the line can do much better.


# %%
def train(kind: str, warm: int, layers: int = L) -> tuple[nn.Module, list[float]]:
    """A trained model and its losses."""
    model, rng, losses = model_of(kind, layers), np.random.default_rng(SEED), []
    optimizer = AdamW(model.parameters(), weight_decay=0.0)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = RATE * min(1.0, (step + 1) / max(warm, 1))
        loss = model(**batch(rng)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return model, losses


share = np.bincount(ids[ids > 0]) / (ids > 0).sum()
entropy = -(share[share > 0] * np.log(share[share > 0])).sum()
print(f"\nknowing only how often words come: {entropy:.2f}. Loss, mean of ten steps:")
runs, curves = {}, {}
for name, arguments in {
    "post-LN": ("post", 0), "post-LN, warm-up": ("post", WARM), "pre-LN": ("pre", 0),
    "pre-LN, warm-up": ("pre", WARM), "post-LN, 4 layers": ("post", 0, 4),
}.items():  # fmt: skip
    model, losses = train(*arguments)
    curves[name], runs[name] = np.reshape(losses, (-1, 10)).mean(axis=1), measure(model)
    print(f"{name:18s}", *(f"{mean:5.2f}" for mean in curves[name]))
last = {name: curve[-1] for name, curve in curves.items()}
assert abs(last["post-LN"] - entropy) < 0.2  # it has learnt nothing else
for name in ("post-LN, warm-up", "pre-LN", "pre-LN, warm-up"):
    assert last[name] < entropy - 0.2
assert last["post-LN, 4 layers"] < 2

# %% [markdown]
# The deep post-LN model that starts cold learns how often words come, and then nothing. With 4
# layers it learns, at the same rate; with warm-up the deep one learns too; pre-LN learns either
# way. Here are the gradients at the end, on a logarithmic scale: two marks are a factor of 10.

# %%
ends = {name: measured for name, measured in runs.items() if name != "post-LN, 4 layers"}


def bar(value: float) -> str:
    return "#" * max(0, round(2 * math.log10(value / 1e-7)))


print("\nlayer ", *(f"{name:16s}" for name in ends))
for k in range(L + 1):
    print(f"{k:5d} ", *(f"{bar(measured['gradient'][k]):16s}" for measured in ends.values()))
for name, measured in ends.items():
    ratio = measured["gradient"][0] / measured["gradient"][L]
    print(f"{name:16s} bottom / top {ratio:7.1g}   mean cosine {measured['alike'][L]:4.2f}")
stuck = ends["post-LN"]
assert stuck["gradient"][0] < 1e-3 * stuck["gradient"][L]
for name in ("post-LN, warm-up", "pre-LN", "pre-LN, warm-up"):
    assert ends[name]["gradient"][0] > 0.3 * ends[name]["gradient"][L]

# %% [markdown]
# The gradients were not bad at the start. But Adam moves every weight of every layer by about the
# learning rate, from the first step on. Where that led: the blocks are larger than they were, and
# all hidden states alike, whatever the words (their mean cosine is 1). Blocks that give the same
# for all inputs return next to nothing; what is left below is about what the norms leave, and it
# dies exponentially, as derived. Nothing can tell the lower layers how to make words differ again.
#
# In pre-LN the blocks grow too, and with them σ, so that its gradients get smaller. But they do so
# at all depths alike, and Adam, which divides by their size, does not mind.

# %%
left = math.prod(1 / n for n in stuck["divided"])
print(f"post-LN, cold: the norms alone would leave {left:.1g}")
assert np.mean(stuck["divided"]) > 1.3 * np.mean(fresh["post"]["divided"])  # larger blocks
assert stuck["alike"][L] > 0.95 > 0.5 > ends["post-LN, warm-up"]["alike"][L]
assert max(ends["pre-LN"]["alike"]) < 0.5
assert ends["pre-LN"]["size"][L - 1] > 2 * fresh["pre"]["size"][L - 1]
inner = ends["pre-LN"]["gradient"][2:L]
assert max(inner) < 4 * min(inner)

# %% [markdown]
# ## What this does not show
# Megatron's BERTs had 24 layers and more, warm-up, and weeks of training; ours have a rhyme. We saw
# that depth and a cold start together break post-LN and not pre-LN, at one learning rate and from
# one seed. We did not see that post-LN is worse where it trains: the shallow model learnt best of
# all, and with warm-up the deep ones are about equal. And the numbers of pre-LN grow, which is a
# price: the deeper a layer, the smaller is its share of the sum.

# %%
assert min(last, key=lambda name: last[name]) == "post-LN, 4 layers"
assert abs(last["post-LN, warm-up"] - last["pre-LN, warm-up"]) < 0.5

# %% [markdown]
# ## Try
# Before you run it, say what you expect. What changes
# - with `RATE = 0.001`, and with `RATE = 0.01`? With 24 layers?
# - with other seeds? Does warm-up always help? How many seeds does a claim about it need?
# - if the last map of each block is divided by √(2L) at the start, as Shoeybi et al. do (section
#   4.2)? Multiply the weights of `attention.output.dense` and `output.dense` in `model_of`.
# - if you ask SGD instead of Adam?
#
# `python 08_where_the_norm_stands.py norms.png` draws it all.

# %%
assert {len(curve) for curve in curves.values()} == {STEPS // 10}
for path in (argument for argument in sys.argv[1:] if argument.endswith(".png")):
    from matplotlib.figure import Figure  # pip install "tinybert[plot]"

    figure = Figure(figsize=(13, 4.2), layout="constrained")
    start, end, course = figure.subplots(1, 3)
    for kind in fresh:
        start.semilogy(fresh[kind]["gradient"], "o-", label=f"{kind}-LN")
    start.semilogy(range(1, L + 1), expected[1:], "k:", label="pre-LN, expected")
    for name, measured in ends.items():
        end.semilogy(measured["gradient"], "o-", label=name)
    for name, curve in curves.items():
        course.plot(10 * np.arange(len(curve)) + 5, curve, label=name)
    course.axhline(entropy, color="k", linestyle=":", label="word frequencies")
    for axes, title in ((start, "at the start"), (end, f"after {STEPS} steps")):
        axes.set(title=title, xlabel="layer", ylabel="norm of the gradient")
    course.set(title="training", xlabel="step", ylabel="loss")
    for axes in figure.axes:
        axes.legend(fontsize=8)
    figure.savefig(path)
# Next: the files in which weights are kept, 09_weights_by_hand.py.
