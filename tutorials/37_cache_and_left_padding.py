# %% [markdown]
# # 37. The key/value cache and left padding
# So far every step of generation has read the whole text again. A cache avoids that: a step reads
# one token. And a batch of texts of different lengths is padded at the left. What changes then?
#
# **You will be able to** generate with a key/value cache, count what it saves, and give a
# left-padded batch the right positions.
#
# **You need** lesson 20 (masks), lesson 34 (greedy search), and NumPy's `cumsum`.
#
# **Minutes** 20
#
# | symbol | shape | meaning |
# |---|---|---|
# | B, T | | texts of a batch, tokens of the prompt |
# | n | | new tokens |
# | ids, mask | (B, T) | token ids; 1 for real tokens, 0 for padding |
# | H, K | | heads, size of a head |
# | past | (B, H, tokens, K) twice a layer | keys and values of the tokens that were read |
# | positions | (B, T) | the position of each token in its text |

# %%
import numpy as np

from tinybert import no_grad, show
from tinybert.learn.rhyme import BEGIN, END, LONGEST, PAD, VOCAB, read, text_of, train_model

model, start = train_model(), read("the wheel")


def logits_of(ids, **options) -> np.ndarray:
    with no_grad():
        return model(ids, **options).logits.numpy()


# %% [markdown]
# ## Keys and values never change
# With a causal mask no token attends to later ones. So a new token changes no state of the earlier
# tokens, and their keys and values stay the same. We see that at the logits: those of "the wheel"
# are the same alone and at the beginning of a longer text.

# %%
alone, longer = logits_of([start])[0], logits_of([read("the wheel goes round")])[0]
both = np.array([alone[-1], longer[len(start) - 1]])
likely = both[0].argsort()[:-6:-1]
names = [VOCAB[i] for i in likely]
show(both[:, likely], "logits after 'the wheel'", rows=["alone", "longer text"], cols=names)
assert np.allclose(alone, longer[: len(start)], atol=1e-4)

# %% [markdown]
# ## Generate with the cache
# The first step reads the prompt. Each further step reads the last token only, and its query
# attends to the keys and values in the cache.


# %%
def generate(row: list[int], use_cache: bool) -> tuple[list[int], list[int]]:
    """Greedy search; return the text, and the number of tokens that each step has read."""
    new, past, read_tokens = row, None, []
    while row[-1] != END and len(row) < LONGEST:
        with no_grad():
            output = model([new], past_key_values=past, use_cache=use_cache)
        token = int(output.logits.numpy()[0, -1].argmax())
        read_tokens.append(len(new))
        row = [*row, token]
        new, past = ([token], output.past_key_values) if use_cache else (row, None)
    return row, read_tokens


(with_cache, few), (without, many) = generate(start, True), generate(start, False)
engine = model.generate([start], max_length=LONGEST).tolist()[0]
print("with cache:   ", text_of(with_cache))
print("without cache:", text_of(without))
print("engine:       ", text_of(engine))
assert with_cache == without == engine

# %% [markdown]
# T tokens of the prompt and n new ones: without a cache the steps read T, T + 1, ..., T + n − 1
# tokens. With a cache they read T tokens once, and then n − 1 times a single one. The price is the
# memory for the keys and values.

# %%
T, n = len(start), len(with_cache) - len(start)
ways = ["cache", "none"]
words = [VOCAB[i] for i in with_cache[T:]]
show(
    np.transpose([few, many]),
    "tokens read by each step, with and without cache",
    rows=words,
    cols=ways,
)
print("with cache:", sum(few), "tokens; T + n - 1 =", T + n - 1)
print("without:   ", sum(many), "tokens; T + ... + (T + n - 1) =", sum(range(T, T + n)))
assert sum(few) == T + n - 1
assert sum(many) == sum(range(T, T + n))

# %% [markdown]
# ## Batches: pad at the left
# The next token is appended after the last column, so every text of a batch has to end there. So
# the padding comes first. The mask excludes it from attention. But `model(...)` counts positions
# from the left by default, padding included, and a shifted text gives other logits. Count real
# tokens only: the cumulative sum of the mask, minus 1.

# %%
prompts = [read(text) for text in ("the", "the mouse ran", "the cat sat on")]
longest = max(map(len, prompts))
ids = np.array([[PAD] * (longest - len(row)) + row for row in prompts])
mask = (ids != PAD).astype(int)
positions = np.where(mask, mask.cumsum(axis=1) - 1, 0)
for row, numbers in zip(ids, positions, strict=True):
    print(*(f"{VOCAB[i]}@{position}" for i, position in zip(row, numbers, strict=True)))
show(positions, "positions", rows=["the", "the mouse ran", "the cat sat on"])

alone = np.array([logits_of([row])[0, -1] for row in prompts])
right = logits_of(ids, attention_mask=mask, position_ids=positions)[:, -1]
wrong = logits_of(ids, attention_mask=mask)[:, -1]
errors = np.array([np.abs(batch - alone).max(axis=1) for batch in (right, wrong)])
ways = ["real tokens", "all columns"]
show(errors, "difference from the text alone", rows=ways, cols=["the", "mouse", "cat"])
assert errors[0].max() < 1e-4
assert errors[1, :2].min() > 0.1
assert errors[1, 2] < 1e-4  # the longest text has no padding

# %% [markdown]
# `generate` of the engine computes these positions from the mask. A text in the batch continues as
# it does alone.

# %%
together = model.generate(ids, attention_mask=mask, max_length=LONGEST).tolist()
for row, prompt in zip(together, prompts, strict=True):
    print("batch:", text_of(row), "| alone:", text_of(generate(prompt, True)[0]))
    assert text_of(row) == text_of(generate(prompt, True)[0])

# The prompt is [BEGIN], and 100 tokens are generated. How many are read without a cache?
without_cache = None  # your answer: a number
assert without_cache in (None, sum(range(len([BEGIN]), len([BEGIN]) + 100)))

# %% [markdown]
# With a causal mask keys and values can be kept, so that a step reads one token. Texts of a batch
# end in the same column, and positions count real tokens only.
#
# Exercises: `write/cache_step`.
#
# Next: 38_pytorch_files.py.
