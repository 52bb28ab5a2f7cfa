"""Pad: fill up the rows of a batch to the length of the longest.

A batch is an array, so its rows need one length. What is added, for each column of a row:

    input_ids        the id of [PAD], given as pad_id
    token_type_ids   0
    attention_mask   0, so that attention ignores it

It is added at the end of a row, side="right", or at its beginning, side="left", as for models that
generate: there the last token of every row has to be in the last column. All columns of a row are
filled on the same side. A row can lack the column token_type_ids.
"""


def pad(
    rows: list[dict[str, list[int]]], pad_id: int, side: str = "right"
) -> list[dict[str, list[int]]]:
    """Return new rows of equal length; the rows and lists of the caller are not changed."""
    # TODO: find the longest row; then fill up every column of every row.
    # --- solution
    fill = {"input_ids": pad_id, "token_type_ids": 0, "attention_mask": 0}
    longest = max(len(row["input_ids"]) for row in rows)
    padded = []
    for row in rows:
        filled = {}
        for name, column in row.items():
            extra = [fill[name]] * (longest - len(column))
            filled[name] = extra + column if side == "left" else column + extra
        padded.append(filled)
    return padded
    # --- end
