"""Check of words/windows."""

from collections.abc import Iterator
from types import ModuleType

from tinybert.learn.exercise import Case, Exercise, Mutant

EXERCISE = Exercise(
    minutes=20,
    level=3,
    lesson=10,
    hints=(
        "Besides the question and the part, three special tokens are in a row.",
        "From one part to the next, the start moves by the number of new tokens: the room minus "
        "what is repeated.",
        "A part that starts at s is needed if the text goes on after the part before, which ends "
        "at s + stride.",
    ),
    forbidden={
        "BertTokenizerFast": "write it here; its overflowing rows are what you are building"
    },
    mutants=(
        Mutant(
            "stride taken for the step",
            "len(text) - stride), room - stride)",
            "len(text) - stride), stride or room)",
            "values",
            "stride tokens are repeated; the start moves by the others.",
        ),
        Mutant(
            "no overlap",
            "len(text) - stride), room - stride)",
            "len(text)), room)",
            "values",
            "each part begins with the last `stride` tokens of the part before.",
        ),
        Mutant(
            "the last part lost",
            "max(1, len(text) - stride)",
            "max(1, len(text) - room + 1)",
            "values",
            "the last part can be shorter than the others; it is needed all the same.",
        ),
        Mutant(
            "tail repeated",
            "max(1, len(text) - stride)",
            "max(1, len(text))",
            "values",
            "a part without a new token only repeats the end of the part before; stop earlier.",
        ),
        Mutant(
            "the last [SEP] forgotten in the room",
            "length - len(question) - 3",
            "length - len(question) - 2",
            "values",
            "a row has three special tokens: [CLS] and two [SEP].",
        ),
        Mutant(
            "question in the first row only",
            "*question, SEP, *text",
            "*(question if start == 0 else []), SEP, *text",
            "values",
            "each row is read alone: it needs the whole question.",
        ),
        Mutant(
            "no row for a short text",
            "max(1, len(text) - stride)",
            "len(text) - stride",
            "edges",
            "a text of `stride` tokens or fewer still needs its one row.",
        ),
        Mutant(
            "no refusal",
            "if room <= stride:",
            "if room == stride:",
            "edges",
            "with less room than stride the start would move backward; raise ValueError.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with parts that are cut one after the other until the end is reached."""
    windows = student.windows
    question, text = [7, 8], list(range(11, 30))
    for size, length, stride in ((8, 10, 2), (19, 12, 3), (19, 9, 0), (11, 10, 2), (19, 13, 1)):
        arguments = (question, text[:size], length, stride)
        yield Case(windows, arguments, _windows(*arguments))
    for size, stride in ((5, 2), (4, 1), (2, 3), (0, 2), (0, 0)):
        arguments = (question, text[:size], 10, stride)
        yield Case(windows, arguments, _windows(*arguments), stage="edges")
    for length in (7, 6, 3):
        yield Case(windows, (question, text, length, 2), ValueError, stage="edges")


def _windows(question: list[int], text: list[int], length: int, stride: int) -> list[list[int]]:
    rows: list[list[int]] = []
    end = 0
    while not rows or end < len(text):
        start = max(0, end - stride)
        end = start + length - 3 - len(question)
        rows.append([101, *question, 102, *text[start:end], 102])
    return rows
