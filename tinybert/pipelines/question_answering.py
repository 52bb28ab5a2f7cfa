"""Extractive question answering: find the span of a context that answers a question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

from tinybert.checks import check, check_integer
from tinybert.models import AutoModelForQuestionAnswering
from tinybert.models.heads import QuestionAnswering
from tinybert.pipelines.base import OnePassPipeline, Outputs, Row, Settings, softmax
from tinybert.pipelines.words import word_span

MASKED = -10000.0  # the logit of a token outside the context, as in transformers
ITEM = ("question", "context")


class Window(NamedTuple):
    """The question with a part of the context: T tokens.

    Attributes:
        tokens: the T tokens.
        start, end: (T,) probabilities that the answer starts, or ends, at each token.
        in_context: (T,) whether each token belongs to the context.
        null: the probability that this window has no answer.
    """

    tokens: list[str]
    start: np.ndarray
    end: np.ndarray
    in_context: np.ndarray
    null: float


class QuestionAnsweringPipeline(OnePassPipeline):
    """Finds the answer to a question in a context, which may exceed the model's maximum length.

        pipeline("question-answering", folder)(question="Who?", context="It was Ada.")

    A long context is split into overlapping windows. An answer is a span of tokens; its score is
    the product of the probabilities of its start and its end (Devlin et al. 2018, section 4.2), in
    the window where the score is highest.

    Inputs: question=str, context=str (or lists); a dict with both, or a list of such dicts.

    Options of a call:
        top_k: the number of answers.
        max_answer_len: the maximum length of an answer, in tokens.
        handle_impossible_answer: also return "" with the probability that there is no answer.
        align_to_words: extend answers to whole words; scores of equal answers are added. Without a
            pre-tokenizer, words are split at whitespace.
        doc_stride: the number of tokens shared by two windows; by default half a window, at most
            128.
        max_seq_len: the length of a window in tokens, question included; by default 384, or the
            model's limit.
        max_question_len: a longer question is truncated to this number of tokens.

    Returns a dict with `score`, `start` and `end` (character offsets in the context), `answer`;
    several answers as a list, highest score first; for several questions a list of these. The
    answer is context[start:end]. Answers that differ only in case are merged.
    """

    task = "question-answering"
    model_class = QuestionAnswering
    auto_class = AutoModelForQuestionAnswering
    defaults: ClassVar[Settings] = {
        "top_k": 1,
        "max_answer_len": 15,
        "handle_impossible_answer": False,
        "align_to_words": True,
        "doc_stride": None,
        "max_seq_len": None,
        "max_question_len": 64,
    }
    per_token = True

    def __call__(
        self, inputs: Any = None, *, question: Any = None, context: Any = None, **options: Any
    ) -> Any:
        """Return the answer or answers; see the class."""
        if inputs is None:
            inputs = _pairs(question, context)
        elif question is not None or context is not None:
            raise ValueError("give inputs, or question and context, not both")
        results = super().__call__(inputs, **options)
        return results[0] if isinstance(inputs, list) and len(inputs) == 1 else results

    def check(self, settings: Settings) -> None:
        check_integer("top_k", settings["top_k"], 1)
        check_integer("max_answer_len", settings["max_answer_len"], 1)
        check_integer("max_question_len", settings["max_question_len"], 1)
        check_integer("doc_stride", settings["doc_stride"], 0, optional=True)
        check_integer("max_seq_len", settings["max_seq_len"], 1, optional=True)
        length, limit = settings["max_seq_len"], self.max_length
        check("max_seq_len", length, (length or 0) <= limit, f"<= {limit}, the model's limit")

    def windows(self, question: str, context: str, **options: Any) -> list[Window]:
        """Return the probabilities of each window; options as in a call."""
        rows = self.rows({"question": question, "context": context}, self._settings(options))
        return [
            self._window(row, output)
            for row, output in zip(rows, self.forward(rows, self.batch_size), strict=True)
        ]

    # --- tokenization ---------------------------------------------------------------------------

    def rows(self, item: Any, settings: Settings) -> list[Row]:
        if not self.tokenizer.is_fast:
            raise ValueError(
                "question-answering needs a tokenizer with offsets, such as BertTokenizerFast, "
                f"got {type(self.tokenizer).__name__}"
            )
        question, context = _question_and_context(item)
        longest = settings["max_seq_len"] or min(self.max_length, 384)
        stride = settings["doc_stride"]
        texts = (self._truncated(question, settings["max_question_len"]), context)
        encoded = self.tokenizer(
            *(texts if self._context_side else texts[::-1]),
            truncation="only_second" if self._context_side else "only_first",
            max_length=longest,
            stride=min(longest // 2, 128) if stride is None else stride,
            return_overflowing_tokens=True,
        )
        return self.split(encoded)

    @property
    def _context_side(self) -> int:
        """The sequence of the context: 1, or 0 for models that pad at the left."""
        return int(self.tokenizer.padding_side == "right")

    def _truncated(self, question: str, max_length: int) -> str:
        """Return the text of the first `max_length` tokens of the question."""
        encoded = self.tokenizer(
            question, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        offsets = encoded["offset_mapping"]
        return question if len(offsets) <= max_length else question[: offsets[max_length - 1][1]]

    # --- answers --------------------------------------------------------------------------------

    def _window(self, row: Row, output: Outputs) -> Window:
        """Compute the probabilities of a window; those of [CLS] mean "no answer"."""
        assert row.encoding is not None
        side, cls_token = self._context_side, self.tokenizer.cls_token_id
        in_context = np.array([sequence == side for sequence in row.encoding.sequence_ids])
        is_cls = np.array([token == cls_token for token in row.inputs["input_ids"]])
        start, end = (
            softmax(np.where(in_context | is_cls, output[name], MASKED))
            for name in ("start_logits", "end_logits")
        )
        null = float((start * end)[is_cls].sum())
        return Window(row.encoding.tokens, start * ~is_cls, end * ~is_cls, in_context, null)

    def result(self, item: Any, rows: list[Row], outputs: list[Outputs], settings: Settings) -> Any:
        _, context = _question_and_context(item)
        best: dict[str, dict[str, Any]] = {}  # by the answer in lower case
        null = np.inf
        for row, output in zip(rows, outputs, strict=True):
            window = self._window(row, output)
            null = min(null, window.null)
            for name, answer in self._answers(row, window, context, settings).items():
                if name not in best or best[name]["score"] < answer["score"]:
                    best[name] = answer
        answers = list(best.values())
        if settings["handle_impossible_answer"]:
            answers.append({"score": null, "start": 0, "end": 0, "answer": ""})
        answers = sorted(answers, key=lambda answer: -answer["score"])[: settings["top_k"]]
        return answers[0] if len(answers) == 1 else answers

    def _answers(
        self, row: Row, window: Window, context: str, settings: Settings
    ) -> dict[str, dict[str, Any]]:
        """Return the best answers of a window; scores of spans with the same text are added."""
        top_k, whole_words = settings["top_k"], settings["align_to_words"]
        assert row.encoding is not None
        offsets = row.encoding.offsets
        # An answer does not begin or end with a token of whitespace.
        is_text = np.array([bool(context[start:end].strip()) for start, end in offsets])
        window = window._replace(in_context=window.in_context & is_text)
        # Several spans can belong to the same words, so more than top_k spans are needed.
        spans = best_spans(window, 2 * top_k + 10 if whole_words else top_k, settings)
        answers: dict[str, dict[str, Any]] = {}
        for first, last in spans:
            start, end = offsets[first][0], offsets[last][1]
            if whole_words:
                start, end = word_span(context, row.encoding, first, last, self._context_side)
            score = float(window.start[first] * window.end[last])
            text = context[start:end]
            answer = {"score": 0.0, "start": start, "end": end, "answer": text}
            answers.setdefault(text.lower(), answer)["score"] += score
        return answers


def best_spans(window: Window, count: int, settings: Settings) -> list[tuple[int, int]]:
    """Return the `count` most likely spans (first token, last token) of the context."""
    positions = np.flatnonzero(window.in_context)
    scores = np.outer(window.start[positions], window.end[positions])  # (Tc, Tc)
    lengths = positions - positions[:, None] + 1
    first, last = np.nonzero((lengths >= 1) & (lengths <= settings["max_answer_len"]))
    order = np.argsort(-scores[first, last], kind="stable")[:count]
    return [(int(positions[first[i]]), int(positions[last[i]])) for i in order]


def _pairs(question: Any, context: Any) -> Any:
    """Return the inputs for one or several questions and contexts."""
    if isinstance(question, str) and isinstance(context, str):
        return {"question": question, "context": context}
    if isinstance(question, (list, tuple)) and isinstance(context, (str, list, tuple)):
        contexts = [context] * len(question) if isinstance(context, str) else context
        if len(question) != len(contexts):
            raise ValueError(
                f"question and context must have the same length, got {len(question)} and "
                f"{len(contexts)}"
            )
        return [{"question": q, "context": c} for q, c in zip(question, contexts, strict=True)]
    raise ValueError(
        "question and context must both be a str, both a list of str, or a list and a str; "
        f"got {type(question).__name__} and {type(context).__name__}"
    )


def _question_and_context(item: Any) -> tuple[str, str]:
    if not (isinstance(item, Mapping) and set(item) == set(ITEM)):
        raise ValueError(
            'question-answering takes question=str, context=str, {"question": str, "context": '
            f"str}}, or a list of these dicts; got {item!r}"
        )
    for name in ITEM:
        if not isinstance(item[name], str) or not item[name]:
            raise ValueError(f"{name} must be a non-empty str, got {item[name]!r}")
    return item["question"], item["context"]
