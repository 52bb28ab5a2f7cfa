"""Every task: examples, metrics, and a model that overfits a few rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinybert
from tests.training.conftest import SENTENCES, bert_config
from tinybert.cli.loss_curves import best_evaluation
from tinybert.training import (
    Batches,
    Classification,
    MultipleChoice,
    NextSentence,
    QuestionAnswering,
    Tagging,
    Trainer,
    TrainingConfig,
    read_rows,
)
from tinybert.training.examples import EncodedExamples, rename_columns
from tinybert.training.log import read_log
from tinybert.training.tasks.classification import kind_of

QUICK = ("single", "question-answering")  # the others are slow tests
TEXTS = SENTENCES
CLASSES = [{"text": t, "label": "cat" if "cat" in t else "other"} for t in TEXTS]
ROWS: dict[str, tuple[Any, dict[str, Any], list[dict[str, Any]], str]] = {
    "single": (Classification, {}, CLASSES, "accuracy"),
    "pairs": (
        Classification, {},
        [{**row, "text_pair": TEXTS[-i]} for i, row in enumerate(CLASSES)], "accuracy",
    ),
    "multi": (
        Classification, {"kind": "multi"},
        [
            {"text": t, "label": "|".join(w for w in ("cat", "dog") if w in t)}
            for t in TEXTS
        ],
        "f1",
    ),
    "regression": (
        Classification, {"kind": "regression"},
        [{"text": t, "label": len(t) / 10} for t in TEXTS], "pearson",
    ),
    "tagging": (
        Tagging, {},
        [
            {"words": t.split(), "tags": ["B-X" if w in ("cat", "dog") else "O" for w in t.split()]}
            for t in TEXTS
        ],
        "entity_f1",
    ),
    "question-answering": (
        QuestionAnswering, {"max_length": 40, "stride": 4},
        [
            {"question": f"where {i}", "context": TEXTS[i], "answer": TEXTS[i].split()[i % 3 + 1]}
            for i in (0, 1, 2, 4)
        ],
        "f1",
    ),
    "multiple-choice": (
        MultipleChoice, {},
        [
            {"text": t, "choices": [TEXTS[i - 1], TEXTS[i - 2], TEXTS[i - 3]], "label": i % 3}
            for i, t in enumerate(TEXTS)
        ],
        "accuracy",
    ),
    "next-sentence": (
        NextSentence, {},
        [{"text": t, "text_pair": TEXTS[i - 1], "label": i % 2} for i, t in enumerate(TEXTS)],
        "accuracy",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("make", "options", "rows", "metric"),
    [
        pytest.param(*row, id=name, marks=[] if name in QUICK else pytest.mark.slow)
        for name, row in ROWS.items()
    ],
)
def test_a_model_overfits_a_few_rows(
    make: Any, options: dict, rows: list, metric: str, tokenizer: Any, tmp_path: Path
) -> None:
    task = make(tokenizer, **{"max_length": 64, **options})
    task.learn_labels(rows)
    assert task.best == metric
    config = bert_config(
        len(tokenizer), hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **task.config()
    )
    with tinybert.manual_seed(0):
        model = task.auto.from_config(config)
    batches = Batches(EncodedExamples(task, rows), task.collate, 4)
    settings = TrainingConfig(steps=300, learning_rate=3e-3, schedule="constant", save_every=None)
    run = Trainer(
        model, batches, settings, tmp_path, count=task.count, best=task.best,
        evaluate=lambda model: task.evaluate(model, rows),
    )  # fmt: skip
    metrics = run.train()
    assert metrics[metric] > 0.97, metrics


def test_labels_of_words_are_on_their_first_tokens(tokenizer: Any) -> None:
    task = Tagging(tokenizer, max_length=12)
    row = {"words": ["the", "window", "opened", "birds", "singing"], "tags": list("ABCAB")}
    task.learn_labels([row])
    examples = task.encode(row)
    assert len(examples) > 1  # several windows
    labels = [label for e in examples for label in e["labels"] if label != -100]
    assert [task.labels[label] for label in labels] == row["tags"]
    encoded = tokenizer(row["words"], is_split_into_words=True)
    assert len(encoded["input_ids"]) > len(row["words"]) + 2  # words of several tokens
    assert not task.marks_entities


def test_answers_are_where_they_are(tokenizer: Any) -> None:
    task = QuestionAnswering(tokenizer, max_length=24, stride=6)
    context = " ".join(TEXTS)
    row = {
        "question": "where",
        "context": context,
        "answer": "window",
        "start": context.index("window"),
    }
    found = []
    for example in task.encode(row):
        ids = example["input_ids"][example["start_positions"] : example["end_positions"] + 1]
        if ids != [tokenizer.cls_token_id]:
            found.append(tokenizer.decode(ids))
    assert found
    assert set(found) == {"window"}
    for wrong, message in (
        ({"start": 3}, "does not begin at character 3"),
        ({"start": None}, "occurs 1 times|occurs"),
        ({"start": None, "answer": "the"}, "occurs .* times in its context; give the column start"),
        ({"start": None, "answer": "xyz"}, "it must occur in it"),
    ):
        if wrong == {"start": None}:
            assert task.encode({**row, **wrong})
            continue
        with pytest.raises(ValueError, match=message):
            task.encode({**row, **wrong})
    empty = task.encode({**row, "answer": ""})
    assert {(e["start_positions"], e["end_positions"]) for e in empty} == {(0, 0)}


def test_readers(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text,label\n"one, ""two""",x\nthree,y\n', encoding="utf-8")
    assert read_rows(tmp_path / "a.csv") == [
        {"text": 'one, "two"', "label": "x"}, {"text": "three", "label": "y"},
    ]  # fmt: skip
    (tmp_path / "a.tsv").write_text("one\tx\n")
    assert read_rows(tmp_path / "a.tsv", ["text", "label"]) == [{"text": "one", "label": "x"}]
    (tmp_path / "a.jsonl").write_text('{"text": "a", "label": 1}\n\n{"text": "b", "label": 0}\n')
    assert [row["label"] for row in read_rows(tmp_path / "a.jsonl")] == [1, 0]
    (tmp_path / "a.conll").write_text("-DOCSTART- O\n\nAda NNP B-PER\nran VBD O\n\nBo NNP B-PER\n")
    assert read_rows(tmp_path / "a.conll") == [
        {"words": ["Ada", "ran"], "tags": ["B-PER", "O"]}, {"words": ["Bo"], "tags": ["B-PER"]},
    ]  # fmt: skip
    named = read_rows(tmp_path / "a.conll", ["words", "tags", "entities"])
    assert named[0]["tags"] == ["NNP", "VBD"]


FAULTS = {
    "a.csv": ("text,label\none\n", "line 2 has 1 fields, expected 2"),
    "b.csv": ("text,label\n", "there are no rows"),
    "c.csv": ('text\n"open', "line 2"),
    "a.jsonl": ('{"a": 1}\n[1]\n', "line 2 is not a JSON object"),
    "b.jsonl": ('{"a": \n', "line 1: "),
    "a.conll": ("a b\nc\n", "line 2 has 1 columns, the line before 2"),
    "a.xlsx": ("", "must end with .csv"),
}


@pytest.mark.parametrize(("name", "content", "message"), [(n, *f) for n, f in FAULTS.items()])
def test_bad_files_are_named_with_their_line(
    name: str, content: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=f"{name}: .*{message}"):
        read_rows(tmp_path / name)


def test_columns_of_other_names(tokenizer: Any) -> None:
    task = Classification(tokenizer)
    rows = [{"review": "good", "stars": "5"}]
    renamed = rename_columns(rows, ["text=review", "label=stars"], task, "a.csv")
    assert renamed[0]["text"] == "good"
    with pytest.raises(
        ValueError, match=r"a.csv: row 1 has no column 'text'; it has review, stars"
    ):
        rename_columns(rows, [], task, "a.csv")


def test_a_row_that_cannot_be_used_is_named(tokenizer: Any) -> None:
    task = Classification(tokenizer)
    task.learn_labels([{"text": "a", "label": "x"}])
    with pytest.raises(ValueError, match="row 2: label must be one of 'x', got 'y'"):
        EncodedExamples(task, [{"text": "a", "label": "x"}, {"text": "a", "label": "y"}])
    task = Classification(tokenizer, kind="regression")
    with pytest.raises(ValueError, match="row 1: label must be a number for regression, got 'x'"):
        EncodedExamples(task, [{"text": "a", "label": "x"}])


def test_metrics_do_not_depend_on_the_batches(tokenizer: Any) -> None:
    task = Tagging(tokenizer)
    rows = ROWS["tagging"][2]
    task.learn_labels(rows)
    with tinybert.manual_seed(0):
        model = task.auto.from_config(bert_config(len(tokenizer), **task.config()))
    one, many = (task.evaluate(model, rows, batch_size=size) for size in (1, 8))
    for name, value in one.items():
        assert np.isclose(value, many[name], rtol=1e-5), name


def test_answers_have_the_names_of_the_classes(tokenizer: Any) -> None:
    for name, (make, options, rows, _) in ROWS.items():
        task = make(tokenizer, **options)
        task.learn_labels(rows)
        with tinybert.manual_seed(0):
            model = task.auto.from_config(bert_config(len(tokenizer), **task.config()))
        answers: list[dict[str, Any]] = []
        scores = task.evaluate(model, rows, batch_size=3, record=answers.append)
        assert len(answers) == len(rows)
        labels = [answer["label"] for answer in answers]
        if name == "question-answering":
            assert labels == [[row["answer"]] for row in rows]
        elif name == "multi":
            assert labels == [row["label"].split("|") if row["label"] else [] for row in rows]
        else:
            assert labels == [row["tags" if name == "tagging" else "label"] for row in rows]
        if name in ("single", "pairs", "multiple-choice", "next-sentence"):
            right = [answer["label"] == answer["prediction"] for answer in answers]
            assert scores["accuracy"] == np.mean(right)


def test_lists_in_a_csv_file_are_texts(tokenizer: Any) -> None:
    task = Tagging(tokenizer)
    row = {"words": "the cat", "tags": "O B-X"}
    task.learn_labels([row])
    assert task.labels == ["B-X", "O"]
    assert task.encode(row) == task.encode({"words": ["the", "cat"], "tags": ["O", "B-X"]})
    choice = MultipleChoice(tokenizer)
    one, two = ({"text": "the", "choices": c, "label": "1"} for c in ("cat|dog", ["cat", "dog"]))
    assert choice.encode(one) == choice.encode(two)
    with pytest.raises(ValueError, match="label must be from 0 to 1, got 'dog'"):
        choice.encode({**one, "label": "dog"})


def test_the_classes_of_a_trained_model(tokenizer: Any) -> None:
    for kind, labels in (("single", ["x", "y"]), ("multi", ["x", "y"]), ("regression", ["score"])):
        task = Classification(tokenizer, kind=kind)
        task.labels = labels
        config = bert_config(len(tokenizer), **task.config())
        assert kind_of(config) == kind
        other = Classification(tokenizer)
        other.read_labels(config)
        assert other.labels == labels
    plain = bert_config(len(tokenizer), num_labels=3)
    task.read_labels(plain)
    assert task.labels == ["0", "1", "2"]
    assert kind_of(plain) == "single"


def test_a_metric_that_is_nan_is_not_the_best(tokenizer: Any, tmp_path: Path) -> None:
    scores = iter([float("nan"), 0.1, float("nan"), 0.05])
    task = Classification(tokenizer)
    task.learn_labels(CLASSES)
    model = task.auto.from_config(bert_config(len(tokenizer), **task.config()))
    batches = task.batches(EncodedExamples(task, CLASSES), 4, 0)
    settings = TrainingConfig(steps=4, evaluate_every=1, save_every=None)
    run = Trainer(
        model, batches, settings, tmp_path, best="pearson",
        evaluate=lambda model: {"pearson": next(scores)},
    )  # fmt: skip
    run.train()
    assert run.best_score == 0.1
    assert best_evaluation(read_log(tmp_path), "pearson") == (2, {"pearson": 0.1})
