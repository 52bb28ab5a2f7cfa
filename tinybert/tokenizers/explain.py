"""The steps of `BertTokenizer`, shown one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinybert.text.basic import clean_text

if TYPE_CHECKING:
    from tinybert.tokenizers.bert import BertTokenizer


@dataclass(frozen=True)
class Explanation:
    """The result of each step of `BertTokenizer` for one part of a text.

    text: the part, in lower case for an uncased model.
    cleaned: without control characters.
    spaced: with spaces around Chinese characters, and accents composed (NFC).
    words: after accents and punctuation.
    pieces: the WordPiece tokens of each word.
    """

    text: str
    cleaned: str
    spaced: str
    words: list[str]
    pieces: list[list[str]]


def explain(tokenizer: BertTokenizer, text: str) -> list[Explanation]:
    """Return the steps for each added token in `text`, and for each part between them."""
    text = tokenizer.lower_case(text) if tokenizer.lowercases_text else text
    as_text = tokenizer.split_special_tokens
    is_basic = tokenizer.do_basic_tokenize
    steps = []
    for part in [text] if as_text else tokenizer.split_added_tokens(text):
        if part in tokenizer._added_ids and not as_text:
            steps.append(Explanation(part, part, part, [part], [[part]]))
            continue
        cleaned = clean_text(part) if is_basic else part
        spaced = tokenizer.basic_tokenizer.space(cleaned) if is_basic else part
        words = tokenizer._words(part)
        pieces = [tokenizer._tokens_of(word) for word in words]
        steps.append(Explanation(part, cleaned, spaced, words, pieces))
    return steps
