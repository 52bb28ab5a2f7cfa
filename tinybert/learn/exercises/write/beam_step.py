"""One step of beam search: extend K texts by a token, and keep the best.

There are K running texts (beams). The score of a text is the sum of log P of its tokens. Each text
can be extended by each of V tokens: that makes K V candidates, each with the score

    score of the text + log P of the token

All candidates compete: several of the best may extend the same text, and some texts may not be
extended at all. A candidate whose last token is `end` is finished and must not be extended later.
So take the best 2 K candidates: at most K of them are finished, and K others can go on.

- running: of the best 2 K, the best K whose token is not `end`.
- ended: of the best K (not 2 K), those whose token is `end`.

Do not divide by the length here; that is done when finished texts are compared.
"""

import numpy as np

Candidate = tuple[float, int, int]  # score, number of the text that it extends, token


def beam_step(
    scores: np.ndarray, log_p: np.ndarray, end: int
) -> tuple[list[Candidate], list[Candidate]]:
    """Return the running and the ended candidates, best first.

    Args:
        scores: (K,), of the running texts.
        log_p: (K, V), of every next token after each text.
        end: the token that ends a text.
    """
    beams, vocab = log_p.shape
    # TODO: all totals (K, V), the best 2 K of them as (score, text, token), and the two lists.
    # --- solution
    total = scores[:, None] + log_p
    best = np.argsort(-total, axis=None, kind="stable")[: 2 * beams]
    candidates = [(float(total.flat[i]), *divmod(int(i), vocab)) for i in best]
    running = [c for c in candidates if c[2] != end]
    ended = [c for c in candidates[:beams] if c[2] == end]
    return running[:beams], ended
    # --- end
