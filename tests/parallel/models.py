"""Toy models of each family, and runs of them on a simulated grid and in one process."""

from __future__ import annotations

import copy

import numpy as np

import tinybert
from tinybert.parallel.grid import Grid
from tinybert.parallel.simulated import run

V, T = 37, 8
SIZES = {"vocab_size": V, "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 8}
BERT = {**SIZES, "intermediate_size": 24, "max_position_embeddings": 12}


def _bert(kind, **options):
    return lambda: kind(kind.config_class(**{**BERT, **options}))


def _nemotron(groups):
    return tinybert.NemotronForCausalLM(
        tinybert.NemotronConfig(
            **SIZES, intermediate_size=24, num_key_value_heads=groups, attention_dropout=0.1,
            mlp_bias=True, attention_bias=True, partial_rotary_factor=1.0,
        )
    )  # fmt: skip


MODELS = {
    "bert-mlm": _bert(tinybert.BertForMaskedLM),
    "bert-relative": _bert(
        tinybert.BertForPreTraining, position_embedding_type="relative_key_query"
    ),
    "megatron-pretraining": _bert(tinybert.MegatronBertForPreTraining),
    "megatron-causal": _bert(tinybert.MegatronBertForCausalLM, is_decoder=True),
    "megatron-classes": _bert(tinybert.MegatronBertForSequenceClassification, num_labels=3),
    "megatron-untied": _bert(tinybert.MegatronBertForMaskedLM, tie_word_embeddings=False),
    "nemotron": lambda: _nemotron(4),
    "nemotron-one-key": lambda: _nemotron(1),
}  # fmt: skip

MODELS_OF_ONE_TEST = {
    "bert-causal": _bert(tinybert.BertLMHeadModel, is_decoder=True),
    "mega": lambda: tinybert.MegaForMaskedLM(
        tinybert.MegaConfig(
            vocab_size=V, hidden_size=16, num_hidden_layers=2, intermediate_size=24,
            ema_projection_size=3, shared_representation_size=8, use_chunking=True, chunk_size=4,
            max_positions=T, dropout_prob=0.1,
        )
    ),
}  # fmt: skip


def make_model(name):
    """Return a model in float64, the same every time."""
    with tinybert.set_default_dtype("float64"), tinybert.manual_seed(3):
        model = (MODELS | MODELS_OF_ONE_TEST)[name]()
    return fill(model).train()


def fill(model):
    """Add random numbers to all parameters, and return the model: nothing is 0, so hidden."""
    for number, parameter in enumerate(model.parameters()):
        rng = np.random.default_rng(number)
        parameter.data[...] += rng.normal(size=parameter.shape) * 0.1
    return model


def make_batch(name, rows=4, seed=0):
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, V, (rows, T))
    mask = np.ones((rows, T), int)
    mask[0, T - 3 :] = 0
    labels = np.where(rng.random((rows, T)) < 0.6, ids, -100)
    batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    if name.endswith("classes"):
        batch["labels"] = rng.integers(0, 3, rows)
    if name in ("megatron-pretraining", "bert-relative"):
        batch["next_sentence_label"] = rng.integers(0, 2, rows)
        batch["token_type_ids"] = (np.arange(T) > 3).astype(int)[None].repeat(rows, 0)
    return batch


class Endless:
    """Batches of toy data, a function of the position alone."""

    def __init__(self, name):
        self.name, self.position = name, 0

    def __next__(self):
        self.position += 1
        return make_batch(self.name, 2, seed=self.position)

    def state_dict(self):
        return {"position": self.position}

    def load_state_dict(self, state):
        self.position = state["position"]


def on_grid(model, job, timeout=60.0, **sizes):
    """Return the results of `job(model, grid)` on every rank of a grid, each with its own model."""
    ranks = int(np.prod(list(sizes.values()))) if sizes else 1
    models = [copy.deepcopy(model) for _ in range(ranks)]
    return run(ranks, lambda w: job(models[w.rank], Grid(**sizes, world=w)), timeout)
