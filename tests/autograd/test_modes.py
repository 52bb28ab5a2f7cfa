"""Gradient modes as decorators of generators, classes and async functions."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import pytest

import tinybert as tb
from tinybert import Tensor, enable_grad, is_grad_enabled, no_grad


def test_a_generator_runs_in_the_mode_and_the_code_between_its_steps_does_not() -> None:
    @no_grad()
    def steps(count: int) -> Iterator[bool]:
        """Number the steps."""
        for _ in range(count):
            yield is_grad_enabled()

    assert steps.__doc__ == "Number the steps."
    for inside in steps(3):
        assert not inside
        assert is_grad_enabled()
    with no_grad():
        assert list(enable_grad()(steps)(2)) == [False, False]  # the inner one is nearer
    assert is_grad_enabled()


def test_what_a_generator_computes_is_not_recorded() -> None:
    weight = Tensor([1.0], requires_grad=True)

    @no_grad()
    def products() -> Iterator[Tensor]:
        while True:
            yield weight * 2

    assert not next(products()).requires_grad


def test_a_generator_is_sent_to_thrown_into_and_closed_in_the_mode() -> None:
    seen: list[Any] = []

    @no_grad()
    def talk() -> Generator[str, str, str]:
        try:
            heard = yield "first"
            seen.append((heard, is_grad_enabled()))
            try:
                yield "second"
            except KeyError as error:
                seen.append((type(error), is_grad_enabled()))
            yield "third"
        finally:
            seen.append(("closed", is_grad_enabled()))
        return "end"

    talking = talk()
    assert next(talking) == "first"
    assert talking.send("hello") == "second"
    assert talking.throw(KeyError("x")) == "third"
    talking.close()
    assert seen == [("hello", False), (KeyError, False), ("closed", False)]

    whole = talk()
    results = [next(whole), next(whole), next(whole)]
    with pytest.raises(StopIteration) as end:
        next(whole)
    assert results == ["first", "second", "third"]
    assert end.value.value == "end"

    @no_grad()
    def fails() -> Iterator[int]:
        yield 1
        raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        list(fails())
    assert is_grad_enabled()


def test_classes_and_async_functions_are_refused() -> None:
    with pytest.raises(TypeError, match=r"no_grad\(\) decorates functions and methods, Model is a"):

        @no_grad()
        class Model:
            pass

    async def serve() -> None: ...

    async def stream() -> Any:
        yield 1

    for function in (serve, stream):
        with pytest.raises(
            TypeError, match=r"is an async function; .* write `with enable_grad\(\)"
        ):
            enable_grad()(function)
    assert tb.is_grad_enabled()
