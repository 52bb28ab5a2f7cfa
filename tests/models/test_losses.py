"""The losses of the heads: which labels they take, which they refuse, and what is ignored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import tinybert
from tests.models.oracle import as_torch, config, twin_heads
from tests.support import assert_close
from tests.tolerances import MODEL_FLOAT64
from tinybert.models import losses

rng = np.random.default_rng(0)
IDS = rng.integers(1, 20, size=(3, 5))


def test_the_kind_of_problem_does_not_stick() -> None:
    model, theirs = twin_heads("BertForSequenceClassification", 0, num_labels=4)
    several = rng.random((3, 4)).round()
    one = np.array([3, 0, 1])
    found = [model(IDS, labels=labels).loss.item() for labels in (several, one, several)]
    assert model.config.problem_type is None
    logits = theirs(as_torch(IDS)).logits
    cross = torch.nn.functional.cross_entropy(logits, as_torch(one)).item()
    binary = torch.nn.functional.binary_cross_entropy_with_logits(logits, as_torch(several)).item()
    assert_close(np.array(found), np.array([binary, cross, binary]), rtol=MODEL_FLOAT64)
    assert theirs(as_torch(IDS), labels=as_torch(several)).loss.item() == pytest.approx(binary)
    with pytest.raises(ValueError, match="Target size"):  # now theirs always expects several
        theirs(as_torch(IDS), labels=as_torch(one))


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint8, np.int64, np.float32])
def test_labels_of_any_dtype(dtype: Any) -> None:
    model, _ = twin_heads("BertForTokenClassification", 0, num_labels=4)
    labels = rng.integers(4, size=(3, 5))
    expected = model(IDS, labels=labels).loss.item()
    assert model(IDS, labels=labels.astype(dtype)).loss.item() == expected
    assert model(IDS, labels=labels.tolist()).loss.item() == expected


def test_whole_number_labels_for_several_classes() -> None:
    options: dict[str, Any] = {"num_labels": 4, "problem_type": "multi_label_classification"}
    model, _ = twin_heads("BertForSequenceClassification", 0, **options)
    labels = rng.integers(2, size=(3, 4))
    expected = model(IDS, labels=labels.astype(float)).loss.item()
    assert model(IDS, labels=labels).loss.item() == expected
    free, _ = twin_heads("BertForSequenceClassification", 0, num_labels=4)
    assert free(IDS, labels=labels.astype(bool)).loss.item() == expected


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_axes_of_size_one_may_be_there(shape: tuple[int, ...]) -> None:
    for name, options in (
        ("BertForNextSentencePrediction", {}),
        ("BertForSequenceClassification", {"num_labels": 2}),
        ("BertForSequenceClassification", {"num_labels": 1}),
    ):
        model, theirs = twin_heads(name, 0, **options)
        labels = np.array([1, 0, 1]).reshape(shape)
        given = labels.astype(float) if options == {"num_labels": 1} else labels
        expected = theirs(as_torch(IDS), labels=as_torch(given)).loss.item()
        assert model(IDS, labels=given).loss.item() == pytest.approx(expected, rel=1e-10)


def test_positions_of_answers() -> None:
    """Beyond the text: does not count; negative: 0, as transformers does (pitfall B8)."""
    model, theirs = twin_heads("BertForQuestionAnswering", 0)
    start, end = np.array([[-1], [2], [9]]), np.array([1, 5, 4])
    call = {"start_positions": start, "end_positions": end}
    expected = theirs(as_torch(IDS), **{k: as_torch(v.copy()) for k, v in call.items()}).loss
    found = model(IDS, **call).loss.item()
    assert found == pytest.approx(expected.item(), rel=1e-10)
    assert start.tolist() == [[-1], [2], [9]]  # theirs changes the caller's
    assert model(IDS, start_positions=start).loss is None


def test_an_answer_has_two_ends() -> None:
    with pytest.raises(ValueError, match=r"num_labels must be 2 .*got 3"):
        tinybert.BertForQuestionAnswering(config(num_labels=3))


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("BertForMaskedLM", {"labels": np.full((3, 5), -100)}),
        ("BertForQuestionAnswering", {"start_positions": [9] * 3, "end_positions": [9] * 3}),
    ],
)
@pytest.mark.filterwarnings("ignore:all end_positions")
def test_labels_of_which_none_counts(name: str, call: dict[str, Any]) -> None:
    model, _ = twin_heads(name, 0)
    with pytest.warns(UserWarning, match="all .* are ignored, so the loss is nan"):
        loss = model(IDS, **call).loss
    assert np.isnan(loss.item())


def test_both_tasks_need_both_labels() -> None:
    model, theirs = twin_heads("BertForPreTraining", 0)
    assert model(IDS, labels=IDS).loss is None
    assert model(IDS, next_sentence_label=[0, 1, 0]).loss is None
    found = model(IDS, labels=IDS, next_sentence_label=[0, 1, 0]).loss.item()
    labels = {"labels": as_torch(IDS), "next_sentence_label": torch.tensor([0, 1, 0])}
    assert found == pytest.approx(theirs(as_torch(IDS), **labels).loss.item(), rel=1e-10)


def test_next_sentences_are_learned_from_both_labels() -> None:
    """0 means: it follows. Neither class may be ignored (pitfall B10)."""
    with tinybert.manual_seed(1):
        model = tinybert.BertForNextSentencePrediction(config(initializer_range=0.3))
    labels = np.array([0, 1, 0, 1])
    ids = rng.integers(1, 20, size=(4, 5))
    optimizer = tinybert.optim.AdamW(model.parameters(), lr=1e-2)
    for label in (0, 1):
        assert model(ids, labels=[label] * 4).loss.item() > 0
    for _ in range(30):
        optimizer.zero_grad()
        model(ids, labels=labels).loss.backward()
        optimizer.step()
    assert (model.eval()(ids).logits.numpy().argmax(-1) == labels).all()


@pytest.mark.parametrize("name", ["BertLMHeadModel", "MegatronBertForCausalLM"])
@pytest.mark.parametrize("count", [7, 2.5, torch.tensor(11)], ids=str)
def test_the_sum_is_divided_by_a_number_that_is_given(name: str, count: Any) -> None:
    ours, theirs = twin_heads(name, 0, is_decoder=True)
    labels = np.where(IDS % 3 == 0, -100, IDS)
    expected = theirs(as_torch(IDS), labels=as_torch(labels), num_items_in_batch=count).loss
    found = ours(IDS, labels=labels, num_items_in_batch=count).loss
    # Theirs rounds the logits to float32 before.
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_losses_of_parts_add_up_to_that_of_the_whole() -> None:
    ours, _ = twin_heads("BertLMHeadModel", 0, is_decoder=True)
    labels = np.where(np.arange(IDS.size).reshape(IDS.shape) % 3 == 0, -100, IDS)
    whole = ours(IDS, labels=labels).loss.item()
    count = int((labels[:, 1:] != -100).sum())
    parts = (
        ours(IDS[rows], labels=labels[rows], num_items_in_batch=count).loss.item()
        for rows in (slice(1), slice(1, None))
    )
    assert sum(parts) == pytest.approx(whole, rel=1e-12)
    nothing = np.full_like(labels, -100)  # a part may have none
    assert ours(IDS, labels=nothing, num_items_in_batch=count).loss.item() == 0


@pytest.mark.parametrize("count", [0, -1, np.nan, [3, 4]], ids=str)
def test_numbers_of_items_that_are_not_possible(count: Any) -> None:
    ours, _ = twin_heads("BertLMHeadModel", 0, is_decoder=True)
    with pytest.raises(ValueError, match="num_items_in_batch must be a number above 0, got"):
        ours(IDS, labels=IDS, num_items_in_batch=count)


def test_the_next_token_is_the_label_one_place_on() -> None:
    logits = tinybert.Tensor(rng.standard_normal((2, 4, 6)))
    labels = np.array([[5, 1, 2, 3], [0, 0, -100, 4]])
    expected = torch.nn.functional.cross_entropy(
        as_torch(logits.numpy())[:, :-1].flatten(0, 1), as_torch(labels[:, 1:]).flatten()
    )
    assert losses.next_token_loss(logits, labels).item() == pytest.approx(expected.item())
