"""What the tests of TokenizerJSON share: trained tokenizers, random chains of parts, checks."""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from tests.tokenizers.corpora import CORPORA
from tests.tokenizers.oracle import random_text
from tinybert.text.byte_level import to_alphabet
from tinybert.tokenizers.from_json import TokenizerJSON

SPECIAL = ["<unk>", "<s>", "</s>", "<pad>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
GPT4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SNIPPETS = (
    *("<s>", " </s> ", "<unk>", "<pad>", "▁", " ▁ ", "▁▁", "<0x41>", "  ", "   ", "\t\n", "'s"),
    *(
        "I'LL",
        "don't",
        "12345",
        "½",
        "Ⅷ",
        "١٢٣",
        "hello world",
        "New York",
        "x" * 40,
        "\u0e33",
        "が",
    ),
    *("e\u0301\u0323", "q\u0307\u0323", "각", "\u1100\u1161\u11a8", "ﬁ", "ﷺ", "Å", "①", "İ", "ΑΣ"),
)


# Trained by the library ----------------------------------------------------------------------


def byte_level(corpus: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def sentence_piece(corpus: list[str]) -> Tokenizer:
    """BPE of characters in the manner of SentencePiece: bytes for what it does not know."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=1200, special_tokens=SPECIAL + BYTES, limit_alphabet=150, show_progress=False
    )
    # Trained with words, for without the trainer learns whole sentences; used without.
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    value = json.loads(tokenizer.to_str())
    value["added_tokens"] = value["added_tokens"][:4]  # the bytes are no special tokens
    return Tokenizer.from_str(json.dumps(value))


def unigram(corpus: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace("  ", " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    size = 800 + len(set("".join(corpus)))  # every character has a place in it
    trainer = trainers.UnigramTrainer(
        vocab_size=size, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


TRAINERS = {"byte-level": byte_level, "SentencePiece": sentence_piece, "Unigram": unigram}


def trained(kind: str, corpus: str) -> str:
    """The tokenizer.json of a tokenizer that the library has trained."""
    return TRAINERS[kind](CORPORA[corpus]).to_str()


# Random chains of parts ----------------------------------------------------------------------

CHARS = "▁ etaonisrhldcumfpgwyb.,'0123456789-ETAOIéßΣσς中文字한국が\u0301\u0323½①"


def some_vocab(rng: random.Random, prefix: str = "") -> dict[str, int]:
    tokens = ["<unk>", *CHARS, *BYTES]
    tokens += [prefix + char for char in CHARS]
    pairs = ["".join(rng.choices(CHARS, k=rng.randrange(2, 4))) for _ in range(120)]
    tokens += pairs + [prefix + pair for pair in pairs]
    tokens += ["th", "the", "▁the", "he", "hello", "Ġ", "Ġt", "12", "Ã", "Ã©"]
    return {token: i for i, token in enumerate(dict.fromkeys(tokens))}


def random_model(rng: random.Random) -> dict[str, Any]:
    kind = rng.choice(["BPE", "BPE", "Unigram", "WordPiece", "WordLevel"])
    if kind == "Unigram":
        pieces = [[token, round(-rng.random() * 9, 2)] for token in some_vocab(rng)]
        return {"type": kind, "unk_id": 0, "vocab": pieces, "byte_fallback": rng.random() < 0.5}
    if kind == "WordPiece":
        prefix = rng.choice(["##", "@@"])
        vocab = some_vocab(rng, prefix)
        longest = rng.choice([5, 100])
        return {
            "type": kind,
            "unk_token": "<unk>",
            "continuing_subword_prefix": prefix,
            "max_input_chars_per_word": longest,
            "vocab": vocab,
        }
    vocab = some_vocab(rng)
    if kind == "WordLevel":
        return {"type": kind, "vocab": vocab, "unk_token": "<unk>"}
    merges = []
    for token in vocab:
        for i in range(1, len(token)):
            if {token[:i], token[i:]} <= vocab.keys() and token not in BYTES:
                merges.append([token[:i], token[i:]])
    rng.shuffle(merges)
    return {
        "type": kind,
        "dropout": None,
        "unk_token": rng.choice(["<unk>", "<unk>", None]),
        "fuse_unk": rng.random() < 0.5,
        "byte_fallback": rng.random() < 0.5,
        "vocab": vocab,
        "ignore_merges": rng.random() < 0.3,
        "merges": merges,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
    }


def patterns(rng: random.Random) -> dict[str, str]:
    regexes = [r"\s+", r"\d", r"[aeiou]+", r"\p{L}+|\p{N}", r"(?<=\p{L})t", r"^\w", r"x*", GPT4]
    texts = [" ", "th", "▁", ".", "ee"]
    return rng.choice([{"Regex": rng.choice(regexes)}, {"String": rng.choice(texts)}])


BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]


def random_normalizer(rng: random.Random) -> dict[str, Any]:
    flags = [rng.random() < 0.5 for _ in range(3)]
    parts = [
        {"type": "Prepend", "prepend": rng.choice(["▁", "ab"])},
        {"type": "Replace", "pattern": patterns(rng), "content": rng.choice(["", "▁", "xyz"])},
        *({"type": name} for name in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents")),
        {"type": "Strip", "strip_left": flags[0], "strip_right": flags[1]},
        {"type": "Nmt"},
        {
            "type": "BertNormalizer",
            "clean_text": flags[0],
            "handle_chinese_chars": flags[1],
            "strip_accents": rng.choice([None, True, False]),
            "lowercase": flags[2],
        },
    ]
    return rng.choice(parts)


def random_pre_tokenizer(rng: random.Random) -> dict[str, Any]:
    flags = [rng.random() < 0.5 for _ in range(2)]
    scheme = rng.choice(["first", "always", "never"])
    parts = [
        {
            "type": "ByteLevel",
            "add_prefix_space": flags[0],
            "trim_offsets": True,
            "use_regex": flags[1],
        },
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": flags[0]},
        *[
            {
                "type": "Split",
                "pattern": patterns(rng),
                "behavior": rng.choice(BEHAVIORS),
                "invert": flags[1],
            }
            for _ in "123"
        ],
        {"type": "Digits", "individual_digits": flags[0]},
        {"type": "Punctuation", "behavior": rng.choice(BEHAVIORS)},
        {"type": "CharDelimiterSplit", "delimiter": rng.choice(" e")},
        {"type": "FixedLength", "length": rng.randrange(1, 7)},
        *({"type": name} for name in ("Whitespace", "WhitespaceSplit", "BertPreTokenizer")),
    ]
    return rng.choice(parts)


def random_processor(rng: random.Random, first: int, last: int) -> dict[str, Any]:
    """How <s> and </s>, with these ids, are put round a text."""
    flags = {"trim_offsets": rng.random() < 0.7, "add_prefix_space": rng.random() < 0.5}
    cls, sep = ["<s>", first], ["</s>", last]
    single = [
        {"SpecialToken": {"id": "<s>", "type_id": 2}},
        {"Sequence": {"id": "A", "type_id": 0}},
    ]
    pair = [*single, {"Sequence": {"id": "B", "type_id": 1}}]
    both = {"id": "</s>", "ids": [last, first], "tokens": ["</s>", "<s>"]}
    parts = [
        {"type": "RobertaProcessing", "sep": sep, "cls": cls, **flags},
        {"type": "BertProcessing", "sep": sep, "cls": cls},
        {"type": "ByteLevel", **flags, "use_regex": True},
        {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*pair, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "special_tokens": {
                "<s>": {"id": "<s>", "ids": [first], "tokens": ["<s>"]},
                "</s>": both,
            },
        },
    ]
    return rng.choice(parts)


def random_decoder(rng: random.Random) -> dict[str, Any]:
    scheme = rng.choice(["first", "always", "never"])
    flag = rng.random() < 0.5
    parts = [
        *({"type": name} for name in ("ByteFallback", "Fuse")),
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        {"type": "WordPiece", "prefix": "##", "cleanup": flag},
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": True},
        {"type": "Strip", "content": rng.choice(" e▁"), "start": rng.randrange(3), "stop": 0},
        {"type": "Replace", "pattern": patterns(rng), "content": rng.choice(["", " ", "xyz"])},
        {"type": "BPEDecoder", "suffix": rng.choice(["e", "</w>"])},
        {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "e", "cleanup": flag},
    ]
    return rng.choice(parts)


def chain(rng: random.Random, one: Any, key: str) -> dict[str, Any] | None:
    count = rng.choice([0, 1, 1, 2, 3])
    if count < 2:
        return one(rng) if count else None
    return {"type": "Sequence", key: [one(rng) for _ in range(count)]}


def random_file(rng: random.Random) -> dict[str, Any]:
    """A tokenizer.json of random parts."""
    model = random_model(rng)
    vocab = model["vocab"]
    known = vocab if isinstance(vocab, dict) else {piece: i for i, (piece, _) in enumerate(vocab)}
    ids = {content: len(known) + i for i, content in enumerate(["<s>", "</s>", "New", "É", "x x"])}
    ids["the"] = known["the"]
    added = []
    for i, (content, token_id) in enumerate(ids.items()):
        flags = {name: rng.random() < 0.3 for name in ("single_word", "lstrip", "rstrip")}
        flags |= {"normalized": i > 1 and rng.random() < 0.6, "special": i < 2}
        added.append({"id": token_id, "content": content, **flags})
    processor = random_processor(rng, ids["<s>"], ids["</s>"])
    pre_tokenizer = chain(rng, random_pre_tokenizer, "pretokenizers")
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": chain(rng, random_normalizer, "normalizers"),
        "pre_tokenizer": pre_tokenizer,
        "post_processor": processor if rng.random() < 0.7 else None,
        "decoder": chain(rng, random_decoder, "decoders"),
        "model": model,
    }


def texts(count: int, rng: random.Random) -> Iterator[str]:
    """Random texts without characters that no version of Unicode up to 14 has."""
    for _ in range(count):
        parts = []
        for _ in range(rng.randrange(1, 5)):
            kind = rng.random()
            if kind < 0.3:
                parts.append(random_text(rng))
            elif kind < 0.6:
                parts.append(rng.choice(SNIPPETS))
            else:
                parts.append("".join(rng.choices(CHARS, k=rng.randrange(1, 9))))
            if rng.random() < 0.4:
                parts.append(" ")
        yield "".join(char for char in "".join(parts) if unicodedata.category(char) != "Cn")


# Files ---------------------------------------------------------------------------------------


def in_folder(folder: Path, value: Any, **config: Any) -> Path:
    """A folder with this tokenizer.json, and a tokenizer_config.json if it is given."""
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(value if isinstance(value, str) else json.dumps(value))
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def changed(**parts: Any) -> dict[str, Any]:
    """A tokenizer.json with two tokens, and these parts."""
    model = {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}
    return {"version": "1.0", "model": model, **parts}


# The verdict ---------------------------------------------------------------------------------


def overlooks(ours: TokenizerJSON) -> bool:
    """Whether an added token is nothing, or only white space, once it is normalized.

    The library finds the first between any two characters, and loses its way with the second.
    """
    return any(
        not ours._pipeline.normalized(token.content).strip() for token in ours._added.values()
    )


def load(value: str, path: Path) -> tuple[Tokenizer, TokenizerJSON]:
    """The tokenizer of the library and ours, from the text of a tokenizer.json."""
    path.write_text(value, encoding="utf-8")
    return Tokenizer.from_str(value), TokenizerJSON(path)


def decoded(theirs: Tokenizer, ours: TokenizerJSON, ids: list[int], skip: bool) -> str:
    """What the library decodes, but with the text of added tokens, which its ByteLevel garbles."""
    whole = {ours._token_to_id[t] for t in ours._added_ids.keys() - ours.vocab.keys()}
    if not ours._bytes_first or whole.isdisjoint(ids):
        return theirs.decode(ids, skip_special_tokens=skip)
    special = {i for i, token in ours.added_tokens_decoder.items() if skip and token.special}
    tokens = [(i, theirs.id_to_token(i)) for i in ids if i not in special]
    return theirs.decoder.decode([to_alphabet(t) if i in whole else t for i, t in tokens])


def assert_same(theirs: Tokenizer, ours: TokenizerJSON, text: str, pair: str | None = None) -> None:
    """Ids, tokens, places, words, types and decoded text are equal."""
    expected, found = theirs.encode(text, pair), ours(text, pair)
    row = found.encodings[0]
    where = (text, pair)
    assert row.ids == expected.ids, where
    assert row.tokens == expected.tokens, where
    assert row.offsets == expected.offsets, where
    assert row.word_ids == expected.word_ids, where
    assert row.type_ids == expected.type_ids, where
    assert row.special_tokens_mask == expected.special_tokens_mask, where
    ids = expected.ids
    for part in (ids, ids[1:-2]):
        for skip in (False, True):
            assert ours.decode(part, skip) == decoded(theirs, ours, part, skip), where
