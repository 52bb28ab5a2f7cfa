"""`SentenceDistillation`: pre-train on masked words while a teacher shows sentence embeddings.

A masked language model learns words; its sentence embeddings are poor. Here the model also learns
to give each sentence the vector v that a teacher, a model of sentence embeddings, gives it:

    loss = masked_loss + weight * (mean(1 - cos(v, t)) + 5 * mean((v v^T - t t^T)**2))

with v and t (S, D) the vectors of S sentences, of length 1: of the model, the mean over its tokens.
The second term compares all pairs of sentences, so that what is alike for the teacher is alike for
the model.

Sources  Reimers and Gurevych 2020, arXiv:2004.09813 (the vectors of a teacher as targets); Tung and
         Mori 2019, arXiv:1907.09682 (matrices of similarities)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinybert.autograd import Tensor, as_tensor, no_grad
from tinybert.checks import check_integer, check_number
from tinybert.pipelines.base import evaluation
from tinybert.training import metrics
from tinybert.training.batches import Batch, Batches
from tinybert.training.collators import stack
from tinybert.training.language_modeling import LanguageModeling
from tinybert.training.losses import masked_loss
from tinybert.training.token_file import TokenFile, describe, read_documents
from tinybert.weights import CheckpointError, save_file
from tinybert.weights.safetensors import SafetensorsFile

KIND = "tinybert sentence vectors"
PROBE = "Which teacher is this?"
SAME = 1e-4  # a vector of the same teacher on another processor differs by less, relatively
WEIGHT = 4.0  # of the loss of the sentence vectors
PAIRS = 5.0  # the weight of the similarities
WINDOW = 8  # sentences of a batch are drawn from so many times as many of similar length
EVALUATED = 1000  # sentences whose similarities are compared with the teacher's


class SentenceVectors:
    """A teacher's vectors of the sentences of a `TokenFile`.

    Attributes:
        tokens: the sentences.
        vectors: (S, D) float16, of length 1.
        probe: (1, D) the teacher's vector of a fixed text, by which it is known again.
    """

    def __init__(self, tokens: TokenFile, path: str | os.PathLike[str]) -> None:
        """Open a file of vectors; CheckpointError if it is not one of these sentences."""
        with SafetensorsFile(path) as file:
            metadata = file.metadata or {}
            if metadata.get("kind") != KIND:
                raise CheckpointError(os.fspath(path), "is not a file of sentence vectors")
            self.vectors, self.probe = file["vectors"], file["probe"]
        if len(self.vectors) != len(tokens.sentences) - 1:
            raise CheckpointError(os.fspath(path), "has the vectors of other sentences")
        self.tokens, self.source = tokens, metadata.get("source", "")

    @classmethod
    def build(
        cls,
        path: str | os.PathLike[str],
        tokens: TokenFile,
        texts: Sequence[str | os.PathLike[str]],
        tokenizer: Any,
        teacher: Any,
    ) -> SentenceVectors:
        """Compute the vectors of text files, or open the file `path` if it was made from the same.

        Args:
            path: where the vectors are kept.
            tokens, texts, tokenizer: see `TokenFile.build`.
            teacher: a `SentenceEmbedder`.

        The text is held in memory.
        """
        source, probe = describe(texts, tokenizer), teacher.encode([PROBE])
        if os.path.exists(path):
            found = cls(tokens, path)
            same_teacher = found.probe.shape == probe.shape and np.allclose(
                found.probe, probe, atol=SAME * np.abs(probe).max()
            )
            if found.source == source and same_teacher:
                return found
        lines = [line for text in texts for part, _ in read_documents(text) for line in part]
        encoded = tokenizer(lines, add_special_tokens=False, verbose=False)["input_ids"]
        vectors = teacher.encode([line for line, ids in zip(lines, encoded, strict=True) if ids])
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        arrays = {"vectors": vectors.astype(np.float16), "probe": probe}
        save_file(arrays, path, metadata={"kind": KIND, "source": source})
        return cls(tokens, path)


class SentenceDistillation:
    """Masked language modeling together with the sentence vectors of a teacher.

    It has the parts of `LanguageModeling` that a `Trainer` needs; a batch is a batch of masked text
    with "sentence_ids" (S, T), "sentence_mask" (S, T) and "teacher" (S, D) beside it.

    Args:
        task: the masked language modeling.
        teacher: the vectors of the training text.
        sentences: S, the number of sentences in a batch. They have similar lengths.
        weight: of the loss of the sentence vectors.
        held_out: the vectors of the text to evaluate on.
    """

    def __init__(
        self,
        task: LanguageModeling,
        teacher: SentenceVectors,
        sentences: int = 64,
        weight: float = WEIGHT,
        held_out: SentenceVectors | None = None,
    ) -> None:
        check_integer("sentences", sentences, 2)
        check_number("weight", weight)
        if task.objective != "masked":
            raise ValueError(f"a teacher needs the objective 'masked', got {task.objective!r}")
        self.task, self.teacher, self.held_out = task, teacher, held_out
        self.objective, self.best = task.objective, task.best
        self.sentences, self.weight = min(sentences, len(teacher.vectors)), weight
        self._by_length = np.argsort(np.diff(teacher.tokens.sentences), kind="stable")

    def batches(self, tokens: TokenFile, batch_size: int, seed: int) -> Batches:
        """Return the batches of a corpus."""
        masked = self.task.collator(tokens)
        return Batches(
            lambda epoch, rng: self.task.segments(tokens, rng),
            lambda rows, rng: {**masked(rows, rng), **self._draw(rng)},
            batch_size,
            seed,
        )

    def _draw(self, rng: np.random.Generator) -> Batch:
        """Draw sentences whose lengths are near to that of a random sentence."""
        count, most = self.sentences, len(self._by_length)
        size = min(WINDOW * count, most)
        first = int(np.clip(rng.integers(most) - size // 2, 0, most - size))
        chosen = self._by_length[first + rng.choice(size, count, replace=False)]
        return self._rows(self.teacher, chosen)

    def _rows(self, vectors: SentenceVectors, chosen: np.ndarray) -> Batch:
        tokenizer, tokens = self.task.tokenizer, vectors.tokens
        room = self.task.length - tokenizer.num_special_tokens_to_add(pair=False)
        rows = []
        for i in chosen.tolist():
            first, last = tokens.sentences[i : i + 2].tolist()
            ids = tokens.ids[first : min(last, first + room)].tolist()
            rows.append(np.array(tokenizer.build_inputs_with_special_tokens(ids), np.int64))
        return {
            "sentence_ids": stack(rows, tokenizer.pad_token_id),
            "sentence_mask": stack([np.ones(len(row), np.int64) for row in rows], 0),
            "teacher": vectors.vectors[chosen].astype(np.float32),
        }

    def count(self, batch: Batch) -> int:
        """Return the number of masked words."""
        return self.task.count(batch)

    def loss(self, model: Any, batch: Batch) -> Tensor:
        """Return the weighted sum of both losses."""
        text = dict(batch)
        ids, mask, teacher = (
            text.pop(name) for name in ("sentence_ids", "sentence_mask", "teacher")
        )
        vectors = sentence_vectors(model, ids, mask)
        target = as_tensor(teacher).to(vectors.device)
        cosine = (vectors * target).sum(axis=1).mean()
        difference = vectors @ vectors.transpose(0, 1) - target @ target.transpose(0, 1)
        sentences = 1 - cosine + (difference * difference).mean() * PAIRS
        return masked_loss(model, text) + sentences * self.weight

    def evaluate(self, model: Any, tokens: TokenFile) -> dict[str, float]:
        """Return the metrics of the masked language model and, with `held_out`, "similarity": the
        correlation of the similarities of all pairs of 1,000 sentences with the teacher's.
        """
        scores = self.task.evaluate(model, tokens)
        if self.held_out is not None:
            scores["similarity"] = self.similarity(model, self.held_out)
        return scores

    def similarity(self, model: Any, held_out: SentenceVectors) -> float:
        """Return the correlation of the similarities of sentences with the teacher's."""
        chosen = evaluated_sentences(held_out)
        rows = [self._rows(held_out, chosen[i : i + 32]) for i in range(0, len(chosen), 32)]
        with no_grad(), evaluation(model):
            found = [
                sentence_vectors(model, row["sentence_ids"], row["sentence_mask"]).numpy()
                for row in rows
            ]
        ours, teacher = np.concatenate(found), np.concatenate([row["teacher"] for row in rows])
        pairs = np.triu_indices(len(chosen), 1)
        return metrics.pearson((ours @ ours.T)[pairs], (teacher @ teacher.T)[pairs])


def evaluated_sentences(vectors: SentenceVectors) -> np.ndarray:
    """Return the numbers of 1,000 random sentences, always the same ones, the shortest first."""
    count = len(vectors.vectors)
    chosen = np.random.default_rng(0).choice(count, min(count, EVALUATED), replace=False)
    return chosen[np.argsort(np.diff(vectors.tokens.sentences)[chosen], kind="stable")]


def sentence_vectors(model: Any, ids: np.ndarray, mask: np.ndarray) -> Tensor:
    """Return the mean (S, D) over the tokens of each row, scaled to length 1."""
    x = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state  # (S, T, D)
    weights = as_tensor(mask[:, :, None].astype(np.float32)).to(x.device)
    mean = (x * weights).sum(axis=1) / weights.sum(axis=1)
    return mean / ((mean * mean).sum(axis=1, keepdims=True)).sqrt()
