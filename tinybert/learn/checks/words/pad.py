"""Check of words/pad."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.patches import Patch

_SIDES = 'extra + column if side == "left" else column + extra'

EXERCISE = Exercise(
    minutes=10,
    level=2,
    lesson=10,
    hints=(
        "A dict from the name of a column to its filler makes one rule of the three.",
        "How many fillers a row needs is the length of the longest row minus its own.",
        "list + list makes a new list; += and append change the caller's.",
    ),
    forbidden={"pad_row": "write it here; it is what you are building"},
    mutants=(
        Mutant(
            "only the ids filled",
            "* (longest - len(column))",
            '* (longest - len(column) if name == "input_ids" else 0)',
            "values",
            "every column of a row needs the new length, also types and mask.",
        ),
        Mutant(
            "mask 1 for padding",
            '"attention_mask": 0',
            '"attention_mask": 1',
            "values",
            "the mask tells real tokens from padding: it is 0 where you fill up.",
        ),
        Mutant(
            "pad_id in every column",
            "fill[name]",
            "pad_id",
            "values",
            "pad_id is the id of a token; types and mask are filled with 0.",
        ),
        Mutant(
            "ids filled with 0",
            '"input_ids": pad_id',
            '"input_ids": 0',
            "values",
            "the id of [PAD] is 0 in BERT, but not in every vocabulary: use pad_id.",
        ),
        Mutant(
            "side ignored",
            _SIDES,
            "column + extra",
            "values",
            'with side="left" the filler comes before the tokens.',
        ),
        Mutant(
            "only the ids filled on the left",
            'side == "left"',
            'side == "left" and name == "input_ids"',
            "values",
            "mask and types must stay under their tokens: fill all columns on the same side.",
        ),
        Mutant(
            "the first row taken for the longest",
            'max(len(row["input_ids"]) for row in rows)',
            'len(rows[0]["input_ids"])',
            "values",
            "the longest row can be any of them.",
        ),
        Mutant(
            "caller's lists extended",
            f"filled[name] = {_SIDES}",
            f"column[:] = {_SIDES}\n            filled[name] = column",
            "unchanged",
            "the caller still needs the rows as they were; build new lists.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Batches on both sides, with and without token types."""
    pad = student.pad
    rows = [_row([5, 6], [0, 1]), _row([7, 8, 9, 4], [0, 0, 1, 1]), _row([3, 2, 1], [0, 1, 1])]
    right = [
        {
            "input_ids": [5, 6, 99, 99],
            "token_type_ids": [0, 1, 0, 0],
            "attention_mask": [1, 1, 0, 0],
        },
        rows[1],
        {
            "input_ids": [3, 2, 1, 99],
            "token_type_ids": [0, 1, 1, 0],
            "attention_mask": [1, 1, 1, 0],
        },
    ]
    left = [
        {
            "input_ids": [99, 99, 5, 6],
            "token_type_ids": [0, 0, 0, 1],
            "attention_mask": [0, 0, 1, 1],
        },
        rows[1],
        {
            "input_ids": [99, 3, 2, 1],
            "token_type_ids": [0, 0, 1, 1],
            "attention_mask": [0, 1, 1, 1],
        },
    ]
    yield Case(pad, (rows, 99), right)
    yield Case(pad, (rows, 99, "left"), left)
    single = [_row([5, 6], [0, 1])]
    yield Case(pad, (single, 99), single, stage="edges")
    without = [{"input_ids": [5], "attention_mask": [1]}, {"input_ids": [], "attention_mask": []}]
    expected = [without[0], {"input_ids": [9], "attention_mask": [0]}]
    yield Case(pad, (without, 9), expected, stage="edges")


def _row(ids: list[int], types: list[int]) -> dict[str, list[int]]:
    return {"input_ids": ids, "token_type_ids": types, "attention_mask": [1 for _ in ids]}


def plug(student: ModuleType) -> tuple[Patch, ...]:
    """Let BertTokenizer pad its batches with the learner's function."""

    def pad_rows(tokenizer: Any, rows: list[dict[str, list[int]]], settings: Any) -> Any:
        rows = [{**row, "attention_mask": [1] * len(row["input_ids"])} for row in rows]
        return student.pad(rows, tokenizer.role_id("pad_token"), settings.padding_side)

    return (Patch("tinybert.tokenizers.calls.TextEncoder._pad_rows", pad_rows),)
