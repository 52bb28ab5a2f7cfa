"""Which word stands where the text says [MASK]?"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tinybert.models import AutoModelForMaskedLM
from tinybert.models.heads import MaskedLM
from tinybert.pipelines.base import (
    OnePassPipeline,
    Outputs,
    Row,
    Settings,
    check_whole,
    one_text,
    softmax,
)


class FillMaskPipeline(OnePassPipeline):
    """Guesses hidden words.

        pipeline("fill-mask", folder)("The capital of France is [MASK].")

    Options of a call:
        top_k: how many words are given for each mask.
        targets: a word or a list of words; only these are compared. Each must be one token.
        truncation, max_length: cut a text that is too long for the model.
        tokenizer_kwargs: further options of the tokenizer.

    Returns a list of dicts, the likeliest word first, with `score` (its probability), `token` (its
    id), `token_str` (the word), `sequence` (the text with the word in place). A text with several
    masks gives such a list for each mask: each is guessed by itself, and in `sequence` the others
    stay. As in transformers, a list of one text gives what the text itself gives.

    Raises ValueError for a text without a mask, and for a target that is no token of the model.
    """

    task = "fill-mask"
    model_class = MaskedLM
    auto_class = AutoModelForMaskedLM
    defaults: ClassVar[Settings] = {
        "top_k": 5,
        "targets": None,
        "truncation": None,
        "max_length": None,
        "tokenizer_kwargs": None,
    }
    per_token = True

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """A list of guesses; for several masks, or several texts, a list of such lists."""
        results = super().__call__(inputs, **options)
        return results[0] if isinstance(inputs, list) and len(inputs) == 1 else results

    def check(self, settings: Settings) -> None:
        check_whole("top_k", settings["top_k"])

    def rows(self, item: Any, settings: Settings) -> list[Row]:
        text = one_text(self.task, item)
        row = self.row(
            text,
            **{
                "truncation": settings["truncation"],
                "max_length": settings["max_length"],
                **(settings["tokenizer_kwargs"] or {}),
            },
        )
        if not self._masks(row):
            raise ValueError(f"no {self.tokenizer.mask_token} in the text {text!r}")
        return [row]

    def result(self, item: Any, rows: list[Row], outputs: list[Outputs], settings: Settings) -> Any:
        (row,), (output,) = rows, outputs
        masks = self._masks(row)
        words = self._target_ids(settings["targets"])
        found = []
        for place in masks:
            scores = softmax(output["logits"][place])  # (V,)
            candidates = np.arange(len(scores)) if words is None else words
            order = np.argsort(-scores[candidates], kind="stable")[: settings["top_k"]]
            found.append(
                [
                    self._guess(row, place, int(token), float(scores[token]), len(masks) == 1)
                    for token in candidates[order]
                ]
            )
        return found[0] if len(masks) == 1 else found

    def _masks(self, row: Row) -> list[int]:
        """The places of the masks."""
        mask = self.tokenizer.mask_token_id
        if mask is None:
            raise ValueError("fill-mask needs a tokenizer with a mask_token")
        return [place for place, token in enumerate(row.inputs["input_ids"]) if token == mask]

    def _guess(self, row: Row, place: int, token: int, score: float, only: bool) -> dict[str, Any]:
        """A word in its place; special tokens are left out, unless other masks are among them."""
        decode, ids = self.tokenizer.decode, list(row.inputs["input_ids"])
        ids[place] = token
        ids = [i for i in ids if i != self.tokenizer.pad_token_id]
        return {
            "score": score,
            "token": token,
            "token_str": decode([token]),
            "sequence": decode(ids, skip_special_tokens=only),
        }

    def _target_ids(self, targets: str | list[str] | None) -> np.ndarray | None:
        """The ids of the words that are compared, each once."""
        if targets is None:
            return None
        words = [targets] if isinstance(targets, str) else list(targets)
        if not words:
            raise ValueError("targets must name at least one word, got an empty list")
        return np.array(list(dict.fromkeys(self._target_id(word) for word in words)))

    def _target_id(self, word: str) -> int:
        """The id of a word: as it stands in the vocabulary, or of the one token it becomes."""
        vocabulary = self.tokenizer.get_vocab()
        if word in vocabulary:
            return vocabulary[word]
        tokens = self.tokenizer.tokenize(word)
        if len(tokens) != 1 or tokens[0] == self.tokenizer.unk_token:
            pieces = " ".join(tokens) or "nothing"
            raise ValueError(
                f"targets: {word!r} is no word of the vocabulary (the tokenizer makes {pieces} of "
                "it), and a mask stands for one token"
            )
        return vocabulary[tokens[0]]
