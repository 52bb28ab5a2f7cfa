"""Random texts with random options, through every pipeline that transformers has too."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.pipelines.twins import VOCAB, Make, assert_same, both
from tinybert.pipelines.token_classification import STRATEGIES

WORDS = [word for word in VOCAB.read_text("utf-8").splitlines()[10:] if not word.startswith("##")]
ODD = (
    *("\u00e9", "e\u0301", "\u4eff", "\u4e00\u4e01", "\u0130", "\u00df", "\ufb01", "\u200b"),
    *("  ", "\t", "[SEP]", "[UNK]", "...", "3.5", "$", "don't", "x" * 120, "unbelievably"),
)
NAMES = dict(enumerate(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]))
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "token-classification": (
        "BertForTokenClassification",
        {"seed": 3, "id2label": NAMES, "label2id": {v: k for k, v in NAMES.items()}},
    ),
    "fill-mask": ("BertForMaskedLM", {}),
    "text-classification": ("BertForSequenceClassification", {"num_labels": 4}),
    "question-answering": ("BertForQuestionAnswering", {"seed": 1}),
    "text-generation": ("BertLMHeadModel", {"seed": 1, "is_decoder": True}),
}


def a_text(rng: random.Random, longest: int) -> str:
    words = [
        rng.choice(WORDS if rng.random() < 0.8 else ODD) for _ in range(rng.randint(1, longest))
    ]
    return "".join(word + rng.choice((" ", " ", " ", "", ", ")) for word in words)


def a_call(task: str, rng: random.Random) -> tuple[Any, dict[str, Any]]:
    """An input and options."""
    if task == "token-classification":
        options: dict[str, Any] = {"aggregation_strategy": rng.choice(STRATEGIES)}
        if options["aggregation_strategy"] != "none" and rng.random() < 0.5:
            options["stride"] = rng.randint(0, 9)
        if rng.random() < 0.5:
            options["ignore_labels"] = []
        return a_text(rng, 80), options
    if task == "fill-mask":
        return f"{a_text(rng, 8)} [MASK] {a_text(rng, 4)}", {"top_k": rng.randint(1, 4)}
    if task == "text-classification":
        pair = {"text": a_text(rng, 9), "text_pair": a_text(rng, 5)}
        inputs = rng.choice((pair, pair["text"]))
        return inputs, {"top_k": rng.choice((1, 2, None)), "truncation": True}
    if task == "question-answering":
        return None, {
            "question": a_text(rng, 6),
            "context": a_text(rng, 12),
            "top_k": rng.randint(1, 6),
            "max_answer_len": rng.randint(1, 9),
            "align_to_words": rng.random() < 0.6,
            "handle_impossible_answer": rng.random() < 0.3,
        }
    return a_text(rng, 8), {
        "do_sample": False,
        "max_new_tokens": 4,
        "add_special_tokens": rng.random() < 0.5,
        "num_beams": rng.randint(1, 3),
        "return_full_text": rng.random() < 0.5,
    }


@pytest.mark.filterwarnings("ignore")  # transformers warns of options that it does not use
@pytest.mark.parametrize("task", MODELS)
def test_random_calls(task: str, model_folder: Make) -> None:
    name, config = MODELS[task]
    ours, theirs = both(task, model_folder(name, **config))
    rng = random.Random(0)
    for _ in range(8 if task == "text-generation" else 25):
        inputs, options = a_call(task, rng)
        given = () if inputs is None else (inputs,)
        found, expected = ours(*given, **options), theirs(*given, **options)
        if task == "question-answering":  # transformers fills up with spans that are no answers
            kept = [a for a in _list(expected) if a["score"] > 0]
            found, expected = _list(found), kept
        assert_same(found, expected, f"{task}({inputs!r}, {options})")


def _list(answers: Any) -> list[Any]:
    return [answers] if isinstance(answers, dict) else answers
