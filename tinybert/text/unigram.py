"""Unigram: split a word into the most probable sequence of tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tinybert.text.aligned_text import Token
from tinybert.text.word_cache import WordCache

UNKNOWN_PENALTY = 10.0
NO_PREFIX = math.nan  # instead of a score: no token begins with this text
LONGEST_TOKEN = 256  # characters; SentencePiece learns at most 16
MAX_PREFIXES = 500_000_000  # characters of all prefixes of tokens; 5 million is usual


class Unigram(WordCache[tuple[Token, ...]]):
    """Unigram model (Kudo 2018, arXiv:1804.10959): tokens are independent, and the probability of a
    segmentation is the product of theirs. Dynamic programming (Viterbi) finds the best one.

    Arguments:
        vocab: (token, log probability), by id.
        unk_id: the id of the unknown token. An unknown character costs `UNKNOWN_PENALTY` more than
            the rarest token; consecutive unknown characters become one unknown token.
        byte_fallback: unknown characters become the tokens <0x00> to <0xFF> of their bytes, if the
            vocabulary has them all.

    Raises ValueError if `unk_id` is not an id of the vocabulary, or the tokens are longer than any
    that are learnt from texts.

    The object is a dictionary from words to their tokens, as `BPE` is. A word with unknown
    characters raises ValueError if there is no unknown token.
    """

    def __init__(
        self,
        vocab: Sequence[tuple[str, float]],
        unk_id: int | None = None,
        byte_fallback: bool = False,
    ) -> None:
        super().__init__()
        if unk_id is not None and not 0 <= unk_id < len(vocab):
            raise ValueError(f"unk_id must be an id of the vocabulary, got {unk_id}")
        for token, _ in vocab:
            if len(token) > LONGEST_TOKEN:
                raise ValueError(
                    f"the token {token[:40]!r}... has {len(token)} characters; at most "
                    f"{LONGEST_TOKEN} are allowed"
                )
        if sum(len(token) ** 2 // 2 for token, _ in vocab) > MAX_PREFIXES:
            raise ValueError("the tokens of the vocabulary are too long and too many")
        self.vocab = {token: token_id for token_id, (token, _) in enumerate(vocab)}
        self.unk_id = unk_id
        self.byte_fallback = byte_fallback
        self.unknown_score = min((score for _, score in vocab), default=0.0) - UNKNOWN_PENALTY
        # Every prefix of a token, with the score of the token if it is one itself. A text that is
        # not in this dictionary is not a prefix of any token.
        self.scores: dict[str, float | None] = {}
        for token, score in vocab:
            for end in range(len(token) - 1, 0, -1):
                if token[:end] in self.scores:  # and so are all its prefixes
                    break
                self.scores[token[:end]] = None
            self.scores[token] = score

    def compute(self, word: str) -> tuple[Token, ...]:
        """Return the tokens to cache."""
        return self.tokenize(word)

    def tokenize(self, word: str) -> tuple[Token, ...]:
        """Return the tokens of a word, with their offsets in it."""
        tokens: list[Token] = []
        for start, end in self.best_cut(word):
            text = word[start:end]
            token_id = self.vocab.get(text)
            if token_id is None and (found := self._bytes_of(text)):
                tokens += [Token(i, name, start, end) for i, name in found]
                continue
            if token_id is None:
                token_id = self.unk_id
            if token_id is None:
                raise ValueError(f"{text!r} is unknown, and the vocabulary has no unknown token")
            tokens.append(Token(token_id, text, start, end))
        return tuple(tokens)

    def _bytes_of(self, text: str) -> list[tuple[int, str]] | None:
        if not self.byte_fallback:
            return None
        names = [f"<0x{byte:02X}>" for byte in text.encode("utf-8", "surrogatepass")]
        found = [(self.vocab[name], name) for name in names if name in self.vocab]
        return found if len(found) == len(names) else None

    def best_cut(self, word: str) -> list[tuple[int, int]]:
        """Return the offsets of the best segmentation; consecutive unknown characters are joined.

        best[end] is the score of the best segmentation of word[:end], and begin[end] the start of
        its last token. Of equal segmentations the one with the longest last token wins.
        """
        n, scores = len(word), self.scores
        best, begin = [0.0] + [-math.inf] * n, [-1] * (n + 1)
        for start in range(n):
            here = best[start]
            single = False
            for end in range(start + 1, n + 1):
                score = scores.get(word[start:end], NO_PREFIX)
                if score is None:
                    continue
                if score is NO_PREFIX:
                    break
                single = single or end == start + 1
                if begin[end] < 0 or here + score > best[end]:
                    best[end], begin[end] = here + score, start
            end = start + 1
            if not single and (begin[end] < 0 or here + self.unknown_score > best[end]):
                best[end], begin[end] = here + self.unknown_score, start
        spans: list[tuple[int, int]] = []
        end, joins = n, False
        while end > 0:
            start = begin[end]
            unknown = self.vocab.get(word[start:end], self.unk_id) == self.unk_id
            if joins and unknown:
                spans[-1] = (start, spans[-1][1])
            else:
                spans.append((start, end))
            joins = unknown
            end = start
        return spans[::-1]
