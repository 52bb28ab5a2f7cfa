# %% [markdown]
# # 7. Text generation
# A model that predicts the next token can generate text: choose a token, append it to the text, and
# repeat. The methods differ in how they choose. We train a small causal BERT on a rhyme, in a
# second or two, where the right predictions are known. Then we generate with greedy search,
# sampling and beam search in NumPy; `model.generate` must give the same tokens.

# %%
import math
import tempfile
from collections import Counter
from pathlib import Path

from tinybert import BertConfig, BertLMHeadModel, BertTokenizer, TextStreamer, manual_seed, no_grad
from tinybert.optim import AdamW

# isort: split
import numpy as np  # after tinybert, which lets NumPy's idle threads sleep

VERSES = """
the cat sat on the wall, the mouse ran through the hall
the cat sat on the stair, the cat ran after the hare
the cat sat on the hay, the cat slept half the day
the cat ran up the tree, the cat hid from the bee
the cat sat on the sill, the mouse ran down the hill
the cat ran home at last, the cat purred slow and fast
"""
lines = ["good night", "good night"]
for n, verse in enumerate(VERSES.strip().splitlines(), 1):
    wheel = "the wheel goes round" + min(n, 3) * " and round"
    lines += [*verse.split(", "), wheel, "the dog barks at the moon", "good night"]
counts = Counter(lines)
words = sorted({word for line in lines for word in line.split()})
with tempfile.TemporaryDirectory() as folder:  # a vocabulary in which every word is a token
    path = Path(folder) / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]), "utf-8")
    tokenizer = BertTokenizer(path)
BEGIN, END, LONGEST, V = 2, 3, 16, len(tokenizer)  # [CLS] begins a line, [SEP] ends it
assert (len(lines), len(counts), V) == (32, 17, 44)
assert counts.most_common(2) == [("good night", 8), ("the dog barks at the moon", 6)]

# %% [markdown]
# ## The model, and the minimum of its loss
# With `is_decoder=True` the attention is causal (tutorial 4), and one pass over a line trains all
# its positions. P(line) is the product of P(word | words before). The loss is the mean of
# −log P(word). The best model gives each line the probability with which it occurs in the text,
# which costs −log(count/32) per line: this entropy is a lower bound of the loss.

# %%
manual_seed(0)
model = BertLMHeadModel(BertConfig(
    vocab_size=V, hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
    max_position_embeddings=LONGEST, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    is_decoder=True, bos_token_id=BEGIN, eos_token_id=END,
))  # fmt: skip
batch = tokenizer(lines, padding=True, return_tensors="np")
ids, mask = batch["input_ids"], batch["attention_mask"]  # (B, T) each
inputs = {"input_ids": ids, "attention_mask": mask, "labels": np.where(mask, ids, -100)}
predicted = mask[:, 1:].sum()  # tokens: all but the first of each line
floor = -sum(math.log(counts[line] / len(lines)) for line in lines) / predicted

STEPS, RATE = 150, 0.02
optimizer = AdamW(model.parameters(), weight_decay=0.0)
for step in range(STEPS):
    optimizer.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
    loss = model(**inputs).loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 15 == 0:
        print(f"step {step:3d}  loss {loss.item():.3f}  {'#' * round(15 * loss.item())}")
        assert step or abs(loss.item() - math.log(V)) < 0.2  # untrained
model.eval()
print(f"in the end {loss.item():.3f}, the floor is {floor:.3f}")
assert floor < loss.item() < floor + 0.03  # close to the minimum

# %% [markdown]
# Are the probabilities of whole lines right? From here on we need one function: the scores (logits)
# of the next token after a sequence of ids.


# %%
def scores_after(row: list[int]) -> np.ndarray:
    """Return the logits (V,) of the next token."""
    with no_grad():
        return model(input_ids=[row]).logits.numpy()[0, -1]


def log_softmax(scores: np.ndarray) -> np.ndarray:
    scores = scores - scores.max()
    return scores - np.log(np.exp(scores).sum())


def probability(row: list[int]) -> float:
    """Return the probability of all tokens after the first."""
    logs = (log_softmax(scores_after(row[:i]))[row[i]] for i in range(1, len(row)))
    return math.exp(sum(logs))


def read(text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False)


def text_of(row) -> str:
    return tokenizer.decode(row, skip_special_tokens=True)


for line, count in counts.most_common():
    p = probability(tokenizer.encode(line))
    if count > 1:
        print(f"    P = {p:.3f}, in the text {count / len(lines):.3f}: {line}")
    assert abs(p - count / len(lines)) < 0.02

# %% [markdown]
# ## Greedy search: always the most likely token
# The loop of text generation. `change` is a logits processor (see below), `choose` selects a token.


# %%
def write(row: list[int], choose=np.argmax, change=lambda row, scores: scores) -> list[int]:
    while row[-1] != END and len(row) < LONGEST:
        row = [*row, int(choose(change(row, scores_after(row))))]
    return row


def generate(row: list[int], **options) -> list[int]:
    return model.generate([row], max_length=LONGEST, **options).tolist()[0]


greedy, best = write([BEGIN]), tokenizer.encode("good night")
print(f"greedy: {text_of(greedy)} (P = {probability(greedy):.3f})")
assert greedy == generate([BEGIN])
# It took the most likely token at every step, but the line is far from the most likely line:
assert probability(best) > 5 * probability(greedy)

# %% [markdown]
# Three of four lines begin with "the", but then many continuations are possible: the most likely
# first token need not lead to the most likely line. Beam search, below, finds better lines.
#
# ## Sampling
# Sample from the distribution, and lines come as often as in the rhyme. But the many unlikely
# tokens are likely in total, and one bad token spoils a text. So change the distribution first:
#
# - temperature t: scores / t; below 1 likely tokens become more likely, in the limit 0 greedy;
# - top-k: only the k most likely tokens (Fan et al. 2018, arXiv:1805.04833);
# - top-p (nucleus sampling): the smallest set of tokens with total probability p: few tokens where
#   the model is confident, many where it is not (Holtzman et al. 2019, arXiv:1904.09751).


# %%
def top_k(scores: np.ndarray, k: int) -> np.ndarray:
    return np.where(scores < np.sort(scores)[-k], -np.inf, scores)


def top_p(scores: np.ndarray, p: float) -> np.ndarray:
    order = scores.argsort()[::-1]  # best first
    probabilities = np.exp(log_softmax(scores))[order]
    better = probabilities.cumsum() - probabilities  # total probability of more likely tokens
    return np.where(np.isin(np.arange(V), order[better < p]), scores, -np.inf)


scores = scores_after(read("[CLS] the cat"))
ways = {
    "as it is": scores, "t = 0.5": scores / 0.5, "t = 2": scores / 2,
    "top-k 2": top_k(scores, 2), "top-p 0.75": top_p(scores, 0.75),
}  # fmt: skip
shares = {name: np.exp(log_softmax(changed)) for name, changed in ways.items()}
print("the cat ... ", *(f"{name:12s}" for name in shares))
for token in scores.argsort()[:-8:-1]:  # a dot: a little; nothing: nothing
    bars = (f"{'#' * round(18 * p[token]) or '.' * bool(p[token]):12s}" for p in shares.values())
    print(f"{tokenizer.convert_ids_to_tokens(int(token)):>10s}  ", *bars)
assert [int((p > 0).sum()) for p in shares.values()] == [V, V, V, 2, 3]
squares = shares["as it is"] ** 2  # t = 1/2 squares the probabilities
assert np.allclose(shares["t = 0.5"], squares / squares.sum(), atol=1e-6)

# %% [markdown]
# How to sample from softmax(scores)? Each token gets a waiting time E/exp(score), where E is
# exponentially distributed: token i has the shortest one with probability softmax(scores)ᵢ. In
# logarithms that is argmax(score − log E), the Gumbel-max trick (see Kool et al. 2019,
# arXiv:1903.06059). `generate` uses it; with its seed we sample the same tokens.


# %%
def dice(seed: int):
    rng = np.random.Generator(np.random.SFC64(seed))  # the engine's kind
    return lambda scores: np.argmax(scores - np.log(rng.standard_exponential(V)))


draw = dice(0)
frequency = np.bincount([draw(scores) for _ in range(4000)], minlength=V) / 4000
assert np.abs(frequency - shares["as it is"]).max() < 0.03
for seed in range(6):
    plain = write([BEGIN], dice(seed))
    cut = write([BEGIN], dice(seed), lambda row, s: top_p(top_k(s / 0.7, 5), 0.9))  # in this order
    print(f"seed {seed}: {text_of(plain):50s} cut: {text_of(cut)}")
    assert plain == generate([BEGIN], do_sample=True, top_k=0, seed=seed)
    options = {"temperature": 0.7, "top_k": 5, "top_p": 0.9, "seed": seed}
    assert cut == generate([BEGIN], do_sample=True, **options)

# %% [markdown]
# ## Repetition
# Greedy search tends to repeat itself, as the wheel here does. Two remedies. No repeated n-grams:
# each may occur only once (Paulus et al. 2017, arXiv:1705.04304, section 2.5). Repetition penalty:
# scores of tokens that have occurred are divided by a penalty, negative ones multiplied (Keskar et
# al. 2019, arXiv:1909.05858, section 4.1; the paper divides all, which *raises* negative scores).


# %%
def once(row: list[int], scores: np.ndarray, n: int = 2) -> np.ndarray:
    start = row[len(row) - n + 1 :]  # the first tokens of the next n-gram
    seen = [row[i + n - 1] for i in range(len(row) - n + 1) if row[i : i + n - 1] == start]
    return np.where(np.isin(np.arange(V), seen), -np.inf, scores)


def punish(row: list[int], scores: np.ndarray, penalty: float = 1.5) -> np.ndarray:
    punished = np.where(scores < 0, scores * penalty, scores / penalty)
    return np.where(np.isin(np.arange(V), row), punished, scores)


start = read("[CLS] the wheel")
circle = write(start)
assert text_of(circle) == "the wheel goes round and round and round and round"
for change, option in ((once, {"no_repeat_ngram_size": 2}), (punish, {"repetition_penalty": 1.5})):
    row = write(start, change=change)
    print(f"{option}: {text_of(row)}")
    assert row == generate(start, **option)
    assert text_of(row) == "the wheel goes round and round"

# %% [markdown]
# The penalty has a flaw: it depends on the zero point of the scores, which training does not
# define. A constant added to all scores does not change the probabilities, but those after a
# penalty.

# %%
shifted = scores + 10
assert np.allclose(log_softmax(scores), log_softmax(shifted), atol=1e-5)
a, b = (log_softmax(punish(read("[CLS] the cat"), s)) for s in (scores, shifted))
assert np.abs(a - b).max() > 1

# %% [markdown]
# ## Beam search
# Extend the K most likely sequences (beams) instead of one. Each beam with each next token is a
# candidate; its score is the sum of log P so far. Of the best candidates, those that end are stored
# as finished, and K others become the new beams. Finished sequences are ranked by score / length^α:
# each token lowers the sum, so without this `length_penalty` α short sequences win. Stop when the
# best beam is worse than the K-th finished sequence. (Wu et al. 2016, arXiv:1609.08144, section 7,
# divide by ((5 + length) / 6)^α; transformers uses the simpler formula.)


# %%
def beam_search(row: list[int], K: int, alpha: float) -> list[tuple[float, list[int]]]:
    """Return the finished sequences as (score, ids), best first."""
    running, ended = [(0.0, row)], []
    for length in range(1, LONGEST - len(row) + 1):  # of the new part
        candidates = []
        for score, ids in running:
            log_p = log_softmax(scores_after(ids))
            candidates += [(score + float(log_p[token]), [*ids, token]) for token in range(V)]
        candidates = sorted(candidates, reverse=True)[: 2 * K]  # K of them can go on at least
        ended += [(score / length**alpha, ids) for score, ids in candidates[:K] if ids[-1] == END]
        ended = sorted(ended, reverse=True)[:K]
        running = [(score, ids) for score, ids in candidates if ids[-1] != END][:K]
        if len(ended) == K and running[0][0] / length**alpha <= ended[-1][0]:
            break
    return ended


print(" K  alpha     P  worth  line")
found = {}
for K, alpha in ((1, 1.0), (2, 1.0), (4, 1.0), (4, 0.0)):
    worth, row = beam_search([BEGIN], K, alpha)[0]
    found[K, alpha] = row
    options = {"num_beams": K, "length_penalty": alpha, "output_scores": True}
    output = model.generate([[BEGIN]], max_length=16, return_dict_in_generate=True, **options)
    print(f"{K:2d}  {alpha:5.1f} {probability(row):5.3f} {worth:6.3f}  {text_of(row)}")
    assert output.sequences.tolist() == [row]
    assert K == 1 or abs(output.sequences_scores.item() - worth) < 1e-4
assert found[1, 1.0] == greedy  # one beam is greedy
assert found[2, 1.0] == found[4, 0.0] == best

# %% [markdown]
# Two beams find the most likely line. But with α = 1 the score is the mean log P of a token, and
# four beams find a long sequence of predictable tokens: the wheel goes round, half as likely as
# "good night". The most likely text is not always the best: human text is less likely (Holtzman et
# al.), and many beams can hurt translation (Koehn & Knowles 2017, arXiv:1706.03872, section 3.6).

# %%
assert found[4, 1.0] == circle
assert probability(circle) < 0.6 * probability(best)

# %% [markdown]
# ## The key/value cache
# So far every step has read the whole sequence again. With causal attention the keys and values of
# a token never change. With a cache of them, a step reads one token only: n new tokens after T old
# ones cost T + n − 1 tokens, not T + (T+1) + ... + (T+n−1).

# %%
row, new, past = start, start, None
while row[-1] != END:
    with no_grad():
        output = model(input_ids=[new], past_key_values=past, use_cache=True)
    past, new = output.past_key_values, [int(output.logits.numpy()[0, -1].argmax())]
    row = [*row, *new]
assert row == circle

sizes: list[int] = []  # of what the model reads, call by call
model.bert.embeddings.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].size))
T, n = len(start), len(circle) - len(start)
for use_cache, cost in ((True, T + n - 1), (False, sum(range(T, T + n)))):
    sizes.clear()
    assert generate(start, use_cache=use_cache) == circle
    print(f"use_cache={use_cache}: read {sum(sizes)} tokens,", *sizes)
    assert sum(sizes) == cost

# %% [markdown]
# ## Batches: left padding
# The next token is appended after the last column, so all sequences of a batch must end there: they
# are padded at the *left*. The attention mask excludes the padding, and positions must count real
# tokens only; by default `model(...)` counts from the left end, padding included.

# %%
prompts = ["[CLS] the", "[CLS] the mouse ran", "[CLS] good"]
tokenizer.padding_side = "left"
batch = tokenizer(prompts, add_special_tokens=False, padding=True, return_tensors="np")
ids, mask = batch["input_ids"], batch["attention_mask"]
positions = np.where(mask, mask.cumsum(axis=1) - 1, 0)
with no_grad():
    right = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits.numpy()[:, -1]
    wrong = model(input_ids=ids, attention_mask=mask).logits.numpy()[:, -1]
together = model.generate(ids, attention_mask=mask, max_new_tokens=12).tolist()
for i, row in enumerate(map(read, prompts)):
    print(*map("{}@{}".format, tokenizer.convert_ids_to_tokens(ids[i]), positions[i]))
    assert np.allclose(right[i], scores_after(row), atol=1e-4)
    assert np.allclose(wrong[i], scores_after(row), atol=1e-4) == bool(mask[i].all())
    assert text_of(together[i]) == text_of(write(row))

# %% [markdown]
# ## Streaming
# A streamer receives each token as soon as it is generated, and prints the text word by word. The
# last word waits for a space, because further tokens could continue it ("chu", "##bby").

# %%
pieces: list[str] = []
streamer = TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)  # it would print
streamer.on_finalized_text = lambda text, stream_end=False: pieces.append(text)
generate(read("[CLS] the dog"), streamer=streamer)
assert [piece for piece in pieces if piece] == ["barks ", "at ", "the ", "moon"]

# %% [markdown]
# ## Try
# Replace a None by your answer and run the script again: the assertion says whether it is right.

# %%
nucleus = None  # how many words does top-p keep after "the", if p = 0.8? Count lines of the rhyme.
without_cache = None  # how many tokens are read for 100 new words after 1, without a cache?

assert nucleus in (None, int(np.isfinite(top_p(scores_after(read("[CLS] the")), 0.8)).sum()))
assert without_cache in (None, sum(range(1, 1 + 100)))
# Next: models that normalise first, 08_where_the_norm_stands.py.
