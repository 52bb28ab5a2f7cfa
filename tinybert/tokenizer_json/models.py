"""The models of a tokenizer.json: each gives the tokens of a word, with their offsets in it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from tinybert.text.aligned_text import Token
from tinybert.text.bpe import BPE, unknown_id
from tinybert.text.unigram import LONGEST_TOKEN, Unigram
from tinybert.text.wordpiece import WordPiece
from tinybert.tokenizer_json.fields import Fields
from tinybert.tokenizer_json.vocabulary import checked_merges, checked_vocab

POWERS = [float(f"1e{exponent}") for exponent in range(309)]


class Model(NamedTuple):
    """The model of a pipeline.

    tokenize: returns the tokens of a word, with their offsets in it.
    vocab: token -> id.
    parts: cuts a word into parts whose tokens do not depend on each other; None if unknown.
    fast_ids: returns the ids of a word's tokens without making the tokens; None if there is no
        faster way than to make them.
    """

    tokenize: Callable[[str], tuple[Token, ...]]
    vocab: dict[str, int]
    parts: Callable[[str], list[str]] | None = None
    fast_ids: Callable[[str], list[int]] | None = None

    def ids(self, word: str) -> list[int]:
        """Return the ids of the tokens of a word."""
        return self.fast_ids(word) if self.fast_ids else [token.id for token in self.tokenize(word)]


def bpe(part: Fields) -> Model:
    if part.value.get("dropout"):
        raise ValueError(f"{part.where}.dropout is random, and not supported; make it null")
    vocab = checked_vocab(part.value.get("vocab"), f"{part.where}.vocab")
    model = BPE(
        vocab,
        checked_merges(part.value.get("merges")),
        unk_token=part.get("unk_token", str, None),
        fuse_unk=part.get("fuse_unk", bool, False),
        byte_fallback=part.get("byte_fallback", bool, False),
        ignore_merges=part.get("ignore_merges", bool, False),
        prefix=part.content("continuing_subword_prefix", ""),
        suffix=part.content("end_of_word_suffix", ""),
    )
    return Model(model.tokenize, vocab, model.parts if model.has_words else None, model.ids)


def unigram(part: Fields) -> Model:
    entries = part.get("vocab", list)
    for i, entry in enumerate(entries):
        if not _is_entry(entry):
            raise ValueError(f"{part.where}.vocab[{i}] must be [token, score]: {entry!r:.80}")
    vocab = [(token, library_float(float(score))) for token, score in entries]
    fallback = part.get("byte_fallback", bool, False)
    model = Unigram(vocab, part.get("unk_id", int, None), fallback)
    return Model(model.tokenize, model.vocab)


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, list)
        and len(entry) == 2
        and isinstance(entry[0], str)
        and type(entry[1]) in (int, float)
        and 1e-280 < abs(entry[1] or 1) < 1e280  # also False for NaN
    )


def library_float(number: float) -> float:
    """Return a number as the library reads it: its digits as an integer, over a power of ten.

    Both steps round, and the result may differ from the nearest float in the last bit. That can
    decide between two segmentations of a word whose scores are sums of the same numbers.
    """
    digits, _, power = repr(abs(number)).partition("e")
    whole, _, fraction = digits.partition(".")
    exponent = int(power or 0) - len(fraction)
    value = float(int(whole + fraction))
    value = value * POWERS[exponent] if exponent >= 0 else value / POWERS[-exponent]
    return math.copysign(value, number)


def word_piece(part: Fields) -> Model:
    vocab, unknown = (
        checked_vocab(part.value.get("vocab"), f"{part.where}.vocab"),
        part.get("unk_token", str),
    )
    prefix = part.content("continuing_subword_prefix")
    longest = part.get("max_input_chars_per_word", int)
    return of_word_piece(WordPiece(vocab, unknown, longest, prefix), vocab)


def of_word_piece(word_piece: WordPiece, vocab: dict[str, int]) -> Model:
    """Return `WordPiece` as the model of a pipeline, with these ids of its tokens."""
    unknown, size_of_prefix = word_piece.unk_token, len(word_piece.prefix)
    longest = min(word_piece.longest_token, word_piece.max_input_chars_per_word)
    if longest > LONGEST_TOKEN:  # each position of a word would be tried with so many tokens
        raise ValueError(
            f"model: a token of {longest} characters is too long; at most {LONGEST_TOKEN} are "
            "allowed, or max_input_chars_per_word must be lower"
        )

    def tokenize(word: str) -> tuple[Token, ...]:
        texts = word_piece[word]
        if texts == [unknown]:
            return (Token(unknown_id(vocab, unknown, word), unknown, 0, len(word)),)
        tokens: list[Token] = []
        start = 0
        for text in texts:
            end = start + len(text) - (size_of_prefix if start else 0)
            tokens.append(Token(vocab[text], text, start, end))
            start = end
        return tuple(tokens)

    def ids(word: str) -> list[int]:
        texts = word_piece[word]
        if texts == [unknown]:
            return [unknown_id(vocab, unknown, word)]
        return [vocab[text] for text in texts]

    return Model(tokenize, vocab, None, ids)


def word_level(part: Fields) -> Model:
    vocab, unknown = (
        checked_vocab(part.value.get("vocab"), f"{part.where}.vocab"),
        part.get("unk_token", str),
    )

    def tokenize(word: str) -> tuple[Token, ...]:
        if word in vocab:
            return (Token(vocab[word], word, 0, len(word)),)
        return (Token(unknown_id(vocab, unknown, word), unknown, 0, len(word)),)

    return Model(tokenize, vocab)


MODELS: dict[str, Callable[[Fields], Model]] = {
    "BPE": bpe,
    "Unigram": unigram,
    "WordPiece": word_piece,
    "WordLevel": word_level,
}


def read_model(part: Fields) -> Model:
    """Return the model that the file describes.

    Files of the first versions do not name the type of the model; its fields tell it.
    """
    if "type" not in part.value:
        signs = {"merges": "BPE", "max_input_chars_per_word": "WordPiece", "unk_id": "Unigram"}
        kinds = [kind for field, kind in signs.items() if field in part.value]
        typed = {"type": kinds[0] if kinds else "WordLevel", **part.value}
        part = Fields(typed, part.where)
    return part.build(MODELS)
