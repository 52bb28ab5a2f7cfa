"""torch's names of arguments, beside NumPy's: `x.sum(dim=1)` means `x.sum(axis=1)`.

The functions of `functional`, which are the methods of Tensor too, are written with one name for
each argument; this decorator lets them take the other. It renames and does nothing else. A type
checker knows the names of NumPy, which the signatures have.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
Result = TypeVar("Result")


def torch_keywords(**ours: str) -> Callable[[Callable[P, Result]], Callable[P, Result]]:
    """A decorator: `dim="axis"` says that the keyword `dim` means the argument `axis`.

    `dims="*"` says that it means what the function collects in `*axes`: its value is passed by
    position, after the tensor. Raises TypeError where an argument is given under two names.
    """

    def decorate(function: Callable[P, Result]) -> Callable[P, Result]:
        call: Callable[..., Result] = function

        @functools.wraps(function)
        def either(*args: Any, **given: Any) -> Result:
            if not given:
                return call(*args)
            before = len(args)
            for name in [name for name in ours if name in given]:
                own, value = ours[name], given.pop(name)
                if own in given or (own == "*" and before > 1):
                    raise TypeError(
                        f"{function.__name__}: {name} was given, and the same argument "
                        + ("by position" if own == "*" else f"as {own} too")
                    )
                if own == "*":
                    args = (*args, value)
                else:
                    given[own] = value
            return call(*args, **given)

        return either

    return decorate
