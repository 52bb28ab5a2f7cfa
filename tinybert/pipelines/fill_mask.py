"""Fill-mask: predict the tokens that [MASK] replaces, with a masked language model."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tinybert.checks import check_integer
from tinybert.models import AutoModelForMaskedLM
from tinybert.models.heads import MaskedLM
from tinybert.pipelines.base import OnePassPipeline, Outputs, Row, Settings, one_text, softmax


class FillMaskPipeline(OnePassPipeline):
    """Predicts masked tokens.

        pipeline("fill-mask", folder)("The capital of France is [MASK].")

    Options of a call:
        top_k: the number of predictions for each mask.
        targets: a word or a list of words; only these are scored. Each must be a single token.
        truncation, max_length: cut a text that is longer than the model's limit.
        tokenizer_kwargs: further options of the tokenizer.

    Returns a list of dicts, most likely first, with `score` (the probability), `token` (the id),
    `token_str` (the token as text), `sequence` (the text with the mask replaced). A text with
    several masks gives such a list for each mask: each mask is predicted independently, and
    `sequence` keeps the other masks. As in transformers, a list of one text gives the same result
    as the text.

    Raises ValueError for a text without a mask, and for a target that is not a single token.
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
        """Return a list of predictions; for several masks or texts, a list of such lists."""
        results = super().__call__(inputs, **options)
        return results[0] if isinstance(inputs, list) and len(inputs) == 1 else results

    def check(self, settings: Settings) -> None:
        check_integer("top_k", settings["top_k"], 1)

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
            raise ValueError(f"fill-mask needs {self.tokenizer.mask_token} in the text {text!r}")
        return [row]

    def result(self, item: Any, rows: list[Row], outputs: list[Outputs], settings: Settings) -> Any:
        (row,), (output,) = rows, outputs
        masks = self._masks(row)
        targets = self._target_ids(settings["targets"])
        predictions = []
        for position in masks:
            scores = softmax(output["logits"][position])  # (V,)
            candidates = np.arange(len(scores)) if targets is None else targets
            order = np.argsort(-scores[candidates], kind="stable")[: settings["top_k"]]
            predictions.append(
                [
                    self._prediction(row, position, int(i), float(scores[i]), len(masks) == 1)
                    for i in candidates[order]
                ]
            )
        return predictions[0] if len(masks) == 1 else predictions

    def _masks(self, row: Row) -> list[int]:
        """Return the positions of the masks."""
        mask = self.tokenizer.mask_token_id
        if mask is None:
            raise ValueError("fill-mask needs a tokenizer with a mask_token")
        return [position for position, i in enumerate(row.inputs["input_ids"]) if i == mask]

    def _prediction(
        self, row: Row, position: int, token: int, score: float, skip_special_tokens: bool
    ) -> dict[str, Any]:
        decode, ids = self.tokenizer.decode, list(row.inputs["input_ids"])
        ids[position] = token
        ids = [i for i in ids if i != self.tokenizer.pad_token_id]
        return {
            "score": score,
            "token": token,
            "token_str": decode([token]),
            "sequence": decode(ids, skip_special_tokens=skip_special_tokens),
        }

    def _target_ids(self, targets: str | list[str] | None) -> np.ndarray | None:
        """Return the ids of the target words, each once."""
        if targets is None:
            return None
        words = [targets] if isinstance(targets, str) else list(targets)
        if not words:
            raise ValueError("targets must have at least one word, got an empty list")
        return np.array(list(dict.fromkeys(self._target_id(word) for word in words)))

    def _target_id(self, word: str) -> int:
        """Return the id of a word: its own id in the vocabulary, or that of its only token."""
        vocabulary = self.tokenizer.get_vocab()
        if word in vocabulary:
            return vocabulary[word]
        tokens = self.tokenizer.tokenize(word)
        if len(tokens) != 1 or tokens[0] == self.tokenizer.unk_token:
            shown = " ".join(tokens) or "no token"
            raise ValueError(
                f"targets must be single tokens of the vocabulary, got {word!r}, whose tokens are: "
                f"{shown}"
            )
        return vocabulary[tokens[0]]
