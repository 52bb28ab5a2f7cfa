"""Check of bert/embeddings."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.patches import Patch
from tinybert.learn.small_models import random_model, weights_of
from tinybert.models.bert import BertEmbeddings, BertModel

EXERCISE = Exercise(
    minutes=8,
    level=1,
    lesson=5,
    hints=(
        "table[ids] with ids (B, T) and a table (V, D) gives (B, T, D): one row for each id.",
        "All rows of the batch have the same positions 0 to T - 1, so the first T rows of the "
        "table, (T, D), broadcast over the batch.",
        "Add first, then call layer_norm once, with both of its weights and with eps.",
    ),
    forbidden={"BertEmbeddings": "write it here; it is what you are building"},
    mutants=(
        Mutant(
            "no token types",
            '    x = x + w["token_type_embeddings.weight"][types]\n',
            "",
            "values",
            "add the row of the token's type as well; type 0 is a vector like any other.",
        ),
        Mutant(
            "all tokens of type 0",
            '["token_type_embeddings.weight"][types]',
            '["token_type_embeddings.weight"][0]',
            "values",
            "the second text of a pair has type 1: look up `types`.",
        ),
        Mutant(
            "positions from 1",
            "[: ids.shape[1]]",
            "[1 : ids.shape[1] + 1]",
            "values",
            "the first token, [CLS], is at position 0.",
        ),
        Mutant(
            "position looked up by id",
            "[: ids.shape[1]]",
            '[ids % len(w["position_embeddings.weight"])]',
            "values",
            "a position depends on where a token is, not on what it is.",
        ),
        Mutant(
            "normalised in between",
            'x = x + w["token_type_embeddings.weight"][types]',
            'x = layer_norm(x, 1, 0, eps) + w["token_type_embeddings.weight"][types]',
            "values",
            "LayerNorm is applied once, to the sum of all three.",
        ),
        Mutant(
            "not normalised",
            'layer_norm(x, w["LayerNorm.weight"], w["LayerNorm.bias"], eps)',
            "x",
            "values",
            "the sum still has to go through layer_norm.",
        ),
        Mutant(
            "eps left at its default",
            ', w["LayerNorm.bias"], eps)',
            ', w["LayerNorm.bias"])',
            "edges",
            "pass the eps of the call on: the models of a family differ in it.",
        ),
    ),
)
SIZES = {"vocab_size": 11, "hidden_size": 6, "num_attention_heads": 2, "intermediate_size": 7}


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the embeddings of a small random model."""
    for seed, (batch, length, eps) in enumerate(((2, 5, 1e-12), (1, 7, 1e-12), (3, 4, 0.1))):
        model = random_model(BertModel, seed, layer_norm_eps=eps, **SIZES).embeddings
        rng = np.random.default_rng(seed)
        ids, types = rng.integers(0, 11, (batch, length)), rng.integers(0, 2, (batch, length))
        yield Case(
            student.embeddings,
            (ids, types, weights_of(model), eps),
            model(ids, types).numpy(),
            stage="values" if eps < 0.1 else "edges",
        )


def plug(student: ModuleType) -> tuple[Patch, ...]:
    """Let the learner's function compute the input of the first layer; backward is the engine's."""
    original = BertEmbeddings.forward

    def forward(self: Any, ids: Any, types: Any, *rest: Any) -> Any:
        x = original(self, ids, types, *rest)
        types = 0 * ids.data if types is None else types.data
        x.data[...] = student.embeddings(ids.data, types, weights_of(self), self.LayerNorm.eps)
        return x

    return (Patch("tinybert.models.bert.BertEmbeddings.forward", forward),)
