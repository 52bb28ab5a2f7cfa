"""Clean a text: drop what cannot be seen, and make every space a plain one.

Unicode gives each character a category, which `unicodedata.category(char)` returns:

    Zs   spaces: the plain one, the no-break space, the wide space of Chinese, ...
    C*   Cc control, Cf format (soft hyphen, zero-width space), Co private use, Cn not assigned

BERT's tokenizer begins with three rules:

- a tab, a line end (newline, carriage return) and every character of category Zs becomes " ";
- every other character of a category that begins with C is dropped, with nothing in its place;
- "\\ufffd" is dropped too. Decoders write it where bytes are not valid text.

Two traps: a tab has category Cc, and "\\ufffd" has category So, as an emoji.
"""

import unicodedata


def clean_text(text: str) -> str:
    """Return the cleaned text."""
    # TODO: look at the characters one by one: space, dropped, or kept as it is?
    # --- solution
    kept = []
    for char in text:
        category = unicodedata.category(char)
        if char in "\t\n\r" or category == "Zs":
            kept.append(" ")
        elif category[0] != "C" and char != "\ufffd":
            kept.append(char)
    return "".join(kept)
    # --- end
