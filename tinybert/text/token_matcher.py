"""Searching added tokens in a text by the rules of the Rust library.

They differ from those of `BertTokenizer` in two points: whitespace that belongs to a token (lstrip,
rstrip) is part of its offsets, and a `single_word` token does not match next to a letter; other
characters than spaces are allowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tinybert.text.added_token import AddedToken, pattern_of
from tinybert.text.rust_unicode import rust_unicode


class TokenMatcher:
    """Splits a text at added tokens, each given with the form in which it occurs in the text."""

    def __init__(self, tokens: Iterable[tuple[str, AddedToken]]) -> None:
        self.tokens: dict[str, AddedToken] = {}
        for form, token in tokens:
            if form:  # normalization may leave nothing of a token: then it never occurs
                self.tokens.setdefault(form, token)
        self._pattern = pattern_of(sorted(self.tokens, key=len, reverse=True))
        unicode = rust_unicode()
        self._letters, self._spaces = unicode.word, unicode.whitespace

    def split(self, text: str) -> Iterator[tuple[AddedToken | None, int, int]]:
        """Yield the parts of `text` in order, as (token or None, start, end); none is empty.

        The leftmost match wins, and of matches that begin together the longest. A match that its
        `single_word` forbids is skipped, as is one inside the whitespace that the token before it
        has taken.
        """
        done = 0
        for match in self._pattern.finditer(text) if self.tokens else ():
            token, (start, end) = self.tokens[match.group()], match.span()
            if end <= done:  # whitespace that the token before it has taken
                continue
            if token.single_word and (
                (start > 0 and text[start - 1] in self._letters)
                or (end < len(text) and text[end] in self._letters)
            ):
                continue
            start = max(start, done) if token.lstrip else start
            while token.lstrip and start > done and text[start - 1] in self._spaces:
                start -= 1
            while token.rstrip and end < len(text) and text[end] in self._spaces:
                end += 1
            if done < start:
                yield None, done, start
            yield token, start, end
            done = end
        if done < len(text):
            yield None, done, len(text)
