"""WordPiece: split a word into the longest tokens of a vocabulary, from left to right.

Words come from basic tokenization (`basic.py`): they contain no spaces or punctuation. WordPiece is
a search in a dictionary. `train_wordpiece.py` learns a vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tinybert.text.word_cache import WordCache


class WordPiece(WordCache[list[str]]):
    """Greedy longest-match-first segmentation (Wu et al. 2016, arXiv:1609.08144, section 4.1).

    Starting at the first character, take the longest prefix of the rest of the word that is in
    the vocabulary. Every token but the first is looked up with `prefix` in front. If at some
    position no prefix matches, the *whole* word becomes the unknown token, as does a word of more
    than `max_input_chars_per_word` code points.

        WordPiece({"un", "##aff", "##able"})["unaffable"] -> ["un", "##aff", "##able"]

    The object is a dictionary from words to their tokens, filled by `segment`.
    """

    def __init__(
        self,
        vocab: Mapping[str, int],
        unk_token: str,
        max_input_chars_per_word: int = 100,
        prefix: str = "##",
    ) -> None:
        super().__init__()
        self.vocab = vocab
        self.unk_token = unk_token
        self.max_input_chars_per_word = max_input_chars_per_word
        self.prefix = prefix
        self.longest_token = max(map(len, vocab), default=0)

    def compute(self, word: str) -> list[str]:
        """Return the tokens to cache."""
        return self.segment(word)

    def tokenize(self, words: Iterable[str]) -> list[str]:
        """Return the tokens of all `words`, in order."""
        return [token for word in words for token in self[word]]

    def segment(self, word: str) -> list[str]:
        """Return the tokens of one word: the rule itself, without the cache."""
        if len(word) > self.max_input_chars_per_word:
            return [self.unk_token]
        tokens: list[str] = []
        start = 0
        while start < len(word):
            prefix = self.prefix if start else ""
            end = min(len(word), start + self.longest_token)
            while end > start and prefix + word[start:end] not in self.vocab:
                end -= 1
            if end == start:
                return [self.unk_token]
            tokens.append(prefix + word[start:end])
            start = end
        return tokens
