"""How TensorFlow's BERT tokenizers change the characters of a text and cut it into words.

Lower case: the text is folded by NFKC_Casefold (compatibility forms and full case folding, without
default-ignorable characters), then decomposed, and its marks are dropped. Then spaces and control
characters separate words, and each sign (punctuation, ASCII symbols, Chinese characters) is one.

Every step looks at one character alone, so a text is changed by one table. (NFKC also composes and
sorts marks; dropping the marks undoes that.) Folding and decomposition never change once a
character is in the standard: Python's are used for the characters that tensorflow-text knows, those
of Unicode 12.1. All else is in `unicode.txt`.

Source   Unicode Standard Annex 15 and section 5.18; tensorflow-text 2.15, `fast_bert_tokenizer.py`
         and `bert_tokenizer.py`
"""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path

from tinybert.text.basic import CharTable
from tinybert.text.rust_unicode import CharSet

SEPARATOR = " "


class WordCutter:
    """Cut texts into words.

    Args:
        lower: fold the case and drop marks.
        fast: as FastBertTokenizer does. Otherwise as BertTokenizer: the signs are those of a later
            version of Unicode, and of spaces those that folding turns into " " separate words.
    """

    def __init__(self, lower: bool, fast: bool = True) -> None:
        self._tables = _tables()
        self.lower, self.fast = lower, fast
        self._changed = CharTable(self._change)

    def words(self, text: str) -> list[str]:
        """Return the words of a text."""
        return [word for word in text.translate(self._changed).split(SEPARATOR) if word]

    def _change(self, char: str) -> str:
        """Return a character folded, without marks, with a separator for each space and on both
        sides of each sign.
        """
        parts = self._decomposed(self._folded(char)) if self.lower else char
        return "".join(self._spaced(part) for part in parts)

    def _folded(self, char: str) -> str:
        """Return NFKC_Casefold of a character."""
        tables = self._tables
        if char in tables["ignored"]:
            return ""
        if char not in tables["known"]:
            return char
        before, folded = "", char
        while folded != before:
            before = folded
            folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", folded).casefold())
        return folded

    def _decomposed(self, text: str) -> str:
        """Return a text decomposed and without marks."""
        known, mark = self._tables["known"], self._tables["mark"]
        parts = (unicodedata.normalize("NFD", c) if c in known else c for c in text)
        return "".join(c for part in parts for c in part if c not in mark)

    def _spaced(self, char: str) -> str:
        tables = self._tables
        if char in tables["control"] or char == " " or (self.fast and char in tables["space"]):
            return SEPARATOR
        if char in tables["sign"] or (not self.fast and char in tables["classic sign"]):
            return SEPARATOR + char + SEPARATOR
        return char


@cache
def _tables() -> dict[str, CharSet]:
    """Return the sets of characters of `unicode.txt`:

    known: the characters of Unicode 12.1; others are neither folded nor decomposed.
    ignored: folding drops them. mark: they are dropped after decomposition.
    control, space: they separate words. sign, classic sign: each is a word.
    """
    tables: dict[str, CharSet] = {}
    text = Path(__file__).with_name("unicode.txt").read_text(encoding="ascii")
    for section in text.split("[")[1:]:
        name, _, runs = section.partition("]")
        spans = (run.partition("-") for run in runs.split())
        tables[name] = CharSet([(int(a, 16), int(b or a, 16)) for a, _, b in spans])
    return tables
