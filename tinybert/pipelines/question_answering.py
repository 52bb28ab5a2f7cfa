"""Where in a text is the answer to a question?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

from tinybert.models import AutoModelForQuestionAnswering
from tinybert.models.heads import QuestionAnswering
from tinybert.pipelines.base import OnePassPipeline, Outputs, Row, Settings, check_whole, softmax

NEVER = -10000.0  # the logit of a token that cannot belong to an answer, as in transformers
ITEM = ("question", "context")


class Window(NamedTuple):
    """A part of the context, with the question: T tokens.

    Attributes:
        tokens: T tokens.
        start, end: (T,) probabilities that the answer starts, or ends, with a token of the window.
        possible: (T,) whether a token belongs to the context.
        null: the probability that there is no answer here.
    """

    tokens: list[str]
    start: np.ndarray
    end: np.ndarray
    possible: np.ndarray
    null: float


class QuestionAnsweringPipeline(OnePassPipeline):
    """Finds the answer to a question in a context, which may be longer than the model reads.

        pipeline("question-answering", folder)(question="Who?", context="It was Ada.")

    A long context is read in windows that overlap. An answer is a span of tokens; its score is the
    product of the probabilities of its start and its end (Devlin et al. 2018, section 4.2), within
    the window where that is highest.

    Inputs: question=str, context=str (or lists of either); a dict with both, or a list of such.

    Options of a call:
        top_k: how many answers.
        max_answer_len: the longest answer, in tokens.
        handle_impossible_answer: "" is an answer too, if the model finds that there is none.
        align_to_words: answers consist of whole words; their scores are added up.
        doc_stride: tokens that two windows share; by default half a window, at most 128.
        max_seq_len: tokens of a window, the question included; by default 384, or what the model
            takes.
        max_question_len: the question is cut there, in tokens.

    Returns a dict with `score`, `start` and `end` (characters of the context), `answer`; or a list
    of them, best first, if there are several; a list of these for several questions. The answer is
    context[start:end]. Answers that differ in case alone count as one.
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
        """The answer, or answers; see the class."""
        if inputs is None:
            inputs = _pairs(question, context)
        elif question is not None or context is not None:
            raise ValueError("give inputs, or question and context, not both")
        results = super().__call__(inputs, **options)
        return results[0] if isinstance(inputs, list) and len(inputs) == 1 else results

    def check(self, settings: Settings) -> None:
        check_whole("top_k", settings["top_k"])
        check_whole("max_answer_len", settings["max_answer_len"])
        check_whole("max_question_len", settings["max_question_len"])
        check_whole("doc_stride", settings["doc_stride"], 0, optional=True)
        check_whole("max_seq_len", settings["max_seq_len"], optional=True)
        if (settings["max_seq_len"] or 0) > self.max_length:
            raise ValueError(
                f"max_seq_len must be at most {self.max_length}, which is what the model takes, "
                f"got {settings['max_seq_len']}"
            )

    def windows(self, question: str, context: str, **options: Any) -> list[Window]:
        """What the model finds in each window, for a closer look; options as in a call."""
        rows = self.rows({"question": question, "context": context}, self._settings(options))
        return [
            self._window(row, output)
            for row, output in zip(rows, self.forward(rows, self.batch_size), strict=True)
        ]

    # --- from a question to rows ----------------------------------------------------------------

    def rows(self, item: Any, settings: Settings) -> list[Row]:
        if not self.tokenizer.is_fast:
            raise ValueError(
                "question-answering needs a tokenizer that knows the places of tokens, such as "
                f"BertTokenizerFast, got {type(self.tokenizer).__name__}"
            )
        question, context = _question_and_context(item)
        longest = settings["max_seq_len"] or min(self.max_length, 384)
        stride = settings["doc_stride"]
        texts = (self._cut(question, settings["max_question_len"]), context)
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
        """1 if the context is the second text, 0 if the first, as for models that pad left."""
        return int(self.tokenizer.padding_side == "right")

    def _cut(self, question: str, longest: int) -> str:
        """The question, cut after `longest` tokens."""
        encoded = self.tokenizer(
            question, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        places = encoded["offset_mapping"]
        return question if len(places) <= longest else question[: places[longest - 1][1]]

    # --- from logits to answers -----------------------------------------------------------------

    def _window(self, row: Row, output: Outputs) -> Window:
        """The probabilities of a window. [CLS] takes part: it stands for "no answer"."""
        assert row.encoding is not None
        side, cls_token = self._context_side, self.tokenizer.cls_token_id
        possible = np.array([sequence == side for sequence in row.encoding.sequence_ids])
        null = np.array([token == cls_token for token in row.inputs["input_ids"]])
        start, end = (
            softmax(np.where(possible | null, output[name], NEVER))
            for name in ("start_logits", "end_logits")
        )
        nothing = float((start * end)[null].sum())
        return Window(row.encoding.tokens, start * ~null, end * ~null, possible, nothing)

    def result(self, item: Any, rows: list[Row], outputs: list[Outputs], settings: Settings) -> Any:
        _, context = _question_and_context(item)
        best: dict[str, dict[str, Any]] = {}  # by the answer in lower case
        nothing = np.inf
        for row, output in zip(rows, outputs, strict=True):
            window = self._window(row, output)
            nothing = min(nothing, window.null)
            for name, answer in self._answers(row, window, context, settings).items():
                if name not in best or best[name]["score"] < answer["score"]:
                    best[name] = answer
        answers = list(best.values())
        if settings["handle_impossible_answer"]:
            answers.append({"score": nothing, "start": 0, "end": 0, "answer": ""})
        answers = sorted(answers, key=lambda answer: -answer["score"])[: settings["top_k"]]
        return answers[0] if len(answers) == 1 else answers

    def _answers(
        self, row: Row, window: Window, context: str, settings: Settings
    ) -> dict[str, dict[str, Any]]:
        """The best answers of a window; the scores of spans that give the same text are added."""
        top_k, whole_words = settings["top_k"], settings["align_to_words"]
        # Several spans may be parts of the same words, so more of them are looked at.
        spans = best_spans(window, 2 * top_k + 10 if whole_words else top_k, settings)
        found: dict[str, dict[str, Any]] = {}
        for first, last in spans:
            start, end = self._characters(row, first, last, whole_words)
            score = float(window.start[first] * window.end[last])
            text = context[start:end]
            answer = {"score": 0.0, "start": start, "end": end, "answer": text}
            found.setdefault(text.lower(), answer)["score"] += score
        return found

    def _characters(self, row: Row, first: int, last: int, whole_words: bool) -> tuple[int, int]:
        """The characters of the context that tokens `first` to `last` stand for."""
        encoding = row.encoding
        assert encoding is not None
        if whole_words:
            words = encoding.word_ids[first], encoding.word_ids[last]
            if words[0] is not None and words[1] is not None:
                start = encoding.word_to_chars(words[0], self._context_side)
                end = encoding.word_to_chars(words[1], self._context_side)
                assert start is not None
                assert end is not None
                return start.start, end.end
        return encoding.offsets[first][0], encoding.offsets[last][1]


def best_spans(window: Window, count: int, settings: Settings) -> list[tuple[int, int]]:
    """The likeliest spans (first token, last token) within the context, not too long."""
    places = np.flatnonzero(window.possible)
    scores = np.outer(window.start[places], window.end[places])  # (Tc, Tc)
    lengths = places - places[:, None] + 1
    first, last = np.nonzero((lengths >= 1) & (lengths <= settings["max_answer_len"]))
    order = np.argsort(-scores[first, last], kind="stable")[:count]
    return [(int(places[first[i]]), int(places[last[i]])) for i in order]


def _pairs(question: Any, context: Any) -> Any:
    """Questions and contexts, each one or several, as inputs."""
    if isinstance(question, str) and isinstance(context, str):
        return {"question": question, "context": context}
    if isinstance(question, (list, tuple)) and isinstance(context, (str, list, tuple)):
        contexts = [context] * len(question) if isinstance(context, str) else context
        if len(question) != len(contexts):
            raise ValueError(
                f"question and context must be equally many, got {len(question)} and "
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
            f"str}}, or a list of such; got {item!r}"
        )
    for name in ITEM:
        if not isinstance(item[name], str) or not item[name]:
            raise ValueError(f"{name} must be a str that is not empty, got {item[name]!r}")
    return item["question"], item["context"]
