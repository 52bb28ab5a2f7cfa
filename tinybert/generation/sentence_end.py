"""`SentenceEnd`: a logits processor that ends a text where a sentence ends."""

from __future__ import annotations

from typing import Any

import regex

from tinybert.backend import Array

LAST_TOKENS = 8  # enough for the last word and its punctuation
# After a full stop, question mark or exclamation mark, and closing quotes; but not after a title or
# a single letter, as in "Mr. J. Smith".
END = regex.compile(
    r"""(?<=[.!?]["'’”)\]]*)$(?<!\b(?:Mr|Mrs|Ms|Dr|St|Gen|Hon|Col|Capt|Lieut|Rev|vs|\p{L})\.)"""
)


class SentenceEnd:
    """After `new_tokens` new tokens, ends a text at the next end of a sentence.

    Args:
        tokenizer: of the model.
        new_tokens: how many new tokens a text has at least.
        eos_token_id: the token that ends a text; after a sentence it is the only one that remains.

    An object is for one call of `generate`: the first scores follow the prompt.
    """

    def __init__(self, tokenizer: Any, new_tokens: int, eos_token_id: int) -> None:
        self.tokenizer, self.new_tokens, self.eos_token_id = tokenizer, new_tokens, eos_token_id
        self.length: int | None = None

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """Return scores (B, V) after the ids (B, T)."""
        if self.length is None:
            self.length = input_ids.shape[1] + self.new_tokens
        if input_ids.shape[1] < self.length:
            return scores
        scores = scores.copy()
        for row, ids in enumerate(input_ids[:, -LAST_TOKENS:].tolist()):
            if END.search(self.tokenizer.decode([i for i in ids if i >= 0])):
                scores[row] = -float("inf")
                scores[row, self.eos_token_id] = 0
        return scores
