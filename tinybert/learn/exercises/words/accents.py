"""Fold case and accents: "Él" and "el" become the same word.

An uncased BERT has no capital letters and no accents in its vocabulary. Three steps:

1. lower case;
2. NFD, the decomposed form of Unicode: é becomes the letter e and the mark U+0301 after it.
   `unicodedata.normalize(form, text)` knows four forms, NFC, NFD, NFKC and NFKD: those with K also
   replace what only looks similar (the ligature ﬁ by fi), which BERT does not want;
3. drop the characters of category Mn, marks without a width of their own.

`unicodedata.category(char)` returns the category. The vowel signs of Hindi that take up space have
category Mc: they are not accents.
"""

import unicodedata


def simplify(text: str) -> str:
    """Return the text in lower case and without accents; it stays decomposed."""
    # TODO: lower case, NFD, no characters of category Mn.
    # --- solution
    decomposed = unicodedata.normalize("NFD", text.lower())
    return "".join(char for char in decomposed if unicodedata.category(char) != "Mn")
    # --- end
