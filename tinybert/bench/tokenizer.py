"""Our tokenizers against both of transformers': the one in Python and the one in Rust."""

from __future__ import annotations

import itertools
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinybert.bench.timing import Prepared, Work
from tinybert.fetch import model_folder
from tinybert.tokenizers import (
    BertTokenizer,
    MegaTokenizer,
    TokenizerJSON,
    load_vocab,
    save_bpe,
    train_bpe,
)
from tinybert.tokenizers.base import Tokenizer


def tokenizer(device: str, sentences: int = 1000, folder: Path | None = None) -> Prepared:
    """Generated sentences to ids, with the vocabulary of MiniLM; the device plays no part.

    Every run gets new sentences, since our tokenizer remembers words that it has met: common ones
    will be in its cache, as in real text, and rare ones will not.
    """
    import transformers

    folder = folder or model_folder("minilm")
    ours = BertTokenizer.from_pretrained(folder)
    kinds = transformers.BertTokenizer, transformers.BertTokenizerFast
    return _compared(ours, kinds, folder, list(ours.vocab), sentences)


def byte_level_tokenizer(
    device: str,
    sentences: int = 1000,
    vocab_size: int = 8000,
    from_json: bool = False,
    folder: Path | None = None,
) -> Prepared:
    """The same with byte-level BPE, whose merges are learnt from sentences like those before.

    from_json: the tokenizers are made of the parts that a tokenizer.json names, without a class of
        transformers in Python.
    """
    import transformers

    words = list(load_vocab((folder or model_folder("minilm")) / "vocab.txt"))
    texts = generate_text(words, 3 * sentences, random.Random(1))
    kinds = (transformers.RobertaTokenizer, transformers.RobertaTokenizerFast)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        save_bpe(*train_bpe(texts, vocab_size), place / "vocab.json", place / "merges.txt")
        ours: Tokenizer = MegaTokenizer.from_pretrained(place)
        if from_json:
            ours.save_pretrained(place)
            ours = TokenizerJSON.from_pretrained(place)
            kinds = (None, transformers.PreTrainedTokenizerFast)
        return _compared(ours, kinds, place, words, sentences)


def _compared(
    ours: Tokenizer, kinds: tuple[Any, Any], folder: Path, vocabulary: list[str], sentences: int
) -> Prepared:
    """Our tokenizer and the classes of transformers, on texts made of the same words."""
    names = "transformers, Python", "tokenizers, Rust"
    works: dict[str, Work] = {
        name: _work(kind.from_pretrained(folder, local_files_only=True))
        for name, kind in zip(names, kinds, strict=True)
        if kind is not None
    }
    rng = random.Random(0)
    texts = generate_text(vocabulary, sentences, rng)
    expected = _work(ours)(texts)
    differences = {
        name: float(sum(a != b for a, b in zip(expected, work(texts), strict=True)))
        for name, work in works.items()
    }
    return Prepared(
        _work(ours), works, differences, lambda: generate_text(vocabulary, sentences, rng)
    )


def _work(side: Any) -> Callable[[list[str]], list[list[int]]]:
    return lambda texts: side(texts)["input_ids"]


def generate_text(
    vocabulary: list[str], sentences: int, rng: random.Random, words: int = 20
) -> list[str]:
    """Sentences like English in what a tokenizer has to do: common words often, rare ones cut into
    pieces, capitals, commas and full stops (Zipf's law: a word's frequency is one by its rank).
    """
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
