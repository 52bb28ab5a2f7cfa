"""Tokenizers that give a model other words than it was trained with."""

from __future__ import annotations

from tinybert.learn.museum.bugs import Bug
from tinybert.learn.patches import Patch
from tinybert.text import basic
from tinybert.text.basic import BasicTokenizer, CharTable
from tinybert.text.basic import is_cjk as right_is_cjk
from tinybert.text.wordpiece import WordPiece

VOCABULARY = [
    "[UNK]", "naive", "cafe", "cafes", "the", "un", "##want", "##ed", "cat", "##cat", "##s",
    "a", "b", "\u4e2d", "\U0002b820",
]  # fmt: skip


def _tokens(text: str) -> str:
    """Return the tokens of a text, in one line."""
    words = BasicTokenizer().tokenize(text)
    pieces = WordPiece({word: i for i, word in enumerate(VOCABULARY)}, "[UNK]").tokenize(words)
    return " ".join(ascii(piece)[1:-1] for piece in pieces)


def _must_be(text: str, tokens: str) -> None:
    found = _tokens(text)
    assert found == tokens, f"the tokens of {text!a} are {found}, not {tokens}"


def plain_english_is_right() -> None:
    """The tokens of "the unwanted cats" are right."""
    _must_be("the unwanted cats", "the un ##want ##ed cat ##s")


# --- accents --------------------------------------------------------------------------------------


def strip_accents(text: str) -> str:
    """Drop accents that are characters of their own, but do not split letters from theirs."""
    return text if text.isascii() else text.translate(basic._WITHOUT_MARKS)


def tokens_with_accents() -> str:
    """Tokenize "naïve cafés"."""
    return _tokens("na\u00efve caf\u00e9s")


def accents_are_dropped() -> None:
    """Words with accents have the tokens of the same words without."""
    _must_be("na\u00efve caf\u00e9s", "naive cafes")


ACCENTS = Bug(
    name="accents-stay",
    title="words with accents are unknown",
    mistake="Accents are removed without decomposing letters first: é is one character.",
    patches=(Patch("tinybert.text.basic.strip_accents", strip_accents),),
    measured='tokens of "naïve cafés"',
    symptom=tokens_with_accents,
    check=accents_are_dropped,
    fooled=plain_english_is_right,
    story=(
        "An uncased BERT has never seen é. llama.cpp was found to tokenize like this in 2024, "
        "by comparing its tokens of a large text with those of transformers, line by line. In "
        "Ollama, in 2026, unrelated words with accents had cosines near 1: all of them had "
        "become [UNK], and Hokkaidō was not similar to Hokkaido. English tests are blind here: "
        "put other languages into yours."
    ),
    links=(
        "https://github.com/ollama/ollama/issues/15609",
        "https://github.com/ggml-org/llama.cpp/issues/5496",
    ),
)

# --- unknown pieces -------------------------------------------------------------------------------


def segment(self: WordPiece, word: str) -> list[str]:
    """Replace only the character that is not in the vocabulary."""
    if len(word) > self.max_input_chars_per_word:
        return [self.unk_token]
    tokens: list[str] = []
    start = 0
    while start < len(word):
        prefix = self.prefix if start else ""
        end = min(len(word), start + self.longest_token)
        while end > start and prefix + word[start:end] not in self.vocab:
            end -= 1
        if end == start:
            tokens.append(self.unk_token)
            end += 1
        else:
            tokens.append(prefix + word[start:end])
        start = end
    return tokens


def tokens_of_an_unknown_word() -> str:
    """Tokenize "unwantedX"."""
    return _tokens("unwantedX")


def unknown_words_are_one_token() -> None:
    """A word with a piece that is not in the vocabulary becomes one [UNK]."""
    _must_be("unwantedX", "[UNK]")


UNKNOWN_PIECE = Bug(
    name="unk-for-a-piece-only",
    title="half of an unknown word",
    mistake="Only the piece that is missing becomes [UNK], and not the whole word.",
    patches=(Patch("tinybert.text.wordpiece.WordPiece.segment", segment),),
    measured='tokens of "unwantedX"',
    symptom=tokens_of_an_unknown_word,
    check=unknown_words_are_one_token,
    fooled=plain_english_is_right,
    story=(
        "It seems better to keep what is known, and several ports of the tokenizer do. The author "
        "of one in Go asked in 2019 why a test of the original expects [UNK] for unwantedX, where "
        "his code had un ##want ##ed [UNK]. There is no deeper reason: the model was trained that "
        "way. A tokenizer is a part of the weights; it is right if it is the same."
    ),
    links=(
        "https://github.com/google-research/bert/issues/763",
        "https://github.com/tensorflow/text/pull/73",
    ),
)

# --- long words -----------------------------------------------------------------------------------


def segment_of_any_length(self: WordPiece, word: str) -> list[str]:
    """Split words of any length."""
    tokens: list[str] = []
    start = 0
    while start < len(word):
        prefix = self.prefix if start else ""
        end = min(len(word), start + self.longest_token)
        while end > start and prefix + word[start:end] not in self.vocab:
            end -= 1
        if end == start:
            return [self.unk_token]
        tokens.append(prefix + word[start:end])
        start = end
    return tokens


def tokens_of_a_long_word() -> str:
    """Count the tokens of a word of 102 characters."""
    return str(len(_tokens("cat" * 34).split()))


def long_words_are_unknown() -> None:
    """A word of more than 100 characters becomes one [UNK]; one of 99 is split."""
    _must_be("cat" * 33, "cat" + " ##cat" * 32)
    _must_be("cat" * 34, "[UNK]")


NO_LIMIT = Bug(
    name="no-limit-for-words",
    title="the rule of the hundred characters",
    mistake="Words of more than 100 characters are split into pieces.",
    patches=(Patch("tinybert.text.wordpiece.WordPiece.segment", segment_of_any_length),),
    measured="number of tokens of a word of 102 characters",
    symptom=tokens_of_a_long_word,
    check=long_words_are_unknown,
    fooled=plain_english_is_right,
    story=(
        "The limit is in the code of BERT and in no paper. transformers.js had it as a to-do "
        "only. In November 2023 a user saw that a base64 string takes very long to tokenize, "
        "asked why, and sent the missing lines. The limit matters for web addresses and DNA "
        "too. Rules that nobody writes down are found by running the original on odd input."
    ),
    links=(
        "https://github.com/huggingface/transformers.js/pull/398",
        "https://github.com/huggingface/transformers.js/issues/397",
    ),
)

# --- Chinese characters ---------------------------------------------------------------------------


def is_cjk(char: str) -> bool:
    """Begin Extension E at U+2B920: 256 characters are missing."""
    return right_is_cjk(char) and not 0x2B820 <= ord(char) < 0x2B920


def tokens_of_a_rare_character() -> str:
    """Tokenize U+2B820 between two letters."""
    return _tokens("a\U0002b820b")


def chinese_characters_are_words() -> None:
    """Every Chinese character is a word, also the first one of Extension E."""
    _must_be("a\U0002b820b", "a \\U0002b820 b")


def common_characters_are_words() -> None:
    """A common Chinese character is a word."""
    _must_be("a\u4e2db", "a \\u4e2d b")


TYPO = Bug(
    name="cjk-range-with-a-typo",
    title="one digit in a table of Unicode",
    mistake="A block of Chinese characters begins at U+2B920, where it should begin at U+2B820.",
    patches=(
        Patch(
            "tinybert.text.basic._SPACED_CJK",
            CharTable(lambda char: f" {char} " if is_cjk(char) else char),
        ),
    ),
    measured="tokens of a rare character between two letters",
    symptom=tokens_of_a_rare_character,
    check=chinese_characters_are_words,
    fooled=common_characters_are_words,
    right="(0x2B820, 0x2CEAF),  # Extension E",
    wrong=is_cjk,
    story=(
        "The fast tokenizers of Hugging Face have this digit wrong. It was still there in 2026, "
        "when somebody compared the table with the original and with the list of blocks of "
        "Unicode. Is it a bug, if models were trained with it? For them the typo is right: here "
        "BertTokenizerFast repeats it, and BertTokenizer does not. Test the first and the last "
        "element of every range."
    ),
    links=("https://github.com/huggingface/tokenizers/pull/2395",),
)

BUGS = (ACCENTS, UNKNOWN_PIECE, NO_LIMIT, TYPO)
