"""token-classification against transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.twins import VOCAB, Make, assert_same, both
from tinybert.models import MegaConfig, MegaForTokenClassification
from tinybert.pipelines import pipeline
from tinybert.pipelines.token_classification import STRATEGIES
from tinybert.tokenizers import BertTokenizer

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
OTHER_LABELS = ["O", "PER", "B-PER", "part-of", "S-LOC"]
TEXTS = [
    "King George of England went to Washington, didn't he?",
    "Unbelievably slow ships; Queequeg's harpoon (of iron) fell. \u4e00\u4e01 \u0e3f caf\u00e9!",
    "\u4eff",
    "",
]


@pytest.fixture(scope="module", params=[LABELS, OTHER_LABELS], ids=["BIO", "other"])
def folder(request: pytest.FixtureRequest, model_folder: Make) -> Path:
    names = dict(enumerate(request.param))
    return model_folder(
        "BertForTokenClassification",
        seed=3,  # gives many classes
        id2label=names,
        label2id={name: i for i, name in names.items()},
    )


@pytest.fixture(scope="module")
def pair(folder: Path) -> tuple[Any, Any]:
    return both("token-classification", folder)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_strategies(pair: tuple[Any, Any], strategy: str) -> None:
    ours, theirs = pair
    options: dict[str, Any] = {"aggregation_strategy": strategy}
    for inputs in (*TEXTS, TEXTS, TEXTS[:1]):
        assert_same(ours(inputs, **options), theirs(inputs, **options), f"{inputs}")
    assert len({e.get("entity") or e["entity_group"] for e in ours(TEXTS[1], **options)}) > 1
    for more in ({"ignore_labels": []}, {"ignore_labels": ["PER", "B-PER"]}, {"batch_size": 3}):
        both_options = options | more
        assert_same(ours(TEXTS, **both_options), theirs(TEXTS, **both_options), f"{more}")


@pytest.mark.parametrize("chunk_size", [5, 50])
def test_texts_longer_than_a_chunk(chunk_size: int) -> None:
    """The last chunk of a text need not be full, alone or in a batch."""
    tokenizer = BertTokenizer(VOCAB)
    config = MegaConfig(
        vocab_size=len(tokenizer), hidden_size=8, num_hidden_layers=1, intermediate_size=8,
        shared_representation_size=4, nffn_hidden_size=8, ema_projection_size=2,
        use_chunking=True, chunk_size=chunk_size, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = MegaForTokenClassification(config).eval()
    texts = ["the king was a city of the ship", "the king"]  # 10 and 4 tokens
    texts.append(f"{texts[0]} {texts[1]}")  # 12 tokens
    options: dict[str, Any] = {"ignore_labels": []}
    alone = [pipeline("token-classification", model, tokenizer)(text, **options) for text in texts]
    assert [len(entities) for entities in alone] == [8, 2, 10]
    length = 15 if chunk_size == 5 else 12
    inputs = tokenizer(texts[2], padding="max_length", max_length=length, return_tensors="np")
    scores = model(**inputs).logits.softmax(-1).numpy()[0, 1:11].max(axis=-1)
    assert [entity["score"] for entity in alone[2]] == pytest.approx(scores, abs=1e-6)
    together = pipeline("token-classification", model, tokenizer, batch_size=3)(texts, **options)
    for ours, expected in zip(together, alone, strict=True):
        assert_same(ours, expected)


def test_the_strategies_differ(pair: tuple[Any, Any]) -> None:
    ours, _ = pair
    found = {str(ours(TEXTS[1], aggregation_strategy=strategy)) for strategy in STRATEGIES}
    assert len(found) == len(STRATEGIES)


@pytest.mark.parametrize("strategy", STRATEGIES[1:])
@pytest.mark.parametrize("stride", [0, 5])
def test_long_texts_in_windows(pair: tuple[Any, Any], strategy: str, stride: int) -> None:
    ours, theirs = pair
    part = "The king, of Egypt unbelievably went by ship to Jerusalem with many men; "
    text = part * 11
    options = {"aggregation_strategy": strategy, "stride": stride}
    found = ours(text, **options)
    assert_same(found, theirs(text, **options))
    assert found[-1]["end"] > 600  # not cut off
    options.pop("stride")
    assert_same(ours(text, **options), theirs(text, **options))  # cut off


def test_words_that_are_not_joined(pair: tuple[Any, Any]) -> None:
    ours, _ = pair
    options: dict[str, Any] = {"aggregation_strategy": "first", "ignore_labels": []}
    joined, apart = ours(TEXTS[1], **options), ours(TEXTS[1], join=False, **options)
    assert len(apart) > len(joined)
    classes = [(e["start"], e["end"], e["entity_group"]) for e in joined]
    for entity in apart:
        (name,) = {c for a, b, c in classes if a <= entity["start"] and entity["end"] <= b}
        assert entity["entity_group"] == name


def test_options_of_the_pipeline(folder: Path) -> None:
    ours, theirs = both("ner", folder, aggregation_strategy="max", ignore_labels=[])
    assert_same(ours(TEXTS), theirs(TEXTS))


def test_a_tokenizer_that_knows_no_places(folder: Path) -> None:
    tokenizer = BertTokenizer.from_pretrained(folder)
    ours = pipeline("ner", folder, tokenizer=tokenizer)
    fast = pipeline("ner", folder)
    nowhere = {"start": None, "end": None}
    assert ours(TEXTS[0]) == [entity | nowhere for entity in fast(TEXTS[0])]
    with pytest.raises(ValueError, match="such as BertTokenizerFast, got BertTokenizer"):
        ours(TEXTS[0], aggregation_strategy="first")


def test_scores_can_be_written_as_json(pair: tuple[Any, Any]) -> None:
    ours, theirs = pair
    assert json.loads(json.dumps(ours(TEXTS))) == ours(TEXTS)
    with pytest.raises(TypeError, match="float32"):
        json.dumps(theirs(TEXTS))


@pytest.mark.parametrize("word", ["ki\u0308ng", "ki\u00adng"])
def test_words_whose_token_has_another_length(pair: tuple[Any, Any], word: str) -> None:
    """An accent with a code point of its own, and a soft hyphen, are not in the token "king".
    transformers takes it for a part of the word before, because token and text differ in length.
    """
    wrong = [0, 0]
    for before in ("men", "sea", "the house", "of", ",", "great", "ship", "came", "went"):
        text = f"{before} {word}"
        for i, pipe in enumerate(pair):
            (*_, token) = pipe(text, ignore_labels=[])
            assert token["word"] == "king"
            (*_, group) = pipe(text, ignore_labels=[], aggregation_strategy="first")
            wrong[i] += group["entity_group"] != token["entity"].split("-", 1)[-1]
    assert wrong[0] == 0
    assert wrong[1] > 0


def test_options_that_are_refused(pair: tuple[Any, Any]) -> None:
    ours, _ = pair
    for options, match in (
        (
            {"aggregation_strategy": "mean"},
            "must be one of 'none', 'simple', 'first', 'average', 'max'",
        ),
        ({"ignore_labels": "O"}, "ignore_labels must be a list"),
        ({"stride": 3}, "other than 'none'"),
        (
            {"stride": 64, "aggregation_strategy": "max"},
            "stride must be < 64, the model's limit, got 64",
        ),
        ({"stride": -1, "aggregation_strategy": "max"}, "stride must be an integer >= 0"),
    ):
        with pytest.raises(ValueError, match=match):
            ours("a", **options)
    with pytest.raises(ValueError, match="takes a str or a list of str"):
        ours([["a", "b"]])
