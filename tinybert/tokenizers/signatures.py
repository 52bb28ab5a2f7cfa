"""A decorator that shows the options of a call in the signatures of methods with **options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from tinybert.tokenizers.options import OPTIONS

Method = TypeVar("Method", bound=Callable[..., Any])


def takes_options(names: Iterable[str] = OPTIONS) -> Callable[[Method], Method]:
    """Return a decorator that adds options to the signature that `help` and editors show.

    The method itself refuses other options, with `check_names`.
    """

    def show(method: Method) -> Method:
        signature = inspect.signature(method)
        shown = {n: p for n, p in signature.parameters.items() if p.kind is not p.VAR_KEYWORD}
        for name in names:
            default, annotation = OPTIONS[name].default, OPTIONS[name].type
            kind = inspect.Parameter.KEYWORD_ONLY
            option = inspect.Parameter(name, kind, default=default, annotation=annotation)
            shown.setdefault(name, option)
        shown_signature = signature.replace(parameters=list(shown.values()))
        method.__signature__ = shown_signature  # type: ignore[attr-defined]
        return method

    return show
