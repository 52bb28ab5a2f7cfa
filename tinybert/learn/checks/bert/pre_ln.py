"""Check of bert/pre_ln."""

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

from tinybert.autograd import as_tensor
from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.small_models import layer_call, random_model
from tinybert.models.megatron_bert import MegatronBertModel

EXERCISE = Exercise(
    minutes=6,
    level=1,
    lesson=33,
    hints=(
        "A for loop can take a layer apart: for norm_1, attention, norm_2, feed_forward in layers.",
        "Each of the two formulas is one line of Python that can give x a new value. The last norm "
        "comes after the loop.",
    ),
    mutants=(
        Mutant(
            "post-LN",
            "x = x + attention(norm_1(x))",
            "x = norm_1(x + attention(x))",
            "values",
            "this is the order of BERT; in pre-LN the norm is applied to the input of attention.",
        ),
        Mutant(
            "residual normalised",
            "x = x + attention(norm_1(x))",
            "x = norm_1(x) + attention(norm_1(x))",
            "values",
            "the residual adds x itself: no norm is on the path from layer to layer.",
        ),
        Mutant(
            "feed-forward without its norm",
            "feed_forward(norm_2(x))",
            "feed_forward(x)",
            "values",
            "both parts have a norm before them.",
        ),
        Mutant(
            "one norm for both parts",
            "feed_forward(norm_2(x))",
            "feed_forward(norm_1(x))",
            "values",
            "each part has its own norm, with weights of its own.",
        ),
        Mutant(
            "no last norm",
            "return last_norm(x)",
            "return x",
            "values",
            "the sums have grown from layer to layer: normalise them once at the end.",
        ),
        Mutant(
            "last norm in every layer",
            "x = x + feed_forward(norm_2(x))",
            "x = last_norm(x + feed_forward(norm_2(x)))",
            "values",
            "the last norm is applied once, after the loop.",
        ),
        Mutant(
            "both parts from the same input",
            "x = x + feed_forward(norm_2(x))",
            "x = x + feed_forward(norm_2(x - attention(norm_1(x))))",
            "values",
            "the feed-forward part reads the sum that attention has already changed.",
        ),
        Mutant(
            "x changed in place",
            "x = x + attention(norm_1(x))",
            "x += attention(norm_1(x))",
            "unchanged",
            "+= writes into the caller's array; x = x + ... makes a new one.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with MegatronBERT, small and random."""
    for seed, (depth, heads, size) in enumerate(((1, 2, 3), (3, 1, 4), (0, 1, 5))):
        model = random_model(
            MegatronBertModel, seed, num_hidden_layers=depth, num_attention_heads=heads,
            hidden_size=heads * size, intermediate_size=7, vocab_size=3,
        )  # fmt: skip
        x = np.random.default_rng(seed).normal(size=(2, 5, heads * size))
        yield Case(
            student.run_layers,
            (x, [parts_of(layer) for layer in model.encoder.layer], on_arrays(model.encoder.ln)),
            model.encoder(as_tensor(x), every_layer_call()).last_hidden_state.numpy(),
            stage="values" if depth else "edges",
            what=f"run_layers(x, layers, last_norm) for x of shape {x.shape}; layers: {depth}",
        )


def parts_of(layer: Any) -> tuple[Callable[[np.ndarray], np.ndarray], ...]:
    """Return the four parts of a layer of MegatronBERT as functions of arrays."""

    def attention(x: Any) -> Any:
        context, _ = layer.attention.self(x, layer_call(), None, None)
        return layer.attention.output.dense(context)

    def feed_forward(x: Any) -> Any:
        return layer.output.dense(layer.intermediate(x))

    parts = (layer.attention.ln, attention, layer.ln, feed_forward)
    return tuple(on_arrays(part) for part in parts)


def on_arrays(part: Callable[[Any], Any]) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function of Tensors as a function of arrays."""
    return lambda x: part(as_tensor(x)).numpy()


def every_layer_call() -> Any:
    """Return what a stack of layers reads of a call."""
    call = layer_call()
    call.cache = call.head_masks = None
    call.output_hidden_states = False
    return call
