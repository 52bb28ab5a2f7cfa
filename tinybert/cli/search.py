"""`tinybert search`: the passages of text files that are most similar in meaning to a query."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from tinybert.cli.command import (
    Command,
    add_device_argument,
    add_json_argument,
    add_model_argument,
)
from tinybert.cli.pipeline_arguments import warnings_unless_error
from tinybert.cli.ranks import first_alone, on_ranks, shared_embedder
from tinybert.cli.terminal import columns_of, one_line, print_json, shorten, table, terminal_width
from tinybert.hub import WEIGHT_FILES, resolve
from tinybert.search import CrossEncoder, Found, search
from tinybert.search.passages import UNITS

CANDIDATES = 50
MIN_TEXT = 20  # columns of text that are always shown
UNLIMITED = 1 << 30  # columns of a pipe

DETAILS = """\
Finds the passages that are most similar in meaning to the query; they need not
have a word in common with it. The score is the cosine similarity of the
sentence embeddings, the best passages are shown first, with the line where
they start. In a terminal the text is cut to one line, in a pipe it is complete.

A passage is a paragraph; a long one is split at the maximum length of the
model. Of a folder all UTF-8 text files are searched, also those in subfolders,
but no hidden files, no links, and no files over 10 MB; a larger file can be
named itself.

The embeddings are kept in a hidden file, .tinybert-index-..., in the folder or
next to the file, 1.6 kB for each passage with the default model. The next
search embeds only passages that are new or changed.

On several ranks of MPI each embeds a part of the passages; rank 0 reads the
files and keeps the same index: mpiexec -n 4 tinybert search QUERY FOLDER

--rerank reads the query together with each of the best passages, and sorts
them again: more accurate, and slower."""

EXAMPLE = """\
  $ tinybert search "Who pays if something breaks?" LICENSE --top-k 2
  #  score  place        text
  1   0.34  LICENSE:154  8. Limitation of Liability. In no event and under no l…
  2   0.29  LICENSE:63   "Contributor" shall mean Licensor and any individual o…

  $ tinybert search "when do we meet" notes/ mail.txt --by line --json
  $ tinybert search "why is it slow" docs --rerank my-cross-encoder"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add QUERY, PATH, --top-k, --by, --model, --rerank, --candidates, --no-index and more."""
    parser.add_argument("query", metavar="QUERY", help="what to look for, a text in quotes")
    parser.add_argument("path", nargs="+", metavar="PATH", help="a text file, or a folder of them")
    parser.add_argument(
        "--top-k", type=int, default=10, metavar="N", help="passages to show (default: 10)"
    )
    parser.add_argument(
        "--by", choices=UNITS, default="passage", help="search paragraphs (default) or lines"
    )
    add_model_argument(parser)
    parser.add_argument(
        "--rerank",
        metavar="MODEL",
        help="sort the best passages again with a cross-encoder: the folder or Hub name of a "
        "sequence classifier with one label",
    )
    parser.add_argument(
        "--candidates",
        type=int,
        metavar="N",
        help=f"passages that --rerank scores (default: {CANDIDATES}, at least --top-k)",
    )
    parser.add_argument("--no-index", action="store_true", help="neither read nor keep an index")
    add_device_argument(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Search, and print the passages that were found."""
    if args.candidates is not None and args.rerank is None:
        raise ValueError("--candidates needs --rerank MODEL")
    folder = first_alone(args, lambda: resolve(args.model, WEIGHT_FILES))
    with shared_embedder(args, folder) as embedder:
        if embedder is None:
            return 0
        reranker = None
        if args.rerank is not None:
            with warnings_unless_error():
                found_model = resolve(args.rerank, WEIGHT_FILES)
                reranker = CrossEncoder.from_pretrained(found_model, args.device)
        found = search(
            args.query,
            args.path,
            embedder,
            top_k=args.top_k,
            by=args.by,
            reranker=reranker,
            candidates=CANDIDATES if args.candidates is None else args.candidates,
            keep_index=not args.no_index,
        )
    _print_notes(found)
    if args.json:
        print_json(_as_json(args, str(folder), found))
    else:
        print("\n".join(_table(found, digits=2 if reranker is None else 4)))
    return 0


def _print_notes(found: Found) -> None:
    """Print on standard error what was skipped, and which hidden files were written."""
    if found.skipped:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(found.skipped.items()))
        print(f"skipped {found.skipped.total()} files or folders: {reasons}", file=sys.stderr)
    if found.indexes:
        names = one_line(", ".join(found.indexes))
        print(f"embedded {found.embedded:,} passages, kept in {names}", file=sys.stderr)


def _table(found: Found, digits: int) -> list[str]:
    """Return the lines of the table; + 0.0 makes 0 of -0."""
    rows = [
        [str(rank), f"{round(hit.score, digits) + 0.0:.{digits}f}", f"{hit.file}:{hit.line}"]
        for rank, hit in enumerate(found.hits, 1)
    ]
    header = ["#", "score", "place", "text"]
    others = sum(max(columns_of(row[i]) for row in (header, *rows)) + 2 for i in range(3))
    width = max(MIN_TEXT, terminal_width(piped=UNLIMITED) - others)
    for row, hit in zip(rows, found.hits, strict=True):
        row.append(shorten(hit.text, width))
    return table(header, rows, "rrll")


def _as_json(args: argparse.Namespace, folder: str, found: Found) -> dict[str, Any]:
    results = [
        {
            "rank": rank,
            "score": round(hit.score, 6) + 0.0,
            "file": hit.file,
            "line": hit.line,
            "text": hit.text,
        }
        for rank, hit in enumerate(found.hits, 1)
    ]
    return {
        "query": args.query,
        "model": folder,
        "rerank": args.rerank,
        "by": args.by,
        "files": found.files,
        "passages": found.passages,
        "embedded": found.embedded,
        "skipped": dict(found.skipped),
        "results": results,
    }


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, on_ranks(run), ranks=True)
