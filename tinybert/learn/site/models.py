"""The pages of the models in the package: a list, and the card of each."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

from tinybert import hub
from tinybert.embedded.card import Card, cards
from tinybert.embedded.facts import facts_of, size_of
from tinybert.embedded.markdown import markdown_of
from tinybert.learn.site.page import Page, markdown

ABOUT = """\
# Models

The models inside the package, trained by this engine. `tinybert models` lists them, and `tinybert
evaluate card NAME FOLDER` computes the figures of a card again. The score is the main one of each
card; the baseline is a much simpler method on the same data.

| model | size | what it can do | score | baseline |
|---|---|---|---|---|
"""
_PICTURE = re.compile(r"!\[([^\]]*)\]\((?!https?:)([^)]*)\)")
_LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|data:)[^)\s]*\)")  # into the repository


def model_pages() -> Iterator[Page]:
    """Yield the list of models, and a page for each."""
    known = cards()
    text = ABOUT + "\n".join(map(_row, known))
    yield Page("models.html", "Models", markdown(text), text)
    for card in known:
        yield _model_page(card, hub.resolve(card.name))


def _model_page(card: Card, folder: Path) -> Page:
    text = markdown_of(card, facts_of(folder))
    shown = _LINK.sub(r"\1", _PICTURE.sub(lambda found: _picture(found, folder), text))
    return Page(f"models/{card.name}.html", card.name, markdown(shown), text)


def _row(card: Card) -> str:
    main, size = card.scores[0], size_of(hub.resolve(card.name))
    beside = "" if main.baseline is None else main.show(main.baseline.value)
    return (
        f"| [{card.name}](models/{card.name}.html) | {size / 1e6:.1f} MB | {card.summary} | "
        f"{main.figure}: {main.show(main.value)} | {beside} |"
    )


def _picture(found: re.Match[str], folder: Path) -> str:
    """Return a picture inside of the page; its text where the file is not: in a wheel."""
    path = folder / found[2]
    if not path.is_file():
        return f"*{found[1]}*"
    return f"![{found[1]}](data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()})"
