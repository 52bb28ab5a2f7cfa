"""Apply byte pairs: merge the symbols of a word in the order in which the merges were learnt.

    ranks    {("e", "r"): 0, ("l", "o"): 1, ("lo", "w"): 2}
    l o w e r  ->  l o w er  ->  lo w er  ->  low er

Learning (words/learn) leaves a list of pairs; the rank of a pair is its place in this list. To
tokenize a word:

1. Of all pairs of neighbours that have a rank, take the one with the lowest: it was learnt first.
2. Replace it by one symbol wherever it occurs, from left to right. A symbol takes part in one merge
   only: of a a a, the first two become aa.
3. Repeat with the new symbols, until no pair of neighbours has a rank.

Neither the longest token nor the leftmost pair wins: a word is cut as it was cut in training.
"""

from itertools import pairwise


def merge(symbols: list[str], ranks: dict[tuple[str, str], int]) -> list[str]:
    """Return the tokens of a word, given as its symbols; `symbols` is not changed."""
    # TODO: find the best pair, build a new list with it merged, repeat.
    # --- solution
    while True:
        best = min(pairwise(symbols), key=lambda pair: ranks.get(pair, len(ranks)), default=None)
        if best not in ranks:
            return symbols
        merged: list[str] = []
        for symbol in symbols:
            if merged and (merged[-1], symbol) == best:
                merged[-1] += symbol
            else:
                merged.append(symbol)
        symbols = merged
    # --- end
