# %% [markdown]
# # 52. Prune and distil
# A small model can be made of a large one: keep the most important parts, then train them with the
# large model as the teacher (Minitron, Muralidharan et al. 2024, arXiv:2407.14679). We do this with
# tiny models, and compare with a new model.
#
# **You will be able to** measure the importance of neurons and layers, cut a model to a smaller
# shape, and write the loss of distillation.
#
# **You need** lesson 15 (softmax and cross-entropy) and lesson 32 (pre-training).
#
# **Minutes** 15
#
# | symbol | shape | meaning |
# |---|---|---|
# | N, T, V | | sentences, tokens of a sentence, words of the vocabulary |
# | inputs, labels | (N, T) | ids with masked words; the masked words, elsewhere −100 |
# | a | (N, T, F) | activations of the F neurons of a layer |
# | p, q | (M, V) | probabilities of the teacher and of the student at M masked words |

# %%
import numpy as np

import tinybert
import tinybert.functional as F
from tinybert import BertConfig, BertForMaskedLM, no_grad, show
from tinybert.compress import importance, prune
from tinybert.optim import AdamW
from tinybert.training import mask_tokens, masked_loss

SEEDS = range(5)
WORDS = "[PAD] [CLS] [SEP] [MASK] the in eats cat dog horse bird bee cow milk meat hay seeds nectar"
WORDS = f"{WORDS} grass house kennel stable nest hive field old young small big".split()
V, MASK, ANIMAL, FOOD, HOME, SIZE = len(WORDS), 3, 7, 13, 19, 25  # the first word of each kind

# %% [markdown]
# ## The text and the large model
# In "the old cat eats milk in the house" the animal determines the food, and in half of the
# sentences the home. Size and the other homes are random. We mask 30% of the words.


# %%
def draw(rng, count):
    animal, other, size, half = rng.integers(0, [[6], [6], [4], [2]], (4, count))
    home = np.where(half == 1, animal, other)
    text = "[CLS] the big cat eats hay in the nest [SEP]"  # the words are replaced
    ids = np.tile([WORDS.index(word) for word in text.split()], (count, 1))
    ids[:, [2, 3, 5, 8]] = np.stack([SIZE + size, ANIMAL + animal, FOOD + animal, HOME + home], 1)
    inputs, labels = mask_tokens(ids, ids > 6, MASK, V, rng, 0.3)
    return {"input_ids": inputs, "labels": labels}


def fit(model, seed, steps, loss=masked_loss):
    rng, optimizer = np.random.default_rng(seed), AdamW(model.parameters(), lr=2e-3)
    for _ in range(steps):
        value = loss(model, draw(rng, 32))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return model


# %%
def test_loss(model):
    with no_grad():
        return masked_loss(model.eval(), test).item()


options = {"hidden_dropout_prob": 0, "attention_probs_dropout_prob": 0, "initializer_range": 0.1}
options |= {"vocab_size": V, "max_position_embeddings": 16}
sizes = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
tinybert.manual_seed(0)
teacher = BertForMaskedLM(BertConfig(intermediate_size=128, **sizes, **options))
test = draw(np.random.default_rng(99), 400)
before, after = test_loss(teacher), test_loss(fit(teacher, 0, 400))
print(f"loss of the large model: {before:.2f} before training, {after:.2f} after")
assert after < 1 < 3 < before

# %% [markdown]
# ## Importance
# A neuron that is almost always 0 has almost no effect. Its importance: the absolute activation,
# the mean over the tokens of a sentence, then the L2 norm over sentences. A layer does little if
# its output has the direction of its input: its importance is 1 − the mean cosine of both.

# %%
batch = {"input_ids": draw(np.random.default_rng(7), 64)["input_ids"]}
found, recorded = importance(teacher, [batch]), []  # of all parts; and layer 0 by hand:
matrix = teacher.bert.encoder.layer[0].output.dense  # its inputs are the activations
hook = matrix.register_forward_pre_hook(lambda module, args: recorded.append(args[0].numpy()))
teacher(**batch)
hook.remove()
(a,) = recorded
neurons = np.sqrt((np.abs(a).mean(axis=1) ** 2).sum(axis=0))
show(np.sort(neurons)[::-8], "importance of every 8th neuron of layer 0, sorted")
show(found["layers"], "importance of the layers", cols=range(4))
assert np.allclose(neurons, found["neurons"][0])

# %% [markdown]
# ## Pruning
# Half of the layers, channels, heads and neurons stay: the most important ones, in their order. All
# layers add to the same hidden states, so the same channels leave every matrix. The first matrix of
# the feed-forward part loses rows (neurons) and columns (channels).

# %%
small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
config = BertConfig(intermediate_size=64, **small, **options)
pruned = prune(teacher, config, found)
layers, channels = (np.sort(np.argsort(-found[k])[:n]) for k, n in (("layers", 2), ("hidden", 32)))
print("layers:", layers, "parameters:", teacher.num_parameters(), "to", pruned.num_parameters())
embeddings = teacher.bert.embeddings.word_embeddings.weight.numpy()
assert np.array_equal(pruned.bert.embeddings.word_embeddings.weight, embeddings[:, channels])
assert pruned.num_parameters() < teacher.num_parameters() / 4
rows = None  # how many rows has the pruned first matrix of the feed-forward part?
assert rows in (None, len(pruned.bert.encoder.layer[0].intermediate.dense.weight.numpy()))

# %% [markdown]
# ## Distillation
# A masked word gives the student one right answer. The teacher's probabilities p tell more: which
# other words are possible here. The loss is KL(p, q) = Σ p (log p − log q).


# %%
def distillation_loss(student, batch):
    hidden = batch["labels"] != -100
    with no_grad():
        log_p = teacher(batch["input_ids"]).logits[hidden].log_softmax(-1)
    log_q = student(batch["input_ids"]).logits[hidden].log_softmax(-1)
    return F.kl_div(log_q, log_p, "batchmean", log_target=True)


ways = {"new": masked_loss, "pruned": masked_loss, "distilled": distillation_loss}
losses = np.zeros((3, 5))
for row, (way, loss) in enumerate(ways.items()):
    for seed in SEEDS:
        tinybert.manual_seed(seed)
        model = BertForMaskedLM(config) if way == "new" else prune(teacher, config, found)
        losses[row, seed] = test_loss(fit(model, seed, 40, loss))
show(losses, "loss after 40 steps", rows=list(ways), cols=[f"seed {seed}" for seed in SEEDS])
new, plain, distilled = np.median(losses, axis=1)
print(f"without training {test_loss(pruned):.2f}; medians {new:.2f}, {plain:.2f}, {distilled:.2f}")
assert max(plain, distilled) < new
assert abs(distillation_loss(teacher, test).item()) < 1e-5  # the teacher agrees with itself

# %% [markdown]
# At equal text the pruned models are far ahead of the new one, which has random weights. The
# teacher helps little here: the words alone show nearly all that this text determines. In real
# text, many words can fill a masked position, and there the teacher helps: see recipes/minitron.
#
# Exercises: none.
# Next: 53_split_a_layer.py.
