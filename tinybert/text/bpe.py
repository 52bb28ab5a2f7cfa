"""Byte-pair encoding (BPE): merge the symbols of a word, in the order in which merges were learnt.

Symbols are bytes (`byte_level.py`) or characters; a word may be a whole text. `train_bpe.py` learns
merges.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Mapping
from itertools import accumulate, pairwise

from tinybert.text.aligned_text import Token, char_spans
from tinybert.text.word_cache import WordCache

LONGEST_SEARCHED = 100  # symbols; in longer words a heap finds the pair to merge next
WORDS = re.compile("▁+[^▁]*|[^▁]+")  # ▁ stands for a space


class BPE(WordCache[tuple[Token, ...]]):
    """BPE (Sennrich et al. 2016, arXiv:1508.07909): of all pairs of neighbours, merge the one that
    was learnt first, at its leftmost position; repeat until no pair can be merged.

        BPE({"l": 0, "o": 1, "w": 2, "lo": 3, "low": 4}, [("l", "o"), ("lo", "w")])["low"]

    The object is a dictionary from words to their tokens, filled by `tokenize`.

    Arguments:
        vocab: token -> id.
        merges: pairs of tokens in the order in which they were learnt.
        unk_token: the token of a character that the vocabulary lacks; None drops such characters.
            If the vocabulary lacks unk_token itself, a word that needs it raises ValueError.
        fuse_unk: consecutive unknown characters become one token.
        byte_fallback: an unknown character becomes the tokens <0x00> to <0xFF> of its bytes, if
            the vocabulary has them all.
        ignore_merges: a word in the vocabulary is one token, whatever the merges.
        prefix: what every symbol but the first begins with in the vocabulary.
        suffix: what the last symbol ends with in the vocabulary.

    Raises ValueError if a merge is not in the vocabulary.
    """

    def __init__(
        self,
        vocab: Mapping[str, int],
        merges: Iterable[tuple[str, str]],
        *,
        unk_token: str | None = None,
        fuse_unk: bool = False,
        byte_fallback: bool = False,
        ignore_merges: bool = False,
        prefix: str = "",
        suffix: str = "",
    ) -> None:
        super().__init__()
        self.vocab = vocab
        self.token_of = {token_id: token for token, token_id in vocab.items()}
        self.unk_token = unk_token
        self.fuse_unk = fuse_unk
        self.byte_fallback = byte_fallback
        self.ignore_merges = ignore_merges
        self.prefix, self.suffix = prefix, suffix
        self.ranks: dict[tuple[int, int], int] = {}
        self.merged: list[int] = []  # the id of a merged pair, by rank
        # A whole text can be tokenized word by word if no merge crosses a word, and no other rule
        # depends on more than one word.
        self.has_words = "▁" in vocab and unk_token is not None
        self.has_words &= not (ignore_merges or prefix or suffix)
        for rank, (left, right) in enumerate(merges):
            merged = left + right[len(prefix) :]
            for token in (left, right, merged):
                if token not in vocab:
                    raise ValueError(
                        f"merge {rank + 1}, {left!r:.80} {right!r:.80}: {token!r:.80} "
                        "is not in the vocabulary"
                    )
            self.ranks[vocab[left], vocab[right]] = rank
            self.merged.append(vocab[merged])
            self.has_words &= len(self.parts(merged)) == 1

    def compute(self, word: str) -> tuple[Token, ...]:
        """Return the tokens to cache."""
        return self.tokenize(word)

    def tokenize(self, word: str) -> tuple[Token, ...]:
        """Return the tokens of a word, with their offsets in it."""
        if self.ignore_merges and word in self.vocab:
            return (Token(self.vocab[word], word, 0, len(word)),)
        if self.has_words and len(parts := self.parts(word)) > 1:
            starts = accumulate(map(len, parts[:-1]), initial=0)
            return tuple(
                Token(token_id, token, origin + start, origin + end)
                for part, origin in zip(parts, starts, strict=True)
                for token_id, token, start, end in self[part]
            )
        ids = self._characters(word)
        if not ids:
            ids, sizes = self._symbols(word)
            self.merge(ids, sizes)
            spans = char_spans(word, sizes)
        else:
            self.merge(ids)
            ends = [*accumulate([len(self.token_of[i]) for i in ids])]
            spans = [*zip([0, *ends[:-1]], ends, strict=True)]
        return tuple(Token(i, self.token_of[i], *span) for i, span in zip(ids, spans, strict=True))

    def ids(self, word: str) -> list[int]:
        """Return the ids of the tokens of a word."""
        if self.ignore_merges and word in self.vocab:
            return [self.vocab[word]]
        has_many = self.has_words and len(self.parts(word)) > 1
        if has_many or not (ids := self._characters(word)):
            return [token.id for token in self.tokenize(word)]
        self.merge(ids)
        return ids

    def _characters(self, word: str) -> list[int]:
        """Return the ids of the characters of a word; none if a rule is needed for one."""
        ids = [] if self.prefix or self.suffix else list(map(self.vocab.get, word))
        return [] if None in ids else ids  # type: ignore[return-value]

    def parts(self, text: str) -> list[str]:
        """Return the words of a text, for a model that `has_words`."""
        return WORDS.findall(text)

    def _symbols(self, word: str) -> tuple[list[int], list[int]]:
        """Return the ids of the characters of a word, and the number of bytes of each."""
        ids: list[int] = []
        sizes: list[int] = []
        unknown = 0  # bytes of the unknown token that is being collected
        last = len(word) - 1
        for i, char in enumerate(word):
            size = len(char.encode("utf-8", "surrogatepass"))
            symbol = (self.prefix if i else "") + char + (self.suffix if i == last else "")
            token_id = self.vocab.get(symbol)
            if token_id is None and self.byte_fallback and (found := self._bytes_of(symbol)):
                ids += found
                sizes += [1] * len(found)
                continue
            if unknown and (token_id is not None or not self.fuse_unk):
                ids.append(unknown_id(self.vocab, self.unk_token, word))
                sizes.append(unknown)
                unknown = 0
            if token_id is not None:
                ids.append(token_id)
                sizes.append(size)
            elif self.unk_token is not None:
                unknown += size
        if unknown:
            ids.append(unknown_id(self.vocab, self.unk_token, word))
            sizes.append(unknown)
        return ids, sizes

    def _bytes_of(self, symbol: str) -> list[int] | None:
        names = [f"<0x{byte:02X}>" for byte in symbol.encode("utf-8", "surrogatepass")]
        found = [self.vocab[name] for name in names if name in self.vocab]
        return found if len(found) == len(names) else None

    def merge(self, ids: list[int], sizes: list[int] | None = None) -> None:
        """Merge ids in place until no pair can be merged; add the `sizes` of merged ids."""
        if len(ids) > LONGEST_SEARCHED:
            self._merge_many(ids, [1] * len(ids) if sizes is None else sizes)
            return
        get, never = self.ranks.get, len(self.merged)
        ranks = [get(pair, never) for pair in pairwise(ids)]
        ranks.append(never)  # the last id has no right neighbour
        while (rank := min(ranks)) < never:
            i = ranks.index(rank)
            ids[i] = merged = self.merged[rank]
            del ids[i + 1], ranks[i]
            if sizes is not None:
                sizes[i] += sizes.pop(i + 1)
            if i:
                ranks[i - 1] = get((ids[i - 1], merged), never)
            if i + 1 < len(ids):
                ranks[i] = get((merged, ids[i + 1]), never)

    def _merge_many(self, ids: list[int], sizes: list[int]) -> None:
        """Merge as `merge` does, but faster for long words.

        Searching the lowest rank after each merge takes n^2 steps for n symbols. A heap of the
        pairs that can be merged, by rank and position, and linked neighbours take n log n.
        Entries of the heap whose pair no longer exists are skipped.
        """
        get, n = self.ranks.get, len(ids)
        pairs = enumerate(pairwise(ids))
        heap = [(rank, i) for i, pair in pairs if (rank := get(pair)) is not None]
        heapq.heapify(heap)
        before, after = list(range(-1, n - 1)), list(range(1, n + 1))
        while heap:
            rank, i = heapq.heappop(heap)
            j = after[i]
            if j >= n or get((ids[i], ids[j])) != rank:
                continue
            merged = self.merged[rank]
            ids[i], ids[j] = merged, -1
            sizes[i] += sizes[j]
            after[i] = k = after[j]
            if k < n:
                before[k] = i
                if (rank_right := get((merged, ids[k]))) is not None:
                    heapq.heappush(heap, (rank_right, i))
            if (h := before[i]) >= 0 and (rank_left := get((ids[h], merged))) is not None:
                heapq.heappush(heap, (rank_left, h))
        sizes[:] = [size for size, token_id in zip(sizes, ids, strict=True) if token_id >= 0]
        ids[:] = [token_id for token_id in ids if token_id >= 0]


def unknown_id(vocab: Mapping[str, int], unk_token: str | None, word: str) -> int:
    """Return the id of the unknown token; ValueError, naming the word, if it has none."""
    if unk_token is None or unk_token not in vocab:
        raise ValueError(
            f"{word!r:.80} is unknown, and unk_token {unk_token!r} is not in the vocabulary"
        )
    return vocab[unk_token]
