"""A rhyme, and a causal BERT that learns it in a second: the model of the lessons on generation.

The best possible model gives each line the probability with which it occurs in the rhyme, so the
right predictions are known.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tinybert.backend import manual_seed
from tinybert.models import BertConfig, BertLMHeadModel
from tinybert.optim import AdamW

# Each line, and how often it occurs.
LINES = {
    "good night": 8,
    "the dog barks at the moon": 5,
    "the mouse ran down the hill": 3,
    "the cat sat on the wall": 3,
    "the cat sat on the hay": 2,
    "the cat ran up the tree": 3,
    "the cat slept half the day": 2,
    "the wheel goes round and round": 1,
    "the wheel goes round and round and round": 1,
    "the wheel goes round and round and round and round": 4,
}
PAD, BEGIN, END = range(3)
VOCAB = ["[PAD]", "[BEGIN]", "[END]", *sorted({word for line in LINES for word in line.split()})]
LONGEST = 16  # tokens of a text
_STEPS, _RATE = 150, 0.02


def read(text: str) -> list[int]:
    """Return the ids of a text: [BEGIN], and one for each word."""
    return [BEGIN, *map(VOCAB.index, text.split())]


def text_of(ids: Iterable[int]) -> str:
    """Return the words of ids, without special tokens."""
    return " ".join(VOCAB[i] for i in ids if i > END)


def train_model(seed: int = 0) -> BertLMHeadModel:
    """Return a causal BERT with one layer that has learned the rhyme."""
    rows = [[*read(line), END] for line, count in LINES.items() for _ in range(count)]
    longest = max(map(len, rows))
    ids = np.array([row + [PAD] * (longest - len(row)) for row in rows])
    manual_seed(seed)
    config = BertConfig(
        vocab_size=len(VOCAB),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=LONGEST,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        is_decoder=True,
        pad_token_id=PAD,
        bos_token_id=BEGIN,
        eos_token_id=END,
    )
    model = BertLMHeadModel(config)
    optimizer = AdamW(model.parameters(), weight_decay=0.0)
    for step in range(_STEPS):
        optimizer.param_groups[0]["lr"] = _RATE * (1 - step / _STEPS)
        labels = np.where(ids == PAD, -100, ids)
        loss = model(ids, attention_mask=ids != PAD, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()
