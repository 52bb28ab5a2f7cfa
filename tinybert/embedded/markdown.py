"""`markdown_of`: the page of a model, its `README.md`, from its card and its files."""

from __future__ import annotations

import posixpath
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tinybert.embedded.card import Answer, Card, Example, Score

FOLDER = "tinybert/embedded/encoder"  # a folder of a model: links lead from there
LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")


def markdown_of(card: Card, facts: Mapping[str, str]) -> str:
    """Return the page of a model as Markdown, with links from its folder in the repository."""
    return "\n\n".join(_parts(card, facts)) + "\n"


def _parts(card: Card, facts: Mapping[str, str]) -> Iterator[str]:
    yield f"# The model `{card.name}`"
    yield _paragraph(f"{card.summary}.")
    yield from map(_paragraph, card.about)
    if card.commands:
        names = ", ".join(f"`{command}`" for command in card.commands)
        yield _paragraph(f"It is the default of these commands of `tinybert`: {names}.")
    yield _code("python", card.usage)
    yield _table(("", ""), facts.items())

    yield "## Evaluation"
    yield from map(_paragraph, card.evaluation)
    yield _table(
        ("figure", "value", "spread", "baseline"),
        (
            (score.figure, score.show(score.value), spread_of(score), baseline_of(score))
            for score in card.scores
        ),
    )
    for data in card.data:
        yield _paragraph(
            f"`{data.file}`: {data.about} Made by `{data.made_by}`; SHA-256 `{data.sha256}`."
        )
    yield "In the folder of the held-out files, the first line computes all values again:"
    yield _code("bash", (shell(command, 100) for command in commands_of(card)))

    yield "## Examples"
    yield _paragraph(card.examples.about)
    yield _table(
        ("prompt", "answers"),
        ((prompt_of(each), answers_of(each.answers)) for each in card.examples.prompts),
    )

    yield "## Training"
    yield from map(_paragraph, card.training)
    yield from (
        f"![{curve.shows}]({posixpath.relpath(curve.file, FOLDER)})" for curve in card.curves
    )
    yield _paragraph(f"The [recipe]({card.recipe.folder}/README.md) explains these commands:")
    yield _code("bash", (shell(command, 100) for command in card.recipe.commands))

    yield "## Limits"
    yield "\n".join("- " + _paragraph(limit, 98).replace("\n", "\n  ") for limit in card.limits)

    yield "## Sources and licences"
    yield _paragraph(card.licence)
    yield _table(
        ("source", "part", "licence", "from"),
        ((each.name, each.share, each.licence, each.where) for each in card.sources),
    )


def spread_of(score: Score) -> str:
    """Return the spread over seeds in words."""
    if score.spread is None:
        return "one seed"
    return f"{score.show(score.spread)} over {score.seeds} seeds"


def baseline_of(score: Score) -> str:
    """Return the value of the baseline with its name."""
    if score.baseline is None:
        return ""
    return f"{score.show(score.baseline.value)}: {score.baseline.name}"


def commands_of(card: Card) -> list[str]:
    """Return the command that computes all scores, those of each, and of baselines, each once."""
    baselines = [score.baseline for score in card.scores if score.baseline is not None]
    found = [score.command for score in card.scores] + [known.command for known in baselines]
    return [f"tinybert evaluate card {card.name} .", *dict.fromkeys(found)]


def prompt_of(example: Example) -> str:
    """Return the prompt of an example, after its context."""
    return example.prompt if example.context is None else f"{example.context} {example.prompt}"


def answers_of(answers: Sequence[Answer]) -> str:
    """Return answers with their probabilities in one line."""
    return " · ".join(
        answer.text if answer.score is None else f"{answer.text} {answer.score:.2f}"
        for answer in answers
    )


def shell(command: str, width: int) -> str:
    """Return a command line, continued on further lines where it is longer than `width`."""
    together = re.sub(r"(--\S+) (?!-)", "\\1\N{NO-BREAK SPACE}", command)  # an option and its value
    lines = textwrap.wrap(
        together, width - 2, subsequent_indent="    ", break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
    return " \\\n".join(lines).replace("\N{NO-BREAK SPACE}", " ")


def _paragraph(text: str, width: int = 100) -> str:
    text = LINK.sub(lambda link: f"]({posixpath.relpath(link[1], FOLDER)})", text)
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)


def _code(language: str, lines: Iterable[str]) -> str:
    return "\n".join([f"```{language}", *lines, "```"])


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    cells = [[cell.replace("|", r"\|").replace("\n", " ") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
