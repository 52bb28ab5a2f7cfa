"""WordPiece: cut a word into the longest tokens that a vocabulary has.

    vocabulary un ##aff ##able, word unaffable      ->  un ##aff ##able

1. Take the longest beginning of the word that is in the vocabulary.
2. Continue after it in the same way, until the word ends. A token that does not begin the word is
   written with "##" in front, in the result and in the vocabulary.
3. If nothing fits at some place, not even one character, the whole word is ["[UNK]"]: the tokens
   that were found before do not count.
4. A word of more than 100 characters is ["[UNK]"] too, whatever the vocabulary.
"""

from collections.abc import Container


def wordpiece(word: str, vocab: Container[str]) -> list[str]:
    """Return the tokens of a word; `token in vocab` asks for one."""
    # TODO: from each start, try the longest rest of the word first, then shorter ones.
    # --- solution
    if len(word) > 100:
        return ["[UNK]"]
    tokens, start = [], 0
    while start < len(word):
        prefix = "##" if start else ""
        end = len(word)
        while end > start and prefix + word[start:end] not in vocab:
            end -= 1
        if end == start:
            return ["[UNK]"]
        tokens.append(prefix + word[start:end])
        start = end
    return tokens
    # --- end
