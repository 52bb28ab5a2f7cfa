"""Split off punctuation: "isn't 5$" becomes isn ' t 5 $.

BERT makes each punctuation character a word of its own, so that "dog" and "dog." share a token. A
character is punctuation for BERT if one of these is true:

- it is one of the 32 signs of ASCII, also those that Unicode calls symbols: $ + < = > ^ ` | ~
- its category begins with P, as for « ¿ and 。 (`unicodedata.category(char)` returns it).

Symbols outside of ASCII, as € and °, are not: they stay in their word. Words end at spaces, and
several signs in a row are several words.
"""

import unicodedata

ASCII_SIGNS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


def split_words(text: str) -> list[str]:
    """Return the words of a clean text; none of them is empty or has a space."""
    # TODO: go through the characters: a sign, a space, or the next letter of the current word?
    # --- solution
    words = [""]
    for char in text:
        if char in ASCII_SIGNS or unicodedata.category(char)[0] == "P":
            words += [char, ""]
        elif char == " ":
            words.append("")
        else:
            words[-1] += char
    return [word for word in words if word]
    # --- end
