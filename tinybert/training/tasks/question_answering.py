"""Extractive question answering: find the answer to a question in a context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinybert.checks import check_integer
from tinybert.models import AutoModelForQuestionAnswering
from tinybert.pipelines import QuestionAnsweringPipeline
from tinybert.progress import progress_bar
from tinybert.training import metrics
from tinybert.training.examples import EncodedExamples, Example
from tinybert.training.readers import Row
from tinybert.training.tasks.base import Record, Task


class QuestionAnswering(Task):
    """A span of the context for each question.

    A row has "question", "context" and "answer", a text that occurs in the context. "start", the
    character where it starts, is needed if it occurs more than once. An empty answer means that
    the context has none. SQuAD's "answers", a dict with the lists "text" and "answer_start", is
    read too; the first one is trained, and all count as right in the evaluation.

    A context that is too long is split into windows. Where a window lacks the answer, its label is
    the token [CLS], which means "no answer here" (Devlin et al. 2018, section 4.3).

    Args:
        stride: the number of tokens shared by two windows.
    """

    name = "question-answering"
    auto = AutoModelForQuestionAnswering
    columns = ("question", "context")
    optional = ("answer", "start", "answers")
    options = ("stride",)
    best = "f1"

    def __init__(self, tokenizer: Any, max_length: int = 384, stride: int = 128) -> None:
        super().__init__(tokenizer, max_length)
        check_integer("stride", stride, 0)
        self.stride = stride

    def config(self) -> dict[str, Any]:
        return {"num_labels": 2}

    def encode(self, row: Row) -> list[Example]:
        start, text = answer_of(row)
        encoded = self.tokenizer(
            row["question"], row["context"], truncation="only_second", max_length=self.max_length,
            stride=min(self.stride, self.max_length // 2), return_overflowing_tokens=True,
        )  # fmt: skip
        examples = []
        for window in range(len(encoded["input_ids"])):
            inputs = {name: encoded[name][window] for name in self.tokenizer.model_input_names}
            first, last = self._span(encoded, window, start, start + len(text))
            examples.append({**inputs, "start_positions": first, "end_positions": last})
        return examples

    def _span(self, encoded: Any, window: int, start: int, end: int) -> tuple[int, int]:
        """Return the first and the last token of the answer, or of [CLS] if it is not complete."""
        cls_position = encoded["input_ids"][window].index(self.tokenizer.cls_token_id)
        if start == end:
            return cls_position, cls_position
        first = encoded.char_to_token(window, start, 1)
        last = encoded.char_to_token(window, end - 1, 1)
        return (cls_position, cls_position) if first is None or last is None else (first, last)

    def evaluate(
        self,
        model: Any,
        data: Sequence[Row] | EncodedExamples,
        batch_size: int = 32,
        record: Record | None = None,
    ) -> dict[str, float]:
        """Answer the questions as the pipeline does, and compare the answers' texts."""
        rows = self.encoded(data).rows
        pipeline = QuestionAnsweringPipeline(
            model, self.tokenizer, batch_size=batch_size, max_seq_len=self.max_length,
            handle_impossible_answer=any(not answer_of(row)[1] for row in rows),
        )  # fmt: skip
        found, right = [], []
        with progress_bar("evaluating", len(rows), " questions") as advance:
            for row in rows:
                answer = pipeline(question=row["question"], context=row["context"])
                found.append(answer["answer"])
                right.append(
                    row["answers"]["text"] or [""] if "answers" in row else [row["answer"]]
                )
                if record:
                    score = round(float(answer["score"]), 6)
                    record({"label": right[-1], "prediction": found[-1], "score": score})
                advance(1)
        return {
            "exact_match": metrics.exact_match(found, right),
            "f1": metrics.answer_f1(found, right),
        }


def answer_of(row: Row) -> tuple[int, str]:
    """Return where the answer starts in the context, and its text; (0, "") if there is none."""
    if "answers" in row:
        texts, starts = row["answers"]["text"], row["answers"]["answer_start"]
        text, start = (texts[0], starts[0]) if texts else ("", 0)
    elif row.get("answer") is None:
        raise ValueError('there is no column answer ("" if the context has none), or answers')
    else:
        text, start = row["answer"], row.get("start")
    if not text:
        return 0, ""
    context = row["context"]
    if start is None:
        count = context.count(text)
        if count != 1:
            raise ValueError(
                f"answer {text!r:.60} occurs {count} times in its context; "
                + ("give the column start" if count else "it must occur in it")
            )
        return context.index(text), text
    if context[int(start) : int(start) + len(text)] != text:
        raise ValueError(f"answer {text!r:.60} does not begin at character {start} of its context")
    return int(start), text
