"""Our tokenizer against both of transformers': the one in Python and the one in Rust."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

from tinybert.bench.timing import Prepared
from tinybert.fetch import model_folder
from tinybert.tokenizers import BertTokenizer


def tokenizer(device: str, sentences: int = 1000, folder: Path | None = None) -> Prepared:
    """Generated sentences to ids, with the vocabulary of MiniLM; the device plays no part."""
    import transformers

    folder = folder or model_folder("minilm")
    ours = BertTokenizer.from_pretrained(folder)
    slow = transformers.BertTokenizer.from_pretrained(folder, local_files_only=True)
    fast = transformers.BertTokenizerFast.from_pretrained(folder, local_files_only=True)
    texts = generate_text(list(ours.vocab), sentences)

    def ids(side: object) -> list[list[int]]:
        return side(texts)["input_ids"]  # type: ignore[operator]

    expected = ids(ours)
    sides = {"transformers, Python": slow, "tokenizers, Rust": fast}
    return Prepared(
        lambda: ids(ours),
        {name: (lambda side=side: ids(side)) for name, side in sides.items()},  # type: ignore[misc]
        {
            name: float(sum(a != b for a, b in zip(expected, ids(side), strict=True)))
            for name, side in sides.items()
        },
    )


def generate_text(vocabulary: list[str], sentences: int, words: int = 20) -> list[str]:
    """Sentences like English in what a tokenizer has to do: common words often, rare ones cut into
    pieces, capitals, commas and full stops (Zipf's law: a word's frequency is one by its rank).
    """
    rng = random.Random(0)
    whole = [word for word in vocabulary if word.isalpha() and word.isascii() and len(word) > 1]
    endings = [word[2:] for word in vocabulary if word.startswith("##") and word[2:].isalpha()]
    weights = list(itertools.accumulate(1 / rank for rank in range(1, len(whole) + 1)))
    texts = []
    for _ in range(sentences):
        chosen = rng.choices(whole, cum_weights=weights, k=words)
        rare = rng.randrange(words)
        chosen[rare] += rng.choice(endings)
        chosen[rng.randrange(words - 1)] += ","
        texts.append(" ".join(chosen).capitalize() + ".")
    return texts
