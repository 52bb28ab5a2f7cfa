"""Words of tokenizers that know them (byte-level, Unigram) and of those that do not (Llama 2)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

import tinybert
from tests.models.oracle import TOY, draw_weights
from tests.pipelines.twins import both
from tests.tokenizer_json.json_oracle import trained
from tinybert.pipelines import pipeline
from tinybert.tokenizers import TokenizerJSON

TEXT = "The king of Würzburg went to unbelievable, Jerusalem  and \n caféteria"
LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def without_pre_tokenizer() -> str:
    """A tokenizer.json as Llama 2 has it."""
    value = json.loads(trained("SentencePiece", "English"))
    before: list[dict[str, Any]] = [{"type": "Prepend", "prepend": "▁"}]
    before += [{"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
    value |= {"pre_tokenizer": None, "normalizer": {"type": "Sequence", "normalizers": before}}
    return json.dumps(value)


FILES = {
    "no pre-tokenizer": without_pre_tokenizer,
    "not split": lambda: trained("SentencePiece", "English"),
    "byte-level": lambda: trained("byte-level", "English"),
    "Unigram": lambda: trained("Unigram", "English"),
}


@pytest.fixture(params=FILES)
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> TokenizerJSON:
    (tmp_path / "tokenizer.json").write_text(FILES[request.param](), encoding="utf-8")
    options = {"unk_token": "<unk>", "pad_token": "<pad>", "cls_token": "<s>"}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64, **options}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    return TokenizerJSON.from_pretrained(tmp_path)


def config_of(tokenizer: TokenizerJSON, **options: Any) -> dict[str, Any]:
    return {**TOY, "vocab_size": len(tokenizer), "max_position_embeddings": 64, **options}


def test_entities_are_words(tokenizer: TokenizerJSON, monkeypatch: pytest.MonkeyPatch) -> None:
    """If each word begins an entity, then the entities are the words."""
    config = tinybert.BertConfig(**config_of(tokenizer), id2label={0: "B-X", 1: "O"})
    ner = pipeline("ner", tinybert.BertForTokenClassification(config), tokenizer)
    monkeypatch.setattr(
        ner, "forward", lambda rows, size: [{"logits": np.eye(2)[[0] * len(row)]} for row in rows]
    )
    for strategy in ("first", "average", "max"):
        found = ner(TEXT, aggregation_strategy=strategy)
        texts = [TEXT[entity["start"] : entity["end"]] for entity in found]
        assert "".join(texts).split() == TEXT.replace("  ", " ").split()
        joined = " ".join(text.strip() for text in texts if text.strip())
        if tokenizer(TEXT).word_ids()[-1] == 0:  # no words known: split at spaces only
            assert joined.split() == TEXT.split()
            assert len([t for t in texts if t.strip()]) == len(TEXT.split())
        assert max(len(text.split()) for text in texts) == 1
        names = [entity["word"].strip() for entity in found if entity["word"].strip()]
        assert names == [text.strip() for text in texts if text.strip()]


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
def test_entities_of_transformers(tokenizer: TokenizerJSON, tmp_path: Path) -> None:
    """transformers splits at spaces too; but it decodes the text of a group a second time."""
    config = transformers.BertConfig(**config_of(tokenizer), id2label=dict(enumerate(LABELS)))
    twin = transformers.BertForTokenClassification(config)
    draw_weights(twin, 5)
    twin.save_pretrained(tmp_path)
    ours, theirs = both("token-classification", tmp_path)
    # transformers takes a token that is only a space for a word: not here.
    candidates = "The king is called from to another value statement and in"
    words = [f" {word}" for word in candidates.split()]
    text = "".join(word for word in words if len(ours.tokenizer.tokenize(f"a{word}")[1]) > 1)[1:]
    assert text.count(" ") > 4
    for strategy in ("none", "simple", "first", "average", "max"):
        options = {"aggregation_strategy": strategy, "ignore_labels": []}
        found, expected = ours(text, **options), theirs(text, **options)
        assert len(found) == len(expected)
        for mine, other in zip(found, expected, strict=True):
            word = mine.pop("word"), other.pop("word")
            assert mine == pytest.approx(other, abs=1e-5)
            if strategy != "none":
                covered = text[mine["start"] : mine["end"]]
                assert word[0].split() == covered.split()
                assert word[1].replace(" ", "") == covered.replace(" ", "")


def test_the_text_of_an_entity_is_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoded twice, as in transformers, é is no UTF-8, and SentencePiece loses its spaces."""
    text = "été Müller"
    for kind, twice in (("byte-level", "\ufffdt\ufffd Müller"), ("SentencePiece", "étéMüller")):
        (tmp_path / "tokenizer.json").write_text(trained(kind, "scripts"), encoding="utf-8")
        tokenizer = TokenizerJSON(tmp_path / "tokenizer.json", model_max_length=64)
        config = tinybert.BertConfig(**config_of(tokenizer), id2label={0: "X", 1: "O"})
        ner = pipeline("ner", tinybert.BertForTokenClassification(config), tokenizer)
        monkeypatch.setattr(
            ner, "forward", lambda rows, size: [{"logits": np.eye(2)[[0] * len(r)]} for r in rows]
        )
        (found,) = ner(text, aggregation_strategy="first")
        assert found["word"] == text
        theirs = transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(tmp_path / "tokenizer.json")
        )
        words = [
            theirs.tokenize(word)
            for word in ("été", " Müller" if kind == "byte-level" else "Müller")
        ]
        once = [theirs.convert_tokens_to_string(word) for word in words]
        assert theirs.convert_tokens_to_string(once) == twice


@pytest.mark.parametrize("seed", range(3))
def test_answers_are_words(tokenizer: TokenizerJSON, seed: int) -> None:
    """transformers answers with the whole context if the tokenizer knows no words."""
    config = transformers.BertConfig(**config_of(tokenizer))
    twin = transformers.BertForQuestionAnswering(config)
    draw_weights(twin, seed)
    model = tinybert.BertForQuestionAnswering(tinybert.BertConfig(**config_of(tokenizer)))
    model.load_state_dict(twin.state_dict())
    ours = pipeline("question-answering", model, tokenizer)
    given = {"question": "Who went?", "context": TEXT, "max_answer_len": 3}
    best = ours(**given, align_to_words=False)
    answers = ours(**given, top_k=4)
    for answer in answers:
        start, end = answer["start"], answer["end"]
        assert TEXT[start:end] == answer["answer"] == answer["answer"].strip()
        assert len(answer["answer"].split()) <= 3
        if tokenizer(TEXT).word_ids()[-1] == 0:
            assert start == 0 or TEXT[start - 1].isspace()
            assert end == len(TEXT) or TEXT[end].isspace()
    assert any(  # the token of the best span may begin with a space
        answer["start"] <= best["start"] + 1 and answer["end"] >= best["end"] - 1
        for answer in ours(**given, top_k=30)
    )
