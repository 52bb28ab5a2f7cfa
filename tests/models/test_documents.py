"""The examples of the BERT page of transformers' documentation, run as a user would run them.

Each example is written once, for any library: `hf` is transformers or tinybert, `torch` is torch or
what takes its place, `kind` is what the tokenizer returns. Three runs on the same small random
models, found by the names that the page uses, have to give the same: transformers; tinybert with
its own tensors; and tinybert that is given torch tensors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import tinybert
from tests.models.oracle import draw_weights
from tinybert import Tensor
from tinybert import functional as F
from tinybert.nn.init import skip_init

CLOSE = 1e-5
BASE = "bert-base-uncased"
SENTIMENT = "textattack/bert-base-uncased-yelp-polarity"
ENTITIES = "dbmdz/bert-large-cased-finetuned-conll03-english"
ANSWERS = "deepset/bert-base-cased-squad2"
NAMES = (BASE, f"google-bert/{BASE}", SENTIMENT, ENTITIES, ANSWERS)

COMMIT = "0" * 40
GREETING = "Hello, my dog is cute"
PIZZA = "In Italy, pizza served in formal settings, such as at a restaurant, is presented unsliced."
VOCABULARY = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] , . ? ; hello my dog is cute the capital of france paris in "
    "italy pizza served formal settings such as at a restaurant presented un ##sl ##iced sky blue "
    "due to shorter wave ##length light it eaten with fork and knife while held hand Hu ##gging "
    "##F ##ace company based Paris New York Who was Jim He ##nson nice puppet"
)
WORDS = VOCABULARY.split()
CLASSES = ("O", "B-MISC", "I-MISC", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")
SIZES: dict[str, Any] = {
    "vocab_size": len(WORDS),
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}


# --- the models, in a cache as huggingface_hub fills it -------------------------------------------


def original_model(name: str) -> Any:
    """A small random model of the class that stands under the name on the Hub."""
    if name == SENTIMENT:
        model: Any = transformers.BertForSequenceClassification(transformers.BertConfig(**SIZES))
    elif name == ENTITIES:
        labels = dict(enumerate(CLASSES))
        config = transformers.BertConfig(**SIZES, id2label=labels)
        model = transformers.BertForTokenClassification(config)
    elif name == ANSWERS:
        model = transformers.BertForQuestionAnswering(transformers.BertConfig(**SIZES))
    else:
        model = transformers.BertForPreTraining(transformers.BertConfig(**SIZES))
        # Multiple choice would draw this at random, and no two libraries alike.
        model.classifier = torch.nn.Linear(SIZES["hidden_size"], 1)
    # Such that some class is chosen, and the answer starts before it ends.
    draw_weights(model, seed=13 if name == ANSWERS else 3)
    return model


def snapshot(hub: Path, name: str) -> Path:
    return hub / f"models--{name.replace('/', '--')}" / "snapshots" / COMMIT


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache with the models of the page; there is no way out of it."""
    home = tmp_path_factory.mktemp("home")
    hub = home / "hub"
    for name in NAMES:
        folder = snapshot(hub, name)
        original_model(name).save_pretrained(folder)
        (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
        options = {"do_lower_case": "uncased" in name, "model_max_length": 512}
        (folder / "tokenizer_config.json").write_text(json.dumps(options))
        (folder.parent.parent / "refs").mkdir()
        (folder.parent.parent / "refs" / "main").write_text(COMMIT)
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
            patch.delenv(variable, raising=False)
        patch.setenv("HF_HOME", str(home))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield hub


# --- the libraries --------------------------------------------------------------------------------


class Original:
    """transformers, with plain attention, and names looked up in the cache of this test."""

    def __init__(self, hub: Path) -> None:
        self.hub = hub

    def __getattr__(self, class_name: str) -> Any:
        loaded = getattr(transformers, class_name)
        own = {} if class_name == "AutoTokenizer" else {"attn_implementation": "eager"}

        def from_pretrained(name: str, **options: Any) -> Any:
            return loaded.from_pretrained(snapshot(self.hub, name), **own, **options)

        return SimpleNamespace(from_pretrained=from_pretrained)


# What the examples take from torch, here. On results of our models torch's functions cannot work.
ON_RESULTS: dict[str, Any] = {
    "no_grad": tinybert.no_grad,
    "sigmoid": Tensor.sigmoid,
    "arange": lambda *bounds: Tensor(np.arange(*bounds)),
    "one_hot": F.one_hot,
    "sum": Tensor.sum,
    "float": np.float32,
}
OURS = SimpleNamespace(
    **ON_RESULTS,
    LongTensor=Tensor,
    tensor=Tensor,
    where=tinybert.where,
    nonzero=lambda x, as_tuple: np.nonzero(x),
)
MIXED = SimpleNamespace(
    **ON_RESULTS,
    LongTensor=torch.LongTensor,
    tensor=torch.tensor,
    where=torch.where,
    nonzero=torch.nonzero,
)
TORCH = SimpleNamespace(
    **{name: getattr(torch, name) for name in vars(OURS) if name != "one_hot"},
    one_hot=torch.nn.functional.one_hot,
)


# --- the examples ---------------------------------------------------------------------------------


def features(hf: Any, torch: Any, kind: str) -> dict[str, Any]:
    tokenizer = hf.AutoTokenizer.from_pretrained(BASE)
    model = hf.BertModel.from_pretrained(BASE)
    inputs = tokenizer(GREETING, return_tensors=kind)
    outputs = model(**inputs)
    return {**inputs, "last": outputs.last_hidden_state, "pooled": outputs.pooler_output}


def pre_training(hf: Any, torch: Any, kind: str) -> dict[str, Any]:
    tokenizer = hf.AutoTokenizer.from_pretrained(BASE)
    model = hf.BertForPreTraining.from_pretrained(BASE)
    outputs = model(**tokenizer(GREETING, return_tensors=kind))
    return {"words": outputs.prediction_logits, "order": outputs.seq_relationship_logits}


def next_word(hf: Any, torch: Any, kind: str) -> dict[str, Any]:
    tokenizer = hf.AutoTokenizer.from_pretrained(BASE)
    model = hf.BertLMHeadModel.from_pretrained(BASE)
    inputs = tokenizer(GREETING, return_tensors=kind)
    outputs = model(**inputs, labels=inputs["input_ids"])
    return {"loss": outputs.loss, "logits": outputs.logits}


def masked_word(hf: Any, torch: Any, kind: str) -> dict[str, Any]:
    tokenizer = hf.AutoTokenizer.from_pretrained(BASE)
    model = hf.BertForMaskedLM.from_pretrained(BASE)
    inputs = tokenizer("The capital of France is [MASK].", return_tensors=kind)
    with torch.no_grad():
        logits = model(**inputs).logits
    hidden = inputs.input_ids == tokenizer.mask_token_id
    place = torch.nonzero(hidden[0], as_tuple=True)[0]
    guess = logits[0, place].argmax(axis=-1)
    labels = tokenizer("The capital of France is Paris.", return_tensors=kind)["input_ids"]
    labels = torch.where(hidden, labels, -100)
    outputs = model(**inputs, labels=labels)
    return {
        "logits": logits,
        "place": int(place[0]),
        "labels": labels,
        "word": tokenizer.decode(guess),
        "loss": outputs.loss.item(),
    }


def next_sentence(hf: Any, torch: Any, kind: str) -> dict[str, Any]:
    tokenizer = hf.AutoTokenizer.from_pretrained(BASE)
    model = hf.BertForNextSentencePrediction.from_pretrained(BASE)
    sky = "The sky is blue due to the shorter wavelength of blue light."
    encoding = tokenizer(PIZZA, sky, return_tensors=kind)
    outputs = model(**encoding, labels=torch.LongTensor([1]))
    logits = outputs.logits
    follows = bool(logits[0, 0] > logits[0, 1])
    return {**encoding, "loss": outputs.loss, "logits": logits, "follows": follows}


def one_class(hf: Any, torch: Any, kind: str) -> dict[str, Any]:
    tokenizer = hf.AutoTokenizer.from_pretrained(SENTIMENT)
    model = hf.BertForSequenceClassification.from_pretrained(SENTIMENT)
    inputs = tokenizer(GREETING, return_tensors=kind)
    with torch.no_grad():
        logits = model(**inputs).logits
    label = model.config.id2label[logits.argmax().item()]
    count = len(model.config.id2label)
    model = hf.BertForSequenceClassification.from_pretrained(SENTIMENT, num_labels=count)
    loss = model(**inputs, labels=torch.tensor([1])).loss
    return {"logits": logits, "label": label, "loss": loss.item()}


def several_classes(hf: Any, torch: Any, kind: str) -> dict[str, Any]:
    several = {"problem_type": "multi_label_classification"}
    tokenizer = hf.AutoTokenizer.from_pretrained(SENTIMENT)
    model = hf.BertForSequenceClassification.from_pretrained(SENTIMENT, **several)
    inputs = tokenizer(GREETING, return_tensors=kind)
    with torch.no_grad():
        logits = model(**inputs).logits
    chosen = torch.arange(0, logits.shape[-1])[torch.sigmoid(logits).squeeze(0) > 0.5]
    count = len(model.config.id2label)
    model = hf.BertForSequenceClassification.from_pretrained(SENTIMENT, num_labels=count, **several)
    labels = torch.sum(torch.one_hot(chosen[None, :].clone(), num_classes=count), dim=1)
    loss = model(**inputs, labels=labels.to(torch.float)).loss
    return {"logits": logits, "chosen": chosen, "labels": labels, "loss": loss}


def multiple_choice(hf: Any, torch: Any, kind: str) -> dict[str, Any]:
    tokenizer = hf.AutoTokenizer.from_pretrained(BASE)
    model = hf.BertForMultipleChoice.from_pretrained(BASE)
    fork = "It is eaten with a fork and a knife."
    hand = "It is eaten while held in the hand."
    labels = torch.tensor(0).unsqueeze(0)
    encoding = tokenizer([PIZZA, PIZZA], [fork, hand], return_tensors=kind, padding=True)
    outputs = model(**{k: v.unsqueeze(0) for k, v in encoding.items()}, labels=labels)
    return {**encoding, "loss": outputs.loss, "logits": outputs.logits}


def entities(hf: Any, torch: Any, kind: str) -> dict[str, Any]:
    tokenizer = hf.AutoTokenizer.from_pretrained(ENTITIES)
    model = hf.BertForTokenClassification.from_pretrained(ENTITIES)
    text = "HuggingFace is a company based in Paris and New York"
    inputs = tokenizer(text, add_special_tokens=False, return_tensors=kind)
    with torch.no_grad():
        logits = model(**inputs).logits
    classes = logits.argmax(-1)
    found = [model.config.id2label[t.item()] for t in classes[0]]
    loss = model(**inputs, labels=classes).loss
    return {"logits": logits, "classes": " ".join(found), "loss": loss.item()}


def answer(hf: Any, torch: Any, kind: str) -> dict[str, Any]:
    tokenizer = hf.AutoTokenizer.from_pretrained(ANSWERS)
    model = hf.BertForQuestionAnswering.from_pretrained(ANSWERS)
    inputs = tokenizer("Who was Jim Henson?", "Jim Henson was a nice puppet", return_tensors=kind)
    with torch.no_grad():
        outputs = model(**inputs)
    start, end = outputs.start_logits.argmax(), outputs.end_logits.argmax()
    span = inputs.input_ids[0, start : end + 1]
    places = {"start_positions": torch.tensor([14]), "end_positions": torch.tensor([15])}
    loss = model(**inputs, **places).loss
    return {
        **inputs,
        "start_logits": outputs.start_logits,
        "end_logits": outputs.end_logits,
        "answer": tokenizer.decode(span, skip_special_tokens=True),
        "loss": loss.item(),
    }


Example = Callable[[Any, Any, str], dict[str, Any]]
EXAMPLES: tuple[Example, ...] = (
    *(features, pre_training, next_word, masked_word, next_sentence, one_class, several_classes),
    *(multiple_choice, entities, answer),
)


def plain(value: Any) -> Any:
    """A tensor of either library as an array; everything else as it is."""
    if torch.is_tensor(value):
        return value.detach().numpy()
    return value.numpy() if isinstance(value, Tensor) else value


@pytest.mark.parametrize("kind", ["tb", "pt"])
@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_gives_what_it_gives_in_transformers(
    example: Example, kind: str, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = example(Original(hub), TORCH, "pt")
    # A user who wants torch tensors from our tokenizers says once how they are made.
    monkeypatch.setitem(tinybert.checks.TENSOR_TYPES, "pt", None)
    tinybert.register_tensor_type("pt", torch.from_numpy)
    found = example(tinybert, OURS if kind == "tb" else MIXED, kind)
    assert list(found) == list(expected)
    for name, value in expected.items():
        ours, theirs = plain(found[name]), plain(value)
        if isinstance(theirs, (str, bool, int)):
            assert ours == theirs, name
            assert not isinstance(theirs, str) or theirs  # an empty span would show nothing
            continue
        theirs = np.asarray(theirs)
        assert theirs.size, name
        assert np.shape(ours) == theirs.shape, name
        size = max(1.0, float(np.abs(theirs).max()))
        assert np.abs(ours - theirs).max() <= CLOSE * size, name


def test_the_model_of_a_default_config_has_the_size_of_bert_base() -> None:
    configuration = tinybert.BertConfig()
    with skip_init():  # to draw 109 million numbers takes seconds
        model = tinybert.BertModel(configuration)
    assert model.config is configuration
    assert model.num_parameters() == 109_482_240


@pytest.mark.parametrize("name", NAMES)
def test_names_of_the_page_are_found_in_the_cache(name: str, hub: Path) -> None:
    assert tinybert.BertConfig.from_pretrained(name).vocab_size == len(WORDS)
    assert tinybert.AutoModel.from_pretrained(name).config.hidden_size == 24
    lower = "uncased" in name
    for tokenizer in (tinybert.BertTokenizer, tinybert.BertTokenizerFast):
        tokens = tokenizer.from_pretrained(name).tokenize("Paris")
        assert tokens == ["paris" if lower else "Paris"]


# --- the methods of the tokenizers ----------------------------------------------------------------


@pytest.mark.parametrize("class_name", ["BertTokenizer", "BertTokenizerFast"])
def test_the_layout_of_one_text_and_of_two(class_name: str, hub: Path, tmp_path: Path) -> None:
    tokenizer = getattr(tinybert, class_name).from_pretrained(BASE)
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    first, second = [10, 11, 12], [20, 21]
    build = tokenizer.build_inputs_with_special_tokens
    assert build(first) == [cls, *first, sep]
    assert build(first, second) == [cls, *first, sep, *second, sep]
    types = tokenizer.create_token_type_ids_from_sequences
    assert types(first) == [0] * 5
    assert types(first, second) == [0] * 5 + [1] * 3
    assert tokenizer.get_special_tokens_mask(build(first, second), None, True) == [
        *(1, 0, 0, 0, 1),
        *(0, 0, 1),
    ]
    (file,) = tokenizer.save_vocabulary(str(tmp_path), "my")
    assert Path(file) == tmp_path / "my-vocab.txt"
    assert Path(file).read_text().split() == WORDS
