"""Read arguments that hold token ids: one id, a list of ids, or a list of lists."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert.checks import check, is_integer


def read_token_ids(name: str, value: Any) -> list[int]:
    """Return one id or a list of ids as a list; None gives an empty list.

    Raises ValueError, naming the argument, for anything else.
    """
    ids = [] if value is None else [value] if is_integer(value) else value
    fits = isinstance(ids, (list, tuple, np.ndarray)) and all(map(is_integer, ids))
    check(name, value, fits, "a token id, a list of token ids or None")
    return [int(i) for i in ids]


def read_token_id_lists(name: str, value: Any) -> list[list[int]]:
    """Return a list of non-empty lists of ids >= 0; None gives an empty list.

    Raises ValueError, naming the argument, for anything else.
    """
    lists = [] if value is None else value
    fits = isinstance(lists, (list, tuple)) and (value is None or len(lists) > 0)
    check(name, value, fits, "a list of lists of token ids or None")
    for ids in lists:
        fits = isinstance(ids, (list, tuple)) and len(ids) > 0
        check(f"each list in {name}", ids, fits, "a non-empty list of token ids")
        fits = all(is_integer(i) and i >= 0 for i in ids)
        check(f"each token id in {name}", ids, fits, "an integer >= 0")
    return [[int(i) for i in ids] for ids in lists]
