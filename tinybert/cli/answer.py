"""`tinybert answer`: the answer to a question, out of a text."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.cli.bar_charts import save_spans
from tinybert.cli.command import Command, read_file
from tinybert.cli.pipeline_arguments import (
    add_plot_argument,
    add_task_arguments,
    load_task,
    plot_file,
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

PLOTTED = 30  # tokens
NARROWEST_WHERE = 16  # columns; in fewer, the place of an answer is not shown

DETAILS = """\
Finds where in a text the answer to a question stands, with a model that was
trained for it (BertForQuestionAnswering). The text comes from --context, from
--file, or through a pipe, and may be long. --plot draws how likely the answer
starts and ends at each token near it."""

EXAMPLE = """\
  $ tinybert answer "Where did she live?" --context "Ada lived in London." \\
      --model my-qa-model
  answer   score  start  end  where
  London  0.9713     13   19  Ada lived in [London].

  $ tinybert answer "Who fell?" --file novel.txt --model my-qa-model --top-k 3"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """QUESTION, --context, --file, --model, --top-k, ..., --plot, --device, --json."""
    parser.add_argument("question", metavar="QUESTION", help="quote it")
    parser.add_argument("--context", metavar="TEXT", help="where the answer is looked for")
    parser.add_argument("--file", metavar="FILE", help="a file with it; - is standard input")
    parser.add_argument("--top-k", type=int, default=1, metavar="N", help="answers (default: 1)")
    parser.add_argument(
        "--max-answer-len", type=int, default=15, metavar="N", help="tokens (default: 15)"
    )
    parser.add_argument(
        "--impossible", action="store_true", help="there may be no answer in the text"
    )
    add_plot_argument(parser, "a chart")
    add_task_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Look for answers, and show each where it stands."""
    plot = plot_file(args)
    context = _context(args)
    find = load_task("question-answering", args)
    found = find(
        question=args.question,
        context=context,
        top_k=args.top_k,
        max_answer_len=args.max_answer_len,
        handle_impossible_answer=args.impossible,
    )
    answers = [found] if isinstance(found, dict) else found
    if plot is not None:
        _plot(plot, find, args.question, context)
    if args.json:
        print_json({"model": args.model, "question": args.question, "answers": answers})
    elif answers:
        print("\n".join(_table(context, answers)))
    else:
        print("no answer: the text has no words")
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
        raise ValueError("no text to look in: add --context TEXT, --file FILE, or pipe it in")
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
    heads = ["answer", "score", "start", "end"]
    room = width - 2 - max(map(columns_of, table(heads, rows, "lrrr")))
    if room < NARROWEST_WHERE:
        return table(heads, rows, "lrrr")
    for row, answer in zip(rows, answers, strict=True):
        row.append(_where(context, answer, room) if answer["answer"] else "")
    return table([*heads, "where"], rows, "lrrrl")


def _where(context: str, answer: dict[str, Any], room: int) -> str:
    """The answer in brackets, with as much of the text round it as there is room for."""
    inside = f"[{one_line(answer['answer'])}]"
    if len(inside) >= room:
        return shorten(inside, room)
    before = one_line(context[: answer["start"]] + "|")[:-1]
    after = one_line("|" + context[answer["end"] :])[1:]
    half = (room - len(inside)) // 2
    left = shorten_start(before, max(half, room - len(inside) - len(after)))
    space = " " if before.endswith(" ") and not left.endswith(" ") else ""
    return shorten(f"{left}{space}{inside}{after}", room)


def _plot(path: Path, find: Any, question: str, context: str) -> None:
    """The tokens round the likeliest start and end, in the window where these are likeliest."""
    windows = find.windows(question, context)
    window = max(windows, key=lambda w: w.start.max() * w.end.max())
    places = np.flatnonzero(window.in_context)
    if not len(places):
        raise ValueError("--plot: the text has no words")
    middle = (int(window.start.argmax()) + int(window.end.argmax())) // 2
    near = np.sort(places[np.argsort(abs(places - middle), kind="stable")[:PLOTTED]])
    save_spans(
        path,
        question,
        [window.tokens[i] for i in near],
        window.start[near].tolist(),
        window.end[near].tolist(),
    )


COMMAND = Command(
    "answer", "Find the answer to a question in a text", DETAILS, EXAMPLE, add_arguments, run
)
