"""Check of parts/layer_norm_backward."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.patches import Patch

EXERCISE = Exercise(
    minutes=20,
    level=3,
    lesson=17,
    hints=(
        "dx_hat: y = x_hat * weight + bias is a product, so the factor is the weight.",
        "The second line of the derivative gives the mean of dx_hat over the features of a row; "
        "the third gives x_hat times the mean of dx_hat * x_hat. Keep the axis of both means.",
        "dx is rstd times what remains when both terms are subtracted. dweight and dbias are sums "
        "over axis 0, and they use dy, not dx_hat.",
    ),
    forbidden={
        "LayerNorm": "write it here; this is what you are building",
        "layer_norm": "write it here; this is what you are building",
    },
    mutants=(
        Mutant(
            "variance taken for a constant",
            " - x_hat * stretch",
            "",
            "gradient",
            "x_j also acts through the variance: the term x_hat * mean(dx_hat * x_hat) is missing. "
            "With a gradient of ones this mistake would not show.",
        ),
        Mutant(
            "mean taken for a constant",
            " - shift",
            "",
            "gradient",
            "x_j also acts through the mean: subtract the mean of dx_hat.",
        ),
        Mutant(
            "weight left out of dx",
            "dx_hat = dy * weight",
            "dx_hat = dy",
            "gradient",
            "x_hat is multiplied by weight, so dx_hat is dy * weight.",
        ),
        Mutant(
            "no rstd",
            "rstd * (dx_hat - shift - x_hat * stretch)",
            "dx_hat - shift - x_hat * stretch",
            "gradient",
            "all three terms have the factor rstd.",
        ),
        Mutant(
            "sums instead of means",
            "shift = dx_hat.mean(axis=-1, keepdims=True)\n"
            "    stretch = (dx_hat * x_hat).mean(axis=-1, keepdims=True)",
            "shift = dx_hat.sum(axis=-1, keepdims=True)\n"
            "    stretch = (dx_hat * x_hat).sum(axis=-1, keepdims=True)",
            "gradient",
            "the second and third term are divided by D: means, not sums.",
        ),
        Mutant(
            "means over the rows",
            "shift = dx_hat.mean(axis=-1, keepdims=True)\n"
            "    stretch = (dx_hat * x_hat).mean(axis=-1, keepdims=True)",
            "shift = dx_hat.mean(axis=0, keepdims=True)\n"
            "    stretch = (dx_hat * x_hat).mean(axis=0, keepdims=True)",
            "gradient",
            "forward computed mean and variance in each row, so the means run over the last axis.",
        ),
        Mutant(
            "weight in dweight",
            "(dy * x_hat).sum(axis=0)",
            "(dx_hat * x_hat).sum(axis=0)",
            "gradient",
            "y = x_hat * weight: the factor of weight is x_hat alone. Use dy.",
        ),
        Mutant(
            "dweight for each row",
            "(dy * x_hat).sum(axis=0)",
            "(dy * x_hat).sum(axis=-1)",
            "shape",
            "dweight has one number for each feature: sum over the rows, axis 0.",
        ),
        Mutant(
            "dbias as a mean",
            "dy.sum(axis=0)",
            "dy.mean(axis=0)",
            "gradient",
            "the gradients of all uses of a parameter are added, not averaged.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare dx with the full matrix of derivatives of each row."""
    rng = np.random.default_rng(0)
    for count, size in ((2, 5), (7, 3), (1, 4)):
        x, dy, weight = *rng.normal(size=(2, count, size)), rng.normal(size=size)
        rstd = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
        x_hat = (x - x.mean(axis=-1, keepdims=True)) * rstd
        matrix = np.eye(size) - (1 + x_hat[:, :, None] * x_hat[:, None, :]) / size
        dx = np.einsum("ni,nij,n->nj", dy * weight, matrix, rstd[:, 0])
        expected = dx, np.einsum("nd,nd->d", dy, x_hat), np.einsum("nd->d", dy)
        yield Case(
            student.layer_norm_backward,
            (dy, x_hat, rstd, weight),
            expected,
            names=("dx", "dweight", "dbias"),
            stage="gradient",
        )


def plug(student: ModuleType) -> tuple[Patch, ...]:
    """Run the learner's backward in place of the engine's."""
    target = "tinybert.ops.layer_norm.layer_norm_backward"
    return (Patch(target, student.layer_norm_backward),)
