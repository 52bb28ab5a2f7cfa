"""What the commands of the exercises say, as lines of a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinybert.columns import clip, columns_of, pad, wrap
from tinybert.learn.catalogue import CHAPTERS, NAMES, task_of
from tinybert.learn.exercise import Task
from tinybert.learn.grader import Report
from tinybert.learn.plugged import SENTENCES
from tinybert.learn.progress import Progress
from tinybert.learn.terminal.report import BAD, GOOD
from tinybert.trace.terminal.look import Line

# Columns of a list: its numbers with the spaces around; a title that is shown takes at least TITLE.
NUMBERS, TITLE = 20, 12
# Actions of `tinybert exercises` -> their keys while a file is watched.
KEYS = {"next": "n", "hint": "h", "solution": "s", "reset": "x"}


def short(name: str) -> str:
    """Return the name of an exercise without its chapter, which is enough for all commands."""
    return name.partition("/")[2]


def paragraph(text: str, width: int, style: str = "") -> list[Line]:
    """Return a text in lines of at most `width` columns; short lines stay as they are."""
    rows = [text] if columns_of(text) <= width else wrap(text.split(), width)
    return [[(row, style)] for row in rows]


def reflowed(text: str, width: int) -> list[Line]:
    """Return a text with its paragraphs wrapped to `width`; indented lines are formulas."""
    joined: list[str] = []
    for row in text.strip("\n").split("\n"):
        starts = not joined or not joined[-1] or joined[-1].startswith("    ")
        if starts or not row or row.startswith(("    ", "- ")):
            joined.append(row)
        else:
            joined[-1] += f" {row.strip()}"
    lines: list[Line] = []
    for row in joined:
        if row.startswith("    ") and columns_of(row) > width:
            rows = wrap(row.split(), width - 6)
            lines += [[(" " * (4 if n == 0 else 6) + text, "")] for n, text in enumerate(rows)]
        elif row.startswith("- "):
            rows = wrap(row[2:].split(), width - 2)
            lines += [[(("- " if n == 0 else "  ") + text, "")] for n, text in enumerate(rows)]
        else:
            lines += paragraph(row, width)
    return lines


def exercise_page(course: Progress, name: str, width: int, has_keys: bool = False) -> list[Line]:
    """Return an exercise: title, file, minutes, level, lesson, text.

    With `has_keys`, every save is checked already, and keys do what else commands do.
    """
    task = task_of(name)
    exercise = task.exercise
    done = sum(course[n].is_done for n in course.names)
    state = course.state(name)
    lines = paragraph(f"{name}: {task.title}", width, "bold")
    lines += paragraph(f"file    {course.path(name)}", width)
    lines += paragraph(
        f"        about {exercise.minutes} minutes, level {exercise.level} of 5; "
        f"{done} of {len(course.names)} exercises are done",
        width,
    )
    lesson = exercise.lesson
    lines += paragraph(f"lesson  {lesson}: tinybert tutorials open {lesson}", width)
    lines += paragraph(f"state   {state}", width) if state else []
    lines.append([])
    _, _, text = task.text.partition("\n")
    lines += [*reflowed(text, width), []]
    if has_keys:
        return lines + paragraph("Fill in the TODO in the file; every save is checked.", width)
    lines += paragraph("Fill in the TODO in the file, save it, then:", width)
    lines += paragraph(f"  tinybert exercises check {short(name)}", width, "bold")
    lines += paragraph("or let every save be checked: tinybert exercises watch", width)
    return lines


def verdict(
    course: Progress,
    name: str,
    report: Report,
    was_done: bool,
    width: int,
    has_keys: bool = False,
) -> list[Line]:
    """Return what follows a report: the next exercise, or where to find help."""

    def how(action: str, *words: str) -> str:
        if has_keys:
            return f"press {KEYS[action]}"
        return " ".join(("tinybert exercises", action, *words))

    if not report.is_passed:
        lines = paragraph("It passed before; the file has changed since.", width) * was_done
        if not course.path(name).exists():
            help_ = "A new blank: " + how("reset", short(name))
        elif course[name].hints < len(task_of(name).exercise.hints):
            help_ = "Not yet. A hint: " + how("hint", short(name))
        else:
            help_ = "Not yet. The answer: " + how("solution", short(name))
        return lines + paragraph(help_, width)
    done = sum(course[n].is_done for n in course.names)
    lines = paragraph(f"Well done! {name} passes: {done} of {len(course.names)}.", width, "1;32")
    following = course.following(name)
    if following is None:
        return lines + paragraph("That was the last one: you have built it all.", width, "bold")
    minutes = task_of(following).exercise.minutes
    said = f"Next: {following}, about {minutes} minutes: {how('next')}"
    return lines + paragraph(said, width)


def hint_page(name: str, hints: Sequence[str], width: int) -> list[Line]:
    """Return the hints that were read; the last one is new."""
    total = len(task_of(name).exercise.hints)
    lines: list[Line] = []
    for number, hint in enumerate(hints, 1):
        lines += paragraph(f"hint {number} of {total}: {hint}", width)
    if len(hints) == total:
        said = f"No more hints. The answer: tinybert exercises solution {short(name)}"
        lines += paragraph(said, width, "dim")
    return lines


def solution_page(answer: str, is_shown: bool) -> list[Line]:
    """Return the lines that belong in the place of the TODO, with the remark of a mark."""
    lines: list[Line] = [[(row, "")] for row in answer.rstrip("\n").split("\n")]
    if is_shown:
        lines += [[], [("The exercise is marked: its solution was shown.", "dim")]]
    return lines


def reset_text(path: Path, backup: Path | None) -> str:
    """Say what a reset has done."""
    kept = f"; your file is kept as {backup}" if backup is not None else ""
    return f"{path} is blank again{kept}"


def models_page(found: list[dict[str, Any]], width: int) -> list[Line]:
    """Return the answers of models with a learner's code and without it."""
    lines: list[Line] = []
    for one in found:
        lines.append([(one["model"], "bold")] if one["model"] else [])
        if "error" in one:
            lines += paragraph(one["error"], width, BAD)
            continue
        lines += _cosines(one["cosines"], width)
        norms, mine = one["gradients"]["before"], one["gradients"]["after"]
        gaps = {name: abs(mine[name] - norm) for name, norm in norms.items() if name in mine}
        worst = max(gaps, key=lambda name: gaps[name], default="")
        said = f"gradients: {len(mine)} of {len(norms)} parameters have one"
        if one["same"]:
            said += ", of the same norm as before"
        elif worst:
            said += (
                f"; that of {worst} differs most: its norm was {norms[worst]:.6g} before, "
                f"and is {mine[worst]:.6g} after"
            )
        lines += paragraph(said, width)
        if one["same"]:
            lines += paragraph(
                "The answers of the model stay the same: your code works in it.", width, GOOD
            )
        else:
            lines += paragraph(f"The answers of the model change: {one['difference']}.", width, BAD)
            lines += paragraph("The first step of the model that differs:", width)
            for row in one["first"].split("\n"):
                lines += paragraph(row, width)
    return lines


def _cosines(cosines: dict[str, Any], width: int) -> list[Line]:
    """Return the similarity of the first sentence to the others, before and after."""
    room = width - 18
    lines = paragraph(f"similarity to {SENTENCES[0]!r}:", width)
    lines.append([(f"{pad('', room)}  before   after", "dim")])
    for sentence, before, after in zip(
        SENTENCES[1:], cosines["before"][0][1:], cosines["after"][0][1:], strict=True
    ):
        lines.append([(f"{pad(clip(sentence, room), room)}  {before:6.3f}  {after:6.3f}", "")])
    return lines


def rows_of(course: Progress, word: str = "") -> list[Task]:
    """Return the exercises of a course that have a word in their name, title or chapter."""
    found = []
    for name in course.names:
        task = task_of(name)
        chapter = CHAPTERS[name.partition("/")[0]][0]
        if word.lower() in f"{name} {task.title} {chapter}".lower():
            found.append(task)
    return found


def list_page(course: Progress, tasks: list[Task], width: int) -> list[Line]:
    """Return a table of exercises with chapter, minutes, level, lesson and state."""
    names = max((columns_of(short(task.name)) for task in tasks), default=4) + 2
    states = [course.state(task.name) for task in tasks]
    room = width - names - NUMBERS - max(map(columns_of, [*states, "state"]))
    room = room if room >= TITLE else 0
    head = f"  {pad('name', names)}{pad('title', room) if room else ''}min level lesson  state"
    lines: list[Line] = [[(clip(head, width), "dim")]]
    chapter = ""
    for task, state in zip(tasks, states, strict=True):
        if task.name.partition("/")[0] != chapter:
            chapter = task.name.partition("/")[0]
            lines.append([(clip(f"{chapter}: {CHAPTERS[chapter][0]}", width), "bold")])
        exercise = task.exercise
        title = pad(clip(task.title, room - 2), room) if room else ""
        numbers = f"{exercise.minutes:>3} {exercise.level:>5} {exercise.lesson:>6}"
        mark = "* " if course[task.name].is_done else "  "
        row = f"{mark}{pad(short(task.name), names)}{title}{numbers}  {state}"
        lines.append([(clip(row.rstrip(), width), "")])
    done = [name for name in course.names if course[name].is_done]
    minutes = sum(task_of(n).exercise.minutes for n in course.names if n not in done)
    lines.append([])
    said = f"{len(done)} of {len(course.names)} done (*), about {hours(minutes)} to go"
    return lines + paragraph(said, width)


def hours(minutes: int) -> str:
    """Return a time in words: "40 minutes", "11 hours"."""
    return f"{minutes} minutes" if minutes < 100 else f"{round(minutes / 60)} hours"


def all_minutes() -> int:
    """Return the minutes of all exercises."""
    return sum(task_of(name).exercise.minutes for name in NAMES)
