"""Prepare the training of the embedded model: its texts, its vocabulary and its first weights.

usage: start.py MINILM CORPUS WIKIPEDIA OUT

MINILM     the folder of all-MiniLM-L6-v2 (`tinybert fetch minilm`)
CORPUS     public-domain text, and WIKIPEDIA, passages of Wikipedia: one sentence a line, an empty
           line between documents (`corpus.py` makes both)
OUT        gets `train.txt`, `held_out.txt` and the model folder `start`

The text to train on is all of Wikipedia but its last 600 passages, which are held out, and every
sixth document of the corpus. The vocabulary keeps of MiniLM's: the special tokens; all single
characters, so that every word of them can still be written; the first 10,000 words, which are in
the order of their frequency in BERT's own training text; and, up to 27,000 tokens, the most
frequent ones of the texts here. Their embeddings are MiniLM's, and so are its layers. The head for
masked words starts as the identity, with the logarithms of the tokens' frequencies as bias.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import tinybert
from tinybert.tokenizers import save_vocab

SIZE = 27_000  # tokens of the vocabulary
WORDS = slice(1996, 11_996)  # the first words of MiniLM's vocabulary, after single characters
HELD_OUT = 600  # passages of Wikipedia
SHARE = 6  # one document of the corpus in SHARE
WEIGHT = 10  # of a token of Wikipedia, for the vocabulary


def documents(path: str) -> list[str]:
    """Return the documents of a text file."""
    return Path(path).read_text(encoding="utf-8").strip().split("\n\n")


def count_tokens(tokenizer: tinybert.BertTokenizerFast, texts: list[str]) -> np.ndarray:
    """Return how often each token of the vocabulary occurs in the texts."""
    lines = [line for text in texts for line in text.splitlines()]
    counts = np.zeros(len(tokenizer), np.int64)
    for start in range(0, len(lines), 5000):
        part = lines[start : start + 5000]
        for ids in tokenizer(part, add_special_tokens=False, verbose=False)["input_ids"]:
            counts += np.bincount(ids, minlength=len(counts))
    return counts


def is_character(token: str) -> bool:
    """Return whether a token is a special token or a single character (inside of words: Latin)."""
    if token.startswith("[") and token.endswith("]") and len(token) > 1:
        return not token.startswith("[unused")
    inside = token.startswith("##") and len(token) > 2
    return len(token.removeprefix("##")) == 1 and (not inside or ord(token[2]) < 0x250)


def main(
    minilm: str,
    corpus: str,
    wikipedia: str,
    out: str,
    *,
    size: int = SIZE,
    words: slice = WORDS,
    held_out: int = HELD_OUT,
) -> None:
    """Write the texts and the folder of the first weights."""
    folder = Path(out)
    start = folder / "start"
    start.mkdir(parents=True, exist_ok=True)
    passages, books = documents(wikipedia), documents(corpus)
    train = [*passages[:-held_out], *books[::SHARE]]
    for name, texts in (("train", train), ("held_out", passages[-held_out:])):
        (folder / f"{name}.txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8")

    tokenizer = tinybert.BertTokenizerFast.from_pretrained(minilm)
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    counts = WEIGHT * count_tokens(tokenizer, passages[:-held_out]) + count_tokens(tokenizer, books)
    must = np.array([is_character(token) for token in tokens])
    must[words] = True
    usable = np.array([not token.startswith("[unused") for token in tokens])
    order = np.lexsort((-counts, ~must, ~usable))  # first what must be kept, then by frequency
    kept = np.sort(order[:size])
    print(f"kept {len(kept):,} tokens: {counts[kept].sum() / counts.sum():.2%} of the text")
    save_vocab([tokens[i] for i in kept], start / "vocab.txt")
    tinybert.BertTokenizerFast(str(start / "vocab.txt"), model_max_length=512).save_pretrained(
        start
    )

    config = tinybert.BertConfig.from_pretrained(
        minilm, vocab_size=size, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    model = tinybert.BertForMaskedLM(config)
    base = tinybert.BertModel.from_pretrained(minilm).state_dict()
    weights = {f"bert.{name}": weight.numpy() for name, weight in base.items()}
    embeddings = "bert.embeddings.word_embeddings.weight"
    frequencies = (counts[kept] + 1) / (counts[kept] + 1).sum()
    head = {
        embeddings: weights[embeddings][kept],
        "cls.predictions.transform.dense.weight": np.eye(config.hidden_size),
        "cls.predictions.transform.dense.bias": np.zeros(config.hidden_size),
        "cls.predictions.transform.LayerNorm.weight": np.ones(config.hidden_size),
        "cls.predictions.transform.LayerNorm.bias": np.zeros(config.hidden_size),
        "cls.predictions.bias": np.log(frequencies),
    }
    weights.update({name: weight.astype(np.float32) for name, weight in head.items()})
    names = model.state_dict()
    model.load_state_dict({name: weights[name] for name in names if name in weights}, strict=False)
    model.save_pretrained(start)


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
