"""The learner's code inside a real model: does the model still answer the same?"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from tinybert.embedding import SentenceEmbedder
from tinybert.fetch import model_folder
from tinybert.learn.exercise import Case, Task
from tinybert.learn.patches import patched
from tinybert.nn.packing import padded
from tinybert.tokenizers import BertTokenizer

SENTENCES = (
    "A man is playing a guitar.",
    "Someone plays an instrument.",
    "The cat sleeps on the sofa.",
    "Two dogs run through the café!",
    "Prices rose faster than expected in March.",
    "Inflation in spring was higher than economists thought.",
)
TOLERANCE = 1e-3
MODEL = "embedded"


def model_cases(task: Task, student: ModuleType) -> Iterator[Case]:
    """Yield the case of the last stage, for an exercise whose code can run in a model."""
    if task.plug is not None:
        yield Case(
            answers_with,
            (task, student),
            answers(),
            stage="model",
            tolerance=TOLERANCE,
            what=f"your code inside of {MODEL}, on six sentences",
        )


def answers_with(task: Task, student: ModuleType, model: str = MODEL) -> dict[str, Any]:
    """Return the answers of a model that runs the learner's code."""
    assert task.plug is not None
    loaded = load_model(model)
    with patched(*task.plug(student)):
        return answers_of(*loaded)


@cache
def answers(model: str = MODEL) -> dict[str, Any]:
    """Return the answers of a model as it is."""
    return answers_of(*load_model(model))


@cache
def load_model(model: str) -> tuple[Any, Any]:
    """Load a model with its tokenizer once."""
    folder = model_folder(model)
    embedder = SentenceEmbedder.from_pretrained(folder)  # without a pooler: there is no warning
    # Its own tokenizer may be the fast one, which does not run the functions that are replaced.
    return embedder.model.eval(), BertTokenizer.from_pretrained(folder)


def answers_of(model: Any, tokenizer: Any) -> dict[str, Any]:
    """Compute the ids of six sentences, their cosines, and gradients for a random cotangent."""
    batch = tokenizer(list(SENTENCES), padding=True, return_tensors="np")
    model.zero_grad()
    # The mean of two ways: attention as one operation; and, for its weights, as several.
    with padded():
        whole, steps = (model(**batch, output_attentions=flag) for flag in (False, True))
    output = (whole.last_hidden_state + steps.last_hidden_state) / 2
    output.backward(np.random.default_rng(0).normal(size=output.shape).astype(output.dtype))
    mask = batch["attention_mask"][..., None]
    means = (output.numpy() * mask).sum(1) / mask.sum(1)
    vectors = means / np.linalg.norm(means, axis=1, keepdims=True)
    return {
        "token ids": batch["input_ids"].tolist(),
        "cosines": vectors @ vectors.T,
        "gradient norms": {
            name: float(np.linalg.norm(parameter.grad.numpy()))
            for name, parameter in model.named_parameters()
            if parameter.grad is not None
        },
    }
