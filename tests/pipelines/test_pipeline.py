"""`pipeline` itself: tasks, models and tokenizers in every form, what is refused; and those tasks
that have no namesake in transformers, against its models.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from tests.pipelines.twins import ATOL, Make, assert_same
from tinybert.embedding import SentenceEmbedder, similarity
from tinybert.models import BertForMaskedLM, BertForNextSentencePrediction
from tinybert.pipelines import FillMaskPipeline, TextClassificationPipeline, pipeline
from tinybert.pipelines.factory import ALIASES, TASKS, device_name
from tinybert.tokenizers import AutoTokenizer, BertTokenizer

PAIRS = [("The king went home.", "He slept."), ("It was war.", "The ship came to the great city.")]


def oracle(folder: Path, name: str) -> tuple[Any, Any]:
    """The model and tokenizer of transformers."""
    model = getattr(transformers, name).from_pretrained(folder, attn_implementation="eager")
    return model.eval(), transformers.BertTokenizerFast.from_pretrained(folder)


# --- tasks without a namesake --------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 3])
def test_next_sentence(model_folder: Make, batch_size: int) -> None:
    folder = model_folder("BertForNextSentencePrediction")
    model, tokenizer = oracle(folder, "BertForNextSentencePrediction")
    ours = pipeline("next-sentence", folder, batch_size=batch_size)
    found = ours([*PAIRS, {"text": PAIRS[0][0], "text_pair": PAIRS[0][1]}])
    for same in (found[2], ours(PAIRS[0])):
        assert_same(same, found[0])
    for pair, result in zip(PAIRS, found, strict=False):
        with torch.no_grad():
            scores = model(**tokenizer(*pair, return_tensors="pt")).logits.softmax(-1)[0]
        expected = {"is_next": scores[0].item(), "not_next": scores[1].item()}
        assert {e["label"]: e["score"] for e in result} == pytest.approx(expected, abs=ATOL)
        assert result[0]["score"] >= result[1]["score"]


@pytest.mark.parametrize("batch_size", [1, 2])
def test_multiple_choice(model_folder: Make, batch_size: int) -> None:
    folder = model_folder("BertForMultipleChoice")
    model, tokenizer = oracle(folder, "BertForMultipleChoice")
    prompt, choices = "The king", ["went home.", "was the great ship of the sea.", "!"]
    item = {"prompt": prompt, "choices": choices}
    ours = pipeline("multiple-choice", folder, batch_size=batch_size)
    found = ours(item)
    inputs = tokenizer([prompt] * 3, choices, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**{name: value[None] for name, value in inputs.items()}).logits
    scores = logits.softmax(-1)[0].numpy()
    assert [e["index"] for e in found] == list(np.argsort(-scores))
    assert [e["choice"] for e in found] == [choices[e["index"]] for e in found]
    np.testing.assert_allclose([e["score"] for e in found], -np.sort(-scores), atol=ATOL)
    two = ours([item, {"prompt": prompt, "choices": choices[:1]}])
    assert [e["index"] for e in two[0]] == [e["index"] for e in found]
    assert two[1] == [{"choice": choices[0], "index": 0, "score": 1.0}]


def test_sentence_similarity(minilm: Path) -> None:
    item = {
        "source_sentence": "A cat sat.",
        "sentences": ["Rain again.", "A kitten was sitting.", "Dogs bark."],
    }
    found = pipeline("sentence-similarity", "minilm")(item)
    embedder = SentenceEmbedder.from_pretrained(minilm)
    cosines = similarity(embedder.encode(["A cat sat.", *item["sentences"]]))[0, 1:]
    assert [e["sentence"] for e in found] == [item["sentences"][e["index"]] for e in found]
    assert found[0]["index"] == 1
    np.testing.assert_allclose([e["score"] for e in found], -np.sort(-cosines), atol=ATOL)
    assert pipeline("sentence-similarity", minilm)([item])[0] == found
    assert pipeline("sentence-similarity")(item)[0]["index"] == 1
    # Without the folder, the mean over the tokens: that of MiniLM is the same but for the length.
    again = pipeline("sentence-similarity", embedder.model, embedder.tokenizer)(item)
    np.testing.assert_allclose([e["score"] for e in again], [e["score"] for e in found], atol=ATOL)


def test_features_of_the_embedded_model() -> None:
    assert len(pipeline("feature-extraction")("A cat sat.")[0][0]) == 384


def test_inputs_that_are_refused(model_folder: Make, minilm: Path) -> None:
    for task, folder, inputs, match in (
        ("next-sentence", "BertForNextSentencePrediction", "a", "takes .*tuple of two str"),
        ("next-sentence", "BertForNextSentencePrediction", ("a", 3), "tuple of two str"),
        ("multiple-choice", "BertForMultipleChoice", {"prompt": "a", "choices": []}, "takes"),
        ("multiple-choice", "BertForMultipleChoice", {"prompt": "a"}, "takes"),
        ("sentence-similarity", "BertModel", {"sentences": ["a"]}, "takes .*source_sentence"),
    ):
        with pytest.raises(ValueError, match=match):
            pipeline(task, model_folder(folder))(inputs)


# --- models and tokenizers -----------------------------------------------------------------------


def test_a_model_and_tokenizer_in_every_form(model_folder: Make, tmp_path: Path) -> None:
    folder = model_folder("BertForMaskedLM")
    text = "The king of [MASK]."
    expected = pipeline("fill-mask", folder)(text)
    model = BertForMaskedLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    alone = tmp_path / "tokenizer"
    tokenizer.save_pretrained(alone)
    for arguments in (
        (str(folder),),
        (folder, tokenizer),
        (folder, str(alone)),
        (model, tokenizer),
        (model, folder, -1),
        (folder, BertTokenizer.from_pretrained(folder), "cpu"),
    ):
        found = pipeline("fill-mask", *arguments)(text)
        assert [e["token_str"] for e in found] == [e["token_str"] for e in expected]
    assert FillMaskPipeline(model, tokenizer)(text) == expected


def test_a_name_is_looked_up_in_the_cache(
    model_folder: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = model_folder("BertForMaskedLM")
    cached = tmp_path / "models--ada--tiny"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc123")
    shutil.copytree(folder, cached / "snapshots" / "abc123")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    text = "The king of [MASK]."
    assert pipeline("fill-mask", "ada/tiny")(text) == pipeline("fill-mask", folder)(text)
    with pytest.raises(FileNotFoundError, match="there is no folder 'ada/large'"):
        pipeline("fill-mask", "ada/large")


def test_a_model_in_training_stays_so(model_folder: Make) -> None:
    folder = model_folder("BertForMaskedLM")
    model = BertForMaskedLM.from_pretrained(folder).train()
    model.bert.encoder.eval()  # a part of it not
    modes = [module.training for module in model.modules()]
    found = pipeline("fill-mask", model, folder)("The king of [MASK].")
    assert found == pipeline("fill-mask", folder)("The king of [MASK].")
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())


def test_devices_by_number() -> None:
    assert [device_name(d) for d in (-1, 0, 2, "cuda", None)] == [
        "cpu", "cuda:0", "cuda:2", "cuda", None,
    ]  # fmt: skip


def test_every_task_has_a_class_and_aliases_are_tasks() -> None:
    assert set(ALIASES.values()) <= set(TASKS)
    assert len(TASKS) == 9
    for task, kind in TASKS.items():
        assert kind.task == task
        assert all(name in (kind.__doc__ or "") for name in kind.defaults), task


def test_what_pipeline_refuses(model_folder: Make) -> None:
    folder = model_folder("BertForMaskedLM")
    model = BertForMaskedLM.from_pretrained(folder)
    for arguments, options, match in (
        (("translation",), {}, "task must be one of fill-mask, .*, ner, got 'translation'"),
        ((3,), {}, "task must be one of"),
        (("ner",), {}, "model is required for ner: a TokenClassification model"),
        (("fill-mask", 3), {}, "model must be a model, its folder or its name on the Hub, got 3"),
        (("fill-mask", model), {}, "tokenizer is required"),
        (("fill-mask", model, 3), {}, "tokenizer must be a tokenizer"),
        (("next-sentence", model, folder), {}, "AutoModelForNextSentencePrediction loads, got"),
        (("fill-mask", folder), {"batch_size": 0}, "batch_size must be an integer >= 1"),
        (("fill-mask", folder), {"top_k": "3"}, "top_k must be an integer >= 1, got '3'"),
    ):
        with pytest.raises(ValueError, match=match):
            pipeline(*arguments, **options)
    with pytest.raises(
        TypeError, match="fill-mask has no option topk; its options are batch_size, top_k"
    ):
        pipeline("fill-mask", folder, topk=3)


def test_a_head_that_was_drawn_at_random_is_said(
    model_folder: Make, caplog: pytest.LogCaptureFixture
) -> None:
    ours = pipeline("text-classification", model_folder("BertModel"))
    assert isinstance(ours, TextClassificationPipeline)
    assert "classifier.weight" in caplog.text
    assert "train the model before you use its results" in caplog.text


def test_models_on_other_devices(model_folder: Make, device: str) -> None:
    """The result comes back to the host, wherever the model is."""
    folder = model_folder("BertForNextSentencePrediction")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = BertForNextSentencePrediction.from_pretrained(folder, device=device)
    found = pipeline("next-sentence", model, tokenizer)(PAIRS)
    expected = pipeline("next-sentence", folder)(PAIRS)
    for a, b in zip(found, expected, strict=True):
        assert [e["label"] for e in a] == [e["label"] for e in b]
        assert [e["score"] for e in a] == pytest.approx([e["score"] for e in b], abs=ATOL)


def test_texts_are_cut_at_the_smaller_limit_of_model_and_tokenizer(model_folder: Make) -> None:
    classify = pipeline("text-classification", model_folder("BertForSequenceClassification"))
    positions = classify.model.config.max_position_embeddings
    for limit, expected in ((10**30, positions), (positions - 5, positions - 5)):
        classify.tokenizer.model_max_length = limit
        assert classify.max_length == expected
    classify.tokenizer.model_max_length = 10**30
    assert classify("the king went home . " * positions, truncation=True)
