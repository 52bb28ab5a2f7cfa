"""Letters for the axes of an array: B T D H K F V, as in formulas and docstrings."""

from __future__ import annotations

from typing import Any

SIZES = (  # an option of a config, and its letter
    ("hidden_size", "D"),
    ("intermediate_size", "F"),
    ("vocab_size", "V"),
    ("num_attention_heads", "H"),
)


class Axes:
    """Finds the letters of a shape, from the sizes of a model and of its input.

    B batch, T tokens, D features, H heads, K features of a head, F features inside of the
    feed-forward layer, V words of the vocabulary; "." if the size of an axis has no letter.
    """

    def __init__(self, config: Any = None) -> None:
        self.sizes: dict[str, int] = {}
        self.learn(config)

    def learn(self, config: Any) -> None:
        """Take the sizes of a config."""
        for option, letter in SIZES:
            if isinstance(size := getattr(config, option, None), int):
                self.sizes[letter] = size
        heads = self.sizes.get("H")
        if heads and "D" in self.sizes:
            self.sizes["K"] = getattr(config, "head_dim", None) or self.sizes["D"] // heads

    def letters(self, shape: tuple[int, ...]) -> str:
        """Return a letter for each axis of an array."""
        last = [name for name in "DFVK" if self.sizes.get(name) == shape[-1]] if shape else []
        if not shape:
            return ""
        if len(shape) == 4 and self.sizes.get("H") in shape[1:3]:
            heads = 1 if shape[1] == self.sizes["H"] else 2
            letters = ["B", "T", "T", "K" if self.sizes.get("K") == shape[-1] else "T"]
            letters[heads] = "H"
            return "".join(letters)
        if len(shape) == 1:
            return last[0] if last else "."
        first = "BT" if len(shape) == 3 else "B" if len(shape) == 2 else "." * (len(shape) - 1)
        if len(shape) == 2 and last:
            first = next((n for n in "DFV" if self.sizes.get(n) == shape[0]), "T")
        return first + (last[0] if last else "T" if len(shape) in (2, 3) else ".")
