# %% [markdown]
# # 44. An average in both directions meets padding
# A decoder may use earlier tokens only. An encoder may use all, so MEGA gives it a moving average
# that runs in both directions. Then the padding after a short text changes the text's outputs, and
# a mask of the attention does not prevent it.
#
# **You will be able to** write an average in both directions as a matrix, and mask the padding of
# a batch for attention *and* average.
#
# **You need** lessons 20 (padding mask) and 41 (kernel of an average).
#
# **Minutes** 12
#
# | symbol | shape | meaning |
# |---|---|---|
# | T, N, P | | steps, states, steps of a short text: 16, 3, 10 |
# | x | (T) | one feature of the input |
# | back, ahead | (T) | the kernels for earlier and for later inputs |
# | A | (T, T) | A[t, s] = back[t − s] for s ≤ t, otherwise 0 |
# | B | (T, T) | B[t, s] = ahead[s − t] for s ≥ t, otherwise 0 |
# | real | (T) | 1 at the steps of the text, 0 at padding |

# %%
import numpy as np

from tinybert import MegaConfig, MegaModel, Tensor, manual_seed, nn, no_grad, show

T, N, P = 16, 3, 10
x = np.random.default_rng(0).standard_normal(T)


def silu(z: np.ndarray) -> np.ndarray:
    return z / (1 + np.exp(-z))


# %% [markdown]
# ## Two kernels
# A second set of states runs from the end to the beginning, with a kernel of its own: the average
# is (A + B) x. Both kernels contain lag 0: input t has the weight back[0] + ahead[0] in output t,
# as in the authors' code. The layer adds the input times a weight, and applies silu (lesson 41).

# %%
manual_seed(0)
layer = nn.DampedEMA(1, N, bidirectional=True).double()
back, ahead = layer.kernel(T).numpy()
lag = np.arange(T)[:, None] - np.arange(T)  # t − s
both = np.where(lag >= 0, back[lag], 0) + np.where(lag <= 0, ahead[-lag], 0)  # A + B


# %%
def by_hand(x: np.ndarray) -> np.ndarray:
    return silu(both[: len(x), : len(x)] @ x + x * layer.residual_weight.item())


def by_engine(x: np.ndarray, real: np.ndarray | None = None) -> np.ndarray:
    mask = None if real is None else real[None, :, None]
    with no_grad():
        return layer(Tensor(x[None, :, None]), mask)[0].numpy()[0, :, 0]


show(both[:8, :8], "A + B: output t (down) from input s (across), the first 8 steps")
print("y[:4] by hand:", by_hand(x)[:4].round(5), " engine:", by_engine(x)[:4].round(5))
assert np.isclose(both[0, 0], back[0] + ahead[0])
assert np.allclose(by_hand(x), by_engine(x))

# %% [markdown]
# ## Padding leaks
# A text of P steps is padded to T steps. B looks ahead, so the last outputs of the text contain
# padding. (In a causal average the padding at the end changes nothing.) The remedy: set the inputs
# to 0 where there is padding. A sum does not notice zeros. The layer does this if it gets a mask.

# %%
real = np.arange(T) < P
padded = np.where(real, x, 5.0)  # 5: whatever the padding token's features are
outputs = {
    "alone": by_hand(x[:P]),
    "padded": by_hand(padded)[:P],
    "zeros": by_hand(padded * real)[:P],
    "engine, mask": by_engine(padded, real)[:P],
}
show(list(outputs.values()), "the outputs of the text", rows=list(outputs))
assert not np.allclose(outputs["padded"], outputs["alone"], atol=0.01)
assert np.allclose(outputs["zeros"], outputs["alone"])
assert np.allclose(outputs["engine, mask"], outputs["alone"])

# %% [markdown]
# ## In a whole model
# A MEGA encoder passes `attention_mask` to its attention and to its average. To see that attention
# alone is not enough, we let the average ignore the mask. The test is that of lesson 20: a text
# must have the same output alone and in a batch.

# %%
config = MegaConfig(
    vocab_size=11, hidden_size=6, num_hidden_layers=2, intermediate_size=7, nffn_hidden_size=5,
    shared_representation_size=4, ema_projection_size=N, max_positions=T, bidirectional=True,
    initializer_range=1.0,
)  # fmt: skip
model = MegaModel(config, add_pooling_layer=False).double().eval()
ids = np.where(real, 2 + np.arange(T) % 8, config.pad_token_id)[None]


def states(ids: np.ndarray, **options) -> np.ndarray:
    with no_grad():
        return model(ids, **options).last_hidden_state.numpy()[0, :P]


# %%
alone = states(ids[:, :P])
errors = [states(ids, attention_mask=real[None]), states(ids)]
for block in model.layers:  # a hook removes the mask from the inputs of the average
    average = block.mega_layer.ema_gate
    average.register_forward_pre_hook(lambda _, inputs: (inputs[0], None, *inputs[2:]))
errors.insert(1, states(ids, attention_mask=real[None]))
errors = np.array([np.abs(output - alone).max(axis=-1) for output in errors])
rows = ["mask in both", "attention only", "no mask"]
show(errors, "change of each token's output by padding", rows=rows)
assert errors[0].max() < 1e-9
assert errors[1].max() > 0.01
assert errors[2].max() > 0.01

# %% [markdown]
# An average in both directions is A + B. Padding enters through B, so its inputs are set to 0: in
# MEGA the mask belongs to the attention and to the average.
#
# Exercises: none.
#
# Next: 45_gated_attention.py.
