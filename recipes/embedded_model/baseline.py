"""Measure what counting words reaches on the held-out text of the embedded model.

usage: baseline.py TRAIN HELD_OUT MINILM

TRAIN, HELD_OUT   `train.txt` and `held_out.txt` of start.py
MINILM            the folder of all-MiniLM-L6-v2, or `minilm`

Masked words: the model of the neighbours. With c the counts in the training text, l and r the
tokens to the left and to the right, p(w) the frequency of a token,

    p(w | l) = (c(l w) + K p(w)) / (c(l) + K)                 and p(w | r) in the same way
    b(w)     ~ p(w | l) p(w | r) / p(w)                       as if l and r were independent
    p(w | l, r) = (c(l w r) + K b(w)) / (c(l . r) + K)

A chosen token that is not [MASK] is the right one in half of the cases, as the model can learn too.
Similarities: the cosine of the tokens' counts times log(documents / documents with the token).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

import tinybert
from tinybert.hub import resolve
from tinybert.training import TokenFile, metrics
from tinybert.training.distillation import SentenceVectors, evaluated_sentences
from tinybert.training.language_modeling import LanguageModeling

K = 30.0  # how many occurrences of a context the less exact estimate is worth


class Neighbours:
    """Counts of the tokens between two others in a text."""

    def __init__(self, ids: np.ndarray, size: int) -> None:
        """Count the tokens `ids` of a text; there are `size` different ones."""
        self.size = size
        counts = np.bincount(ids, minlength=size) + 0.5
        self.frequency = counts / counts.sum()
        left, middle, right = ids[:-2].astype(np.int64), ids[1:-1], ids[2:].astype(np.int64)
        self._tables = [_sorted(keys, middle) for keys in (left, right, left * size + right)]

    def probabilities(self, left: int, right: int) -> np.ndarray:
        """Return p(w | l, r) of all tokens w."""
        after = self._smoothed(0, left, self.frequency)
        before = self._smoothed(1, right, self.frequency)
        both = after * before / self.frequency
        return self._smoothed(2, left * self.size + right, both / both.sum())

    def _smoothed(self, table: int, key: int, prior: np.ndarray) -> np.ndarray:
        keys, middle = self._tables[table]
        first, last = np.searchsorted(keys, [key, key + 1])
        counts = np.bincount(middle[first:last], minlength=self.size)
        return (counts + K * prior) / (last - first + K)


def _sorted(keys: np.ndarray, middle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(keys, kind="stable")
    return keys[order], middle[order]


def masked_words(
    counts: Neighbours, task: LanguageModeling, tokens: TokenFile
) -> tuple[float, float]:
    """Return accuracy and perplexity on the tokens that `task.evaluate` masks."""
    mask, hits, losses = task.tokenizer.mask_token_id, [], []
    batches = task.batches(tokens, 32, seed=0)
    for _ in range(len(batches)):
        batch = next(batches)
        ids, labels = batch["input_ids"], batch["labels"]
        for row, place in zip(*np.nonzero(labels != -100), strict=True):
            found = counts.probabilities(int(ids[row, place - 1]), int(ids[row, place + 1]))
            if ids[row, place] != mask:
                found = found / 2
                found[ids[row, place]] += 0.5
            label = labels[row, place]
            hits.append(found.argmax() == label)
            losses.append(-np.log(found[label]))
    return float(np.mean(hits)), float(np.exp(np.mean(losses)))


def similarities(train: TokenFile, vectors: SentenceVectors, size: int) -> float:
    """Return the correlation of the cosines of weighted counts with the teacher's similarities."""
    documents = np.zeros(size)
    for first, last in zip(train.sentences[:-1], train.sentences[1:], strict=True):
        documents[np.unique(train.ids[first:last])] += 1
    weights = np.log(len(train.sentences) / (documents + 1))
    chosen, tokens = evaluated_sentences(vectors), vectors.tokens
    rows = np.stack([
        np.bincount(tokens.ids[slice(*tokens.sentences[i : i + 2])], minlength=size) * weights
        for i in chosen
    ])  # fmt: skip
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    teacher = vectors.vectors[chosen].astype(np.float32)
    pairs = np.triu_indices(len(chosen), 1)
    return metrics.pearson((rows @ rows.T)[pairs], (teacher @ teacher.T)[pairs])


def main(train: str, held_out: str, minilm: str) -> None:
    """Print the figures of the card."""
    tokenizer = tinybert.AutoTokenizer.from_pretrained("embedded")
    teacher = tinybert.SentenceEmbedder.from_pretrained(resolve(minilm))
    with tempfile.TemporaryDirectory() as work:
        seen = TokenFile.build(Path(work, "train"), [train], tokenizer)
        unseen = TokenFile.build(Path(work, "held-out"), [held_out], tokenizer)
        counts = Neighbours(np.asarray(seen.ids), len(tokenizer))
        for name, whole in (("tokens", False), ("whole words", True)):
            task = LanguageModeling(tokenizer, whole_words=whole)
            accuracy, perplexity = masked_words(counts, task, unseen)
            print(f"masked {name}: accuracy {accuracy:.1%}, perplexity {perplexity:.1f}")
        vectors = SentenceVectors.build(
            Path(work, "vectors"), unseen, [held_out], tokenizer, teacher
        )
        print(f"correlation: {similarities(seen, vectors, len(tokenizer)):.3f}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
