"""Check of bert/layer_backward."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from tinybert.autograd import Function, Tensor
from tinybert.learn import layers
from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.patches import Patch
from tinybert.learn.small_models import layer_call, random_model, weights_of
from tinybert.models.bert import BertModel
from tinybert.models.stack import LayerOutput

EXERCISE = Exercise(
    minutes=30,
    level=5,
    lesson=24,
    hints=(
        "Begin with the last line of forward: norm(dy, kept['added_2'], ...) gives the gradient of "
        "added_2, which goes to `middle` directly and into the last dense.",
        "The order of names: output.LayerNorm, output.dense, GELU, intermediate.dense, "
        "attention.output.LayerNorm, attention.output.dense, attention, the three maps of x.",
        "dmiddle is a sum of two gradients and dx a sum of four. Every linear map gets the value "
        "that it had as input in forward.",
    ),
    forbidden={"backward": "put the given parts together; autograd is what you are replacing"},
    mutants=(
        Mutant(
            "upper residual lost",
            "dmiddle = dadded + linear",
            "dmiddle = linear",
            "gradient",
            "`middle` is used twice: by the feed-forward part and by the residual. Add both "
            "gradients.",
        ),
        Mutant(
            "lower residual lost",
            "dx, dqkv = dadded, ",
            "dx, dqkv = 0, ",
            "gradient",
            "x is used by the residual as well: its gradient is the fourth term of dx.",
        ),
        Mutant(
            "gradients of query and key lost",
            "dx = dx + linear",
            "dx = dadded + linear",
            "gradient",
            "x is read by query, key and value: add up all three gradients.",
        ),
        Mutant(
            "dy for the gradient of added_2",
            "dmiddle = dadded + ",
            "dmiddle = dy + ",
            "gradient",
            "the residual is added before the norm: its gradient is that of added_2, not dy.",
        ),
        Mutant(
            "GELU's output for its input",
            '"output.dense"), kept["wide"])',
            '"output.dense"), kept["active"])',
            "gradient",
            "the derivative of GELU is taken at its input, `wide`.",
        ),
        Mutant(
            "no GELU",
            'gelu_backward(linear(dadded, kept["active"], "output.dense"), kept["wide"])',
            'linear(dadded, kept["active"], "output.dense")',
            "gradient",
            "the gradient has to pass GELU between the two linear maps.",
        ),
        Mutant(
            "norms swapped",
            'norm(dy, kept["added_2"], "output.LayerNorm")',
            'norm(dy, kept["added_1"], "output.LayerNorm")',
            "gradient",
            "the last norm of forward, which is the first of backward, had added_2 as its input.",
        ),
        Mutant(
            "mean instead of sum",
            "    return dx, gradients",
            "    return dadded + (dx - dadded) / 3, gradients",
            "gradient",
            "gradients of several uses are added, not averaged.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the gradients of the layer of a small random model."""
    for seed, (batch, length, heads, size, wide) in enumerate(((2, 5, 3, 4, 7), (1, 3, 2, 2, 9))):
        sizes = {"hidden_size": heads * size, "intermediate_size": wide, "vocab_size": 3}
        model = random_model(BertModel, seed, num_attention_heads=heads, **sizes)
        layer = model.encoder.layer[0]
        rng = np.random.default_rng(seed)
        x, dy = rng.normal(size=(2, batch, length, heads * size))
        leaf = Tensor(x, requires_grad=True)
        layer(leaf, layer_call(), None, None)[0].backward(dy)
        expected = {name: np.asarray(p.grad) for name, p in layer.named_parameters()}
        w = weights_of(layer)
        yield Case(
            student.layer_backward,
            (dy, forward(x, w, heads)[1], w, heads),
            (np.asarray(leaf.grad), expected),
            stage="gradient",
            names=("dx", "gradients"),
            what=f"layer_backward(dy, kept, w, heads={heads}) for dy of shape {dy.shape}",
        )


def forward(
    x: np.ndarray, w: dict[str, np.ndarray], heads: int, mask: Any = 0.0
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the output of a layer, and every value that backward needs."""

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return layers.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return layers.layer_norm(x, w[f"{name}.weight"], w[f"{name}.bias"])

    kept = {"x": x, "mask": mask}
    for name in ("query", "key", "value"):
        kept[name] = linear(x, f"attention.self.{name}")
    attended = kept["query"], kept["key"], kept["value"], heads, mask
    kept["context"] = layers.multi_head_attention(*attended)
    kept["added_1"] = x + linear(kept["context"], "attention.output.dense")
    kept["middle"] = norm(kept["added_1"], "attention.output.LayerNorm")
    kept["wide"] = linear(kept["middle"], "intermediate.dense")
    kept["active"] = layers.gelu(kept["wide"])
    kept["added_2"] = kept["middle"] + linear(kept["active"], "output.dense")
    return norm(kept["added_2"], "output.LayerNorm"), kept


def plug(student: ModuleType) -> tuple[Patch, ...]:
    """Make every layer one operation, whose backward is the learner's."""

    class WholeLayer(Function):
        def forward(
            self, x: Any, *weights: Any, names: tuple[str, ...], heads: int, mask: Any
        ) -> Any:
            self.w, self.heads = dict(zip(names, weights, strict=True)), heads
            y, self.kept = forward(x, self.w, heads, mask)
            return y

        def backward(self, dy: Any) -> Any:
            dx, gradients = student.layer_backward(dy, self.kept, self.w, self.heads)
            return dx, *(gradients[name] for name in self.w)

    def run(self: Any, x: Any, call: Any, past: Any, head_mask: Any) -> LayerOutput:
        w = dict(self.named_parameters())
        heads = len(self.attention.self.kept_heads)
        mask = 0.0 if call.mask is None else call.mask.data
        y = WholeLayer.apply(x, *w.values(), names=tuple(w), heads=heads, mask=mask)
        return LayerOutput(y)

    return (Patch("tinybert.models.bert.BertLayer.forward", run),)
