"""The examples of the TFBert classes in transformers' documentation.

Two imports are changed: `transformers` is tinybert, and `tensorflow` its frontend. (The answer of a
question has another model and text.) The models are small and random, in a cache of the Hub with the
names that the examples use. What an example computes is compared with the PyTorch classes of the
project, which other tests hold to transformers.
"""

# ruff: noqa: E501 (lines of the documentation)

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinybert

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", ",", "my", "dog", "is", "cute", "the", "capital", "of", "france", "paris", ".", "in", "italy", "pizza", "served", "formal", "settings", "such", "as", "at", "a", "restaurant", "presented", "un", "##sl", "##iced", "sky", "blue", "due", "to", "shorter", "wave", "##length", "light", "it", "eaten", "with", "fork", "and", "knife", "while", "held", "hand", "Hu", "##gging", "##F", "##ace", "company", "based", "Paris", "New", "York"]
SIZES: dict[str, Any] = {
    "vocab_size": len(WORDS),
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
}
BASE = "bert-base-uncased"
POLARITY = "ydshieh/bert-base-uncased-yelp-polarity"
ENTITIES = "dbmdz/bert-large-cased-finetuned-conll03-english"
LOAD = """
from transformers import AutoTokenizer, {0}
import tensorflow as tf

tokenizer = AutoTokenizer.from_pretrained("{1}")
model = {0}.from_pretrained("{1}")
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache with the models; nothing else can be reached."""
    home = tmp_path_factory.mktemp("home")
    labels = {"id2label": {0: "O", 1: "PER", 2: "LOC"}, "label2id": {"O": 0, "PER": 1, "LOC": 2}}
    classes = {
        BASE: (tinybert.BertForPreTraining, {}),
        POLARITY: (tinybert.BertForSequenceClassification, {}),
        ENTITIES: (tinybert.BertForTokenClassification, labels),
    }
    with tinybert.manual_seed(7):
        for name, (model_class, options) in classes.items():
            model = home / "hub" / f"models--{name.replace('/', '--')}"
            folder = model / "snapshots" / ("0" * 40)
            folder.mkdir(parents=True)
            (model / "refs").mkdir()
            (model / "refs" / "main").write_text("0" * 40)
            model_class(tinybert.BertConfig(**SIZES, **options)).save_pretrained(folder)
            (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
            (folder / "tokenizer_config.json").write_text(
                json.dumps({"do_lower_case": "uncased" in name, "model_max_length": 64})
            )
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
            patch.delenv(variable, raising=False)
        patch.setenv("HF_HOME", str(home))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield home


def run(example: str) -> dict[str, Any]:
    """Run an example with changed imports; return its variables."""
    source = example.replace("from transformers import", "from tinybert import")
    source = source.replace("import tensorflow as tf", "import tinybert.frontends.tensorflow as tf")
    names: dict[str, Any] = {}
    with tinybert.manual_seed(1):
        exec(compile(source, "example", "exec"), names)
    return names


def reference(model_class: Any, found: dict[str, Any], *args: Any, **inputs: Any) -> Any:
    """Return the output of the PyTorch class with the weights of the example's model."""
    model = model_class(found["model"].config).eval()
    model.load_state_dict(found["model"].state_dict())
    return model(*args, **inputs)


def assert_close(found: Any, wanted: Any) -> None:
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-4, atol=1e-5)


def test_model(hub: Path) -> None:
    found = run(
        LOAD.format("TFBertModel", BASE)
        + """
inputs = tokenizer("Hello, my dog is cute", return_tensors="tf")
outputs = model(inputs)

last_hidden_states = outputs.last_hidden_state
"""
    )
    wanted = reference(tinybert.BertModel, found, **found["inputs"])
    assert_close(found["last_hidden_states"], wanted.last_hidden_state)


def test_pretraining(hub: Path) -> None:
    found = run(
        LOAD.format("TFBertForPreTraining", BASE)
        + """
input_ids = tokenizer("Hello, my dog is cute", add_special_tokens=True, return_tensors="tf")
# Batch size 1

outputs = model(input_ids)
prediction_logits, seq_relationship_logits = outputs[:2]
"""
    )
    wanted = reference(tinybert.BertForPreTraining, found, **found["input_ids"])
    assert_close(found["prediction_logits"], wanted.prediction_logits)
    assert_close(found["seq_relationship_logits"], wanted.seq_relationship_logits)


@pytest.mark.filterwarnings("ignore")
def test_next_token(hub: Path) -> None:
    found = run(
        LOAD.format("TFBertLMHeadModel", BASE)
        + """
inputs = tokenizer("Hello, my dog is cute", return_tensors="tf")
outputs = model(inputs)
logits = outputs.logits
"""
    )
    wanted = reference(tinybert.BertLMHeadModel, found, **found["inputs"])
    assert_close(found["logits"], wanted.logits)


def test_masked_word(hub: Path) -> None:
    found = run(
        LOAD.format("TFBertForMaskedLM", BASE)
        + """
inputs = tokenizer("The capital of France is [MASK].", return_tensors="tf")
logits = model(**inputs).logits

# retrieve index of [MASK]
mask_token_index = tf.where((inputs.input_ids == tokenizer.mask_token_id)[0])
selected_logits = tf.gather_nd(logits[0], indices=mask_token_index)

predicted_token_id = tf.math.argmax(selected_logits, axis=-1)
word = tokenizer.decode(predicted_token_id)

labels = tokenizer("The capital of France is Paris.", return_tensors="tf")["input_ids"]
# mask labels of non-[MASK] tokens
labels = tf.where(inputs.input_ids == tokenizer.mask_token_id, labels, -100)

outputs = model(**inputs, labels=labels)
loss = round(float(outputs.loss), 2)
"""
    )
    wanted = reference(tinybert.BertForMaskedLM, found, **found["inputs"], labels=found["labels"])
    assert_close(found["logits"], wanted.logits)
    assert found["mask_token_index"].tolist() == [[6]]
    assert found["word"] == WORDS[int(wanted.logits.numpy()[0, 6].argmax())]
    assert found["loss"] == round(float(wanted.loss), 2)


def test_next_sentence(hub: Path) -> None:
    found = run(
        LOAD.format("TFBertForNextSentencePrediction", BASE)
        + """
prompt = "In Italy, pizza served in formal settings, such as at a restaurant, is presented unsliced."
next_sentence = "The sky is blue due to the shorter wavelength of blue light."
encoding = tokenizer(prompt, next_sentence, return_tensors="tf")

logits = model(encoding["input_ids"], token_type_ids=encoding["token_type_ids"])[0]
random = bool(logits[0][0] < logits[0][1])  # the next sentence was random
"""
    )
    wanted = reference(tinybert.BertForNextSentencePrediction, found, **found["encoding"]).logits
    assert_close(found["logits"], wanted)
    assert found["random"] == (wanted.numpy()[0, 0] < wanted.numpy()[0, 1])


def test_text_class(hub: Path) -> None:
    found = run(
        LOAD.format("TFBertForSequenceClassification", POLARITY)
        + f"""
inputs = tokenizer("Hello, my dog is cute", return_tensors="tf")

logits = model(**inputs).logits

predicted_class_id = int(tf.math.argmax(logits, axis=-1)[0])
label = model.config.id2label[predicted_class_id]

# To train a model on `num_labels` classes, you can pass `num_labels=num_labels`
num_labels = len(model.config.id2label)
model = TFBertForSequenceClassification.from_pretrained("{POLARITY}", num_labels=num_labels)

labels = tf.constant(1)
loss = model(**inputs, labels=labels).loss
rounded = round(float(loss), 2)
"""
    )
    model_class = tinybert.BertForSequenceClassification
    wanted = reference(model_class, found, **found["inputs"], labels=[1])
    assert_close(found["logits"], wanted.logits)
    assert found["label"] == f"LABEL_{wanted.logits.numpy()[0].argmax()}"
    assert found["rounded"] == round(float(wanted.loss), 2)


def test_choice(hub: Path) -> None:
    found = run(
        LOAD.format("TFBertForMultipleChoice", BASE)
        + """
prompt = "In Italy, pizza served in formal settings, such as at a restaurant, is presented unsliced."
choice0 = "It is eaten with a fork and a knife."
choice1 = "It is eaten while held in the hand."

encoding = tokenizer([prompt, prompt], [choice0, choice1], return_tensors="tf", padding=True)
inputs = {k: tf.expand_dims(v, 0) for k, v in encoding.items()}
outputs = model(inputs)  # batch size is 1

# the linear classifier still needs to be trained
logits = outputs.logits
"""
    )
    wanted = reference(tinybert.BertForMultipleChoice, found, **found["inputs"])
    assert_close(found["logits"], wanted.logits)
    assert found["logits"].shape == (1, 2)


def test_token_classes(hub: Path) -> None:
    found = run(
        LOAD.format("TFBertForTokenClassification", ENTITIES)
        + """
inputs = tokenizer(
    "HuggingFace is a company based in Paris and New York", add_special_tokens=False, return_tensors="tf"
)

logits = model(**inputs).logits
predicted_token_class_ids = tf.math.argmax(logits, axis=-1)

# Note that tokens are classified rather then input words which means that
# there might be more predicted token classes than words.
# Multiple token classes might account for the same word
predicted_tokens_classes = [model.config.id2label[t] for t in predicted_token_class_ids[0].numpy().tolist()]

labels = predicted_token_class_ids
loss = tf.math.reduce_mean(model(**inputs, labels=labels).loss)
rounded = round(float(loss), 2)
"""
    )
    model_class, labels = tinybert.BertForTokenClassification, found["labels"]
    wanted = reference(model_class, found, **found["inputs"], labels=labels)
    assert_close(found["logits"], wanted.logits)
    best = wanted.logits.numpy()[0].argmax(-1)
    assert found["predicted_tokens_classes"] == [("O", "PER", "LOC")[i] for i in best]
    assert found["rounded"] == round(float(wanted.loss), 2)


def test_answer(hub: Path) -> None:
    found = run(
        LOAD.format("TFBertForQuestionAnswering", BASE)
        + """
question, text = "what is the capital of france?", "paris is the capital of france."

inputs = tokenizer(question, text, return_tensors="tf")
outputs = model(**inputs)

answer_start_index = int(tf.math.argmax(outputs.start_logits, axis=-1)[0])
answer_end_index = int(tf.math.argmax(outputs.end_logits, axis=-1)[0])

predict_answer_tokens = inputs.input_ids[0, answer_start_index : answer_end_index + 1]
answer = tokenizer.decode(predict_answer_tokens)

target_start_index = tf.constant([14])
target_end_index = tf.constant([15])

outputs = model(**inputs, start_positions=target_start_index, end_positions=target_end_index)
loss = tf.math.reduce_mean(outputs.loss)
rounded = round(float(loss), 2)
"""
    )
    positions = {"start_positions": [14], "end_positions": [15]}
    wanted = reference(tinybert.BertForQuestionAnswering, found, **found["inputs"], **positions)
    assert_close(found["outputs"].start_logits, wanted.start_logits)
    start, end = (int(x.numpy()[0].argmax()) for x in (wanted.start_logits, wanted.end_logits))
    ids = found["inputs"].input_ids.numpy()[0, start : end + 1]
    assert found["answer"] == found["tokenizer"].decode(ids)
    assert found["rounded"] == round(float(wanted.loss), 2)


def test_tokenizers(hub: Path) -> None:
    found = run(
        """
from transformers import AutoTokenizer, TFBertTokenizer

tf_tokenizer = TFBertTokenizer.from_pretrained("bert-base-uncased")

tokenizer = AutoTokenizer.from_pretrained("bert-base-uncased")
other = TFBertTokenizer.from_tokenizer(tokenizer)
"""
    )
    assert found["other"].get_config() == found["tf_tokenizer"].get_config()
    text = ["hello, my dog is cute"]
    wanted = found["tokenizer"](text)
    for name, value in found["tf_tokenizer"](text).items():
        assert value.tolist() == wanted[name]
