"""The museum of bugs: each is planted, seen and caught, and leaves the engine as it was."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinybert
from tests.test_floors import imports
from tinybert.learn import patches
from tinybert.learn.museum import bugs as museum
from tinybert.learn.museum.bugs import ROOMS, Bug, find_bug, rooms
from tinybert.learn.museum.excerpt import code, excerpt
from tinybert.learn.museum.visit import claim, complaint, laboratory, visit
from tinybert.learn.patches import attribute

BUGS = [bug for bugs in rooms().values() for bug in bugs]
FOLDER = Path(museum.__file__).parent
ENGINE = {
    line.strip()
    for path in FOLDER.parents[1].rglob("*.py")
    if FOLDER not in path.parents
    for line in path.read_text("utf-8").splitlines()
}
# Words of stories that say how a bug was found.
FOUND = re.compile(
    r"found|finds|saw|seen|reported|report|showed|compared|asked|asks|reader|user|read its source|"
    r"issue|noticed|mutation|checks? failed"
)
every_bug = pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)


@pytest.fixture(autouse=True)
def put_back() -> object:
    """Every test leaves no patch behind."""
    yield
    assert not patches._open


@every_bug
def test_a_bug_changes_its_symptom_and_its_check_catches_it(bug: Bug) -> None:
    """And the check that it fools passes without the bug and with it."""
    originals = [attribute(patch.target) for patch in bug.patches]
    found = visit(bug)
    assert found.before != found.planted
    assert found.false_alarm == ""
    assert found.caught
    assert "would pass" not in found.caught, "gradcheck had nothing to check"
    assert found.fooled == ""
    assert found.succeeded
    assert [attribute(patch.target) for patch in bug.patches] == originals
    if bug.fooled is not None:
        with laboratory():
            assert complaint(bug.fooled) == ""


@every_bug
@pytest.mark.slow
def test_a_bug_is_the_same_in_plain_mode(bug: Bug) -> None:
    with tinybert.plain():
        assert visit(bug).succeeded


@every_bug
def test_a_bug_is_told_in_full(bug: Bug) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", bug.name)
    assert len(bug.name) + len(bug.title) <= 76, "does not fit a line of the list"
    assert bug.mistake.endswith(".")
    sentences = re.findall(r"[.?:](?= |$)", bug.story)
    assert 3 <= len(sentences) <= 8
    assert FOUND.search(bug.story), "the story does not say how the bug was found"
    assert len(bug.story) < 620
    assert len(bug.links) == len(set(bug.links)) >= 1
    for link in bug.links:
        assert re.fullmatch(r"https://(github\.com/[\w./-]+|arxiv\.org/abs/\d{4}\.\d{5})", link)
    for check in (bug.symptom, bug.check, *([bug.fooled] if bug.fooled else [])):
        assert claim(check).endswith(".")
        assert claim(check).count(". ") == 0


@every_bug
def test_the_excerpt_is_from_the_engine(bug: Bug) -> None:
    """What is called right is a line of the engine, and something differs."""
    lines = excerpt(bug)
    assert {line.side for line in lines} & {"right", "wrong"}
    assert len(lines) <= 14
    for side, text in lines:
        if side == "right":
            assert text.strip() in ENGINE


def test_names_are_unique_and_every_room_is_open() -> None:
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 27
    files = {path.stem for path in FOLDER.glob("*.py")}
    assert files - {"__init__", "bugs", "excerpt", "specimens", "visit"} == {*ROOMS}
    assert all(rooms().values())


def test_no_two_bugs_are_the_same_code() -> None:
    wrong = ["\n".join(code(bug.wrong or bug.patches[0].replacement, "x")) for bug in BUGS]
    assert len(set(wrong)) == len(wrong)


# --- tinybert.bug ---------------------------------------------------------------------------------


def gradient_of_repeats() -> float:
    table = tinybert.Tensor(np.zeros((2, 1)), requires_grad=True)
    tinybert.functional.embedding(np.array([1, 1, 1]), table).sum().backward()
    return float(table.grad.numpy()[1, 0])


def test_a_bug_is_planted_in_the_block_only() -> None:
    with tinybert.bug("embedding-loses-repeats") as bug:
        assert bug is find_bug("embedding-loses-repeats")
        assert gradient_of_repeats() == 1
    assert gradient_of_repeats() == 3


def test_an_exception_removes_the_bug() -> None:
    with pytest.raises(KeyError), tinybert.bug("embedding-loses-repeats"):
        raise KeyError
    assert gradient_of_repeats() == 3


def test_a_bug_can_decorate_a_function() -> None:
    plant: Any = tinybert.bug("embedding-loses-repeats")
    assert plant(gradient_of_repeats)() == 1
    assert gradient_of_repeats() == 3


def test_bugs_can_be_nested() -> None:
    with tinybert.bug("no-mask"), tinybert.bug("mask-on-the-query-axis"):
        wrong = attribute("tinybert.models.call.padding_mask")
        assert wrong is find_bug("mask-on-the-query-axis").patches[0].replacement
    assert gradient_of_repeats() == 3


def test_a_bug_holds_in_all_threads_and_threads_may_plant_the_same() -> None:
    together = threading.Barrier(4)
    seen: list[float] = []

    def work() -> None:
        with tinybert.bug("embedding-loses-repeats"):
            together.wait(30)
            seen.append(gradient_of_repeats())
            together.wait(30)

    with tinybert.bug("embedding-loses-repeats"):
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert gradient_of_repeats() == 1
    assert seen == [1, 1, 1, 1]
    assert gradient_of_repeats() == 3


def test_an_unknown_name_is_refused_before_the_block() -> None:
    with pytest.raises(ValueError, match="there is no bug 'no-maks': did you mean no-mask"):
        tinybert.bug("no-maks")
    with pytest.raises(ValueError, match="see tinybert museum list"):
        tinybert.bug("")


def test_a_visit_leaves_the_users_random_numbers_and_modes_alone() -> None:
    with tinybert.manual_seed(7):
        expected = tinybert.nn.Linear(2, 2).weight.numpy().copy()
    with tinybert.manual_seed(7), tinybert.no_grad(), tinybert.set_default_dtype("float64"):
        assert visit(find_bug("dropout-left-on")).succeeded
        found = tinybert.nn.Linear(2, 2).weight.numpy()
        assert found.dtype == "float64"
        assert not tinybert.is_grad_enabled()
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_import_opens_no_room() -> None:
    """What `import tinybert` imports of the museum imports nothing but patches."""
    for name in ("__init__.py", "bugs.py"):
        ours = {i for i in imports(FOLDER / name, everywhere=False) if i.startswith("tinybert")}
        assert ours <= {"tinybert.learn.museum.bugs", "tinybert.learn.patches"}
