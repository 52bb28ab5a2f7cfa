"""One step of beam search: of all ways to go on with K texts, keep the best.

There are K running texts (beams). The score of a text is the sum of log P of its words. Each text
can go on with each of V words, so there are K x V candidates, each with the score

    score of the text + log P of the word

All candidates compete with each other: several of the best may continue the same text, and another
text may end here. A candidate whose word is `end` is finished and must not run on. Therefore take
the best 2 K candidates, best first: at most K of them are finished, so K are left to run.

- running: the best K of the 2 K whose word is not `end`.
- ended: those of the best K (not 2 K) whose word is `end`.

Nothing is divided by a length here; that is done when finished texts are compared.
"""

import numpy as np

Candidate = tuple[float, int, int]  # score, number of the text that it continues, word


def beam_step(
    scores: np.ndarray, log_p: np.ndarray, end: int
) -> tuple[list[Candidate], list[Candidate]]:
    """Return the running and the ended candidates, best first.

    Args:
        scores: (K,), of the running texts.
        log_p: (K, V), of every next word after each text.
        end: the word that ends a text.
    """
    beams, vocab = log_p.shape
    # TODO: all totals (K, V), the best 2 K of them as (score, text, word), and the two lists.
    # --- solution
    total = scores[:, None] + log_p
    best = np.argsort(-total, axis=None, kind="stable")[: 2 * beams]
    candidates = [(float(total.flat[i]), *divmod(int(i), vocab)) for i in best]
    running = [c for c in candidates if c[2] != end]
    ended = [c for c in candidates[:beams] if c[2] == end]
    return running[:beams], ended
    # --- end
