"""Gradient modes on functions that do not run in one piece: generators."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from inspect import isgeneratorfunction
from typing import Any


def resumed(mode: Callable[[], Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a generator function whose body runs in `mode`, and the code between its steps not.

    Raises TypeError for a class and for an async function.
    """
    if not isgeneratorfunction(function):
        name, kind = mode.__name__, "a class" if isinstance(function, type) else "an async function"
        raise TypeError(
            f"{name}() decorates functions and methods, {function.__name__} is {kind}; decorate "
            f"its methods, or write `with {name}():` where it computes"
        )

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        with mode():
            generator = function(*args, **kwargs)
        step: Callable[[], Any] = functools.partial(next, generator)
        try:
            while True:
                with mode():
                    try:
                        value = step()
                    except StopIteration as end:
                        return end.value
                try:
                    sent = yield value
                except GeneratorExit:
                    raise
                except BaseException as error:
                    step = functools.partial(generator.throw, error)
                else:
                    step = functools.partial(generator.send, sent)
        finally:
            with mode():
                generator.close()

    return wrapped
