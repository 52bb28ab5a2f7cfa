"""Learning a WordPiece vocabulary from texts.

`wordpiece.py` uses it; the words are those of `bert_normalizer.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from tinybert.checks import check_integer
from tinybert.text.bert_normalizer import BertNormalizer
from tinybert.text.pair_counts import PairCounts

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LONGEST_WORD = 100  # BERT maps longer words to [UNK], whatever the vocabulary
PREFIX = "##"


def train_wordpiece(
    texts: Iterable[str],
    vocab_size: int,
    *,
    min_frequency: int = 2,
    special_tokens: Sequence[str] = SPECIAL_TOKENS,
    limit_alphabet: int = 1000,
    do_lower_case: bool = True,
    tokenize_chinese_chars: bool = True,
    strip_accents: bool | None = None,
) -> list[str]:
    """Learn the tokens of a vocabulary; `save_vocab` writes them as a vocab.txt.

    Every word begins as its characters, all but the first with "##". Then the most frequent pair of
    neighbours is merged into one token, repeatedly, until there are `vocab_size` tokens. This
    is the *frequency* criterion of byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909,
    algorithm 1), which the WordPiece trainer of the library `tokenizers` uses too. The original
    WordPiece (Schuster and Nakajima 2012) merges the pair that increases the likelihood of a
    language model most; for a unigram model this is the pair with the largest
    count(ab) / (count(a) count(b)), which prefers rare characters that always occur together. How
    the vocabulary of BERT was learnt was never published.

    Arguments:
        texts: the texts; each is read once.
        vocab_size: the most tokens to learn; fewer if no pairs are left.
        min_frequency: how often a pair must occur to be merged.
        special_tokens: the first tokens of the vocabulary, in this order.
        limit_alphabet: keep only this many characters, the most frequent ones; words with other
            characters are ignored, and will be unknown.
        do_lower_case, tokenize_chinese_chars, strip_accents: as for the tokenizer that will use
            the vocabulary.

    Returns the special tokens, the characters by code point, those inside words by code point,
    and the learnt tokens in the order in which they were found. The result does not depend on the
    order of the texts: of equally frequent pairs the first in the alphabet wins.

    Raises ValueError if `vocab_size` is too small for special tokens and characters, TypeError
    if `texts` is one str.
    """
    if isinstance(texts, str):
        raise TypeError("texts must be an iterable of str, not one str")
    for name, value in (
        ("vocab_size", vocab_size),
        ("min_frequency", min_frequency),
        ("limit_alphabet", limit_alphabet),
    ):
        check_integer(name, value, 1)
    if len(set(special_tokens)) < len(special_tokens) or not all(special_tokens):
        raise ValueError(f"special_tokens must be different, not empty; got {special_tokens!r}")
    normalizer = BertNormalizer(do_lower_case, strip_accents, tokenize_chinese_chars)
    words = count_words(texts, normalizer)
    kept = most_frequent_characters(words, limit_alphabet)
    words = Counter({word: n for word, n in words.items() if kept.issuperset(word)})
    inside = {char for word in words if len(word) > 1 for char in word}
    tokens = dict.fromkeys([*special_tokens, *sorted(kept), *(PREFIX + c for c in sorted(inside))])
    if len(tokens) > vocab_size:
        raise ValueError(
            f"vocab_size={vocab_size} must be at least {len(tokens)}, the number of special tokens "
            "and characters; or lower limit_alphabet"
        )
    pairs = PairCounts(
        ([word[0], *(PREFIX + char for char in word[1:])], count) for word, count in words.items()
    )
    while len(tokens) < vocab_size and (pair := pairs.most_frequent(min_frequency)):
        token = pair[0] + pair[1].removeprefix(PREFIX)
        pairs.merge(pair, token)
        tokens[token] = None  # two merges may give the same token
    return list(tokens)


def count_words(texts: Iterable[str], normalizer: BertNormalizer) -> Counter[str]:
    """Count how often each word of at most `LONGEST_WORD` characters occurs."""
    chunks = Counter[str]()
    for text in texts:
        chunks.update(normalizer.chunk_pattern.findall(text))
    words = Counter[str]()
    for chunk, count in chunks.items():
        for word in normalizer.word_pattern.findall(normalizer.normalize(chunk)[0]):
            if len(word) <= LONGEST_WORD:
                words[word] += count
    return words


def most_frequent_characters(words: Counter[str], limit: int) -> set[str]:
    """Return the `limit` most frequent characters, of equal ones the first in the alphabet."""
    counts = Counter[str]()
    for word, count in words.items():
        for char in word:
            counts[char] += count
    return set(sorted(counts, key=lambda char: (-counts[char], char))[:limit])
