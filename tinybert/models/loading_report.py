"""`LoadingReport`: which names and shapes of a file did not match the model."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field

from tinybert.display import visible

LISTED = 20  # names of each kind that a report lists
COMPARED = 1000  # unused names in a search for a similar one, which is slow


@dataclass
class LoadingReport:
    """The result of loading. `str(report)` is empty if every name and shape matched.

    Attributes:
        missing_keys: parameters that the file does not have; initialized at random.
        unexpected_keys: tensors of the file that the model does not have; not used.
        head_keys: those of them that belong to a head, while the model has none.
        mismatched_keys: (name, shape in the file, shape in the model); initialized at random.
        renamed: name in the file -> name in the model, where they differ.
        wanted, found: the number of tensors of the model without its head, and of those that the
            file has.
    """

    model: str
    source: str
    missing_keys: list[str] = field(default_factory=list)
    unexpected_keys: list[str] = field(default_factory=list)
    head_keys: list[str] = field(default_factory=list)
    mismatched_keys: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(
        default_factory=list
    )
    renamed: dict[str, str] = field(default_factory=dict)
    wanted: int = 0
    found: int = 0

    def is_harmless(self) -> bool:
        """Return whether nothing is amiss: at most, a head of the file is not used."""
        amiss = self.missing_keys or self.mismatched_keys
        return not amiss and self.unexpected_keys == self.head_keys

    def __str__(self) -> str:
        return "\n".join(map(visible, self._lines()))

    def _lines(self) -> list[str]:
        if not (self.missing_keys or self.mismatched_keys or self.unexpected_keys):
            return []
        missing = [f"{name}{self._similar(name)}" for name in self.missing_keys[:LISTED]]
        mismatched = [f"{n}: {a} in the file, {b} in the model" for n, a, b in self.mismatched_keys]
        advice = "train the model before you use its results"
        if not mismatched and all(name.startswith("pooler.") for name in self.missing_keys):
            advice = "only pooler_output needs it; add_pooling_layer=False leaves it out"
        fresh = f"initialized at random ({advice})"
        return [
            f"{self.model} was loaded from {self.source}, but some weights do not match:",
            *_section(f"missing from the file, {fresh}", missing, len(self.missing_keys)),
            *_section(f"of another shape in the file, {fresh}", mismatched, len(mismatched)),
            *_section(
                "in the file but not in the model, not used",
                self.unexpected_keys,
                len(self.unexpected_keys),
            ),
        ]

    def too_few(self) -> str:
        """Return the error for a file in which most weights were not found."""
        return (
            f"{self.source}: only {self.found} of {self.wanted} tensors of {self.model}, without "
            "its head, were found: this is another model, or its tensors have other names. "
            f"ignore_missing_keys=True initializes what is missing at random\n{self}"
        )

    def _similar(self, name: str) -> str:
        """Return a hint with the most similar unused name in the file, if there is one."""
        known = [key for key in self.unexpected_keys[:COMPARED] if len(key) < 2 * len(name)]
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        return f"   (the file has {close[0]})" if close else ""


def _section(title: str, names: list[str], count: int) -> list[str]:
    """Return the lines for one kind of mismatch: the number, and the first names."""
    if not count:
        return []
    more = [f"    ... and {count - LISTED} more"] if count > LISTED else []
    return [f"  {count} {title}:", *(f"    {name}" for name in names[:LISTED]), *more]
