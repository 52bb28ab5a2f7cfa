"""Truncation: how many tokens are removed from which text, and what overflows."""

from __future__ import annotations

from tinybert.checks import check_choice


def truncate(
    first: list[int],
    second: list[int] | None,
    excess: int,
    strategy: str,
    side: str = "right",
    stride: int = 0,
) -> tuple[list[int], list[int] | None, list[int]]:
    """Remove `excess` >= 1 ids; return what remains of both sequences, and the overflow.

    strategy: "longest_first" removes ids one at a time from the longer sequence, and from the
        second if both are equally long; the overflow of a pair is empty. "only_first" and
        "only_second" remove all ids from one sequence.
    side: "right" removes ids at the ends, "left" at the beginnings.
    stride: the overflow consists of the removed ids and `stride` ids next to them.

    Raises ValueError if "only_first" or "only_second" would leave nothing of its sequence.
    """
    check_choice("truncation_side", side, ("right", "left"))
    if strategy == "longest_first" and second is not None:
        from_first, from_second = longest_first(len(first), len(second), excess)
        return _without_end(first, from_first, side), _without_end(second, from_second, side), []
    shortened = second if strategy == "only_second" else first
    if shortened is None:
        raise ValueError("truncation='only_second' needs a second sequence, but there is none")
    if strategy != "longest_first" and len(shortened) <= excess:
        raise ValueError(
            f"truncation={strategy!r} has to remove {excess} tokens to reach max_length, but that "
            f"sequence has only {len(shortened)} and at least one must remain; "
            "raise max_length or use truncation='longest_first'"
        )
    window = min(len(shortened), excess + stride)
    overflow = shortened[:window] if side == "left" else shortened[len(shortened) - window :]
    shortened = _without_end(shortened, excess, side)
    if strategy == "only_second":
        return first, shortened, overflow
    return shortened, second, overflow


def longest_first(first: int, second: int, excess: int) -> tuple[int, int]:
    """Return how many ids "longest_first" removes from sequences of these lengths.

    This is the closed form of `excess` steps, each of which removes one id from the longer
    sequence, or from the second if they are equally long: first the longer sequence alone shrinks
    until both are equally long, then the steps alternate.
    """
    level = min(abs(first - second), excess)
    half = (excess - level) // 2
    rest = excess - level - half
    return (level + half, rest) if first > second else (half, level + rest)


def longest_first_at_once(first: int, second: int, room: int) -> tuple[int, int]:
    """Return how many tokens of each sequence the Rust library keeps in a row with `room` tokens.

    The shorter sequence is kept whole as long as it leaves half of the room to the other.
    Otherwise both get half, and the longer one (the second of equal ones) the odd token.
    """
    shorter, longer = min(first, second), max(first, second)
    longer = shorter if shorter > room else max(shorter, room - shorter)
    if shorter + longer > room:
        shorter, longer = room // 2, room - room // 2
    return (longer, shorter) if first > second else (shorter, longer)


def windows(length: int, size: int, stride: int, side: str) -> list[tuple[int, int]]:
    """Return windows (start, end) of `size` > `stride` tokens that together cover a sequence.

    Neighbouring windows share `stride` tokens. side "right": the first window begins at the
    beginning, and the last may be shorter; side "left": the first window ends at the end, and the
    others follow backwards.
    """
    spans = []
    for start in range(0, length, size - stride):
        end = min(start + size, length)
        spans.append((start, end))
        if end == length:
            break
    return spans if side == "right" else [(length - end, length - start) for start, end in spans]


def _without_end(ids: list[int], count: int, side: str) -> list[int]:
    return ids[count:] if side == "left" else ids[: len(ids) - count]
