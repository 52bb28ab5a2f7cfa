"""`tinybert answer`: extractive question answering."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.cli.bar_charts import save_answer_chart
from tinybert.cli.command import Command, read_file
from tinybert.cli.figures import figure_path
from tinybert.cli.pipeline_arguments import (
    add_pipeline_arguments,
    add_plot_argument,
    load_pipeline,
)
from tinybert.cli.terminal import (
    columns_of,
    one_line,
    print_json,
    shorten,
    shorten_start,
    table,
    terminal_width,
)

MAX_TOKENS = 30  # tokens in the chart
MIN_CONTEXT_WIDTH = 16  # columns; a narrower column with the context is not shown

DETAILS = """\
Finds the span of a text that answers a question, with a model trained for
question answering (BertForQuestionAnswering). The text comes from --context,
--file or standard input; a long text is split into overlapping windows. start
and end are character offsets. --plot draws the probabilities that the answer
starts and ends at each token."""

EXAMPLE = """\
  $ tinybert answer "Where did she live?" --context "Ada lived in London."
  answer   score  start  end  context
  London  0.7630     13   19  Ada lived in [London].

  $ tinybert answer "Who fell?" --file novel.txt --top-k 3"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add QUESTION, --context, --file, --model, --top-k, ..., --plot, --device, --json."""
    parser.add_argument("question", metavar="QUESTION", help="the question in quotes")
    parser.add_argument("--context", metavar="TEXT", help="the text that contains the answer")
    parser.add_argument("--file", metavar="FILE", help="a file with the text; - is standard input")
    parser.add_argument(
        "--top-k", type=int, default=1, metavar="N", help="number of answers (default: 1)"
    )
    parser.add_argument(
        "--max-answer-len",
        type=int,
        default=15,
        metavar="N",
        help="maximum length of an answer in tokens (default: 15)",
    )
    parser.add_argument("--impossible", action="store_true", help='allow "no answer" as a result')
    add_plot_argument(parser, "a chart")
    add_pipeline_arguments(parser, "question-answering")


def run(args: argparse.Namespace) -> int:
    """Find the answers, and print each with its context."""
    plot = figure_path("--plot", args.plot)
    context = _context(args)
    answer = load_pipeline("question-answering", args)
    result = answer(
        question=args.question,
        context=context,
        top_k=args.top_k,
        max_answer_len=args.max_answer_len,
        handle_impossible_answer=args.impossible,
    )
    answers = [result] if isinstance(result, dict) else result
    if plot is not None:
        _plot(plot, answer, args.question, context)
    if args.json:
        print_json({"model": args.model, "question": args.question, "answers": answers})
    elif answers:
        print("\n".join(_table(context, answers)))
    else:
        print("no answer: the text has no tokens")
    if plot is not None:
        print(f"chart: {plot}", file=sys.stderr)
    return 0


def _context(args: argparse.Namespace) -> str:
    if args.context is not None and args.file is not None:
        raise ValueError("give --context or --file, not both")
    context = args.context
    if context is None and (args.file is not None or not sys.stdin.isatty()):
        context = read_file(args.file or "-")
    if not (context or "").strip():
        raise ValueError("no text given: add --context TEXT, --file FILE, or pipe it in")
    return context


def _table(context: str, answers: list[dict[str, Any]]) -> list[str]:
    width = terminal_width()
    rows = [
        [
            shorten(answer["answer"], width // 3) or "(none)",
            f"{answer['score']:.4f}",
            str(answer["start"]),
            str(answer["end"]),
        ]
        for answer in answers
    ]
    header = ["answer", "score", "start", "end"]
    available = width - 2 - max(map(columns_of, table(header, rows, "lrrr")))
    if available < MIN_CONTEXT_WIDTH:
        return table(header, rows, "lrrr")
    for row, answer in zip(rows, answers, strict=True):
        row.append(_in_context(context, answer, available) if answer["answer"] else "")
    return table([*header, "context"], rows, "lrrrl")


def _in_context(context: str, answer: dict[str, Any], width: int) -> str:
    """Return the answer in brackets, with text around it up to `width` columns."""
    inside = f"[{one_line(answer['answer'])}]"
    if len(inside) >= width:
        return shorten(inside, width)
    before = one_line(context[: answer["start"]] + "|")[:-1]
    after = one_line("|" + context[answer["end"] :])[1:]
    half = (width - len(inside)) // 2
    left = shorten_start(before, max(half, width - len(inside) - len(after)))
    space = " " if before.endswith(" ") and not left.endswith(" ") else ""
    return shorten(f"{left}{space}{inside}{after}", width)


def _plot(path: Path, answer: Any, question: str, context: str) -> None:
    """Draw the probabilities around the most likely answer, in its window."""
    windows = answer.windows(question, context)
    window = max(windows, key=lambda w: w.start.max() * w.end.max())
    positions = np.flatnonzero(window.in_context)
    if not len(positions):
        raise ValueError("--plot: the text has no tokens")
    middle = (int(window.start.argmax()) + int(window.end.argmax())) // 2
    near = np.sort(positions[np.argsort(abs(positions - middle), kind="stable")[:MAX_TOKENS]])
    save_answer_chart(
        path,
        question,
        [window.tokens[i] for i in near],
        window.start[near].tolist(),
        window.end[near].tolist(),
    )


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, run)
