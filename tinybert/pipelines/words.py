"""The words that tokens belong to.

A pre-tokenizer splits a text into words, and the tokenizer knows them. A tokenizer without one,
such as that of Llama 2, has a single word, the whole text; its words are split at whitespace.
"""

from __future__ import annotations

from tinybert.tokenizer_json.encoding import Encoding


def continues_word(text: str, encoding: Encoding, sequence: int = 0) -> list[bool]:
    """Return for each token whether it belongs to the same word as the token before.

    Args:
        text: the text that the offsets of this `sequence` (0, or 1 in a pair) refer to.

    A token of whitespace only belongs to the word after it. False for tokens of the other text and
    special tokens.
    """
    found = [False] * len(encoding)
    word_ids, sequences, offsets = encoding.word_ids, encoding.sequence_ids, encoding.offsets
    for i in range(1, len(encoding)):
        if sequences[i - 1] == sequences[i] == sequence and word_ids[i] is not None:
            same = word_ids[i - 1] == word_ids[i]
            found[i] = same and not _are_separate(text, offsets[i - 1], offsets[i])
    return found


def _are_separate(text: str, first: tuple[int, int], second: tuple[int, int]) -> bool:
    """Return whether there is whitespace between the two tokens, or at the end or beginning of
    one.
    """
    before, after = text[slice(*first)], text[slice(*second)]
    if not before.strip():
        return False
    between = text[first[1] : second[0]]
    gap = before[len(before.rstrip()) :] + between + after[: len(after) - len(after.lstrip())]
    return any(map(str.isspace, gap))


def word_span(
    text: str, encoding: Encoding, first: int, last: int, sequence: int
) -> tuple[int, int]:
    """Return the characters of the words of the tokens `first` to `last` of a text."""
    continues = continues_word(text, encoding, sequence)
    while continues[first]:
        first -= 1
    while last + 1 < len(continues) and continues[last + 1]:
        last += 1
    start, end = encoding.offsets[first][0], encoding.offsets[last][1]
    words = text[start:end]
    return start + len(words) - len(words.lstrip()), start + len(words.rstrip())
