"""`LanguageModeling`: pre-training on text, as masked or causal language model."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Tensor, as_tensor, no_grad
from tinybert.checks import check_choice, check_integer, check_number
from tinybert.models import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForPreTraining
from tinybert.pipelines.base import evaluation
from tinybert.progress import progress_bar
from tinybert.training import metrics
from tinybert.training.batches import Batch, Batches
from tinybert.training.collators import MaskedText, PlainText
from tinybert.training.losses import masked_loss, masked_scores, model_loss
from tinybert.training.masking import IGNORED
from tinybert.training.segments import (
    Segments,
    sentence_blocks,
    sentence_pairs,
    token_blocks,
    token_windows,
)
from tinybert.training.token_file import TokenFile

OBJECTIVES: dict[str, Any] = {
    "masked": AutoModelForMaskedLM,
    "masked+next": AutoModelForPreTraining,
    "causal": AutoModelForCausalLM,
}


class LanguageModeling:
    """Pre-training objectives: how text becomes batches, the loss, and the evaluation.

    Args:
        tokenizer: of the model.
        objective: "masked"; "masked+next", with next sentence prediction; or "causal".
        length: the number of tokens of a row, special tokens included.
        mask_share, whole_words: see `mask_tokens`.
    """

    best = "-loss"

    def __init__(
        self,
        tokenizer: Any,
        objective: str = "masked",
        length: int = 128,
        mask_share: float = 0.15,
        whole_words: bool = True,
    ) -> None:
        check_choice("objective", objective, OBJECTIVES)
        check_integer("length", length, 8)
        check_number("mask_share", mask_share, most=1)
        if objective != "causal" and tokenizer.mask_token_id is None:
            raise ValueError(f"the objective {objective!r} needs a tokenizer with a mask token")
        self.tokenizer, self.objective, self.length = tokenizer, objective, length
        self.mask_share, self.whole_words = mask_share, whole_words
        self.auto = OBJECTIVES[objective]
        self.loss: Callable[[Any, Batch], Tensor] = (
            masked_loss if objective == "masked" else model_loss
        )

    def check_model(self, model: Any) -> None:
        """Raise ValueError if the model would see the tokens that it has to predict."""
        causal = model.config.is_decoder or getattr(model, "always_causal", False)
        if self.objective == "causal" and not causal:
            raise ValueError(
                f"the objective 'causal' needs a decoder, a model whose tokens see only those "
                f"before them; {type(model).__name__} of this config has is_decoder=False"
            )

    def segments(self, tokens: TokenFile, rng: np.random.Generator) -> Segments:
        """Draw the examples of an epoch."""
        if self.objective == "causal":
            return token_blocks(tokens, self.length, rng)
        pairs = self.objective == "masked+next"
        size = self.length - self.tokenizer.num_special_tokens_to_add(pair=pairs)
        return (sentence_pairs if pairs else sentence_blocks)(tokens, size, rng)

    def batches(self, tokens: TokenFile, batch_size: int, seed: int) -> Batches:
        """Return the batches of a corpus, with new examples and masks in each epoch."""
        return Batches(
            lambda epoch, rng: self.segments(tokens, rng), self.collator(tokens), batch_size, seed
        )

    def collator(self, tokens: TokenFile) -> Any:
        """Return the function that makes a batch of segments."""
        if self.objective == "causal":
            return PlainText(tokens)
        pairs = self.objective == "masked+next"
        return MaskedText(tokens, self.tokenizer, self.mask_share, self.whole_words, pairs)

    def count(self, batch: Batch) -> int:
        """Return the number of labels that the loss is the mean of."""
        labels = batch["labels"][:, 1:] if self.objective == "causal" else batch["labels"]
        return int((labels != IGNORED).sum())

    def evaluate(
        self,
        model: Any,
        tokens: TokenFile,
        batch_size: int = 32,
        most: int | None = 200,
        record: Callable[[dict[str, Any]], object] | None = None,
    ) -> dict[str, float]:
        """Return loss, perplexity and accuracy on a corpus, always with the same masks.

        For "causal" also `bits_per_character`: the information of all predicted tokens in bits,
        over the characters of their text. Models with other tokenizers can be compared by it.

        Args:
            most: the number of batches to evaluate on; None for all.
            record: called with each example: its text, with masks, its loss, and the right and the
                predicted tokens.
        """
        batches = self._evaluation_batches(tokens, batch_size)
        rounds = len(batches) if most is None else min(len(batches), most)
        total = hits = count = characters = 0.0
        with (
            no_grad(), evaluation(model), progress_bar("evaluating", rounds, " batches") as advance
        ):  # fmt: skip
            for _ in range(rounds):
                batch = next(batches)
                loss, logits, labels, rows = self._scores(model, batch)
                predicted = logits.argmax(axis=-1)
                hits += float((predicted == labels).sum())
                total += loss * len(labels)
                count += len(labels)
                if self.objective == "causal":
                    characters += sum(map(len, self._texts(labels, rows)))
                if record:
                    self._record(record, batch, logits, predicted, labels, rows)
                advance(1)
        loss = total / count
        scores = {"loss": loss, "accuracy": hits / count}
        if self.objective != "masked+next":
            scores["perplexity"] = metrics.perplexity(loss)
        if characters:
            scores["bits_per_character"] = total / math.log(2) / characters
        return scores

    def _texts(self, ids: np.ndarray, rows: np.ndarray) -> list[str]:
        """Return the text of the ids of each row."""
        parts = np.split(ids, np.flatnonzero(np.diff(rows)) + 1)
        return [self.tokenizer.decode(part.tolist()) for part in parts]

    def _evaluation_batches(self, tokens: TokenFile, batch_size: int) -> Batches:
        if self.objective != "causal":
            return self.batches(tokens, batch_size, seed=0)
        windows = token_windows(tokens, self.length)
        return Batches(windows, self.collator(tokens), batch_size)

    def _record(
        self,
        record: Callable[[dict[str, Any]], object],
        batch: Batch,
        logits: np.ndarray,
        predicted: np.ndarray,
        labels: np.ndarray,
        rows: np.ndarray,
    ) -> None:
        """Record each row of a batch."""
        lengths = batch.get("attention_mask", batch["labels"] != IGNORED).sum(axis=1)
        for row, (ids, length) in enumerate(zip(batch["input_ids"], lengths, strict=True)):
            own = rows == row
            names = self.tokenizer.convert_ids_to_tokens
            record({
                "text": self.tokenizer.decode(ids[:length]),
                "label": names(labels[own].tolist()),
                "prediction": names(predicted[own].tolist()),
                "loss": float(F.cross_entropy(as_tensor(logits[own]), as_tensor(labels[own]))),
            })  # fmt: skip

    def _scores(self, model: Any, batch: Batch) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
        """Return the loss, and of the N tokens that count in it scores (N, V), labels and rows."""
        if self.objective == "masked":
            scores, words = masked_scores(model, batch)
            rows = np.nonzero(batch["labels"] != IGNORED)[0]
            return float(F.cross_entropy(scores, words)), scores.numpy(), words.numpy(), rows
        output = model(**batch)
        logits = output.get("logits", output.get("prediction_logits")).numpy()
        labels = batch["labels"]
        if self.objective == "causal":
            logits, labels = logits[:, :-1], labels[:, 1:]
        counts = labels != IGNORED
        return float(output.loss), logits[counts], labels[counts], np.nonzero(counts)[0]
