"""Examples of pre-training, cut from a `TokenFile`: pairs of segments, or blocks of a text.

An example is only a few borders; its tokens are read when a batch is made. An epoch's examples are
drawn anew with the generator of the epoch.

Sources  Devlin et al. 2018, arXiv:1810.04805, appendix A.2 (pairs), and the script
         `create_pretraining_data.py` published with it; Liu et al. 2019, arXiv:1907.11692, section
         4.2 (blocks of full sentences)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinybert.checks import check_integer, check_number
from tinybert.training.token_file import TokenFile

IS_NEXT, IS_RANDOM = 0, 1  # labels of next sentence prediction


@dataclass(frozen=True)
class Segments:
    """The examples of one epoch.

    Attributes:
        tokens: where the tokens are.
        borders: (N, 4) first and last + 1 of the first segment, first and last + 1 of the second,
            as positions in `tokens.ids`. An empty second segment means that there is none.
        labels: (N,) 0 if the second segment follows the first in the text, 1 if it is from
            another document.
    """

    tokens: TokenFile
    borders: np.ndarray
    labels: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """The number of tokens of each example, special tokens not counted: (N,)."""
        return self.borders[:, 1::2].sum(axis=1) - self.borders[:, ::2].sum(axis=1)

    def __len__(self) -> int:
        return len(self.borders)

    def __getitem__(self, index: int) -> tuple[slice, slice, int]:
        a, b, c, d = self.borders[index].tolist()
        return slice(a, b), slice(c, d), int(self.labels[index])


def sentence_blocks(tokens: TokenFile, size: int, rng: np.random.Generator) -> Segments:
    """Cut the text into segments of whole sentences with at most `size` tokens.

    Segments do not cross the borders of documents. Each document starts with a segment of random
    size, so that other sentences meet in each epoch. A sentence of more than `size` tokens is cut.
    """
    check_integer("size", size, 1)
    borders = []
    for first, last in zip(tokens.documents[:-1], tokens.documents[1:], strict=True):
        starts = tokens.sentences[first : last + 1]
        room = int(rng.integers(1, size + 1))
        begin, position = int(starts[0]), 0
        while begin < starts[-1]:
            # The last sentence border that is at most `room` tokens away.
            position = int(np.searchsorted(starts, begin + room, "right")) - 1
            end = int(starts[position])
            if end <= begin:
                end = min(begin + size, int(starts[-1]))
            borders.append((begin, end, 0, 0))
            begin, room = end, size
    return Segments(tokens, np.array(borders, np.int64).reshape(-1, 4), _zeros(len(borders)))


def token_blocks(tokens: TokenFile, size: int, rng: np.random.Generator) -> Segments:
    """Cut the text into blocks of `size` tokens, for a causal language model.

    Blocks cross the borders of documents. The first block begins at a random token.
    """
    check_integer("size", size, 1)
    begin = np.arange(int(rng.integers(0, size)), len(tokens) - size + 1, size)
    borders = np.stack([begin, begin + size, 0 * begin, 0 * begin], axis=1)
    return Segments(tokens, borders, _zeros(len(borders)))


def token_windows(tokens: TokenFile, size: int) -> Segments:
    """Cut the text into blocks of `size` tokens that cover all of it; the last one may be shorter.

    For the evaluation of a causal language model: every token is predicted once, from those before
    it in its block, but for the first of each block. A last block of a single token is left out.
    """
    check_integer("size", size, 2)
    begin = np.arange(0, len(tokens) - 1, size)
    borders = np.stack([begin, np.minimum(begin + size, len(tokens)), 0 * begin, 0 * begin], axis=1)
    return Segments(tokens, borders, _zeros(len(borders)))


def sentence_pairs(
    tokens: TokenFile, size: int, rng: np.random.Generator, short: float = 0.1
) -> Segments:
    """Draw pairs of segments for next sentence prediction, as BERT's authors do.

    A document's sentences are collected until they have `size` tokens, or a random smaller
    number for a share `short` of the examples. The first segment is a random number of these
    sentences. The second is the rest (label 0) or, with probability 1/2, as many tokens of another
    document (label 1); the sentences not used then begin the next example. Tokens beyond `size` are
    dropped at random from both ends of the longer segment.

    Raises ValueError if there are fewer than two documents.
    """
    check_integer("size", size, 2)
    check_number("short", short, most=1)
    count = len(tokens.documents) - 1
    if count < 2:
        raise ValueError(
            "next sentence prediction needs at least 2 documents (separated by an empty line), "
            f"got {count}"
        )
    drawn = [
        pair
        for document in range(count)
        for pair in _pairs_of_document(tokens, document, size, rng, short)
    ]
    borders = np.array([pair[:4] for pair in drawn], np.int64).reshape(-1, 4)
    return Segments(tokens, borders, np.array([pair[4] for pair in drawn], np.int64))


def _pairs_of_document(
    tokens: TokenFile, document: int, size: int, rng: np.random.Generator, short: float
) -> list[tuple[int, int, int, int, int]]:
    pairs = []
    at = tokens.sentences
    first, end = (int(border) for border in tokens.documents[document : document + 2])
    while first < end:
        target = int(rng.integers(2, size + 1)) if rng.random() < short else size
        last = _sentences_until(tokens, first, end, target)
        split = first + 1 if last - first == 1 else int(rng.integers(first + 1, last))
        a = (int(at[first]), int(at[split]))
        if split == last or rng.random() < 0.5:
            other = int(rng.integers(0, len(tokens.documents) - 2))
            other += other >= document
            begin, stop = (int(border) for border in tokens.documents[other : other + 2])
            begin = int(rng.integers(begin, stop))
            room = max(1, target - (a[1] - a[0]))
            b = (int(at[begin]), int(at[_sentences_until(tokens, begin, stop, room)]))
            first, label = split, IS_RANDOM
        else:
            b = (int(at[split]), int(at[last]))
            first, label = last, IS_NEXT
        pairs.append((*_shortened(a, b, size, rng), label))
    return pairs


def _sentences_until(tokens: TokenFile, first: int, end: int, target: int) -> int:
    """Return the end of the fewest sentences from `first` with at least `target` tokens."""
    border = tokens.sentences[first] + target
    found = first + int(np.searchsorted(tokens.sentences[first : end + 1], border))
    return min(max(found, first + 1), end)


def _shortened(
    a: tuple[int, int], b: tuple[int, int], size: int, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Drop tokens from both ends of the longer segment until there are at most `size`."""
    lengths = [a[1] - a[0], b[1] - b[0]]
    if sum(lengths) <= size:
        return (*a, *b)
    kept = min(*lengths, size // 2)  # of the shorter segment
    kept_a, kept_b = (kept, size - kept) if lengths[0] <= lengths[1] else (size - kept, kept)
    skip_a = int(rng.binomial(lengths[0] - kept_a, 0.5))
    skip_b = int(rng.binomial(lengths[1] - kept_b, 0.5))
    return a[0] + skip_a, a[0] + skip_a + kept_a, b[0] + skip_b, b[0] + skip_b + kept_b


def _zeros(count: int) -> np.ndarray:
    return np.zeros(count, np.int64)
