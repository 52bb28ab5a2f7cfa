"""Read the arguments of a call in the forms that Keras models take.

    model(input_ids, attention_mask)                  arrays, by position or by name
    model([input_ids, attention_mask, None])          a list or tuple: arguments by position
    model({"input_ids": ..., "labels": ...})          a mapping: arguments by name

A mapping may be accompanied by keyword arguments; of two values for one name the mapping's is used.

Oracle   transformers 4.57, `input_processing` in `modeling_tf_utils.py`
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any

from tinybert.backend import is_array
from tinybert.display import warn_caller
from tinybert.nn import KeyValueCache

logger = logging.getLogger("tinybert")

OLD_NAMES = {
    "inputs": "input_ids",
    "past": "past_key_values",
    "decoder_cached_states": "past_key_values",
}
_PLAIN = (type(None), bool, int, tuple, list, dict, KeyValueCache)


def keras_call(call: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a method `call`: it is called in any of the forms, and gets its arguments by name.

    Raises ValueError for an unknown keyword and for a value that is neither an array, a bool, an
    int, a tuple, a list, a dict nor None; TypeError for an unknown key of a mapping, for too many
    positions, and for an argument given twice.
    """
    parameters = dict(inspect.signature(call).parameters)
    takes_any = parameters.pop("kwargs", None) is not None
    names = [name for name in parameters if name != "self"]

    @functools.wraps(call)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        return call(self, **_read(names, takes_any, args, kwargs))

    return run


def _read(
    names: list[str], takes_any: bool, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    given = _by_position(names, args, "positional arguments")
    if repeated := sorted(given.keys() & kwargs.keys()):
        raise TypeError(f"{repeated[0]} is given twice, by position and by name")
    keywords = _renamed(kwargs, names)
    if unknown := [name for name in keywords if name not in names]:
        if not takes_any:
            raise ValueError(
                f"the keyword arguments {unknown} are not supported by this model; it takes "
                f"{', '.join(names)}"
            )
        keywords = {name: value for name, value in keywords.items() if name in names}
    given |= keywords
    first = given.get("input_ids")
    if isinstance(first, Mapping):
        given = {**given, "input_ids": None, **_from_mapping(first, names)}
    elif isinstance(first, (list, tuple)):
        given |= {"input_ids": None, **_from_list(first, names)}
    for name, value in given.items():
        _check_type(name, value)
    return given


def _by_position(names: list[str], values: Any, what: str) -> dict[str, Any]:
    if len(values) > len(names):
        raise TypeError(
            f"expected at most {len(names)} {what} ({', '.join(names)}), got {len(values)}"
        )
    return dict(zip(names, values, strict=False))


def _from_list(values: Any, names: list[str]) -> dict[str, Any]:
    """Return the arguments in a list; None leaves one out."""
    given = _by_position(names, values, "members of the list")
    for name, value in given.items():
        if name != "past_key_values" and isinstance(value, (list, tuple)):
            raise ValueError(
                f"a list holds the arguments by position, and its {name} is a "
                f"{type(value).__name__}; give a batch of ids as an array: model(np.array(ids))"
            )
    return given


def _from_mapping(mapping: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    given = _renamed(dict(mapping), names)
    for name in [name for name in given if name not in names]:
        if _is_allowed(given[name]):
            raise TypeError(
                f"the inputs have {name!r}, which this model does not take; it takes "
                f"{', '.join(names)}"
            )
        logger.warning("the inputs have %r, which this model does not take: ignored", name)
        del given[name]
    return given


def _renamed(given: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Return the arguments with new names for old ones, and warn of those."""
    for old, new in OLD_NAMES.items():
        if old in given and old not in names and new in names:
            warn_caller(f"{old} is the old name of {new}", FutureWarning)
            given = {**given, new: given[old]}
            del given[old]
    return given


def _check_type(name: str, value: Any) -> None:
    if not _is_allowed(value):
        raise ValueError(
            f"{name} has type {type(value).__name__}; allowed are arrays, Tensors, bool, int, "
            "tuple, list, dict and None"
        )


def _is_allowed(value: Any) -> bool:
    return isinstance(value, _PLAIN) or is_array(value) or hasattr(value, "__array__")
