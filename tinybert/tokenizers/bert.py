"""BERT's tokenizer, step by step: basic tokenization, WordPiece, and [CLS] A [SEP] B [SEP].

It gives the ids of the pure-Python BertTokenizer of transformers. It does not know from which
characters of the text a token comes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from os import PathLike
from typing import Any, ClassVar

from tinybert.text.added_token import AddedToken
from tinybert.text.basic import BasicTokenizer, clean_text
from tinybert.tokenizers.bert_base import BertBase, load_vocab
from tinybert.tokenizers.config import (
    BOOL,
    BOOL_OR_NONE,
    COMMON_OPTIONS,
    STRINGS_OR_NONE,
    OptionType,
)


@dataclass(frozen=True)
class Explanation:
    """What each step of `BertTokenizer` makes of one stretch of text; see `explain`."""

    text: str
    cleaned: str
    spaced: str
    words: list[str]
    pieces: list[list[str]]


class BertTokenizer(BertBase):
    """Text to WordPiece ids, as BERT was trained (Devlin et al. 2019, arXiv:1810.04805).

    Arguments:
        vocab_file: one token a line; see `load_vocab`.
        do_lower_case: lower-case the text (uncased models).
        do_basic_tokenize: if false, the text is only split at spaces before WordPiece.
        never_split: words that basic tokenization leaves alone.
        unk_token, sep_token, pad_token, cls_token, mask_token: the special tokens. One that the
            vocabulary lacks is appended to it, in this order, with ids from `vocab_size` on; a
            model needs rows for them in its embedding. unk_token must not be None.
        tokenize_chinese_chars: make each Chinese character a word (not wanted for Japanese).
        strip_accents: remove accents; None means "if do_lower_case".
        clean_up_tokenization_spaces: the default of `decode`.
        **common: the options of every `Tokenizer`.

    Where the original is at fault this one is not: max_length smaller than the number of special
    tokens, and a text too short for "only_first" or "only_second", are a ValueError instead of
    an over-long row; "longest_first" may leave nothing but special tokens; padding="max_length"
    pads an empty row, too; rows of different lengths never become an array of objects.

    Raises ValueError for a bad vocabulary file or no unk_token, TypeError for a wrong option.
    """

    option_types: ClassVar[dict[str, OptionType]] = COMMON_OPTIONS | {
        "do_lower_case": BOOL,
        "do_basic_tokenize": BOOL,
        "never_split": STRINGS_OR_NONE,
        "tokenize_chinese_chars": BOOL,
        "strip_accents": BOOL_OR_NONE,
    }

    def __init__(
        self,
        vocab_file: str | PathLike[str],
        do_lower_case: bool = True,
        do_basic_tokenize: bool = True,
        never_split: Collection[str] | None = None,
        unk_token: str | AddedToken = "[UNK]",
        sep_token: str | AddedToken | None = "[SEP]",
        pad_token: str | AddedToken | None = "[PAD]",
        cls_token: str | AddedToken | None = "[CLS]",
        mask_token: str | AddedToken | None = "[MASK]",
        tokenize_chinese_chars: bool = True,
        strip_accents: bool | None = None,
        clean_up_tokenization_spaces: bool = True,
        **common: Any,
    ) -> None:
        self.vocab = load_vocab(vocab_file)
        self.ids_to_tokens = {token_id: token for token, token_id in self.vocab.items()}
        self.do_lower_case = do_lower_case
        self.do_basic_tokenize = do_basic_tokenize
        self.never_split = sorted(never_split) if isinstance(never_split, set) else never_split
        self.tokenize_chinese_chars = tokenize_chinese_chars
        self.strip_accents = strip_accents
        self.lowercases_text = do_lower_case and do_basic_tokenize
        super().__init__(
            unk_token=unk_token,
            sep_token=sep_token,
            pad_token=pad_token,
            cls_token=cls_token,
            mask_token=mask_token,
            clean_up_tokenization_spaces=clean_up_tokenization_spaces,
            **common,
        )
        self.basic_tokenizer = BasicTokenizer(
            do_lower_case, never_split or (), tokenize_chinese_chars, strip_accents
        )

    def _tokenize(self, text: str) -> list[str]:
        words = self._words(text)
        if not self.never_split:
            return self.wordpiece.tokenize(words)
        return [piece for word in words for piece in self._pieces(word)]

    def _words(self, text: str) -> list[str]:
        if not self.do_basic_tokenize:
            return text.split()
        return self.basic_tokenizer.tokenize(text, self._never_split)

    def _pieces(self, word: str) -> list[str]:
        if self.do_basic_tokenize and word in self.basic_tokenizer.never_split:
            return [word]
        return self.wordpiece[word]

    def explain(self, text: str) -> list[Explanation]:
        """Each step from a text to its tokens, for one stretch after another.

        A stretch is an added token found in the text, for which no step does anything, or what
        stands between two of them: `text` (lower-cased for an uncased model), `cleaned` of
        control characters, `spaced` round Chinese characters and composed (NFC), the `words`
        after accents and punctuation, and the WordPiece `pieces` of each word.
        """
        text = self.lower_case(text) if self.lowercases_text else text
        steps = []
        for part in [text] if self.split_special_tokens else self.split_added_tokens(text):
            if part in self._added_ids and not self.split_special_tokens:
                steps.append(Explanation(part, part, part, [part], [[part]]))
                continue
            cleaned = clean_text(part) if self.do_basic_tokenize else part
            spaced = self.basic_tokenizer.space(cleaned) if self.do_basic_tokenize else part
            words = self._words(part)
            steps.append(Explanation(part, cleaned, spaced, words, list(map(self._pieces, words))))
        return steps

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Join tokens by spaces, and pieces that begin with "##" to what is before them."""
        return " ".join(tokens).replace(" ##", "").strip()
