"""Learning the tokens and merges of byte-level BPE from texts.

`bpe.py` uses them; `pair_counts.py` counts pairs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from tinybert.checks import check_integer
from tinybert.text.byte_level import BYTE_TO_CHAR, split_pattern, to_alphabet
from tinybert.text.pair_counts import PairCounts

SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def train_bpe(
    texts: Iterable[str],
    vocab_size: int,
    *,
    min_frequency: int = 2,
    special_tokens: Sequence[str] = SPECIAL_TOKENS,
    add_prefix_space: bool = False,
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Learn the vocabulary and the merges of byte-level BPE; `save_bpe` writes them.

    Every word begins as its bytes. Then the most frequent pair of neighbours is merged into one
    token, repeatedly (Sennrich et al. 2016, arXiv:1508.07909, algorithm 1), until there are
    `vocab_size` tokens. `split_pattern` makes the words: no token crosses a word.

    Arguments:
        texts: the texts; each is read once.
        vocab_size: the most tokens to learn; fewer if no pairs are left.
        min_frequency: how often a pair must occur to be merged.
        special_tokens: the first tokens of the vocabulary, in this order.
        add_prefix_space: put a space before a text that has none, as the tokenizer will.

    Returns token -> id (the special tokens, the 256 bytes by their characters, then the learnt
    tokens), and the merges in the order in which they were learnt. The result does not depend on
    the order of the texts: of equally frequent pairs the one with the smaller ids wins.

    Raises ValueError if `vocab_size` is too small for special tokens and bytes, TypeError if
    `texts` is one str.
    """
    if isinstance(texts, str):
        raise TypeError("texts must be an iterable of str, not one str")
    for name, value in (("vocab_size", vocab_size), ("min_frequency", min_frequency)):
        check_integer(name, value, 1)
    if len(set(special_tokens)) < len(special_tokens) or not all(special_tokens):
        raise ValueError(f"special_tokens must be different, not empty; got {special_tokens!r}")
    tokens = [*dict.fromkeys([*special_tokens, *sorted(BYTE_TO_CHAR)])]
    if len(tokens) > vocab_size:
        raise ValueError(
            f"vocab_size={vocab_size} must be at least {len(tokens)}, the number of special tokens "
            "and bytes"
        )
    vocab = {token: token_id for token_id, token in enumerate(tokens)}
    words = count_words(texts, add_prefix_space)
    pairs = PairCounts(
        ([vocab[char] for char in to_alphabet(word)], count) for word, count in words.items()
    )
    merges: list[tuple[str, str]] = []
    while len(tokens) < vocab_size and (pair := pairs.most_frequent(min_frequency)):
        left, right = tokens[pair[0]], tokens[pair[1]]
        if left + right not in vocab:  # two merges may give the same token
            vocab[left + right] = len(tokens)
            tokens.append(left + right)
        pairs.merge(pair, vocab[left + right])
        merges.append((left, right))
    return vocab, merges


def count_words(texts: Iterable[str], add_prefix_space: bool) -> Counter[str]:
    """Count how often each word occurs."""
    words = Counter[str]()
    for text in texts:
        if add_prefix_space and text and not text.startswith(" "):
            text = " " + text
        words.update(split_pattern(text).findall(text))
    return words
