"""From a segment of text to the tokens of its words; each distinct word is tokenized once.

A pre-tokenizer is a list of steps: some insert text in front, some cut, some change a word. A
part that the first cut makes has the same tokens wherever it occurs, and is therefore cached. Most
callers need only the ids: tokens and offsets are made when they are asked for. The steps are in
`pre_tokenizers.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, chain
from typing import Any, NamedTuple

from tinybert.text.aligned_text import MAX_GROWTH, AlignedText, Span, Token, check_growth
from tinybert.text.word_cache import WordCache
from tinybert.tokenizer_json.encoding import Encoding
from tinybert.tokenizer_json.models import Model
from tinybert.tokenizer_json.trim_offsets import trimmed

LONGEST_CACHED = 40  # characters: longer words rarely occur again, and take much memory


class Prefix(NamedTuple):
    """A step that may insert text in front, and replace characters by others.

    text: returns the new text, for a text and its start in the original.
    uses_start: whether the result depends on the start.
    """

    text: Callable[[str, int], str]
    uses_start: bool = False

    def __call__(self, words: list[AlignedText]) -> list[AlignedText]:
        for word in words:
            changed = self.text(word.text, word.start)
            word.set(changed, word.spans[:1] * (len(changed) - len(word.text)) + word.spans)
        return words


class Cut(NamedTuple):
    """A step that cuts a text into words, none of them empty.

    words: returns the words of a text.
    starts: returns the start of each word; None if the words follow each other without gaps.
    at_whitespace: whether no word contains whitespace.
    """

    words: Callable[[str], list[str]]
    starts: Callable[[str], list[int]] | None = None
    at_whitespace: bool = False

    def __call__(self, words: list[AlignedText]) -> list[AlignedText]:
        done = []
        for word in words:
            texts = self.words(word.text)
            if texts == [word.text]:
                word.start = word.spans[0][0]
                done.append(word)
                continue
            starts = self.starts(word.text) if self.starts else starts_of(map(len, texts))
            for text, start in zip(texts, starts, strict=True):
                done.append(word.part(start, start + len(text)))
        return done


class Change(NamedTuple):
    """A step that changes each word by itself, in place.

    text: returns the new text alone, for a change that makes no text `MAX_GROWTH` times as long.
    """

    change: Callable[[AlignedText], None]
    text: Callable[[str], str] | None = None

    def __call__(self, words: list[AlignedText]) -> list[AlignedText]:
        for word in words:
            self.change(word)
        return words


Step = Prefix | Cut | Change


def starts_of(sizes: Iterable[int], first: int = 0) -> list[int]:
    """Return the start of each of several texts of these sizes that follow each other."""
    return list(accumulate(sizes, initial=first))[:-1]


@dataclass(slots=True)
class Words:
    """A part of a text as columns of tokens: the tokens of the words that it was cut into.

    spans: the characters of each token, counted from the start of the part.
    numbers: the index of the word of each token, counted from 0; there are `n_words`.
    size: how many characters the part has.

    The columns are tuples: Python's garbage collector does not scan tuples of numbers and strings
    again and again, as it does the lists in a large cache.
    """

    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    spans: tuple[Span, ...]
    numbers: tuple[int, ...]
    n_words: int
    size: int

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(
        cls,
        words: list[AlignedText],
        tokenize: Callable[[str], Sequence[Token]],
        size: int,
        limit: int,
    ) -> Words:
        """Tokenize all words that a part of `size` characters was cut into.

        Raises ValueError for more than `limit` tokens.
        """
        ids, tokens, spans, numbers = [], [], [], []
        for number, word in enumerate(words):
            for token_id, token, start, end in tokenize(word.text):
                ids.append(token_id)
                tokens.append(token)
                spans.append((word.spans[start][0], word.spans[end - 1][1]))
                numbers.append(number)
            check_growth(len(ids), limit)
        return cls(tuple(ids), tuple(tokens), tuple(spans), tuple(numbers), len(words), size)

    def trimmed(self) -> Words:
        """Return the words without spaces at the ends of the tokens in `spans`."""
        return replace(self, spans=tuple(trimmed(self.tokens, self.spans)))

    @classmethod
    def of_added_token(cls, token_id: int, text: str) -> Words:
        """Return an added token, with the whitespace that it takes from the text, as one word."""
        return cls((token_id,), (text,), ((0, len(text)),), (0,), 1, len(text))


@dataclass
class Segment:
    """A segment of a text as the ids of its tokens, and what is needed to find their offsets.

    known: the tokenized parts of the segment; None if `words` makes them from `texts`, the texts of
        the parts, when they are needed.
    words, text: what cut the segment into parts, and its text; without `words` the parts follow
        each other.
    spans: the original characters of each character of the segment; None if the segment is the
        original text from `origin` up, with `n_inserted` characters before it.
    """

    ids: Sequence[int]
    known: list[Words] | None = None
    words: WordTokenizer | None = None
    texts: Sequence[str] = ()
    text: str = ""
    spans: list[Span] | None = None
    origin: int = 0
    n_inserted: int = 0

    @classmethod
    def of(cls, parts: list[Words], **context: Any) -> Segment:
        """Return a segment whose parts are known."""
        return cls([i for part in parts for i in part.ids], parts, **context)

    @cached_property
    def parts(self) -> list[Words]:
        """The tokenized parts."""
        if self.known is not None or self.words is None:
            return self.known or []
        columns = self.words.columns
        return [columns[text] for text in self.texts]

    @property
    def is_word(self) -> bool:
        """Whether all parts together are one word."""
        return self.words is not None and self.words.is_word

    def _starts(self, first: int) -> list[int]:
        """Return the start of each part, if the segment starts at `first`."""
        if self.words is None or self.words.cut.starts is None:
            return starts_of([part.size for part in self.parts], first)
        starts = self.words.cut.starts(self.text)
        return [first + start for start in starts] if first else starts

    def offsets(self) -> list[Span]:
        """Return the characters of the original text of each token."""
        spans, first = self.spans, self.origin
        if spans is not None:
            return [
                (spans[at + start][0], spans[at + end - 1][1])
                for part, at in zip(self.parts, self._starts(0), strict=True)
                for start, end in part.spans
            ]
        found = [
            (at + start, at + end)
            for part, at in zip(self.parts, self._starts(first - self.n_inserted), strict=True)
            for start, end in part.spans
        ]
        for i, (start, end) in enumerate(found):
            if start >= first:
                break
            found[i] = first, max(end, first + 1)  # inserted characters: those of the first one
        return found

    def word_ids(self, number: int) -> list[int]:
        """Return the word index of each token; the first word has index `number`."""
        if self.is_word:
            return [number for part in self.parts for _ in part.ids]
        firsts = starts_of([part.n_words for part in self.parts], number)
        return [
            first + step
            for part, first in zip(self.parts, firsts, strict=True)
            for step in part.numbers
        ]

    def n_words(self) -> int:
        """Return how many words the segment has."""
        return 1 if self.is_word else sum([part.n_words for part in self.parts])


class TokenizedText(Encoding):
    """The tokens of the segments of the first (`sequence` 0) or second (1) text of a row."""

    def __init__(self, segments: list[Segment], sequence: int) -> None:
        self.n_sequences = 1
        self.segments = segments
        self.sequence = sequence
        self.ids = list(chain.from_iterable([segment.ids for segment in segments]))

    def _column(self, name: str) -> list[Any]:
        segments = self.segments
        if name == "tokens":
            return [
                token for segment in segments for part in segment.parts for token in part.tokens
            ]
        if name == "offsets":
            return list(chain.from_iterable([segment.offsets() for segment in segments]))
        if name == "word_ids":
            found: list[int] = []
            number = 0
            for segment in segments:
                found += segment.word_ids(number)
                number += segment.n_words()
            return found
        values = {"special_tokens_mask": 0, "attention_mask": 1}
        return [values.get(name, self.sequence)] * len(self.ids)


class WordTokenizer(WordCache[tuple[int, ...]]):
    """Steps of a pre-tokenizer and a model; a dictionary from parts of texts to their ids.

    Arguments:
        steps: the steps of the pre-tokenizer.
        model: gives the tokens of a word.
        cuts: whether the model may cut a text into parts, if the pre-tokenizer does not.
        trims: exclude spaces at the ends of tokens from their offsets; see `trim_offsets.py`.
    """

    longest = LONGEST_CACHED

    def __init__(
        self, steps: list[Step], model: Model, cuts: bool = False, trims: bool = False
    ) -> None:
        super().__init__()
        self.trims = trims
        self.steps = steps
        self.model = model
        n_prefixes = next(
            (i for i, step in enumerate(steps) if not isinstance(step, Prefix)), len(steps)
        )
        self.prefixes = [step for step in steps[:n_prefixes] if isinstance(step, Prefix)]
        self.rest = steps[n_prefixes:]
        self.cut = Cut(lambda text: [text])
        self.is_word = False
        if self.rest and isinstance(self.rest[0], Cut):
            self.cut = self.rest.pop(0)  # type: ignore[assignment]
        elif not self.rest and cuts and model.parts is not None:
            self.cut, self.is_word = Cut(model.parts), True
        # The tokens of a cached part must not depend on its start.
        self.caches = not any(isinstance(step, Prefix) and step.uses_start for step in self.rest)
        # One change cannot exceed the limit of a part: the texts alone give its ids.
        changes = [step for step in self.rest if not isinstance(step, Cut)]
        self.needs_limits = len(changes) > 1 or any(
            isinstance(step, Prefix) or step.text is None for step in changes
        )
        self.columns = _Columns(self)

    def compute(self, word: str) -> tuple[int, ...]:
        """Return the ids of a part."""
        limit = MAX_GROWTH * len(word)
        if self.needs_limits:
            return self.part(word, limit).ids
        texts = [word]
        for step in self.rest:
            if isinstance(step, Cut):
                texts = [text for whole in texts for text in step.words(whole)]
            elif isinstance(step, Change) and step.text:
                texts = list(map(step.text, texts))
        ids: list[int] = []
        for text in texts:
            ids += self.model.ids(text)
            check_growth(len(ids), limit)
        return tuple(ids)

    def part(self, text: str, limit: int) -> Words:
        """Tokenize a part; ValueError if it would become more than `limit` characters or tokens."""
        words: list[AlignedText] = [AlignedText.of(text, 0, limit)]
        for step in self.rest:
            words = step(words)
        return self._words(words, len(text), limit)

    def _words(self, words: list[AlignedText], size: int, limit: int) -> Words:
        found = Words.of(words, self.model.tokenize, size, limit)
        return found.trimmed() if self.trims else found

    def _bounded_parts(self, texts: list[str], limit: int) -> list[Words]:
        """Return the parts of a text that has grown already, with at most `limit` tokens in all."""
        parts: list[Words] = []
        for text in texts:
            part = self.columns[text] if len(text) <= self.longest else self.part(text, limit)
            limit -= len(part)
            check_growth(-limit, 0)
            parts.append(part)
        return parts

    def _ids(self, texts: list[str]) -> list[int]:
        return list(chain.from_iterable(map(self.__getitem__, texts)))

    def segment(self, text: str, origin: int) -> Segment:
        """Tokenize a segment of the original text that begins at `origin`."""
        if not self.caches:
            return self.segment_of(AlignedText.of(text, origin))
        size = len(text)
        for step in self.prefixes:
            text = step.text(text, origin)
        texts = self.cut.words(text)
        return Segment(self._ids(texts), None, self, texts, text, None, origin, len(text) - size)

    def segment_of(self, changed: AlignedText) -> Segment:
        """Tokenize a segment that was changed already."""
        if not self.caches:
            words = [changed]
            for step in self.steps:
                words = step(words)
            return Segment.of([self._words(words, 0, changed.limit)])
        for step in self.prefixes:
            step([changed])
        text, texts = changed.text, self.cut.words(changed.text)
        if MAX_GROWTH * len(text) <= changed.limit:  # that of the parts is low enough
            return Segment(self._ids(texts), None, self, texts, text, changed.spans)
        parts = self._bounded_parts(texts, changed.limit)
        return Segment.of(parts, words=self, text=text, spans=changed.spans)


class _Columns(WordCache[Words]):
    """A dictionary from the parts of texts to all columns of their tokens."""

    longest = LONGEST_CACHED

    def __init__(self, words: WordTokenizer) -> None:
        super().__init__()
        self.words = words

    def compute(self, word: str) -> Words:
        return self.words.part(word, MAX_GROWTH * len(word))
