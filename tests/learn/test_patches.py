"""Parts of the engine are replaced for a while, and put back whatever happens."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tinybert.learn import patches
from tinybert.learn.patches import Patch, patched


class Base:
    def name(self) -> str:
        return "base"

    @staticmethod
    def double(x: int) -> int:
        return 2 * x


class Derived(Base):
    pass


HERE = f"{__name__}.Base.name"
pytestmark = pytest.mark.usefixtures("put_back")


@pytest.fixture
def put_back() -> object:
    """Every test leaves the classes as they were."""
    before = dict(vars(Base))
    yield
    assert dict(vars(Base)) == before
    assert "name" not in vars(Derived)
    assert not patches._open


def saying(word: str, target: str = HERE) -> Patch:
    return Patch(target, lambda self: word)


def test_an_attribute_is_replaced_inside_the_block_only() -> None:
    with patched(saying("other"), Patch(f"{__name__}.Base.double", staticmethod(lambda x: x))):
        assert Base().name() == "other"
        assert Base.double(3) == Base().double(3) == 3
    assert Base().name() == "base"
    assert Base.double(3) == 6


def test_an_exception_puts_the_original_back() -> None:
    with pytest.raises(KeyError), patched(saying("other")):
        raise KeyError
    assert Base().name() == "base"


def test_nothing_is_replaced_if_one_target_does_not_exist() -> None:
    with (
        pytest.raises(ValueError, match=r"nothing to replace at '.*Base\.missing'"),
        patched(saying("other"), saying("other", f"{__name__}.Base.missing")),
    ):
        raise AssertionError("the block does not run")
    assert Base().name() == "base"


@pytest.mark.parametrize("target", ["no_such_package.name", "tinybert", "", "tinybert..ops"])
def test_a_target_without_meaning_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match="nothing to replace"), patched(Patch(target, 0)):
        pass


def test_an_inherited_attribute_is_replaced_in_the_derived_class_only() -> None:
    with patched(saying("derived", f"{__name__}.Derived.name")):
        assert (Derived().name(), Base().name()) == ("derived", "base")
    assert Derived().name() == "base"


@pytest.mark.parametrize("first", [0, 1])
def test_blocks_that_overlap_can_be_left_in_any_order(first: int) -> None:
    blocks = [ExitStack(), ExitStack()]
    for word, block in zip(("one", "two"), blocks, strict=True):
        block.enter_context(patched(saying(word)))
    assert Base().name() == "two"
    blocks[first].close()
    assert Base().name() == ("two", "one")[first]
    blocks[1 - first].close()
    assert Base().name() == "base"


def test_threads_that_replace_the_same_attribute() -> None:
    """Each enters, meets all others, and leaves: the original is back however they interleave."""
    together = threading.Barrier(8)
    seen: list[str] = []

    def replace(word: str) -> Callable[[], None]:
        def run() -> None:
            for _ in range(50):
                with patched(saying(word)):
                    together.wait(30)
                    seen.append(Base().name())
                together.wait(30)
                seen.append(Base().name())
                together.wait(30)

        return run

    threads = [threading.Thread(target=replace(f"thread {i}")) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen.count("base") == 400
    assert len(seen) == 800
