"""What is compared with TensorFlow: calls of small models, written once for both libraries.

`make_golden.py` runs the cases with TensorFlow and stores the results in `golden.npz`;
`test_golden.py` runs them with tinybert. A case gets `tf`, which is TensorFlow or
`tinybert.frontends.tensorflow`, and `build(class_name, **options)`, which returns a model with the
weights of `draw`.

Sizes    B = 3 texts of T = 5 tokens, V = 13, D = 8 (a square kernel shows when it is transposed),
         H = 2 heads, F = 12, L = 2 layers, at most 11 positions
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

SIZES: dict[str, Any] = {
    "vocab_size": 13,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 11,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "num_labels": 3,
}
IDS = np.array([[5, 1, 12, 3, 0], [7, 7, 2, 0, 9], [4, 11, 6, 8, 10]])
MASK = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 1, 1, 0]])
HIDDEN = np.array([[1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [0, 1, 1, 0, 0]])  # a text without any key
TYPES = np.array([[0, 0, 1, 1, 1], [0, 1, 1, 1, 1], [0, 0, 0, 0, 1]])
POSITIONS = np.array([[4, 3, 10, 0, 1]])
EMBEDDED = np.random.default_rng(5).normal(size=(3, 5, 8)).astype(np.float32)
STATES = np.random.default_rng(6).normal(size=(3, 4, 8)).astype(np.float32)
STATES_MASK = np.array([[1, 1, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]])
STATES_MATRIX = np.array([[[1, 0, 1, 1]] * 2 + [[0, 1, 0, 1]] * 3] * 3)
WORD_LABELS = np.array([[-100, 1, -1, 3, -100], [0, -100, 12, 2, -100], [-100, -100, -100, 4, -7]])
TAGS = np.array([[-100, 1, -1, 2, -100], [0, -100, 2, 2, -1], [0, 0, -100, 1, -7]])
TAGS_OF_100 = np.array([[-100, 1, 0, 2, -100], [0, -100, 2, 2, 1], [0, 0, -100, 1, 2]])
MARKED = np.array([[-100, 1, 0, 3, -100], [0, -100, 12, 2, -100], [-100, -100, -100, 4, 7]])
CHOICES = np.stack([IDS, IDS[::-1], (IDS + 1) % 13, IDS[:, ::-1]], 1)  # (3, 4, 5)
CHOICES_MASK = np.stack([MASK, MASK[::-1], MASK, np.ones_like(MASK)], 1)
ALL = {"output_hidden_states": True, "output_attentions": True}
DECODER = {"is_decoder": True}
CROSS = {"is_decoder": True, "add_cross_attention": True}

Case = Callable[[Any, Callable[..., Any]], Mapping[str, Any]]
CASES: dict[str, Case] = {}
REFUSED: dict[str, Callable[[Any, Callable[..., Any]], Any]] = {}

# Each class with labels that count and labels that do not, and its options.
LABELS: dict[str, dict[str, Any]] = {
    "TFBertForPreTraining": {
        "labels": WORD_LABELS,
        "next_sentence_label": np.array([1, -100, 0]),
    },
    "TFBertLMHeadModel": {"labels": WORD_LABELS},
    "TFBertForMaskedLM": {"labels": WORD_LABELS},
    "TFBertForNextSentencePrediction": {"next_sentence_label": np.array([1, -100, 0])},
    "TFBertForSequenceClassification": {"labels": np.array([2, 0, 1])},
    "TFBertForMultipleChoice": {"labels": np.array([3, 0, 1])},
    "TFBertForTokenClassification": {"labels": TAGS},
    "TFBertForQuestionAnswering": {
        "start_positions": np.array([0, 2, 4]),
        "end_positions": np.array([1, 4, 3]),
    },
}
OPTIONS: dict[str, dict[str, Any]] = {"TFBertForQuestionAnswering": {"num_labels": 2}}


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the weight with this name, without the model's: numbers that depend on both alone."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return rng.normal(scale=0.4, size=shape).astype(np.float32)


def flatten(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the arrays in nested dicts and sequences, with joined names; None has none."""
    if isinstance(value, Mapping):
        for key in value:
            yield from flatten(f"{name}/{key}", value[key])
    elif isinstance(value, (list, tuple)):
        yield f"{name}.length", np.array(len(value))
        for i, member in enumerate(value):
            yield from flatten(f"{name}.{i}", member)
    elif value is not None:
        yield name, value


def case(name: str) -> Callable[[Case], Case]:
    def add(function: Case) -> Case:
        CASES[name] = function
        return function

    return add


def inputs_of(tf: Any, class_name: str, with_labels: bool = True) -> dict[str, Any]:
    choice = class_name == "TFBertForMultipleChoice"
    inputs = {"input_ids": CHOICES if choice else IDS}
    inputs["attention_mask"] = CHOICES_MASK if choice else MASK
    inputs["token_type_ids"] = np.stack([TYPES] * 4, 1) if choice else TYPES
    labels = LABELS.get(class_name, {}) if with_labels else {}
    return {name: tf.constant(value) for name, value in {**inputs, **labels}.items()}


def every_class() -> Iterator[tuple[str, dict[str, Any]]]:
    for class_name in ("TFBertModel", *LABELS):
        yield class_name, OPTIONS.get(class_name, {})


def class_cases(class_name: str, options: dict[str, Any]) -> None:
    """Outputs and loss, as a tuple too, without labels, and all gradients."""

    @case(f"{class_name}")
    def outputs(tf: Any, build: Any) -> Any:
        return build(class_name, **options)(inputs_of(tf, class_name), **ALL)

    @case(f"{class_name} tuple")
    def as_tuple(tf: Any, build: Any) -> Any:
        model = build(class_name, **options)
        inputs, plain = (inputs_of(tf, class_name, labels) for labels in (True, False))
        return {
            "all": model(inputs, return_dict=False, **ALL),
            "few": model(**inputs, return_dict=False),
            "none": model(plain, return_dict=False),
        }

    if class_name == "TFBertModel":
        return

    @case(f"{class_name} gradients")
    def gradients(tf: Any, build: Any) -> Any:
        model = build(class_name, **options)
        inputs = inputs_of(tf, class_name)
        with tf.GradientTape() as tape:
            loss = model(inputs, training=True).loss
        weights = model.trainable_variables
        found = tape.gradient(loss, weights)
        names = [weight.name.partition("/")[2] for weight in weights]
        return dict(zip(names, found, strict=True))


for _name, _options in every_class():
    class_cases(_name, _options)


def loss_case(
    name: str, class_name: str, options: dict[str, Any] | None = None, **labels: Any
) -> None:
    @case(f"loss {name}")
    def loss(tf: Any, build: Any) -> Any:
        model = build(class_name, **{**OPTIONS.get(class_name, {}), **(options or {})})
        inputs = inputs_of(tf, class_name, with_labels=False)
        given = {key: tf.constant(value) for key, value in labels.items()}
        return {"loss": model(inputs, **given).loss}


OLD = {"tf_legacy_loss": True}
loss_case("masked lm, old", "TFBertForMaskedLM", OLD, labels=MARKED)
loss_case("causal lm, old", "TFBertLMHeadModel", OLD, labels=MARKED)
loss_case("tags, old, -1", "TFBertForTokenClassification", OLD, labels=np.where(TAGS < 0, -1, TAGS))
loss_case("tags, old, -100", "TFBertForTokenClassification", OLD, labels=TAGS_OF_100)
loss_case(
    "next sentence, old",
    "TFBertForNextSentencePrediction",
    OLD,
    next_sentence_label=np.array([1, -100, 0]),
)
loss_case(
    "next sentence, -1", "TFBertForNextSentencePrediction", next_sentence_label=np.array([1, -1, 0])
)
loss_case(
    "classes in a column", "TFBertForSequenceClassification", labels=np.array([[2], [0], [1]])
)
for _kind in (None, "regression", "multi_label_classification"):
    _options = {"problem_type": _kind}
    loss_case(
        f"class, {_kind}", "TFBertForSequenceClassification", _options, labels=np.array([2, 0, 1])
    )
for _labels in (
    np.array([0.5, -2, 3]),
    np.array([[0.5], [-2], [3]]),
    np.array(1.5),
    np.array([1, 0, 2]),
):
    _name = f"numbers {_labels.shape} {_labels.dtype.kind}"
    loss_case(_name, "TFBertForSequenceClassification", {"num_labels": 1}, labels=_labels)
loss_case(
    "positions in a column",
    "TFBertForQuestionAnswering",
    start_positions=np.array([[0], [2], [4]]),
    end_positions=np.array([[1], [4], [3]]),
)
loss_case("start alone", "TFBertForQuestionAnswering", start_positions=np.array([0, 2, 4]))
loss_case("words alone", "TFBertForPreTraining", labels=WORD_LABELS)


@case("one label for one text")
def one_label(tf: Any, build: Any) -> Any:
    model = build("TFBertForSequenceClassification")
    return {"loss": model(tf.constant(IDS[:1]), labels=tf.constant(1)).loss}


# --- masks and inputs -----------------------------------------------------------------------------


def model_case(name: str, class_name: str, options: dict[str, Any], **inputs: Any) -> None:
    @case(name)
    def run(tf: Any, build: Any) -> Any:
        given = {k: tf.constant(v) if isinstance(v, np.ndarray) else v for k, v in inputs.items()}
        return build(class_name, **options)(**given)


model_case("all keys masked", "TFBertModel", {}, input_ids=IDS, attention_mask=HIDDEN, **ALL)
model_case(
    "all keys of a decoder masked", "TFBertLMHeadModel", DECODER,
    input_ids=IDS, attention_mask=HIDDEN, **ALL,
)  # fmt: skip
model_case(
    "a mask of fractions", "TFBertModel", {},
    input_ids=IDS, attention_mask=np.where(MASK == 1, 1.0, 0.99995).astype(np.float32), **ALL,
)  # fmt: skip
model_case("positions", "TFBertModel", {}, input_ids=IDS, position_ids=POSITIONS)
model_case("embeddings", "TFBertModel", {}, input_ids=None, inputs_embeds=EMBEDDED)
model_case(
    "relative positions", "TFBertModel", {"position_embedding_type": "relative_key"}, input_ids=IDS
)
model_case("untied", "TFBertForMaskedLM", {"tie_word_embeddings": False}, input_ids=IDS)
model_case("a decoder", "TFBertLMHeadModel", DECODER, input_ids=IDS, attention_mask=MASK, **ALL)
model_case("a decoder without a cache", "TFBertModel", DECODER, input_ids=IDS, use_cache=False)
model_case("use_cache of an encoder", "TFBertModel", {}, input_ids=IDS, use_cache=True)
model_case("a decoder's loss", "TFBertLMHeadModel", DECODER, input_ids=IDS, labels=WORD_LABELS)
model_case(
    "a decoder's tuple", "TFBertLMHeadModel", DECODER,
    input_ids=IDS, labels=WORD_LABELS, return_dict=False,
)  # fmt: skip
model_case(
    "states without is_decoder", "TFBertModel", {}, input_ids=IDS, encoder_hidden_states=STATES
)
for _name, _mask in (("", STATES_MASK), ("no ", None), ("a matrix ", STATES_MATRIX)):
    model_case(
        f"cross-attention, {_name}mask", "TFBertLMHeadModel", CROSS,
        input_ids=IDS, encoder_hidden_states=STATES, encoder_attention_mask=_mask, **ALL,
    )  # fmt: skip
model_case("cross-attention to nothing", "TFBertLMHeadModel", CROSS, input_ids=IDS, **ALL)
for _activation in ("gelu_new", "relu", "silu", "quick_gelu", "tanh"):
    model_case(_activation, "TFBertForMaskedLM", {"hidden_act": _activation}, input_ids=IDS)


@case("steps with a cache")
def steps(tf: Any, build: Any) -> Any:
    model, ids, mask = build("TFBertLMHeadModel", **DECODER), tf.constant(IDS), tf.constant(MASK)
    first = model(ids[:, :2], use_cache=True)
    second = model(ids[:, 2:4], past_key_values=first.past_key_values)
    third = model(ids[:, 4:], past_key_values=second.past_key_values, **ALL)
    masked = model(ids[:, :3], attention_mask=mask[:, :3])
    last = model(ids[:, 3:], attention_mask=mask, past_key_values=masked.past_key_values)
    return {
        "first": first,
        "second": second,
        "third": third,
        "last": last,
        "full": model(ids).logits,
    }


@case("steps with cross-attention")
def cross_steps(tf: Any, build: Any) -> Any:
    model, ids = build("TFBertLMHeadModel", **CROSS), tf.constant(IDS)
    given = {
        "encoder_hidden_states": tf.constant(STATES),
        "encoder_attention_mask": tf.constant(STATES_MASK),
    }
    first = model(ids[:, :3], **given)
    return {
        "first": first,
        "second": model(ids[:, 3:], past_key_values=first.past_key_values, **given),
    }


@case("forms of the first argument")
def forms(tf: Any, build: Any) -> Any:
    model = build("TFBertForMaskedLM")
    ids, mask, types = tf.constant(IDS), tf.constant(MASK), tf.constant(TYPES)
    ones = tf.constant(np.ones_like(MASK))
    return {
        "positions": model(ids, mask, types).logits,
        "list": model([ids, mask]).logits,
        "tuple": model((ids, None, types)).logits,
        "list and keyword": model([ids], token_type_ids=types).logits,
        "mapping": model({"input_ids": ids, "token_type_ids": types}).logits,
        "mapping and keyword": model({"input_ids": ids}, attention_mask=mask).logits,
        "mapping over keyword": model(
            {"input_ids": ids, "attention_mask": mask}, attention_mask=ones
        ).logits,
        "training": model(ids, training=None).logits,
        "labels": model(ids, mask, types, None, None, None, False, False, True, ids).loss,
        "embeddings": model({"inputs_embeds": tf.constant(EMBEDDED)}).logits,
        "swallowed": build("TFBertLMHeadModel")(ids, wrong=1).logits,
    }


def fit_case(name: str, class_name: str, x: Any, y: Any) -> None:
    @case(f"fit {name}")
    def fit(tf: Any, build: Any) -> Any:
        """Three epochs of gradient descent, then the loss and the predictions."""
        model = build(class_name, compiled=0.05, **OPTIONS.get(class_name, {}))
        history = model.fit(x, y, batch_size=2, epochs=3, shuffle=False).history
        return {
            "history": np.array(history["loss"], np.float32),
            "loss": np.array(model.evaluate(x, y, batch_size=2), np.float32),
            "predictions": model.predict(x, batch_size=2),
            "weights": {w.name.partition("/")[2]: w.numpy() for w in model.weights[:6]},
        }


fit_case("classes", "TFBertForSequenceClassification", IDS, np.array([2, 0, 1]))
fit_case(
    "tags", "TFBertForTokenClassification", {"input_ids": IDS, "attention_mask": MASK}, TAGS_OF_100
)
fit_case(
    "spans", "TFBertForQuestionAnswering", {"input_ids": IDS, "attention_mask": MASK},
    {"start_logits": np.array([0, 2, 4]), "end_logits": np.array([1, 4, 3])},
)  # fmt: skip
fit_case("words", "TFBertForMaskedLM", {"input_ids": IDS, "labels": WORD_LABELS}, None)


# --- what is refused ------------------------------------------------------------------------------


def refused(name: str, class_name: str, *args: Any, options: Any = None, **inputs: Any) -> None:
    def run(tf: Any, build: Any) -> Any:
        own = OPTIONS.get(class_name, {}) if options is None else options
        tensor = lambda v: tf.constant(v) if isinstance(v, np.ndarray) else v  # noqa: E731
        model = build(class_name, **own)
        return model(*map(tensor, args), **{k: tensor(v) for k, v in inputs.items()})

    REFUSED[name] = run


refused("nothing", "TFBertModel")
refused("None alone", "TFBertModel", None)
refused("ids and embeddings", "TFBertModel", IDS, inputs_embeds=EMBEDDED)
refused("an unknown keyword", "TFBertModel", IDS, labels=IDS)
refused("an unknown key", "TFBertModel", {"input_ids": IDS, "labels": IDS})
refused(
    "labels of next sentence", "TFBertForNextSentencePrediction", IDS, labels=np.array([0, 1, 0])
)
refused("text", "TFBertModel", "hello")
refused("text as a mask", "TFBertModel", IDS, attention_mask="hello")
refused("a nested list", "TFBertModel", IDS.tolist())
refused("a head mask", "TFBertModel", IDS, head_mask=np.ones(2, np.float32))
refused("a mask of three axes", "TFBertModel", IDS, attention_mask=np.ones((3, 5, 5), np.int64))
refused(
    "a decoder's mask of three axes", "TFBertModel", IDS,
    attention_mask=np.ones((3, 5, 5), np.int64), options=DECODER,
)  # fmt: skip
refused("an id of V", "TFBertModel", IDS + 13)
refused("a negative id", "TFBertModel", IDS - 1)
refused("a position of P", "TFBertModel", IDS, position_ids=POSITIONS + 1)
refused("a word label of V", "TFBertForMaskedLM", IDS, labels=IDS + 1)
refused("a class of N", "TFBertForSequenceClassification", IDS, labels=np.array([3, 0, 0]))
refused("an ignored class", "TFBertForSequenceClassification", IDS, labels=np.array([-100, 0, 0]))
refused("one label for three texts", "TFBertForSequenceClassification", IDS, labels=np.array(1))
refused(
    "labels by class", "TFBertForSequenceClassification", IDS, labels=np.eye(3, dtype=np.float32)
)
for _position in (5, -1, -100):
    refused(
        f"a start of {_position}", "TFBertForQuestionAnswering", IDS,
        start_positions=np.array([_position, 0, 0]), end_positions=np.array([1, 1, 1]),
    )  # fmt: skip
refused("three outputs of a span", "TFBertForQuestionAnswering", IDS, options={"num_labels": 3})
refused("cross-attention of an encoder", "TFBertModel", IDS, options={"add_cross_attention": True})
