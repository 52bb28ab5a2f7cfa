"""`CrossEncoder`: score how well a passage answers a query, reading both together.

Source   Nogueira and Cho 2019, "Passage Re-ranking with BERT", arXiv:1901.04085
Oracle   `CrossEncoder.predict` of sentence-transformers
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tinybert.checks import check_choice
from tinybert.hub import WEIGHT_FILES, resolve
from tinybert.models import AutoConfig
from tinybert.models.config import PretrainedConfig, read_json_object
from tinybert.pipelines import TextClassificationPipeline, pipeline

# The functions that sentence-transformers applies to the logit, by the names in its files.
FUNCTIONS = {
    "torch.nn.modules.activation.Sigmoid": "sigmoid",
    "torch.nn.modules.linear.Identity": "none",
}
BATCH = 16


class CrossEncoder:
    """A model that classifies pairs of texts with one label, the relevance.

    It is more accurate than comparing two vectors, and slower: every pair runs through the model.
    So it sorts the best results of a search again.

    Args:
        classify: the pipeline of a model with one label.
        function: "sigmoid" or "none", the function of the logit that gives a score.
    """

    def __init__(self, classify: TextClassificationPipeline, function: str = "sigmoid") -> None:
        check_choice("function", function, FUNCTIONS.values())
        self._classify, self._function = classify, function

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike[str], device: str | None = None
    ) -> CrossEncoder:
        """Load a folder with a sequence classifier of any family, and its tokenizer.

        The function is that of the folder's files, as sentence-transformers writes them, else the
        sigmoid. Raises ValueError if the model has more than one label, lacks weights of the head,
        or needs another function.
        """
        path = resolve(folder, WEIGHT_FILES)
        config = AutoConfig.from_pretrained(path)
        if config.num_labels != 1:
            raise ValueError(
                f"{path} classifies with {config.num_labels} labels; re-ranking needs a "
                "cross-encoder, which has one label"
            )
        function = _read_function(path, config)
        classify = pipeline(
            "text-classification", path, device=device, truncation=True, batch_size=BATCH
        )
        if classify.untrained:
            raise ValueError(
                f"{path} is not a trained cross-encoder: it lacks the weights "
                f"{', '.join(classify.untrained[:3])}"
            )
        return cls(classify, function)

    def predict(self, query: str, passages: Sequence[str]) -> np.ndarray:
        """Compute the scores of N passages for a query: float32 (N,), larger is more relevant.

        A score is the sigmoid of the logit, or the logit itself (see `function`). A pair that
        is longer than the model's limit is truncated, the longer text first.
        """
        by_length = sorted(range(len(passages)), key=lambda i: len(passages[i]))
        pairs = [{"text": query, "text_pair": passages[i]} for i in by_length]
        results = self._classify(pairs, function_to_apply=self._function)
        scores = np.empty(len(passages), np.float32)
        scores[by_length] = [result["score"] for result in results]
        return scores


def _read_function(folder: Path, config: PretrainedConfig) -> str:
    """Return the function that the folder's files name; sentence-transformers has moved the name
    twice.
    """
    path = folder / "config_sentence_transformers.json"
    now = read_json_object(path) if path.is_file() else {}
    before = getattr(config, "sentence_transformers", None)
    before = before if isinstance(before, dict) else {}
    name = now.get("activation_fn") or before.get("activation_fn")
    name = name or getattr(config, "sbert_ce_default_activation_function", None)
    function = "sigmoid" if name is None else FUNCTIONS.get(str(name))
    if function is None:
        raise ValueError(f"{folder}: the activation function {name!r:.80} is not supported")
    return function
