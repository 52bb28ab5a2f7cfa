"""`Pipeline`: from a text to tokens with offsets, as the Rust library `tokenizers` does it.

Added tokens are split off; the rest passes through the normalizer, the pre-tokenizer and the model.
This class computes the offsets of all "Fast" tokenizers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from tinybert.text.added_token import AddedToken
from tinybert.text.aligned_text import AlignedText
from tinybert.text.token_matcher import TokenMatcher
from tinybert.tokenizer_json.encoding import Encoding
from tinybert.tokenizer_json.models import Model
from tinybert.tokenizer_json.normalizers import Normalize, NormalizeChunks
from tinybert.tokenizer_json.patterns import TimeLimit
from tinybert.tokenizer_json.segments import (
    Change,
    Cut,
    Segment,
    Step,
    TokenizedText,
    Words,
    WordTokenizer,
)


class Pipeline:
    """A normalizer, a pre-tokenizer (as its steps) and a model, with the added tokens.

    A normalizer that changes each chunk between whitespace by itself (`NormalizeChunks`) becomes
    a step of the pre-tokenizer if that cuts at whitespace: each distinct chunk is then normalized
    once.

    trims_offsets: exclude spaces at the ends of tokens from their offsets.
    """

    def __init__(
        self,
        normalize: Normalize | None,
        steps: list[Step],
        model: Model,
        trims_offsets: bool = False,
    ) -> None:
        self.normalize = normalize
        self.trims_offsets = trims_offsets
        self.words = WordTokenizer(steps, model, True, trims_offsets)
        self.unnormalized_words = self.words if normalize is None else None
        first = steps[0] if steps else None
        if (
            isinstance(normalize, NormalizeChunks)
            and isinstance(first, Cut)
            and first.at_whitespace
        ):
            pattern = normalize.chunk_pattern
            chunks = Cut(pattern.findall, lambda text: [m.start() for m in pattern.finditer(text)])
            steps = [chunks, Change(normalize, normalize.text), *steps]
            self.unnormalized_words = WordTokenizer(steps, model, trims=trims_offsets)
        self.set_added_tokens({}, [])

    def set_added_tokens(self, ids: Mapping[str, int], tokens: Iterable[AddedToken]) -> None:
        """Search for these added tokens, with ids by content, from now on."""
        self._added_ids = ids
        tokens = sorted(tokens, key=lambda token: not token.special)
        ordinary = [token for token in tokens if not token.special]
        with TimeLimit(sum(len(token.content) for token in tokens)):  # for the normalizer
            self._matchers = self._matchers_of(tokens), self._matchers_of(ordinary)

    def _matchers_of(self, tokens: list[AddedToken]) -> tuple[TokenMatcher, TokenMatcher]:
        """Return the matchers of the tokens in the original and in the normalized text."""
        return (
            TokenMatcher((t.content, t) for t in tokens if not t.normalized),
            TokenMatcher((self.normalized(t.content), t) for t in tokens if t.normalized),
        )

    def normalized(self, text: str) -> str:
        """Return the result of the normalizer."""
        aligned = AlignedText.of(text)
        if self.normalize:
            self.normalize(aligned)
        return aligned.text

    def encode(self, text: str, sequence: int = 0, split_special_tokens: bool = False) -> Encoding:
        """Return the tokens of the first (`sequence` 0) or second (1) text of a row.

        split_special_tokens: treat special tokens in the text as ordinary text.
        """
        return TokenizedText(self._segments(text, split_special_tokens), sequence)

    def _segments(self, text: str, split_special_tokens: bool) -> list[Segment]:
        exact, in_normalized = self._matchers[split_special_tokens]
        words = self.unnormalized_words
        segments: list[Segment] = []
        for token, start, end in exact.split(text):
            part = text[start:end]
            if token is not None:
                segments.append(Segment.of([self._added_word(token, part)], origin=start))
            elif words is not None and not in_normalized.tokens:
                segments.append(words.segment(part, start))
            elif self.normalize is None:
                for other, begin, stop in in_normalized.split(part):
                    found, origin = part[begin:stop], start + begin
                    if other is not None:
                        word = self._added_word(other, found)
                        segments.append(Segment.of([word], origin=origin))
                    else:
                        segments.append(self.words.segment(found, origin))
            else:
                changed = AlignedText.of(part, start)
                self.normalize(changed)
                segments += self._normalized_segments(changed, in_normalized)
        return segments

    def _normalized_segments(self, text: AlignedText, matcher: TokenMatcher) -> Iterator[Segment]:
        """Yield the segments that are added tokens, and those between them."""
        for token, start, end in matcher.split(text.text):
            part = text.part(start, end)
            if token is not None:
                yield Segment.of([self._added_word(token, part.text)], spans=part.spans)
            else:
                yield self.words.segment_of(part)

    def _added_word(self, token: AddedToken, text: str) -> Words:
        word = Words.of_added_token(self._added_ids[token.content], text)
        return word.trimmed() if self.trims_offsets else word
