"""The table of a record in a notebook."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np

import tinybert
from tests.trace.test_record import recorded
from tinybert.trace import Step, Trace, Value, record
from tinybert.trace.notebook import COLUMNS, MOST_STEPS


class Table(HTMLParser):
    """The cells of a page, and the tags in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1] and data.strip():
            self.rows[-1][-1] += data


def test_every_step_has_a_row_with_its_numbers() -> None:
    _, trace, _ = recorded("Bert")
    page = trace._repr_html_()
    table = Table(page)
    assert repr(trace)[1:-1] in page
    assert tuple(table.rows[0]) == COLUMNS
    assert [row[0] for row in table.rows[1:]] == [str(step.number) for step in trace]
    for row, step in zip(table.rows[1:], trace, strict=True):
        y = step.outputs[0].array
        assert y is not None
        assert row[1:3] == [step.phase, step.path]
        means = [float(np.mean(y, dtype=np.float64)), float(y.min()), float(y.max())]
        assert [row[5], row[7], row[8]] == [f"{x:.4g}" for x in means]


def test_names_are_escaped_and_nan_is_said() -> None:
    value = Value.of("<script>", np.array([np.nan, 1.0, np.inf]))
    step = Step(0, "forward", "<b>&", inputs=[value], outputs=[value])
    table = Table(Trace([step])._repr_html_())
    assert "script" not in table.tags
    assert "b" not in table.tags
    assert table.rows[1][2:4] == ["<b>&", "<script> 3"]
    assert table.rows[1][5] == "1 (NaN 1, infinite 1)"


def test_a_long_record_is_cut() -> None:
    x = tinybert.Tensor([1.0])
    with record() as trace:
        for _ in range(MOST_STEPS + 3):
            x = x + 1
    page = trace._repr_html_()
    assert len(Table(page).rows) == MOST_STEPS + 1
    assert "and 3 more steps" in page
