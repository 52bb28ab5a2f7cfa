"""From a stretch of text to the tokens of its words, each kind of word worked out once.

Pre-tokenizers are steps: some put something in front, some cut, some change a word. A word that
the first cut leaves becomes the same tokens wherever it stands, so that these are remembered. The
steps themselves are in `json_pretokenizers.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from tinybert.text.aligned_text import AlignedText, Span, Token

LONGEST_REMEMBERED = 40  # characters: what is longer hardly comes again, and takes much room
MAX_REMEMBERED = 300_000  # tokens, and as much room as these for every word: less than 50 MB
ROOM_OF_WORD = 3

# The words of a text and where each begins in it, or None if nothing is left out between them.
Cuts = tuple[list[str], list[int] | None]
Tokenize = Callable[[str], Sequence[Token]]


class Front(NamedTuple):
    """A step that may put something in front of a text, and replace characters by others.

    text: what becomes of a text that begins at this place of the original.
    looks_at_place: whether that depends on the place.
    """

    text: Callable[[str, int], str]
    looks_at_place: bool = False

    def __call__(self, words: list[AlignedText]) -> list[AlignedText]:
        for word in words:
            changed = self.text(word.text, word.start)
            word.set(changed, word.spans[:1] * (len(changed) - len(word.text)) + word.spans)
        return words


class Cut(NamedTuple):
    """A step that cuts a text into words, none of them empty."""

    words: Callable[[str], Cuts]

    def __call__(self, words: list[AlignedText]) -> list[AlignedText]:
        done = []
        for word in words:
            texts, starts = self.words(word.text)
            if starts is None:
                starts = begins(map(len, texts))
            for text, start in zip(texts, starts, strict=True):
                done.append(word.part(start, start + len(text)))
        return done


class Change(NamedTuple):
    """A step that changes words, each by itself and in place."""

    change: Callable[[AlignedText], None]

    def __call__(self, words: list[AlignedText]) -> list[AlignedText]:
        for word in words:
            self.change(word)
        return words


Step = Front | Cut | Change


_PLACES = [(i, i + 1) for i in range(1000)]  # so that texts of usual lengths share theirs


def places(start: int, end: int) -> list[Span]:
    """The places of characters that stand for themselves."""
    if end <= len(_PLACES):
        return _PLACES[start:end]
    return [(i, i + 1) for i in range(start, end)]


def begins(sizes: Iterable[int]) -> list[int]:
    """Where texts of these sizes begin that follow each other."""
    return [0, *accumulate(sizes)][:-1]


class Word(NamedTuple):
    """What a part of a text becomes: the columns of its tokens.

    spans: the characters of the part that each token stands for.
    numbers: the word of each token, counted from 0; there are `n_words`.
    size: how many characters the part has.
    """

    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    spans: tuple[Span, ...]
    numbers: tuple[int, ...]
    n_words: int
    size: int

    @classmethod
    def of(cls, words: list[AlignedText], tokenize: Tokenize, size: int) -> Word:
        """The tokens of all words that a part of a text was cut into."""
        ids, tokens, spans, numbers = [], [], [], []
        for number, word in enumerate(words):
            for token_id, token, start, end in tokenize(word.text):
                ids.append(token_id)
                tokens.append(token)
                spans.append((word.spans[start][0], word.spans[end - 1][1]))
                numbers.append(number)
        return cls(tuple(ids), tuple(tokens), tuple(spans), tuple(numbers), len(words), size)


class Piece(NamedTuple):
    """A stretch of text as its parts, and what must be known to find their places.

    starts: where each begins in the stretch; None if they follow each other.
    spans: where each character of the stretch stands in the original; None if they are those from
        `origin` on, behind `front` characters that were inserted.
    is_word: whether all parts together are one word.
    """

    parts: list[Word]
    starts: list[int] | None = None
    spans: list[Span] | None = None
    origin: int = 0
    front: int = 0
    is_word: bool = False

    def offsets(self) -> list[Span]:
        """The characters of the original that each token stands for."""
        starts, spans, first = self.starts, self.spans, self.origin
        if starts is None:
            starts = begins(part.size for part in self.parts)
        if spans is not None:
            return [
                (spans[at + start][0], spans[at + end - 1][1])
                for part, at in zip(self.parts, starts, strict=True)
                for start, end in part.spans
            ]
        shift = first - self.front
        found = [
            (at + start, at + end)
            for part, at in zip(self.parts, [shift + start for start in starts], strict=True)
            for start, end in part.spans
        ]
        if self.front:  # what was inserted has the place of the first character
            found = [(max(start, first), max(end, first + 1)) for start, end in found]
        return found

    def word_ids(self, number: int) -> list[int]:
        """The word of each token, the first word being `number`."""
        if self.is_word:
            return [number for part in self.parts for _ in part.ids]
        found = []
        for part in self.parts:
            found += [number + step for step in part.numbers]
            number += part.n_words
        return found

    def n_words(self) -> int:
        return 1 if self.is_word else sum(part.n_words for part in self.parts)


class Words(dict[str, Word]):
    """The parts of texts that were seen, but long ones; emptied when they take `MAX_REMEMBERED`.

    Arguments:
        steps: the pre-tokenizers.
        tokenize: the tokens of a word.
        parts: cuts a word into parts that become the same tokens each by itself; None if there is
            no way to know.
    """

    def __init__(
        self,
        steps: list[Step],
        tokenize: Tokenize,
        parts: Callable[[str], list[str]] | None = None,
    ) -> None:
        super().__init__()
        self.taken = 0
        self.steps = steps
        self.tokenize = tokenize
        fronts = next((i for i, step in enumerate(steps) if not isinstance(step, Front)), None)
        self.fronts = [step for step in steps[:fronts] if isinstance(step, Front)]
        self.rest = steps[len(self.fronts) :]
        self.cut: Callable[[str], Cuts] = lambda text: ([text], None)
        self.is_word = False
        if self.rest and isinstance(self.rest[0], Cut):
            self.cut = self.rest.pop(0).words  # type: ignore[union-attr]
        elif not self.rest and parts is not None:
            self.cut, self.is_word = (lambda text: (parts(text), None)), True
        # The place of a word in the text must not matter if it is to be remembered.
        self.remembers = not any(
            isinstance(step, Front) and step.looks_at_place for step in self.rest
        )

    def __missing__(self, text: str) -> Word:
        words: list[AlignedText] = [AlignedText(text, places(0, len(text)))]
        for step in self.rest:
            words = step(words)
        word = Word.of(words, self.tokenize, len(text))
        if len(text) <= LONGEST_REMEMBERED:
            self.taken += (room := len(word.ids) + ROOM_OF_WORD)
            if self.taken > MAX_REMEMBERED:
                self.clear()
                self.taken = room
            self[text] = word
        return word

    def piece(self, text: str, origin: int) -> Piece:
        """A stretch of the original as it is."""
        if not self.remembers:
            spans = places(origin, origin + len(text))
            return self.piece_of(AlignedText(text, spans, origin))
        size = len(text)
        for step in self.fronts:
            text = step.text(text, origin)
        texts, starts = self.cut(text)
        parts = [self[part] for part in texts]
        return Piece(parts, starts, None, origin, len(text) - size, self.is_word)

    def piece_of(self, stretch: AlignedText) -> Piece:
        """A stretch that was changed already."""
        if not self.remembers:
            words = [stretch]
            for step in self.steps:
                words = step(words)
            return Piece([Word.of(words, self.tokenize, 0)])
        for step in self.fronts:
            step([stretch])
        texts, starts = self.cut(stretch.text)
        return Piece([self[part] for part in texts], starts, stretch.spans, is_word=self.is_word)


class Columns:
    """The columns of a text made of pieces, by name: what a `LazyEncoding` asks for."""

    __slots__ = ("ids", "pieces", "sequence")

    def __init__(self, pieces: list[Piece], sequence: int) -> None:
        self.pieces = pieces
        self.sequence = sequence
        self.ids = [i for piece in pieces for part in piece.parts for i in part.ids]

    def __call__(self, name: str) -> list[Any]:
        if name == "ids":
            return self.ids
        if name == "tokens":
            return [token for piece in self.pieces for part in piece.parts for token in part.tokens]
        if name == "offsets":
            return [span for piece in self.pieces for span in piece.offsets()]
        if name == "word_ids":
            firsts = begins(piece.n_words() for piece in self.pieces)
            pairs = zip(self.pieces, firsts, strict=True)
            return [number for piece, first in pairs for number in piece.word_ids(first)]
        values = {"special_tokens_mask": 0, "attention_mask": 1}
        return [values.get(name, self.sequence)] * len(self.ids)
