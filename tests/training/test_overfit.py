"""Every model with a loss, of every family, learns eight random examples by heart.

Only a model whose loss, gradient and predictions fit together can do that: labels are random, so
there is nothing else to learn. The classes are found in the package; a new head needs an entry in
TASKS.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tinybert
from tinybert.models import heads
from tinybert.models.base import PreTrainedModel
from tinybert.models.encoder_decoder import EncoderDecoderModel

EXAMPLES, LENGTH, VOCAB, CLASSES, CHOICES = 8, 6, 24, 3, 3
STEPS, RATE = 150, 1e-2
FORMS = ("single_label_classification", "multi_label_classification", "regression")
Arrays = dict[str, np.ndarray]
NO_DROPOUT = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "dropout_prob",
    "nffn_activation_dropout_prob", "attention_dropout",
)  # fmt: skip


def words(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return rng.integers(3, VOCAB, shape)


def classes(shape: tuple[int, ...], count: int, rng: np.random.Generator) -> np.ndarray:
    """Random class numbers; all occur."""
    return rng.permutation(np.arange(np.prod(shape)) % count).reshape(shape)


def some_words(rng: np.random.Generator) -> np.ndarray:
    """Labels of two positions of each row."""
    labels = words((EXAMPLES, LENGTH), rng)
    labels[:, [0, 2, 3, 5]] = -100
    return labels


def best(logits: np.ndarray, labels: np.ndarray) -> bool:
    """Whether the label has the highest score wherever there is one."""
    return bool((logits.argmax(-1) == labels)[labels != -100].all())


def fits(model: Any, output: Any, labels: Arrays) -> bool:
    """Whether every prediction is right; a predicted number within 0.05."""
    if isinstance(model, heads.PreTraining):
        return best(output.prediction_logits.numpy(), labels["labels"]) and best(
            output.seq_relationship_logits.numpy(), labels["next_sentence_label"]
        )
    if isinstance(model, heads.QuestionAnswering):
        return best(output.start_logits.numpy(), labels["start_positions"]) and best(
            output.end_logits.numpy(), labels["end_positions"]
        )
    logits, wanted = output.logits.numpy(), labels["labels"]
    if isinstance(model, heads.CausalLM):
        return best(logits[:, :-1], wanted[:, 1:])
    form = getattr(model.config, "problem_type", None)
    if isinstance(model, heads.SequenceClassification) and form == "regression":
        return bool(np.abs(logits - wanted).max() < 0.05)
    if isinstance(model, heads.SequenceClassification) and form == "multi_label_classification":
        return bool(((logits > 0) == wanted).all())
    return best(logits, wanted)


def labels_of(model: Any, ids: np.ndarray, rng: np.random.Generator) -> Arrays:
    """Random labels for each kind of head; KeyError for a head that is not in TASKS."""
    (kind,) = [kind for kind in TASKS if isinstance(model, kind)]
    return TASKS[kind](model, ids, rng)


def sequence_labels(model: Any, ids: np.ndarray, rng: np.random.Generator) -> Arrays:
    form = model.config.problem_type
    if form == "regression":
        return {"labels": rng.standard_normal((EXAMPLES, CLASSES)).astype(np.float32)}
    if form == "multi_label_classification":
        return {"labels": classes((EXAMPLES, CLASSES), 2, rng).astype(np.float32)}
    return {"labels": classes((EXAMPLES,), CLASSES, rng)}


TASKS: dict[type, Callable[[Any, np.ndarray, np.random.Generator], Arrays]] = {
    heads.MaskedLM: lambda model, ids, rng: {"labels": some_words(rng)},
    heads.CausalLM: lambda model, ids, rng: {"labels": ids},
    heads.PreTraining: lambda model, ids, rng: {
        "labels": some_words(rng), "next_sentence_label": classes((EXAMPLES,), 2, rng),
    },
    heads.NextSentencePrediction: lambda model, ids, rng: {"labels": classes((EXAMPLES,), 2, rng)},
    heads.SequenceClassification: sequence_labels,
    heads.MultipleChoice: lambda model, ids, rng: {"labels": classes((EXAMPLES,), CHOICES, rng)},
    heads.TokenClassification: lambda model, ids, rng: {
        "labels": classes((EXAMPLES, LENGTH), CLASSES, rng)
    },
    heads.QuestionAnswering: lambda model, ids, rng: {
        "start_positions": classes((EXAMPLES,), LENGTH, rng),
        "end_positions": classes((EXAMPLES,), LENGTH, rng),
    },
    EncoderDecoderModel: lambda model, ids, rng: {"labels": words((EXAMPLES, LENGTH), rng)},
}  # fmt: skip


def learnt() -> Iterator[Any]:
    """Every public class whose call takes labels, with every form of its loss."""
    for name in dir(tinybert):
        kind = getattr(tinybert, name)
        if not (isinstance(kind, type) and issubclass(kind, PreTrainedModel)):
            continue
        names = inspect.signature(kind.forward).parameters
        if any("label" in n or n in ("start_positions", "end_positions") for n in names):
            forms = FORMS if issubclass(kind, heads.SequenceClassification) else (None,)
            yield from (pytest.param(kind, form, id=f"{name}-{form or ''}") for form in forms)


def config_of(config_class: Any, **options: Any) -> Any:
    """A tiny config without dropout."""
    sizes = {
        "vocab_size": VOCAB, "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 16,
        "nffn_hidden_size": 24, "shared_representation_size": 8, "ema_projection_size": 2,
        "max_positions": 16, "pad_token_id": 0, "initializer_range": 0.1,
        **dict.fromkeys(NO_DROPOUT, 0.0), **options,
    }  # fmt: skip
    known = inspect.signature(config_class).parameters
    base = inspect.signature(tinybert.PretrainedConfig).parameters
    return config_class(**{k: v for k, v in sizes.items() if k in known or k in base})


def model_of(kind: Any, form: str | None) -> Any:
    if issubclass(kind, EncoderDecoderModel):
        encoder, decoder = (config_of(tinybert.BertConfig) for _ in range(2))
        return kind(tinybert.EncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder))
    options: dict[str, Any] = {"problem_type": form}
    if issubclass(kind, heads.CausalLM):
        options |= {"is_decoder": True, "bidirectional": False}
    if issubclass(kind, (heads.SequenceClassification, heads.TokenClassification)):
        options["num_labels"] = CLASSES
    return kind(config_of(kind.config_class, **options))


@pytest.mark.parametrize(("kind", "form"), list(learnt()))
def test_eight_examples_are_learnt(kind: Any, form: str | None) -> None:
    rng = np.random.default_rng(3)
    with tinybert.manual_seed(0):
        model = model_of(kind, form).train()
    choices = CHOICES if isinstance(model, heads.MultipleChoice) else 1
    ids = words((EXAMPLES * choices, LENGTH), rng)
    ids[:, 0] = 3 + np.arange(len(ids)) % (VOCAB - 3)  # what distinguishes texts for a causal model
    if choices > 1:
        ids = ids.reshape(EXAMPLES, choices, LENGTH)
    labels = labels_of(model, ids, rng)
    inputs: dict[str, Any] = {"input_ids": ids}
    if isinstance(model, EncoderDecoderModel):
        inputs["decoder_input_ids"] = np.roll(labels["labels"], 1, axis=1)
        inputs["decoder_input_ids"][:, 0] = 1
    optimizer = tinybert.optim.AdamW(model.parameters(), lr=RATE)
    for step in range(STEPS):
        output = model(**inputs, **labels)
        if fits(model, output, labels):
            assert step, "no training was needed"
            break
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
    with tinybert.no_grad():
        assert fits(model, model.eval()(**inputs), labels), float(output.loss)


def test_every_head_has_a_task() -> None:
    for parameters in learnt():
        assert [kind for kind in TASKS if issubclass(parameters.values[0], kind)]
