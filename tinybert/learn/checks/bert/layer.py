"""Check of bert/layer."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from tinybert.autograd import as_tensor
from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.patches import Patch
from tinybert.learn.small_models import layer_call, random_model, weights_of
from tinybert.models.bert import BertLayer, BertModel

EXERCISE = Exercise(
    minutes=15,
    level=2,
    lesson=5,
    hints=(
        "Write the first formula from the inside out: three linear maps, attention, a linear map, "
        "the sum with x, the norm.",
        "Attention returns merged heads; attention.output.dense mixes them before the sum.",
        "The second residual adds `middle`, the output of the first norm, not x. GELU stands "
        "between the two linear maps of the feed-forward part.",
    ),
    forbidden={
        "BertLayer": "write it here, from its parts; a ready layer is what you are building"
    },
    mutants=(
        Mutant(
            "first residual lost",
            "norm(x + change, ",
            "norm(change, ",
            "values",
            "the output of attention is a change of x: add x before the norm.",
        ),
        Mutant(
            "second residual from x",
            "norm(middle + linear",
            "norm(x + linear",
            "values",
            "the feed-forward part changes `middle`, which already holds what attention found.",
        ),
        Mutant(
            "norm of the change only",
            'norm(x + change, "attention.output.LayerNorm")',
            'x + norm(change, "attention.output.LayerNorm")',
            "values",
            "in post-LN the sum is normalised, not the change alone.",
        ),
        Mutant(
            "first norm left out",
            'norm(x + change, "attention.output.LayerNorm")',
            "x + change",
            "values",
            "each of the two parts ends with a norm of its own.",
        ),
        Mutant(
            "GELU by tanh",
            'gelu(linear(middle, "intermediate.dense"))',
            'linear(middle, "intermediate.dense")\n'
            "    inner = np.tanh((2 / np.pi) ** 0.5 * (wide + 0.044715 * wide**3))\n"
            "    wide = wide * (1 + inner) / 2",
            "values",
            "this is the approximation of GELU; BERT uses the exact formula, which `gelu` has.",
        ),
        Mutant(
            "no GELU",
            "gelu(linear(middle, ",
            "(linear(middle, ",
            "values",
            "two linear maps in a row are one linear map: GELU is between them.",
        ),
        Mutant(
            "query and key swapped",
            "multi_head_attention(q, k, v, heads, mask)",
            "multi_head_attention(k, q, v, heads, mask)",
            "values",
            "queries ask and keys answer: the scores of the two are not symmetric.",
        ),
        Mutant(
            "heads not mixed",
            'linear(context, "attention.output.dense")',
            "context",
            "values",
            "attention.output.dense is missing: it mixes what the heads have found.",
        ),
        Mutant(
            "mask forgotten",
            "(q, k, v, heads, mask)",
            "(q, k, v, heads)",
            "edges",
            "pass the mask on to attention, or tokens read from padding.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the layer of a small random model."""
    for seed, (batch, length, heads, size, wide) in enumerate(((2, 5, 3, 4, 7), (3, 4, 1, 5, 9))):
        sizes = {"hidden_size": heads * size, "intermediate_size": wide, "vocab_size": 3}
        model = random_model(BertModel, seed, num_attention_heads=heads, **sizes)
        layer = model.encoder.layer[0]
        x = np.random.default_rng(seed).normal(size=(batch, length, heads * size))
        mask = np.zeros((batch, 1, 1, length))
        mask[-1, ..., 3:] = np.finfo(float).min
        for arguments, stage in (((), "values"), ((mask,), "edges")):
            expected = layer(as_tensor(x), layer_call(*arguments), None, None)[0].numpy()
            yield Case(
                student.bert_layer,
                (x, weights_of(layer), heads, *arguments),
                expected,
                stage=stage,
                what=f"bert_layer(x, w, heads={heads}{', mask' * bool(arguments)}) "
                f"for x of shape {x.shape}",
            )


def plug(student: ModuleType) -> tuple[Patch, ...]:
    """Let the learner's function compute every layer; backward is the engine's."""
    original = BertLayer.forward

    def forward(self: Any, x: Any, call: Any, *rest: Any) -> Any:
        output = original(self, x, call, *rest)
        heads = len(self.attention.self.kept_heads)
        mask = 0.0 if call.mask is None else call.mask.data
        output.hidden_states.data[...] = student.bert_layer(x.data, weights_of(self), heads, mask)
        return output

    return (Patch("tinybert.models.bert.BertLayer.forward", forward),)
