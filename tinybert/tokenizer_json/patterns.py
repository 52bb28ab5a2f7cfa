"""The patterns of a tokenizer.json, and how their matches cut a text.

A pattern comes from a file that is not trusted: its size is limited, and so is the time that all
searches for one text take (`TimeLimit`).
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable

from tinybert.text.aligned_text import Span
from tinybert.text.rust_unicode import CharSet
from tinybert.tokenizer_json.fields import Fields

MAX_PATTERN = 20_000  # characters
MAX_REPEATED = 100_000  # characters or classes of a pattern, with repetitions such as {1000}
SECONDS = 5.0  # for one text, and as much again for every million characters

# Escapes that differ between Oniguruma and `regex`: \\w includes digits that are not decimal, but
# no joiners, and \\h is a hexadecimal digit.
_WORD = r"[\w\xb2\xb3\xb9\xbc-\xbe]--[\u200c\u200d]"
ESCAPES = {"w": f"[{_WORD}]", "W": f"[^{_WORD}]", "h": "[0-9a-fA-F]", "H": "[^0-9a-fA-F]"}

FindAll = Callable[[str], list[Span]]
BEHAVIORS = ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")


class TimeLimit:
    """Within this context, the searches of this thread share the time limit of one text.

    A context inside another one has no effect. Without any, each search has a limit of its own.
    """

    _now = threading.local()  # .end: when the time is over, and how many seconds it was

    def __init__(self, n_characters: int) -> None:
        self.seconds = SECONDS * (1 + n_characters / 1e6)

    def __enter__(self) -> None:
        self.is_outer = not hasattr(self._now, "end")
        if self.is_outer:
            self._now.end = time.monotonic() + self.seconds, self.seconds

    def __exit__(self, *_: object) -> None:
        if self.is_outer:
            del self._now.end

    @classmethod
    def left(cls, n_characters: int) -> tuple[float, float]:
        """Return the seconds that are left to a search, and those of the whole limit."""
        if not hasattr(cls._now, "end"):
            seconds = cls(n_characters).seconds
            return seconds, seconds
        end, seconds = cls._now.end
        return end - time.monotonic(), seconds


def read_pattern(part: Fields) -> FindAll:
    """Return the search function for a field "pattern", {"String": ...} or {"Regex": ...}."""
    pattern = Fields(part.get("pattern", dict), f"{part.where}.pattern")
    if set(pattern.value) == {"String"}:
        return find_text(pattern.get("String", str))
    if set(pattern.value) == {"Regex"}:
        return find_regex(pattern.get("Regex", str), pattern.where)
    raise ValueError(f"{pattern.where} must have the one field String or Regex")


def find_text(text: str) -> FindAll:
    """Return a function that finds a text; an empty text does not occur."""

    def find(whole: str) -> list[Span]:
        spans = []
        start = whole.find(text) if text else -1
        while start >= 0:
            spans.append((start, start + len(text)))
            start = whole.find(text, start + len(text))
        return spans

    return find


def find_regex(pattern: str, where: str) -> FindAll:
    """Return a function that finds the matches of a regular expression.

    The library uses Oniguruma with Ruby's syntax. `regex` is closest in its version 1, which has
    nested sets; ^ and $ match at lines.
    """
    import regex

    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"{where}: a pattern may have {MAX_PATTERN} characters at most")
    check_size(pattern, where)
    try:
        written = re.sub(r"\\(.)", lambda escape: ESCAPES.get(escape[1], escape[0]), pattern)
        compiled = regex.compile(written, regex.VERSION1 | regex.MULTILINE)
    except (regex.error, RecursionError, OverflowError, MemoryError) as error:
        raise ValueError(f"{where}: {pattern!r:.80} cannot be compiled: {error}") from error

    def find(text: str) -> list[Span]:
        if not text:
            return []
        left, seconds = TimeLimit.left(len(text))
        try:
            if left <= 0:
                raise TimeoutError
            spans = [match.span() for match in compiled.finditer(text, timeout=left)]
        except TimeoutError as error:
            raise ValueError(
                f"{where}: {pattern!r:.80} takes more than {seconds:.0f} seconds for one text"
            ) from error
        # An empty match directly after a match does not count.
        ends = {end for start, end in spans if end > start}
        return [(start, end) for start, end in spans if end > start or end not in ends]

    return find


_ATOMS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{(\d*)(?:,(\d*))?\}|.", re.DOTALL)


def check_size(pattern: str, where: str) -> None:
    """Raise ValueError for a pattern that is too large once its repetitions are written out.

    Compiling `(?:a{100000}){100000}` would take all memory. Characters, escapes and classes count
    1, `{n}` and `{m,n}` multiply what is before them; `*`, `+` and `?` do not.
    """
    sizes, last = [0], 0  # of each open group; of what a repetition would multiply
    for atom in _ATOMS.finditer(pattern):
        text = atom[0]
        if atom[1] or atom[2]:
            times = max(int(number[:9]) for number in (atom[1], atom[2]) if number)
            sizes[-1] += last * max(times - 1, 0)
            last *= max(times, 1)
        elif text == "(":
            sizes.append(0)
            last = 0
        elif text == ")" and len(sizes) > 1:
            last = sizes.pop()
            sizes[-1] += last
        else:
            last = 1
            sizes[-1] += 1
        if sizes[-1] > MAX_REPEATED:
            raise ValueError(
                f"{where}: {pattern!r:.80} has more than {MAX_REPEATED} characters once its "
                "repetitions are written out"
            )


def find_chars(chars: CharSet) -> FindAll:
    """Return a function that finds each character of a set."""
    pattern = re.compile(f"[{chars.pattern()}]")
    return lambda text: [match.span() for match in pattern.finditer(text)]


def cut(text: str, matches: Iterable[Span], behavior: str, invert: bool = False) -> list[Span]:
    """Return the parts into which matches cut a text.

    behavior: "Removed" omits a match, "Isolated" makes it a part, "MergedWithPrevious" and
        "MergedWithNext" join it to its neighbour, "Contiguous" joins consecutive matches.
    invert: treat the text between the matches as the matches.
    """
    matches = list(matches)
    keeps_matches = behavior == "Isolated" or (behavior == "Removed" and invert)
    if keeps_matches and sum([end - start for start, end in matches]) == len(text):
        return matches  # usual: there is nothing between them
    found: list[tuple[Span, bool]] = []
    done = 0
    for start, end in matches:
        if done < start:
            found.append(((done, start), invert))
        found.append(((start, end), not invert))
        done = end
    if done < len(text):
        found.append(((done, len(text)), invert))
    if behavior == "Removed":
        return [span for span, is_match in found if not is_match]
    if behavior == "Isolated":
        return [span for span, _ in found]
    if behavior == "MergedWithNext":
        backwards = _merged(
            [((-end, -start), is_match) for (start, end), is_match in reversed(found)],
            lambda is_match, previous: is_match and not previous,
        )
        return [(-end, -start) for start, end in reversed(backwards)]
    if behavior == "MergedWithPrevious":
        return _merged(found, lambda is_match, previous: is_match and not previous)
    return _merged(found, lambda is_match, previous: is_match == previous)


def _merged(found: list[tuple[Span, bool]], joins: Callable[[bool, bool], bool]) -> list[Span]:
    """Return the parts; each is joined to the one before it if `joins(is_match, previous)`."""
    spans: list[Span] = []
    previous = False
    for (start, end), is_match in found:
        if spans and joins(is_match, previous):
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
        previous = is_match
    return spans
