"""question-answering against transformers, which sees each window of a long context as we do; what
it does with the answers of several windows is a deviation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.pipelines.twins import ATOL, Make, assert_same, both
from tinybert.pipelines import pipeline
from tinybert.tokenizers import BertTokenizer

# transformers passes tensors to NumPy in a way that NumPy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

QUESTION = "Where did the king go?"
SHORT = "The king of Egypt, unbelievably, went to Jerusalem. It was caf\u00e9 time!"
LONG = (
    "It was in the year of our Lord 1790 that the ship came to the city, and the men who had been "
    "at sea for many days went into the house of the king; he was not there, for he had gone to "
    "Washington (which is far away) with all of his people, and the great whale lay on the sand. "
    "So the men went back unbelievably slowly, and spoke of nothing but bread, water and war."
)
WINDOWS = {"max_seq_len": 40, "doc_stride": 8}


@pytest.fixture(scope="module", params=[0, 1, 2])
def pair(request: pytest.FixtureRequest, model_folder: Make) -> tuple[Any, Any]:
    return both("question-answering", model_folder("BertForQuestionAnswering", request.param))


def as_list(result: Any) -> list[dict[str, Any]]:
    return [result] if isinstance(result, dict) else result


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"top_k": 4},
        {"top_k": 3, "align_to_words": False},
        {"top_k": 3, "max_answer_len": 2},
        {"max_answer_len": 1, "top_k": 2},
        {"handle_impossible_answer": True},
        {"handle_impossible_answer": True, "top_k": 5},
    ],
    ids=str,
)
def test_one_window(pair: tuple[Any, Any], options: dict[str, Any]) -> None:
    for context in (SHORT, SHORT[:30]):
        found, expected = (f(question=QUESTION, context=context, **options) for f in pair)
        assert_same(found, expected)
        for answer in as_list(found):
            assert context[answer["start"] : answer["end"]] == answer["answer"]


def test_forms_of_inputs(pair: tuple[Any, Any]) -> None:
    ours, theirs = pair
    other = "The men went home."
    for inputs in (
        {"question": QUESTION, "context": SHORT},
        {"question": [QUESTION], "context": SHORT},
        {"question": [QUESTION, "Who?"], "context": SHORT},
        {"question": [QUESTION, "Who?"], "context": [SHORT, other]},
    ):
        assert_same(ours(**inputs, top_k=2), theirs(**inputs, top_k=2))
    single = {"question": QUESTION, "context": SHORT}
    several = [single, {"question": "Who?", "context": other}]
    for given in (single, [single], several):
        with pytest.warns(FutureWarning):
            expected = theirs(given)
        assert_same(ours(given), expected)
        assert_same(ours(given, batch_size=2), expected)


def test_windows_see_what_those_of_transformers_see(pair: tuple[Any, Any]) -> None:
    """The likeliest span of every window, read off the outputs of both."""
    ours, theirs = pair
    windows = ours.windows(QUESTION, LONG, **WINDOWS)
    assert len(windows) > 3
    example = {"question": QUESTION, "context": LONG}
    for window, inputs in zip(windows, theirs.preprocess(example, **WINDOWS), strict=True):
        tokens = theirs.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0])
        assert window.tokens == tokens
        output = theirs.forward(inputs)
        for name in ("start", "end"):
            logits = output[name][0].double().numpy()
            allowed = np.array([not masked for masked in inputs["p_mask"][0]])
            scores = np.where(allowed, np.exp(logits - logits.max()), 0.0)
            scores /= scores.sum()
            np.testing.assert_allclose(getattr(window, name)[1:], scores[1:], rtol=0, atol=ATOL)


@pytest.mark.parametrize("length", [41, 64])
def test_windows_share_half_of_themselves_by_default(pair: tuple[Any, Any], length: int) -> None:
    """The default of doc_stride is max_seq_len // 2, and at most 128."""
    ours, theirs = pair
    example = {"question": QUESTION, "context": LONG}
    found = [window.tokens for window in ours.windows(QUESTION, LONG, max_seq_len=length)]
    expected = [
        theirs.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0])
        for inputs in theirs.preprocess(example, max_seq_len=length)
    ]
    assert found == expected
    assert len(found) > 2
    with pytest.raises(ValueError, match="max_seq_len must be <= 64, the model's limit, got 65"):
        ours(question=QUESTION, context=LONG, max_seq_len=65)


def test_windows_that_share_nothing(pair: tuple[Any, Any]) -> None:
    """Then no span is seen twice, and as far as its text is unique, the answers are the same."""
    words = LONG.replace(",", "").replace(";", "").replace("(", "").replace(")", "").split()
    context = " ".join(dict.fromkeys(word.lower().strip(".") for word in words))
    for top_k in (1, 3):
        options = {"max_seq_len": 32, "doc_stride": 0, "max_answer_len": 1, "top_k": top_k}
        found, expected = (f(question=QUESTION, context=context, **options) for f in pair)
        assert_same(found, expected)
    nothing = [
        [a for a in f(question=QUESTION, context=LONG, top_k=99, **options) if not a["answer"]]
        for f in pair
        for options in [{**WINDOWS, "handle_impossible_answer": True}]
    ]
    assert_same(*([a for a in answers if a["score"] > 0] for answers in nothing))


@pytest.mark.parametrize("stride", [3, 8, 16])
def test_an_answer_that_several_windows_see_counts_once(pair: tuple[Any, Any], stride: int) -> None:
    """Its score is that in the best window, for which transformers is asked window by window. Asked
    for all at once it adds them up, so that a score, which is a probability, can be above 1.
    """
    ours, theirs = pair
    windows = {"max_seq_len": 36, "doc_stride": stride}
    for context in (LONG, "The king went to Jerusalem. " * 12):
        example = {"question": QUESTION, "context": context}
        outputs = [theirs.forward(inputs) for inputs in theirs.preprocess(example, **windows)]
        nothing = answers_without_text(theirs, outputs)
        for options in (
            {"top_k": 1},
            {"top_k": 4},
            {"top_k": 4, "align_to_words": False, "max_answer_len": 3},
            {"top_k": 5, "handle_impossible_answer": True},
        ):
            expected = best_of_each_window(theirs, outputs, options, nothing)
            found = as_list(ours(**example, **windows, **options))
            assert_same(found, expected)
            if context != LONG:
                added = as_list(theirs(**example, **windows, **options))
                assert added[0]["score"] > found[0]["score"]


Answer = dict[str, Any]


def answers_without_text(theirs: Any, outputs: list[Any]) -> list[Answer]:
    """That there is no answer, with its score in each window."""
    everything = {"top_k": 999, "handle_impossible_answer": True, "align_to_words": False}
    answers = [
        answer for output in outputs for answer in theirs.postprocess([output], **everything)
    ]
    return [answer for answer in answers if not answer["answer"] and answer["score"] > 0]


def best_of_each_window(
    theirs: Any, outputs: list[Any], options: dict[str, Any], nothing: list[Answer]
) -> list[Answer]:
    """The answers of transformers, each with its score in the window where that is highest."""
    best: dict[str, Answer] = {}
    for output in outputs:
        for answer in as_list(theirs.postprocess([output], **options)):
            known = best.setdefault(answer["answer"].lower(), answer)
            if answer["score"] > known["score"]:
                best[answer["answer"].lower()] = answer
    if best.pop("", None):  # no answer: in none of the windows
        best[""] = min(nothing, key=lambda a: a["score"])
    return sorted(best.values(), key=lambda a: -a["score"])[: options["top_k"]]


def test_spans_that_are_no_answers(pair: tuple[Any, Any]) -> None:
    """Where fewer spans are possible than are asked for, transformers adds spans that end before
    they start or are too long; their score is 0. Which of them depends on how NumPy partitions
    equal scores, and so on the processor; those outside the context it then drops.
    """
    ours, theirs = pair
    options: dict[str, Any] = {"question": QUESTION, "context": "men went", "top_k": 9}
    found, expected = ours(**options), theirs(**options)
    assert {answer["answer"] for answer in found} == {"men", "went", "men went"}
    assert_same(found, [answer for answer in expected if answer["score"] > 0])


def test_a_long_question_is_cut(pair: tuple[Any, Any]) -> None:
    """As documented; transformers does it only with slow tokenizers, else it fails."""
    ours, theirs = pair
    long = "where did the king go and " * 20
    found = ours(question=long, context=SHORT, max_question_len=6)
    assert_same(found, theirs(question="where did the king go and", context=SHORT))
    with pytest.raises(Exception, match="Truncation error"):
        theirs(question=long, context=SHORT, max_question_len=6)


def test_a_tokenizer_that_pads_left_has_the_context_first(model_folder: Make) -> None:
    """transformers then forgets to rule out the question: its answers can come from there."""
    folder = model_folder("BertForQuestionAnswering", 1, tokenizer_options={"padding_side": "left"})
    ours, theirs = both("question-answering", folder)
    inputs = {"question": "Who went home and back?", "context": SHORT}
    (window,) = ours.windows(**inputs)
    assert window.tokens[1 : 1 + sum(window.in_context)] == ours.tokenizer.tokenize(SHORT)
    assert window.start[~window.in_context].sum() == 0
    assert window.start.sum() == pytest.approx(1, abs=0.5)
    wrong = next(iter(theirs.preprocess(inputs)))
    assert not wrong["p_mask"].any()


def test_inputs_that_are_refused(pair: tuple[Any, Any], model_folder: Make) -> None:
    ours, _ = pair
    for options, match in (
        ({"question": "a"}, "got str and NoneType"),
        ({"question": ["a"], "context": ["b", "c"]}, "must have the same length, got 1 and 2"),
        ({"question": "", "context": "b"}, "question must be a non-empty str, got ''"),
        ({"inputs": "a"}, "takes question=str, context=str"),
        ({"inputs": {"question": "a", "context": "b"}, "question": "a"}, "not both"),
        ({"question": "a", "context": "b", "top_k": 0}, "top_k must be an integer >= 1"),
        ({"question": "a", "context": "b", "max_seq_len": 65}, "<= 64"),
        ({"question": "a", "context": LONG, "doc_stride": 64}, "stride"),
    ):
        with pytest.raises(ValueError, match=match):
            ours(**options)
    folder = model_folder("BertForQuestionAnswering")
    slow = pipeline("question-answering", folder, tokenizer=BertTokenizer.from_pretrained(folder))
    with pytest.raises(ValueError, match="such as BertTokenizerFast, got BertTokenizer"):
        slow(question="a", context="b")
