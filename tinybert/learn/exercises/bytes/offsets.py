"""Offsets: which characters of the text does a token of bytes come from?

    text   a 東        its bytes   61  e6 9d b1       tokens of 2 and 2 bytes
                                   a   東 東 東
    offsets of the tokens   (0, 2) (1, 2)

A byte-level tokenizer cuts bytes, but people count characters: in UTF-8 a character has one byte
(ASCII), two (é), three (東) or four (an emoji). A token can begin or end inside of a character. It
then gets the whole character, and so does its neighbour: offsets may overlap.

Offsets are (start, end) with end exclusive, so that text[start:end] is the text of a token. Spaces
count as any other character.
"""


def offsets(text: str, sizes: list[int]) -> list[tuple[int, int]]:
    """Return the offsets in `text` of consecutive tokens with these sizes in bytes.

    The sizes are positive, and add up to the number of bytes of the text.
    """
    # TODO: for each byte, which character does it belong to? A token has a first and a last byte.
    # --- solution
    owner = [i for i, char in enumerate(text) for _ in char.encode("utf-8")]
    spans, byte = [], 0
    for size in sizes:
        spans.append((owner[byte], owner[byte + size - 1] + 1))
        byte += size
    return spans
    # --- end
