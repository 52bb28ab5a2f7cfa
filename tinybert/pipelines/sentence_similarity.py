"""Sentence similarity: rank sentences by the cosine similarity to a source sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from tinybert.embedding import SentenceEmbedder, similarity
from tinybert.models import AutoModel
from tinybert.models.base import PreTrainedModel
from tinybert.pipelines.base import Pipeline, Settings
from tinybert.tokenizers.base import Tokenizer


class SentenceSimilarityPipeline(Pipeline):
    """Compares a sentence with others by cosine similarity of embeddings (`SentenceEmbedder`).

        pipeline("sentence-similarity", folder)(
            {"source_sentence": "A cat sat.", "sentences": ["A kitten lay.", "Rain again."]}
        )

    Args:
        embedder: computes the sentence embeddings; by default the mean of the model's last hidden
            state over the tokens. `pipeline` uses the pooling that the model's folder defines.

    Returns a list of dicts with `sentence`, `index` (in the list of sentences, from 0) and `score`
    (the cosine similarity, from -1 to 1), most similar first.
    """

    task = "sentence-similarity"
    model_class = PreTrainedModel
    auto_class = AutoModel
    defaults: ClassVar[Settings] = {}

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Any,
        device: str | None = None,
        batch_size: int = 32,
        embedder: SentenceEmbedder | None = None,
    ) -> None:
        super().__init__(model, tokenizer, device, batch_size)
        self.embedder = SentenceEmbedder(tokenizer, self.model) if embedder is None else embedder

    @classmethod
    def from_pretrained(
        cls, folder: Path, tokenizer: Tokenizer | None, device: str | None, **options: Any
    ) -> SentenceSimilarityPipeline:
        """Load the embedder of a folder."""
        embedder = SentenceEmbedder.from_pretrained(folder, device)
        if tokenizer is not None:
            embedder.tokenizer = tokenizer
        return cls(embedder.model, embedder.tokenizer, embedder=embedder, **options)

    def run(self, items: list[Any], settings: Settings, batch_size: int) -> list[Any]:
        return [self._compared(item, batch_size) for item in items]

    def _compared(self, item: Any, batch_size: int) -> list[dict[str, Any]]:
        if not (
            isinstance(item, Mapping)
            and set(item) == {"source_sentence", "sentences"}
            and isinstance(item["source_sentence"], str)
            and isinstance(item["sentences"], (list, tuple))
            and all(isinstance(sentence, str) for sentence in item["sentences"])
        ):
            raise ValueError(
                'sentence-similarity takes {"source_sentence": str, "sentences": [str, ...]} or a '
                f"list of such, got {item!r}"
            )
        texts = [item["source_sentence"], *item["sentences"]]
        scores = similarity(self.embedder.encode(texts, batch_size, progress=False))[0, 1:]
        return [
            {"sentence": texts[i + 1], "index": int(i), "score": float(scores[i])}
            for i in (-scores).argsort(kind="stable")
        ]
