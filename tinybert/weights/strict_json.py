"""JSON parsed strictly by its standard (RFC 8259); Python's own parser accepts more.

Refused besides syntax errors: NaN and Infinity, numbers that overflow, repeated keys, unpaired
surrogates, and nesting so deep that it would exhaust the stack.
"""

import json
import math
from collections import Counter
from typing import Any

_LARGEST = 2**64 - 1


def parse_json(raw: bytes) -> Any:
    """Return the value of a UTF-8 JSON text. Raises ValueError, which says what is wrong.

    An integer beyond 64 bits, and -0, becomes a float, which is never accepted as a size.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("JSON text with an unpaired surrogate") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at character {error.pos}") from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"JSON key {twice!r:.80} is given twice")
    return members


def _integer(digits: str) -> int | float:
    if digits == "-0" or len(digits) > 20:
        return _float(digits)
    value = int(digits)
    return value if abs(value) <= _LARGEST else float(value)


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"JSON number {digits[:20]} is out of range")
    return value


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
