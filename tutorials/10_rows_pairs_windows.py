# %% [markdown]
# # 10. Rows, pairs and windows
# A model reads a batch: rows of equal length. Texts have different lengths, some tasks need two
# texts in a row, and some texts are longer than a row. Special tokens, masks and windows solve
# these three problems.
#
# **You will be able to** write the ids, the token types and the mask of a padded batch by hand, and
# to say in how many windows a long text is read.
#
# **You need** lesson 8 (tokens and ids).
#
# **Minutes** 15
#
# | symbol | shape | meaning |
# |---|---|---|
# | B, T | | number of rows, length of a row |
# | `input_ids` | (B, T) | ids of the tokens |
# | `token_type_ids` | (B, T) | 0 in the first text of a row, 1 in the second |
# | `attention_mask` | (B, T) | 1 at a token, 0 at padding |
# | `a`, `b` | list | ids of two texts |
# | `room` | | how many tokens of a long text fit into one row |
# | `stride` | | how many tokens of a window are repeated in the next one |

# %%
import numpy as np

from tinybert import BertForMaskedLM, BertTokenizer, BertTokenizerFast, show

tokenizer = BertTokenizer.from_pretrained("embedded")
vocab = tokenizer.vocab
CLS, SEP, PAD = (vocab[token] for token in ("[CLS]", "[SEP]", "[PAD]"))

# %% [markdown]
# ## One text, two texts
# A row begins with `[CLS]`, and each text ends with `[SEP]`. The token types say to which text a
# token belongs. The first `[SEP]` is still type 0.


# %%
def ids_of(text: str) -> list[int]:
    return [vocab[token] for token in tokenizer.tokenize(text)]


a, b = ids_of("Who pays?"), ids_of("The king.")
ours = [CLS, *a, SEP, *b, SEP]
types = [0] * (len(a) + 2) + [1] * (len(b) + 1)
theirs = tokenizer("Who pays?", "The king.")
print("ours:  ", ours, types)
print("theirs:", theirs.input_ids, theirs.token_type_ids)
assert theirs.input_ids == ours
assert theirs.token_type_ids == types
show([types], "token types", rows=[""], cols=tokenizer.convert_ids_to_tokens(ours))

# %% [markdown]
# ## Padding
# Shorter rows are filled up with `[PAD]` to the length of the longest, and `attention_mask` is 0
# there. Every column needs this: the ids, the types and the mask.

# %%
PAIRS = [("Who pays?", "The king."), ("Who?", "Me.")]
rows = [[CLS, *ids_of(a), SEP, *ids_of(b), SEP] for a, b in PAIRS]
T = max(map(len, rows))
ours = np.array([row + [PAD] * (T - len(row)) for row in rows])
mask = np.array([[1] * len(row) + [0] * (T - len(row)) for row in rows])
batch = tokenizer(PAIRS, padding=True, return_tensors="np")
tokens = tokenizer.convert_ids_to_tokens(ours[1].tolist())
show(batch["attention_mask"], "attention mask; the tokens are those of row 1", cols=tokens)
print("ours:  ", ours[1], "\ntheirs:", batch["input_ids"][1])
assert np.array_equal(batch["input_ids"], ours)
assert np.array_equal(batch["attention_mask"], mask)

# %% [markdown]
# ## The mask matters
# A model computes scores (`logits`) for each token. With its mask the short row gets the same
# scores as without padding, up to rounding. Without the mask the model reads `[PAD]` as a word, and
# the scores change. No error tells you.

# %%
model = BertForMaskedLM.from_pretrained("embedded")  # "tb": tensors of tinybert
alone = model(**tokenizer(*PAIRS[1], return_tensors="tb")).logits.numpy()[0]
padded = tokenizer(PAIRS, padding=True, return_tensors="tb")
masked = model(**padded).logits.numpy()[1, : len(alone)]
del padded["attention_mask"]
unmasked = model(**padded).logits.numpy()[1, : len(alone)]
change = [float(np.abs(x - alone).max()) for x in (masked, unmasked)]
print(f"largest change by padding: {change[0]:.0e} with the mask, {change[1]:.2f} without")
assert change[0] < 1e-4 < 0.1 < change[1]

# %% [markdown]
# ## Windows over a long text
# A question is to be answered from a text that does not fit into a row. So the text is cut into
# windows, and each row holds the question and one window. An answer must not be cut in two, so each
# window begins with the last `stride` tokens of the window before. Windows begin at
# 0, room - stride, 2 (room - stride), ... until one reaches the end of the text.

# %%
QUESTION, LENGTH = "Who pays?", 20
TEXT = """The old bridge was closed in spring. The town had no money for a new one. After a long
debate the king agreed to pay, and the work began in the same week."""
question, text = ids_of(QUESTION), ids_of(TEXT)
room = LENGTH - len(question) - 3  # [CLS] question [SEP] window [SEP]


def starts(stride: int) -> range:
    return range(0, len(text) - stride, room - stride)


covered = [[s <= i < s + room for i in range(len(text))] for s in starts(4)]
show(covered, "windows of stride 4 over the tokens of the text")
print(f"{len(text)} tokens, room for {room} in a row; windows begin at", *starts(4))
assert np.all(np.sum(covered, 0) >= 1)  # every token is in some window

# %% [markdown]
# ## The same by the engine
# `return_overflowing_tokens` makes one row of each window; only the fast tokenizer does this.

# %%
fast = BertTokenizerFast.from_pretrained("embedded")


def windows(stride: int) -> list[list[int]]:
    options = {"truncation": "only_second", "max_length": LENGTH, "stride": stride}
    return fast(QUESTION, TEXT, return_overflowing_tokens=True, **options).input_ids


ours = [[CLS, *question, SEP, *text[s : s + room], SEP] for s in starts(4)]
for row, other in zip(ours, windows(4), strict=True):
    print("ours:  ", fast.decode(row), "\ntheirs:", fast.decode(other))
assert windows(4) == ours

# %% [markdown]
# ## Try
# Replace `None` by your answer and run the lesson again: the assertion checks it.

# %%
rows_at_stride_10 = None  # how many rows is the text with stride 10?

assert rows_at_stride_10 in (None, len(windows(10)))

# %% [markdown]
# Special tokens mark where texts begin and end, the mask hides padding, and overlapping windows
# read a text that is too long.
#
# Exercises: `words/rows`, `words/pad`, `words/windows`.
# Next: 11_learn_byte_pairs.py.
