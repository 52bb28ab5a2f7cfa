"""Truncation and padding: the arithmetic that makes rows of ids fit a length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinybert.tokenizers.options import SIDES, check_choice


def truncate(
    first: list[int],
    second: list[int] | None,
    excess: int,
    strategy: str,
    side: str = "right",
    stride: int = 0,
) -> tuple[list[int], list[int] | None, list[int]]:
    """Remove `excess` >= 1 ids; returns what is left of both sequences, and the overflow.

    strategy "longest_first" takes ids one at a time from the longer sequence, from the second
    when both are equally long; for a pair its overflow is empty. "only_first" and "only_second"
    take all from one. side "right" removes the ends, "left" the beginnings. The overflow is what
    was removed and the `stride` ids next to it.

    Raises ValueError if a sequence that alone must shrink would have nothing left.
    """
    check_choice("truncation_side", side, SIDES)
    if strategy == "longest_first" and second is not None:
        from_first, from_second = longest_first(len(first), len(second), excess)
        return _cut(first, from_first, side), _cut(second, from_second, side), []
    shortened = second if strategy == "only_second" else first
    if shortened is None:
        raise ValueError("truncation='only_second' needs a second sequence, but there is none")
    if strategy != "longest_first" and len(shortened) <= excess:
        raise ValueError(
            f"truncation={strategy!r} has to remove {excess} tokens to reach max_length, but that "
            f"sequence has only {len(shortened)} and at least one must be left; "
            "raise max_length or use truncation='longest_first'"
        )
    window = min(len(shortened), excess + stride)
    overflow = shortened[:window] if side == "left" else shortened[len(shortened) - window :]
    shortened = _cut(shortened, excess, side)
    if strategy == "only_second":
        return first, shortened, overflow
    return shortened, second, overflow


def longest_first(first: int, second: int, excess: int) -> tuple[int, int]:
    """How many ids "longest_first" takes from sequences of these lengths.

    The closed form of `excess` steps, each of which takes one id from the longer sequence, or
    from the second if they are equally long: level the longer one down, then alternate.
    """
    level = min(abs(first - second), excess)
    half = (excess - level) // 2
    rest = excess - level - half
    return (level + half, rest) if first > second else (half, level + rest)


def longest_first_at_once(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens of sequences of these lengths the Rust library keeps in `room` places.

    The shorter sequence stays whole as long as it leaves half of the room to the other;
    otherwise both get half, and the longer one (of two equal ones the second) the odd place.
    """
    shorter, longer = min(first, second), max(first, second)
    longer = shorter if shorter > room else max(shorter, room - shorter)
    if shorter + longer > room:
        shorter, longer = room // 2, room - room // 2
    return (longer, shorter) if first > second else (shorter, longer)


def windows(length: int, size: int, stride: int, side: str) -> list[tuple[int, int]]:
    """Windows (start, end) of `size` > `stride` tokens that together cover a sequence.

    Neighbours share `stride` tokens. side "right": the first begins at the beginning and the last
    may be short; side "left": the first ends at the end, and they go backwards from there.
    """
    spans = []
    for start in range(0, length, size - stride):
        end = min(start + size, length)
        spans.append((start, end))
        if end == length:
            break
    return spans if side == "right" else [(length - end, length - start) for start, end in spans]


def _cut(ids: list[int], count: int, side: str) -> list[int]:
    return ids[count:] if side == "left" else ids[: len(ids) - count]


def padded_length(longest: int, strategy: str, max_length: int | None, multiple: int | None) -> int:
    """The length that rows are padded to, `longest` being the longest of the batch."""
    if strategy == "do_not_pad":
        return 0
    length = max_length if strategy == "max_length" and max_length is not None else longest
    return -(-length // multiple) * multiple if multiple else length


def pad_row(
    row: Mapping[str, Any], length: int, values: Mapping[str, int], side: str
) -> dict[str, Any]:
    """Fill the lists of `row` named in `values` up to `length`; longer rows stay as they are."""
    padded = dict(row)
    missing = max(0, length - len(row["input_ids"]))
    for key in values.keys() & row.keys():
        filler = [values[key]] * missing
        padded[key] = row[key] + filler if side == "right" else filler + row[key]
    return padded
