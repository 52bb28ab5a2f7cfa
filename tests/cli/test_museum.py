"""`tinybert museum`: the list, a story, a run, and what is refused."""

from __future__ import annotations

import json

import pytest

from tinybert.cli import museum
from tinybert.learn.museum.bugs import find_bug, rooms
from tinybert.learn.museum.visit import Visit


def test_the_list_names_every_bug_and_says_how_to_go_on(tinybert) -> None:
    code, out, err = tinybert("museum")
    assert (code, err) == (0, "")
    assert out == tinybert("museum", "list").out
    for subject, bugs in rooms().items():
        assert f"{subject}\n" in out
        assert all(f"  {bug.name} " in out for bug in bugs)
    assert "museum show NAME" in out
    assert max(map(len, out.splitlines())) <= 80


def test_the_list_fits_a_narrow_terminal(tinybert, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert max(map(len, tinybert("museum").out.splitlines())) <= 40


def test_show_has_the_code_the_story_and_the_link(tinybert) -> None:
    code, out, err = tinybert("museum", "show", "adamw-decay-in-the-gradient")
    bug = find_bug("adamw-decay-in-the-gradient")
    assert (code, err) == (0, "")
    assert "  right  decoupled = True\n  wrong  decoupled = False\n" in out
    assert " ".join(bug.story.split()) in " ".join(out.split())
    assert "\n" + bug.links[0] + "\n" in out
    assert "What catches it  One step with weight decay" in out
    assert "What it fools    With a weight decay of 0" in out
    assert out.endswith("tinybert museum run adamw-decay-in-the-gradient\n")


def test_the_example_of_the_help_is_what_run_prints(tinybert) -> None:
    command, _, rest = museum.EXAMPLE.partition("$ tinybert museum run embedding")[2].partition(
        "\n"
    )
    shown = rest.rpartition("\n\n")[0]
    out = tinybert("museum", "run", f"embedding{command}").out
    assert [line.strip() for line in out.splitlines()] == [
        line.strip() for line in shown.splitlines()
    ]


def test_json_has_the_same(tinybert) -> None:
    listed = json.loads(tinybert("museum", "--json").out)
    assert [*listed] == [*rooms()]
    shown = json.loads(tinybert("museum", "show", "no-mask", "--json").out)
    assert shown["wrong"][0].startswith("allowed = np.ones_like")
    assert shown["links"][0] == "https://github.com/huggingface/candle/issues/1798"
    ran = json.loads(tinybert("museum", "run", "embedding-loses-repeats", "--json").out)
    assert ran["symptom"] == {"right": "3", "with_bug": "1"}
    assert ran["check"]["right"] == ""
    assert ran["check"]["with_bug"].endswith("gave 1, not 3")
    assert ran["fooled"]["with_bug"] == ""
    assert ran["as_told"] is True


def test_run_all_is_a_table(tinybert, monkeypatch) -> None:
    quick = {"some": (find_bug("embedding-loses-repeats"), find_bug("accents-stay"))}
    monkeypatch.setattr(museum, "rooms", lambda: quick)
    code, out, _ = tinybert("museum", "run", "--all")
    assert code == 0
    assert "accents-stay             naive cafes  [UNK] [UNK]  caught\n" in out
    assert "2 of 2 bugs" in out
    assert len(json.loads(tinybert("museum", "run", "--all", "--json").out)) == 2


def test_a_bug_that_is_not_caught_is_an_error_code(tinybert, monkeypatch) -> None:
    monkeypatch.setattr(museum, "visit", lambda bug: Visit("1", "2", "", "", ""))
    code, out, _ = tinybert("museum", "run", "no-mask")
    assert code == 1
    assert "  with bug  passes\n" in out
    assert tinybert("museum", "run", "no-mask", "--json").code == 1
    code, out, _ = tinybert("museum", "run", "--all")
    assert code == 1
    assert "NOT AS TOLD" in out


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("show", "tinybert museum: show needs the NAME of a bug; see tinybert museum list"),
        ("run", "tinybert museum: run needs the NAME of a bug"),
        ("run no-maks", "there is no bug 'no-maks': did you mean no-mask"),
        ("list no-mask", "list takes no NAME here, got 'no-mask'"),
        ("run no-mask --all", "takes no NAME here"),
        ("list --all", "--all is an option of run, not of list"),
        ("no-mask", "invalid choice: 'no-mask'"),
    ],
)
def test_what_is_refused(refused, words: str, error: str) -> None:
    assert error in refused("museum", *words.split())
