"""Windows: read a text that is too long in rows that overlap.

A question is to be answered from a text, and a row holds at most `length` tokens. So the text is
cut into parts, each in a row of its own, with the whole question:

    [CLS] question [SEP] part [SEP]

As many tokens of the text as fit go into a part. An answer could be cut in two where a part ends,
so each part begins with the last `stride` tokens of the part before. With room for 5 and stride 2:

    text     a b c d e f g h
    parts    a b c d e              new in each part: 5, then 3, 3, ...
                   d e f g h

Stop as soon as a part reaches the end of the text: a further row would repeat tokens only. A text
that fits, even an empty one, is one row.
"""

CLS, SEP = 101, 102  # their ids in the vocabulary of BERT


def windows(question: list[int], text: list[int], length: int, stride: int) -> list[list[int]]:
    """Return the rows of ids, without padding.

    Raises ValueError if a part would have no new token: with room for `stride` tokens or fewer.
    """
    # TODO: how many tokens of the text fit into a row, and where does each part start?
    # --- solution
    room = length - len(question) - 3
    if room <= stride:
        raise ValueError(f"there is room for {room} tokens of the text, and stride is {stride}")
    rows = []
    for start in range(0, max(1, len(text) - stride), room - stride):
        rows.append([CLS, *question, SEP, *text[start : start + room], SEP])
    return rows
    # --- end
