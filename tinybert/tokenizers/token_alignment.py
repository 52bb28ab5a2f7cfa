"""Which token, word and characters belong together, in the result of a "Fast" tokenizer."""

from __future__ import annotations

from tinybert.tokenizer_json.encoding import CharSpan, Encoding, TokenSpan


class TokenAlignment:
    """The methods of `BatchEncoding` that relate tokens, words and characters.

    Indices are counted from 0; words and characters within their text: `sequence_index` 0 is the
    first text of a pair, 1 the second. Each method may be called as method(index), for row 0, or as
    method(row, index). The answer is None if there is no such token, word or character. Without
    `encodings`, every method raises ValueError.
    """

    encodings: list[Encoding] | None

    @property
    def is_fast(self) -> bool:
        """Whether this is the result of a "Fast" tokenizer."""
        return self.encodings is not None

    @property
    def n_sequences(self) -> int | None:
        """The number of texts in the first row, 1 or 2; None if that is not known."""
        return self.encodings[0].n_sequences if self.encodings else None

    def _row(self, batch_index: int) -> Encoding:
        if self.encodings is None:
            raise ValueError("only the result of a 'Fast' tokenizer knows words and characters")
        return self.encodings[batch_index]

    def _row_and_index(self, first: int, second: int | None) -> tuple[Encoding, int]:
        """Return the row and the index in it, from one argument or two."""
        return (self._row(0), first) if second is None else (self._row(first), second)

    def tokens(self, batch_index: int = 0) -> list[str]:
        """Return the tokens of a row."""
        return self._row(batch_index).tokens

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """Return the word index of each token of a row, None for special tokens that were added."""
        return self._row(batch_index).word_ids

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """Return the text, 0 or 1, of each token of a row, None for special tokens added."""
        return self._row(batch_index).sequence_ids

    def token_to_sequence(
        self, batch_or_token_index: int, token_index: int | None = None
    ) -> int | None:
        """Return the text, 0 or 1, of a token."""
        row, token = self._row_and_index(batch_or_token_index, token_index)
        return row.token_to_sequence(token)

    def token_to_word(
        self, batch_or_token_index: int, token_index: int | None = None
    ) -> int | None:
        """Return the word index of a token."""
        row, token = self._row_and_index(batch_or_token_index, token_index)
        return row.token_to_word(token)

    def token_to_chars(
        self, batch_or_token_index: int, token_index: int | None = None
    ) -> CharSpan | None:
        """Return the characters of a token."""
        row, token = self._row_and_index(batch_or_token_index, token_index)
        return row.token_to_chars(token)

    def word_to_tokens(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> TokenSpan | None:
        """Return the tokens of a word."""
        row, word = self._row_and_index(batch_or_word_index, word_index)
        return row.word_to_tokens(word, sequence_index)

    def word_to_chars(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> CharSpan | None:
        """Return the characters of a word."""
        row, word = self._row_and_index(batch_or_word_index, word_index)
        return row.word_to_chars(word, sequence_index)

    def char_to_token(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """Return the token that covers a character; None for one between words."""
        row, char = self._row_and_index(batch_or_char_index, char_index)
        return row.char_to_token(char, sequence_index)

    def char_to_word(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """Return the word that covers a character; None for one between words."""
        row, char = self._row_and_index(batch_or_char_index, char_index)
        return row.char_to_word(char, sequence_index)
