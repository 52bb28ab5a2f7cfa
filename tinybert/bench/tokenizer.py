"""Benchmark our tokenizers against those of transformers, in Python and in Rust."""

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
    """Tokenize generated sentences with the vocabulary of MiniLM; the device is not used.

    Every run gets new sentences, because our tokenizer caches words: as in real text, common words
    are in the cache and rare ones are not.
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
    """Tokenize with byte-level BPE, whose merges are learnt from similar sentences.

    from_json: load both tokenizers from a tokenizer.json; transformers has no Python version of it.
    """
    import transformers

    transformers.logging.set_verbosity_error()  # it warns of the class that is asked for
    words = list(load_vocab((folder or model_folder("minilm")) / "vocab.txt"))
    texts = generate_text(words, 3 * sentences, random.Random(1))
    kinds = (transformers.RobertaTokenizer, transformers.RobertaTokenizerFast)
    with tempfile.TemporaryDirectory() as temporary:
        bpe = Path(temporary)
        save_bpe(*train_bpe(texts, vocab_size), bpe / "vocab.json", bpe / "merges.txt")
        ours: Tokenizer = MegaTokenizer.from_pretrained(bpe)
        if from_json:
            ours.save_pretrained(bpe)
            ours = TokenizerJSON.from_pretrained(bpe)
            kinds = (None, transformers.PreTrainedTokenizerFast)
        return _compared(ours, kinds, bpe, words, sentences)


def _compared(
    ours: Tokenizer, kinds: tuple[Any, Any], folder: Path, vocabulary: list[str], sentences: int
) -> Prepared:
    """Compare our tokenizer with classes of transformers, on texts of the same words."""
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


def _work(tokenizer: Any) -> Callable[[list[str]], list[list[int]]]:
    return lambda texts: tokenizer(texts)["input_ids"]


def generate_text(
    vocabulary: list[str], sentences: int, rng: random.Random, words: int = 20
) -> list[str]:
    """Generate sentences with word frequencies as in English, by Zipf's law: 1 / rank.

    Each sentence has a rare word that is split into several tokens, a capital letter, a comma and a
    full stop.
    """
    full_words = [
        word for word in vocabulary if word.isalpha() and word.isascii() and len(word) > 1
    ]
    endings = [word[2:] for word in vocabulary if word.startswith("##") and word[2:].isalpha()]
    weights = list(itertools.accumulate(1 / rank for rank in range(1, len(full_words) + 1)))
    texts = []
    for _ in range(sentences):
        chosen = rng.choices(full_words, cum_weights=weights, k=words)
        rare = rng.randrange(words)
        chosen[rare] += rng.choice(endings)
        chosen[rng.randrange(words - 1)] += ","
        texts.append(" ".join(chosen).capitalize() + ".")
    return texts
