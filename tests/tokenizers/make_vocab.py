"""Makes `vocab.txt`, the small vocabulary of these tests, from counts in English text.

    python make_vocab.py TEXT

TEXT is any large file of English text in the public domain, plain or .xz; the file kept here comes
from 21 MB of speeches, novels and scripture. This is no training of WordPiece: the vocabulary only
has to be varied. It holds frequent words in lower case and as written, frequent beginnings and
ends of words, and single characters of many scripts, alone and with "##".
"""

import lzma
import re
import sys
from collections import Counter
from pathlib import Path

SPECIAL = ["[PAD]", *(f"[unused{i}]" for i in range(5)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
RANGES = (
    (0x21, 0x7E),  # ASCII
    (0xA1, 0x17F),  # Latin-1 and Latin Extended-A
    (0x391, 0x3CE),  # Greek
    (0x410, 0x44F),  # Cyrillic
    (0x5D0, 0x5EA),  # Hebrew
    (0x627, 0x64A),  # Arabic
    (0x905, 0x939),  # Devanagari
    (0xE01, 0xE2E),  # Thai
    (0x300, 0x30F),  # combining marks
    (0x1E00, 0x1E3F),  # Latin Extended Additional
    (0x2010, 0x2027),  # general punctuation
    (0x3041, 0x3060),  # Hiragana
    (0x30A1, 0x30C0),  # Katakana
    (0x4E00, 0x4E60),  # Chinese
    (0xAC00, 0xAC30),  # Hangul
    (0x1F600, 0x1F610),  # emoji
)


def make_vocab(text: str) -> list[str]:
    """The tokens in order, without repetition."""
    words = Counter(re.findall(r"[A-Za-z]+", text))
    lower = Counter[str]()
    for word, count in words.items():
        lower[word.lower()] += count
    starts, ends = Counter[str](), Counter[str]()
    for word, count in lower.items():
        for cut in range(1, min(5, len(word))):
            starts[word[:cut]] += count
            ends["##" + word[-cut:]] += count
    characters = [chr(c) for first, last in RANGES for c in range(first, last + 1)]
    tokens = [*SPECIAL, *characters, *("##" + c for c in characters if c.isalnum())]
    for counts, size in ((lower, 700), (words, 500), (starts, 200), (ends, 400)):
        tokens += [token for token, _ in counts.most_common(size)]
    return list(dict.fromkeys(tokens))


if __name__ == "__main__":
    source = Path(sys.argv[1])
    with (lzma.open if source.suffix == ".xz" else open)(source, "rt", encoding="utf-8") as file:
        vocab = make_vocab(file.read())
    target = Path(__file__).with_name("vocab.txt")
    target.write_text("".join(token + "\n" for token in vocab), encoding="utf-8")
