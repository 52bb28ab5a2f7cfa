# %% [markdown]
# # 50. What the key/value cache saves
# A decoder generates one token at a time. Without a cache it computes the whole text again for each
# new token. The key/value cache keeps the keys and values of earlier tokens. We count how much work
# it saves, and how much memory it costs.
#
# **You will be able to** say why earlier keys and values never change, predict the multiply-adds of
# a step with and without a cache, and compare a cache that copies with one that grows.
#
# **You need** lesson 20 (causal masks) and lesson 48 (grouped-query attention).
#
# **Minutes** 20
#
# | symbol | shape | meaning |
# |---|---|---|
# | T | | tokens in the text so far, the new one included |
# | t | | tokens that the model reads in a step |
# | L, D | | number of layers, features of a token |
# | H, G, K | | query heads, key/value heads, size of a head |
# | M | | number of entries of all weight matrices that multiply a token |
# | n | | number of generated tokens |

# %%
import numpy as np

from tinybert import NemotronConfig, NemotronForCausalLM, Tensor, no_grad, show
from tinybert.nn import KeyValueCache

L, D, H, G, K = 2, 24, 6, 2, 8
config = NemotronConfig(
    vocab_size=60, hidden_size=D, intermediate_size=40, num_hidden_layers=L, head_dim=K,
    num_attention_heads=H, num_key_value_heads=G, eos_token_id=None,
)  # fmt: skip
model = NemotronForCausalLM(config).to(np.float64).eval()
rng = np.random.default_rng(0)
for parameter in model.parameters():
    parameter.data[...] = 0.3 * rng.standard_normal(parameter.shape)  # no training is needed
ids = rng.integers(60, size=(1, 9))

# %% [markdown]
# ## Earlier keys do not change
# In a causal decoder a token attends only to itself and to earlier tokens. So a new token changes
# no earlier feature, key or value. We read 5 tokens, then all 9, and compare the keys of layer 1.
# The model stores keys after their rotation (lesson 47), each rotated by its own position.

# %%
with no_grad():
    five = model(input_ids=ids[:, :5], use_cache=True)
    nine = model(input_ids=ids, use_cache=True)
keys_of_five, keys_of_nine = (tuple(x.past_key_values)[1][0].numpy()[0, 0] for x in (five, nine))
show(keys_of_five, "keys of head 0 in layer 1 after 5 tokens: a row for each token")
show(keys_of_nine, "the same after 9 tokens")
print("largest difference:", np.abs(keys_of_five - keys_of_nine[:5]).max())
assert np.allclose(keys_of_five, keys_of_nine[:5])

# %% [markdown]
# So a model may read the 4 other tokens alone, together with the keys and values of the first 5.
# The logits are those of the whole text.

# %%
with no_grad():
    rest = model(input_ids=ids[:, 5:], past_key_values=five.past_key_values)
in_parts, at_once = rest.logits.numpy(), nine.logits.numpy()[:, 5:]
print("in two parts:", in_parts[0, -1, :4].round(6))
print("at once:     ", at_once[0, -1, :4].round(6))
assert np.allclose(in_parts, at_once)

# %% [markdown]
# ## Count the work
# To read t tokens of a text of T, the matrices need t·M multiply-adds. In each layer and query head
# the model also multiplies t queries with T keys, and t·T weights with values: 2·L·H·K·t·T in all.
# Without a cache, t = T at each step. With a cache, t = 1 after the prompt. A hook on the embedding
# measures t in the engine; the formula gives the multiply-adds.

# %%
# Not counted: the embedding, a lookup, and the layer norms, vectors. lm_head is counted.
M = sum(p.size for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name)
n, prompt = 40, ids.shape[1]
lengths = np.arange(prompt, prompt + n)  # T at each step
reads: dict[bool, list[int]] = {False: [], True: []}
texts = {}
for use_cache, read in reads.items():
    handle = model.model.embed_tokens.register_forward_pre_hook(
        lambda _, inputs, read=read: read.append(inputs[0].size)
    )
    texts[use_cache] = model.generate(ids, max_new_tokens=n, do_sample=False, use_cache=use_cache)
    handle.remove()
work = {
    cached: np.array([t * (M + 2 * L * H * K * T) for t, T in zip(read, lengths, strict=True)])
    for cached, read in reads.items()
}

# %%
table = np.array([work[False], work[True]])[:, ::5] / 1e6
rows = ["no cache", "cache"]
show(
    table,
    "million multiply-adds of every fifth step",
    rows=rows,
    cols=[f"T={T}" for T in lengths[::5]],
)
for cached in (False, True):
    print(
        f"cache {cached!s:5}: {sum(reads[cached]):5} tokens read, {work[cached].sum():11,}", end=""
    )
    print(" multiply-adds; the text ends with", texts[cached].tolist()[0][-4:])
assert reads[False] == lengths.tolist()
assert reads[True] == [prompt] + [1] * (n - 1)
assert texts[False].tolist() == texts[True].tolist()
assert work[False].sum() > 20 * work[True].sum()

# %% [markdown]
# ## A cache that doubles
# To append a key with `np.concatenate` copies all earlier keys: n(n − 1)/2 copies for n tokens. The
# engine's `KeyValueCache` reserves spare memory and doubles it when it is full: fewer than 2n
# copies. We append n tokens and watch the address of the keys: a new address means a copy.


# %%
def copied(n: int, in_place: bool) -> int:
    """Count the tokens that are copied while n tokens are appended one by one."""
    cache, token, total, address = KeyValueCache(1, in_place), np.ones((1, 1, 1, 1)), 0, None
    for length in range(n):
        keys, _ = cache.append(0, Tensor(token), Tensor(token))
        if keys.data.ctypes.data != address:
            total += length
        address = keys.data.ctypes.data
    return total


steps = [64, 256, 1024]
copies = np.array([[copied(n, in_place) for n in steps] for in_place in (False, True)])
show(copies, "copied tokens", rows=["concatenate", "doubling"], cols=[f"n={n}" for n in steps])
print("n(n - 1)/2:", [n * (n - 1) // 2 for n in steps], " 2n:", [2 * n for n in steps])
assert copies[0].tolist() == [n * (n - 1) // 2 for n in steps]
assert (copies[1] < 2 * np.array(steps)).all()

# %% [markdown]
# Causal keys and values never change, so a cache turns T tokens of work per step into one. It costs
# memory that grows with the text: 2·L·G·K numbers for each token.
#
# Exercises: `write/cache_step`.
# Next: 51_step_through_a_sentence.py.
