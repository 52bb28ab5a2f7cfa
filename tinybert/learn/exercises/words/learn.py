"""Learn a vocabulary: merge the pair of neighbours that occurs most often, again and again.

Every word begins as its characters, all but the first with "##" in front: hug is h ##u ##g. Then,
`merges` times:

1. Count the pairs of neighbours in all words. A word that occurs 10 times in the texts counts
   10 times for each of its pairs.
2. Take the most frequent pair; of equally frequent ones, the smallest as Python compares tuples.
   Then the result does not depend on the order of the words.
3. The pair becomes one token: ##u and ##g become ##ug, and h and ##ug become hug.
4. Replace the pair by the token wherever it occurs in the words, from left to right.

If no pair is left, learning ends early. This is the algorithm of byte-pair encoding.
"""

from collections import Counter
from itertools import pairwise


def learn(counts: dict[str, int], merges: int) -> list[str]:
    """Return the learnt tokens in their order; counts[word] says how often a word occurs."""
    words = {word: [word[0], *("##" + char for char in word[1:])] for word in counts}
    learnt: list[str] = []
    for _ in range(merges):
        # TODO: count the pairs, choose one, append its token to learnt, replace it in words.
        # --- solution
        pairs: Counter[tuple[str, str]] = Counter()
        for word, symbols in words.items():
            for pair in pairwise(symbols):
                pairs[pair] += counts[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        token = best[0] + best[1].removeprefix("##")
        learnt.append(token)
        for symbols in words.values():
            for i in range(len(symbols)):
                if tuple(symbols[i : i + 2]) == best:
                    symbols[i : i + 2] = [token]
        # --- end
    return learnt
