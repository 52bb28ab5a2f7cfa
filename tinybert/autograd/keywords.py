"""torch's argument names as well as NumPy's: `x.sum(dim=1)` means `x.sum(axis=1)`.

The functions of `functional`, which are also the methods of Tensor, have one name for each
argument. This decorator lets them take the other name as well. A type checker knows the names in
the signatures, which are NumPy's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
Result = TypeVar("Result")


def torch_keywords(**ours: str) -> Callable[[Callable[P, Result]], Callable[P, Result]]:
    """Return a decorator: `dim="axis"` makes the keyword `dim` an alias of the argument `axis`.

    `dims="*"` makes it an alias of `*axes`: its value is passed by position, after the tensor. The
    function raises TypeError where an argument is given under two names.
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
