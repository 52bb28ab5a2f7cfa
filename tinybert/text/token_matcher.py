"""Where added tokens occur in a text, by the rules of the Rust library.

They differ in small ways from those in `added_tokens.py`: the whitespace that a token takes along
belongs to its span, and a letter, not the lack of a space, keeps a `single_word` token from
matching.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tinybert.text.added_token import AddedToken, pattern_of
from tinybert.text.rust_unicode import rust_unicode


class TokenMatcher:
    """Cuts a text at some added tokens, each given with the characters it is known by there."""

    def __init__(self, tokens: Iterable[tuple[str, AddedToken]]) -> None:
        self.tokens: dict[str, AddedToken] = {}
        for form, token in tokens:
            if form:  # normalising may leave nothing of a token: then it never occurs
                self.tokens.setdefault(form, token)
        self._pattern = pattern_of(sorted(self.tokens, key=len, reverse=True))
        unicode = rust_unicode()
        self._letters, self._spaces = unicode.word, unicode.whitespace

    def split(self, text: str) -> Iterator[tuple[AddedToken | None, int, int]]:
        """The parts of `text` in order, as (token or None, start, end); none is empty.

        The leftmost match wins, and of those that begin together the longest. A match beside a
        letter that its `single_word` forbids is passed over.
        """
        done = 0
        for match in self._pattern.finditer(text) if self.tokens else ():
            token, (start, end) = self.tokens[match.group()], match.span()
            if token.single_word and (
                (start > 0 and text[start - 1] in self._letters)
                or (end < len(text) and text[end] in self._letters)
            ):
                continue
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
