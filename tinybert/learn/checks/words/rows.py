"""Check of words/rows."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.patches import Patch

EXERCISE = Exercise(
    minutes=8,
    level=1,
    lesson=10,
    hints=(
        "Build the row of one text first, and extend it only if there is a second.",
        "[0] * n is a list of n zeros. Take n from the ids that you have: then it cannot be wrong.",
        "Ask whether b is None. An empty list is false as well, and it is a text.",
    ),
    forbidden={
        "build_inputs_with_special_tokens": "write it here; it is what you are building",
        "BertTokenizer": "write it here; the tokenizer's rows are what you are building",
    },
    mutants=(
        Mutant(
            "empty second text forgotten",
            "if b is not None:",
            "if b:",
            "edges",
            "an empty list is false, but it is a text: compare with None.",
        ),
        Mutant(
            "only one [SEP]",
            "ids += [*b, SEP]\n        types += [1] * (len(b) + 1)",
            "ids += b\n        types += [1] * len(b)",
            "values",
            "each text ends with [SEP], the second too.",
        ),
        Mutant(
            "all types 0",
            "[1] * (len(b) + 1)",
            "[0] * (len(b) + 1)",
            "values",
            "the second text has token type 1.",
        ),
        Mutant(
            "the [SEP] between the texts has type 1",
            "types += [1] * (len(b) + 1)",
            "types = types[:-1] + [1] * (len(b) + 2)",
            "values",
            "the first [SEP] ends the first text, so its type is 0.",
        ),
        Mutant(
            "[CLS] twice",
            "ids += [*b, SEP]\n        types += [1] * (len(b) + 1)",
            "ids += [CLS, *b, SEP]\n        types += [1] * (len(b) + 2)",
            "values",
            "[CLS] begins the row, not each text.",
        ),
        Mutant(
            "the second text first",
            "ids += [*b, SEP]\n        types += [1] * (len(b) + 1)",
            "ids = [CLS, *b, SEP, *a, SEP]\n        types = [0] * (len(b) + 2) + [1] * "
            "(len(a) + 1)",
            "values",
            "a comes before b.",
        ),
        Mutant(
            "special tokens masked",
            "[1] * len(ids)",
            "[0 if token in (CLS, SEP) else 1 for token in ids]",
            "values",
            "the mask hides padding only; the model looks at special tokens.",
        ),
        Mutant(
            "mask of True",
            "[1] * len(ids)",
            "[True] * len(ids)",
            "dtype",
            "the mask has the numbers 1 and 0: a model may multiply by it.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """The rows of one text, of two, and of empty ones."""
    row = student.row
    yield Case(row, ([7592, 2088],), _row([101, 7592, 2088, 102], 4))
    yield Case(row, ([2040], [1996, 2332, 1012]), _row([101, 2040, 102, 1996, 2332, 1012, 102], 3))
    yield Case(row, ([5, 6, 7], [8]), _row([101, 5, 6, 7, 102, 8, 102], 5))
    yield Case(row, ([],), _row([101, 102], 2), stage="edges")
    yield Case(row, ([5], []), _row([101, 5, 102, 102], 3), stage="edges")


def _row(ids: list[int], first: int) -> dict[str, list[int]]:
    """A row whose first text has `first` tokens, with its special tokens."""
    types = [0 if i < first else 1 for i in range(len(ids))]
    return {"input_ids": ids, "token_type_ids": types, "attention_mask": [1 for _ in ids]}


def plug(student: ModuleType) -> tuple[Patch, ...]:
    """Let BertTokenizer build its rows with the learner's function, and its own special ids."""

    def ids(tokenizer: Any, a: list[int], b: list[int] | None = None) -> list[int]:
        special = {101: tokenizer.cls_token_id, 102: tokenizer.sep_token_id}
        return [special.get(i, i) for i in student.row(a, b)["input_ids"]]

    def types(tokenizer: Any, a: list[int], b: list[int] | None = None) -> list[int]:
        return student.row(a, b)["token_type_ids"]

    owner = "tinybert.tokenizers.bert.BertBase"
    return (
        Patch(f"{owner}.build_inputs_with_special_tokens", ids),
        Patch(f"{owner}.create_token_type_ids_from_sequences", types),
    )
