"""Rows: put one text or two into the form that BERT was trained with.

    ids     [CLS]  a  a  a  [SEP]  b  b  [SEP]
    types     0    0  0  0    0    1  1    1
    mask      1    1  1  1    1    1  1    1

The special tokens mark where a text ends; the token types tell the first text from the second. The
[SEP] between the texts belongs to the first. The attention mask is 1 wherever there is a token, 0
where a row is filled up later.

With one text, a row ends after the first [SEP]. A second text that is empty is still a second text:
its [SEP] is there.
"""

CLS, SEP = 101, 102  # their ids in the vocabulary of BERT


def row(a: list[int], b: list[int] | None = None) -> dict[str, list[int]]:
    """Return input_ids, token_type_ids and attention_mask for the ids of one text or two."""
    # TODO: three lists of equal length, in a dict.
    # --- solution
    ids = [CLS, *a, SEP]
    types = [0] * len(ids)
    if b is not None:
        ids += [*b, SEP]
        types += [1] * (len(b) + 1)
    return {"input_ids": ids, "token_type_ids": types, "attention_mask": [1] * len(ids)}
    # --- end
