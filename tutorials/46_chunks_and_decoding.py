# %% [markdown]
# # 46. Chunks, and what a decoder must keep
# Attention between all pairs of T tokens has T² scores. MEGA can split a text into chunks, with
# attention only inside each chunk. Then the number of scores is linear in T. The moving average
# still carries information from chunk to chunk. A decoder needs little memory: the state of the
# average, and the keys and values of one chunk.
#
# **You will be able to** count the scores of chunks, test which inputs an output depends on, and
# say what a decoder with chunks keeps from step to step.
#
# **You need** lessons 37 (cache), 41 (recurrence) and 45 (block of MEGA).
#
# **Minutes** 15
#
# | symbol | shape | meaning |
# |---|---|---|
# | T, C, P | | tokens of a text, of a chunk, of a prompt: 12, 4, 6 |
# | D, N | | features of a token, states of a feature in the average: 6, 3 |
# | t, s | | a token, and a token that it may depend on |
# | x, y | (T, D) | input and output of the model |
# | h | (T, D) | x after the norm of the block: the input of the average |
# | state | (D, N) | what the recurrence remembers of the tokens so far |
# | decay, enter, leave | (D, N) | factors: of the old state, of the input, of the state in y |
# | past | | what the model keeps: some keys and values, and the state |

# %%
import numpy as np

from tinybert import MegaConfig, MegaModel, Tensor, manual_seed, no_grad, show

T, C, P, D, N = 12, 4, 6, 6, 3
x = np.random.default_rng(0).standard_normal((T, D))


# %%
def mega(**options) -> MegaModel:
    """Return a decoder with one block and random weights."""
    manual_seed(0)
    config = MegaConfig(
        vocab_size=11, hidden_size=D, num_hidden_layers=1, intermediate_size=7, nffn_hidden_size=5,
        shared_representation_size=4, ema_projection_size=N, is_decoder=True, bidirectional=False,
        initializer_range=1.0, **options,
    )  # fmt: skip
    return MegaModel(config, add_pooling_layer=False).double().eval()


def run(model: MegaModel, x: np.ndarray, **options):
    with no_grad():
        return model(inputs_embeds=Tensor(x[None]), **options)


models = {"all pairs": mega(), "in chunks": mega(use_chunking=True, chunk_size=C)}

# %% [markdown]
# ## The number of scores
# T tokens make T/C chunks with C² scores each: T · C scores instead of T². For twice as many tokens
# the scores double, instead of growing by a factor of 4.

# %%
lengths, counts = [16, 64, 256], np.zeros((2, 3), int)
for row, model in zip(counts, models.values(), strict=True):
    for column, length in enumerate(lengths):
        output = run(model, np.ones((length, D)), output_attentions=True)
        row[column] = output.attentions[0].numpy().size
show(counts, "scores", rows=list(models), cols=[f"T={n}" for n in lengths])
print("T²:", [n**2 for n in lengths], " T · C:", [n * C for n in lengths])
assert counts.tolist() == [[n**2 for n in lengths], [n * C for n in lengths]]

# %% [markdown]
# ## Which inputs does an output depend on?
# Change one input s, and see which outputs t change. The pictures are dark where they do. Without
# the average (leave = 0) there is one triangle for each chunk. With it, each output depends on all
# inputs up to its own token. A change below 1e-9 is a rounding error of the Fourier transform.


# %%
def influence(model: MegaModel) -> np.ndarray:
    before, changes = run(model, x).last_hidden_state.numpy()[0], np.zeros((T, T))
    for s in range(T):
        after = x.copy()
        after[s] += 1
        changes[:, s] = np.abs(run(model, after).last_hidden_state.numpy()[0] - before).max(axis=-1)
    return changes > 1e-9


with_average = influence(models["in chunks"])
model = mega(use_chunking=True, chunk_size=C)
model.layers[0].mega_layer.ema_gate.kernel_projection_matrix.data[...] = 0
without = influence(model)
show(without, "chunks alone: output t (down), input s (across)")
show(with_average, "chunks and average: output t (down), input s (across)")
print("pairs:", without.sum(), "without the average,", with_average.sum(), "with it")
assert np.array_equal(without, np.kron(np.eye(T // C), np.tri(C)))
assert np.array_equal(with_average, np.tri(T))

# %% [markdown]
# ## The state after a prompt
# A decoder reads the prompt in one call, and then one token in each call. To continue, it needs the
# state after the P tokens of the prompt. The recurrence computes it step by step. It is also a sum
# that needs no order, which suits a long prompt: the sum over t of enter · decay^(P−1−t) · h[t].

# %%
layer = models["in chunks"].layers[0].mega_layer
with no_grad():
    factors = layer.ema_gate.coefficients()
    h = layer.norm(Tensor(x[None])).numpy()[0]
decay, enter = factors.decay.numpy(), factors.enter.numpy()
by_steps = np.zeros((D, N))
for t in range(P):
    by_steps = decay * by_steps + enter * h[t, :, None]
ages = np.arange(P)[::-1, None, None]  # P − 1 − t
by_sum = enter * (decay**ages * h[:P, :, None]).sum(axis=0)
past = run(models["in chunks"], x[:P], use_cache=True).past_key_values
print("state of feature 0 by steps:", by_steps[0].round(6), " by sum:", by_sum[0].round(6))
print("state of feature 0, engine: ", past[0][2].numpy()[0, 0].round(6))
assert np.allclose(by_steps, by_sum)
assert np.allclose(by_steps, past[0][2].numpy()[0])

# %% [markdown]
# ## Decoding
# Each step gives the same y as one pass over the text. Keys and values are collected up to the end
# of a chunk and then dropped, since the next chunk does not use them. The state, D·N numbers, is
# kept. Without chunks, the keys and values of all tokens are kept.

# %%
kept = np.zeros((2, T), int)
for row, (name, model) in zip(kept, models.items(), strict=True):
    full, past, y = run(model, x).last_hidden_state.numpy()[0], None, np.empty((T, D))
    for t in range(T):
        output = run(model, x[t : t + 1], past_key_values=past, use_cache=True)
        y[t], past = output.last_hidden_state.numpy()[0, 0], output.past_key_values
        row[t] = sum(array.numpy().size for array in past[0] if array is not None)
    print(f"{name}: y[-1] by steps {y[-1, :3].round(5)}, in one pass {full[-1, :3].round(5)}")
    assert np.allclose(y, full)
show(kept, "numbers kept after each token", rows=list(models))
print("after token 11:", kept[:, 11], " D·N:", D * N)
assert kept[1, 11] == D * N < kept[0, 11]

# A decoder with chunks of 4 has read 10 tokens: how many keys does it keep?
held = None  # your answer: a number
past = run(models["in chunks"], x[:10], use_cache=True).past_key_values
assert held in (None, past[0][0].shape[1])

# %% [markdown]
# Chunks make the number of scores linear in T and limit the number of keys that a decoder keeps.
# The moving average connects the chunks, with a state of fixed size.
#
# Exercises: `attn/causal`, `write/cache_step`.
#
# Next: 47_rotary.py.
