# %% [markdown]
# # 24. Backpropagation through a layer of BERT
# A layer of BERT has attention, two residual connections, two layer norms and a feed-forward block.
# We compute its backward pass in NumPy with pretrained weights, and get the engine's gradients.
#
# **You will be able to** write the backward pass of a whole layer from those of its parts.
#
# **You need** lessons 15 to 20: softmax, GELU, layer norm, attention with several heads, masks.
#
# **Minutes** 20
#
# | symbol | shape | meaning |
# |---|---|---|
# | B, T, D, F, H, K | | texts, tokens, features, those of the feed-forward block, heads, theirs |
# | w | | the 16 parameters of the layer, by name |
# | x, y | (B, T, D) | input and output of the layer |
# | q, k, v | (B, H, T, K) | queries, keys, values |
# | s, p | (B, H, T, T) | attention scores, attention probabilities |
# | context, added | (B, T, D) | output of all heads; a sum at a residual connection |
# | middle, wide, active | (B, T, D), (B, T, F) twice | after the first norm; before, after GELU |
# | Φ, φ, x_hat, r | (B, T, F), ..., (B, T, D), (B, T, 1) | those of lessons 16 and 17 |
# | dx, dw, dp, ... | as x, w, p, ... | the gradients of the loss |

# %%
import math

import numpy as np

from tinybert import BertForMaskedLM, BertTokenizer, show

model = BertForMaskedLM.from_pretrained("embedded").bert.to(dtype="float64")
H, eps = model.config.num_attention_heads, model.config.layer_norm_eps
tokenizer = BertTokenizer.from_pretrained("embedded")
inputs = tokenizer(["The cat sat.", "Look!"], padding=True, return_tensors="np")
tokens = tokenizer.convert_ids_to_tokens(inputs["input_ids"][0])
# The engine skips padding unless it is asked for attention weights. We compute it, so we ask.
states = model(**inputs, output_hidden_states=True, output_attentions=True).hidden_states
states[0].retain_grad()  # keep .grad, though it is not a leaf; layer 0 maps states[0] to states[1]
x = states[0].numpy()
(B, T, D), padded = x.shape, inputs["attention_mask"] == 0  # (B, T)
K, mask = D // H, np.where(padded, np.finfo(x.dtype).min, 0)[:, None, None, :]  # (B, 1, 1, T)
parameters = dict(model.encoder.layer[0].named_parameters())
w = {name: parameter.numpy() for name, parameter in parameters.items()}

# %% [markdown]
# ## Forward
# A linear map is y = x Wᵀ + b. So dx = dy W, dW = dyᵀ x, and db is the sum of dy over all tokens.


# %%
def linear(x, name):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def linear_backward(dy, x, name):
    rows = dy.reshape(-1, dy.shape[-1])  # (B * T, outputs)
    dw[f"{name}.weight"] = rows.T @ x.reshape(-1, x.shape[-1])
    dw[f"{name}.bias"] = rows.sum(axis=0)
    return dy @ w[f"{name}.weight"]


def layer_norm(x, name):
    r = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + eps)
    x_hat = (x - x.mean(axis=-1, keepdims=True)) * r
    return x_hat * w[f"{name}.weight"] + w[f"{name}.bias"], x_hat, r


# %%
def layer_norm_backward(dy, x_hat, r, name):
    dw[f"{name}.weight"] = (dy * x_hat).sum(axis=(0, 1))
    dw[f"{name}.bias"] = dy.sum(axis=(0, 1))
    d = dy * w[f"{name}.weight"]
    return r * (d - d.mean(-1, keepdims=True) - x_hat * (d * x_hat).mean(-1, keepdims=True))


def split(x):  # (B, T, D) to (B, H, T, K), and back in `merge`: each is the backward of the other
    return x.reshape(B, T, H, K).swapaxes(1, 2)


def merge(x):
    return x.swapaxes(1, 2).reshape(B, T, D)


# %%
q, k, v = (split(linear(x, f"attention.self.{name}")) for name in ("query", "key", "value"))
s = q @ k.swapaxes(-1, -2) / math.sqrt(K) + mask
p = np.exp(s - s.max(axis=-1, keepdims=True))
p /= p.sum(axis=-1, keepdims=True)
context = merge(p @ v)  # (B, T, D)
added = x + linear(context, "attention.output.dense")  # a residual connection
middle, x_hat1, r1 = layer_norm(added, "attention.output.LayerNorm")
wide = linear(middle, "intermediate.dense")
Phi = (1 + np.vectorize(math.erf)(wide / math.sqrt(2))) / 2
active = wide * Phi
added = middle + linear(active, "output.dense")  # a residual connection
y, x_hat2, r2 = layer_norm(added, "output.LayerNorm")
show([y[0, 0, :8], states[1].numpy()[0, 0, :8]], "the first features of y", rows=["ours", "engine"])
assert np.allclose(y, states[1].numpy(), atol=1e-10)

# %% [markdown]
# ## Backward
# We read these lines from the last to the first. At a **residual connection**, a + f(a), the
# gradient reaches a directly and through f, and both gradients are added. In BERT the layer norms
# come after the addition (post-LN), so they also change the direct gradient. At a **product**,
# C = A B, the gradients are dA = dC Bᵀ and dB = Aᵀ dC. At **softmax**, the sum Σᵢ dp[i] J[i, j] of
# lesson 15 is p[j] (dp[j] − Σᵢ dp[i] p[i]).


# %%
def layer_backward(dy):
    dadded = layer_norm_backward(dy, x_hat2, r2, "output.LayerNorm")
    dactive = linear_backward(dadded, active, "output.dense")
    phi = np.exp(-(wide**2) / 2) / math.sqrt(2 * math.pi)
    dwide = dactive * (Phi + wide * phi)
    dmiddle = dadded + linear_backward(dwide, middle, "intermediate.dense")  # direct, and through f
    dadded = layer_norm_backward(dmiddle, x_hat1, r1, "attention.output.LayerNorm")
    dcontext = split(linear_backward(dadded, context, "attention.output.dense"))
    dp, dv = dcontext @ v.swapaxes(-1, -2), p.swapaxes(-1, -2) @ dcontext
    ds = p * (dp - (dp * p).sum(axis=-1, keepdims=True))
    dq, dk = ds @ k / math.sqrt(K), ds.swapaxes(-1, -2) @ q / math.sqrt(K)
    dx = dadded.copy()  # x is used four times: directly, and for query, key and value
    for name, d in (("query", dq), ("key", dk), ("value", dv)):
        dx += linear_backward(merge(d), x, f"attention.self.{name}")
    return dx, dmiddle, ds


# %%
dw = {}  # the gradients of the parameters, by name
dy = np.random.default_rng(0).standard_normal(y.shape)  # the loss is the sum of dy * y
dx, dmiddle, ds = layer_backward(dy)
lengths = np.linalg.norm([dy[0], dmiddle[0], dx[0]], axis=-1)
show(lengths, "length of each token's gradient", rows=["dy", "dmiddle", "dx"], cols=tokens)
show(ds[0, 0], "ds of head 0: the gradient of its scores", rows=tokens, cols=tokens)
states[1].backward(dy)  # the engine
pairs = {name: (dw[name], parameters[name].grad.numpy()) for name in w}
for name, (ours, theirs) in {**pairs, "x": (dx, states[0].grad.numpy())}.items():
    largest = [np.abs(array).max() for array in (ours, theirs, ours - theirs)]
    print("{:34s} ours {:7.1e} engine {:7.1e} difference {:7.1e}".format(name, *largest))
    assert largest[-1] < 1e-10
# The bias of keys adds the same number to all scores of a row. Softmax ignores it: gradient 0.
assert np.abs(dw["attention.self.key.bias"]).max() < 1e-12
zero_at_padding = None  # let dy be 0 at padded positions: is dx 0 there? True or False
assert zero_at_padding in (None, not layer_backward(dy * ~padded[..., None])[0][padded].any())

# %% [markdown]
# Backward reads the lines of forward from the last to the first. If a value is used several times,
# its gradients are added: two at a residual connection, four for x.
#
# Exercises: `attn/backward`, `bert/layer_backward`.
# Next: 25_heads.py.
