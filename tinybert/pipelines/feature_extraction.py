"""Feature extraction: one vector for every token, the last hidden state of the model."""

from __future__ import annotations

from typing import Any, ClassVar

from tinybert.autograd import as_tensor
from tinybert.models import AutoModel
from tinybert.models.base import PreTrainedModel
from tinybert.pipelines.base import OnePassPipeline, Outputs, Row, Settings, one_text


class FeatureExtractionPipeline(OnePassPipeline):
    """Returns the last hidden state of a model (for a model with a head, its first output).

        pipeline("feature-extraction", folder)("A cat sat.")

    Options of a call:
        return_tensors: True for a Tensor instead of lists.
        truncation, max_length: cut a text that is longer than the model's limit.
        tokenize_kwargs: further options of the tokenizer.

    Returns for each text nested lists of floats (1, T, D), special tokens included.
    """

    task = "feature-extraction"
    model_class = PreTrainedModel
    auto_class = AutoModel
    defaults: ClassVar[Settings] = {
        "return_tensors": False,
        "truncation": None,
        "max_length": None,
        "tokenize_kwargs": None,
    }

    def rows(self, item: Any, settings: Settings) -> list[Row]:
        row = self.row(
            one_text(self.task, item),
            **{
                "truncation": settings["truncation"],
                "max_length": settings["max_length"],
                **(settings["tokenize_kwargs"] or {}),
            },
        )
        return [row]

    def call_model(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {"features": self.model(**inputs)[0]}

    def result(self, item: Any, rows: list[Row], outputs: list[Outputs], settings: Settings) -> Any:
        features = outputs[0]["features"]
        if features.ndim == 2:  # (T, D); a head for whole texts returns (N,)
            features = features[: len(rows[0])]
        features = features[None]
        return as_tensor(features.copy()) if settings["return_tensors"] else features.tolist()
