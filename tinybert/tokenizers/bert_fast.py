"""BERT's tokenizer with the places of its tokens in the text.

It gives what the class of transformers gives that is built on the Rust library `tokenizers`: by
the same tables of characters, and with the same small differences from `bert.py`. Where a place
in normalised text comes from is worked out in `normalize.py`, rows are made in `aligned.py`.
"""

from __future__ import annotations

from itertools import accumulate, islice
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from tinybert.text.added_token import AddedToken
from tinybert.text.bert_normalizer import Normalizer
from tinybert.text.detokenize import clean_up_token
from tinybert.text.token_matcher import TokenMatcher
from tinybert.text.word_cache import WordCache
from tinybert.tokenizer_json.encoding import Encoding
from tinybert.tokenizers.bert import BertBase, load_vocab
from tinybert.tokenizers.bert_file import PREFIX, BertFile, read_bert_file
from tinybert.tokenizers.config import (
    BOOL,
    BOOL_OR_NONE,
    COMMON_OPTIONS,
    TOKENIZER_FILE,
    OptionType,
)
from tinybert.tokenizers.fast import AlignedTokenizer


class Chunk(NamedTuple):
    """The tokens of what stands between two spaces, places counted from its beginning.

    new_words: 1 for a token that begins a word, 0 for one that continues it.

    Tuples, because Python's garbage collector need not look into tuples of numbers and texts
    again and again, as it does into the lists of a long cache.
    """

    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    offsets: tuple[tuple[int, int], ...]
    new_words: tuple[int, ...]


class BertTokenizerFast(AlignedTokenizer, BertBase):
    """Text to WordPiece ids, each with its characters and its word in the text.

    Arguments:
        vocab_file: one token a line; see `load_vocab`.
        tokenizer_file: a tokenizer.json of a BERT, which has the vocabulary and the added tokens
            and is used instead of `vocab_file`. The arguments below overrule what it says.
        do_lower_case: lower-case the text (uncased models).
        unk_token, sep_token, pad_token, cls_token, mask_token: the special tokens. One that the
            vocabulary lacks is appended to it, in this order.
        tokenize_chinese_chars: make each Chinese character a word (not wanted for Japanese).
        strip_accents: remove accents; None means "if do_lower_case".
        clean_text: drop control characters, and make every kind of white space a space; None
            means what the tokenizer_file says, or True.
        wordpieces_prefix: "##", which marks what continues a word, and no other.
        **common: the options of every `Tokenizer`; clean_up_tokenization_spaces is True unless
            there is a tokenizer_file.

    Where both classes differ, each does as its namesake in transformers:

    case                            BertTokenizer               BertTokenizerFast
    ------------------------------  --------------------------  ------------------------------
    accents that are kept           composed (NFC)              as they are
    U+2B820 to U+2B91F, Chinese     a word each                 letters
    signs newer than Unicode 9      punctuation                 letters
    an empty second text            a text without tokens       no text
    ... in a batch                  a text without tokens       a text without tokens
    two long texts, longest_first   one token at a time goes    both keep half of the room
    what overflows                  overflowing_tokens          further rows with specials
    return_length of one text       a number                    a list
    return_length of a batch        before padding              after padding
    token of an unknown id          [UNK]                       None
    text of an unknown id           [UNK]                       nothing
    space before punctuation        kept, unless cleaned up     never
    split_special_tokens            [MASK] stays                [MASK] is split
    types without specials          0                           1 in the second text
    added tokens                    lower case; new ones count  as given; all count
    lists as one text               of tokens, of ids           of words alone

    Where the original is at fault this one is not: max_length smaller than the number of special
    tokens, and stride as large as the room for text, are a ValueError; rows of different lengths
    never become an array of objects; added tokens of a tokenizer_file are looked for in text that
    is normalised as the arguments say.

    Raises ValueError for a bad or missing file or no unk_token, TypeError for a wrong option.
    """

    vocab_files_names: ClassVar[dict[str, str]] = {
        "vocab_file": "vocab.txt",
        "tokenizer_file": TOKENIZER_FILE,
    }
    option_types: ClassVar[dict[str, OptionType]] = COMMON_OPTIONS | {
        "do_lower_case": BOOL,
        "tokenize_chinese_chars": BOOL,
        "strip_accents": BOOL_OR_NONE,
        "clean_text": BOOL_OR_NONE,
        "wordpieces_prefix": OptionType("'##'", lambda value: value == PREFIX),
    }

    def __init__(
        self,
        vocab_file: str | PathLike[str] | None = None,
        tokenizer_file: str | PathLike[str] | None = None,
        do_lower_case: bool = True,
        unk_token: str | AddedToken = "[UNK]",
        sep_token: str | AddedToken | None = "[SEP]",
        pad_token: str | AddedToken | None = "[PAD]",
        cls_token: str | AddedToken | None = "[CLS]",
        mask_token: str | AddedToken | None = "[MASK]",
        tokenize_chinese_chars: bool = True,
        strip_accents: bool | None = None,
        clean_text: bool | None = None,
        wordpieces_prefix: str = PREFIX,
        **common: Any,
    ) -> None:
        if tokenizer_file is not None:
            file = read_bert_file(Path(tokenizer_file))
            file.check_special_tokens(unk_token=unk_token, cls_token=cls_token, sep_token=sep_token)
        elif vocab_file is not None:
            file = BertFile(load_vocab(vocab_file))
        else:
            raise ValueError("vocab_file or tokenizer_file must be given")
        self._file = file
        self.vocab = file.vocab
        self.max_input_chars_per_word = file.max_input_chars_per_word
        self.do_lower_case = do_lower_case
        self.tokenize_chinese_chars = tokenize_chinese_chars
        self.strip_accents = strip_accents
        self.clean_text = file.clean_text if clean_text is None else clean_text
        self.wordpieces_prefix = wordpieces_prefix
        self.normalizer = Normalizer(
            do_lower_case, strip_accents, tokenize_chinese_chars, self.clean_text
        )
        options: dict[str, Any] = {
            "clean_up_tokenization_spaces": tokenizer_file is None,
            **file.sides,
            **common,
        }
        options["added_tokens_decoder"] = {
            **file.added_tokens,
            **(common.get("added_tokens_decoder") or {}),
        }
        super().__init__(
            unk_token=unk_token,
            sep_token=sep_token,
            pad_token=pad_token,
            cls_token=cls_token,
            mask_token=mask_token,
            **options,
        )

    def _vocabulary_changed(self) -> None:
        super()._vocabulary_changed()
        self._chunks = _Chunks(self)
        added = sorted(self._added.values(), key=lambda token: not token.special)
        ordinary = [token for token in added if not token.special]
        self._matchers = self._matchers_of(added), self._matchers_of(ordinary)

    def _matchers_of(self, tokens: list[AddedToken]) -> tuple[TokenMatcher, TokenMatcher]:
        """What finds tokens in a text as it is, and in normalised text."""
        normalize = self.normalizer.normalize
        return (
            TokenMatcher((t.content, t) for t in tokens if not t.normalized),
            TokenMatcher((normalize(t.content)[0], t) for t in tokens if t.normalized),
        )

    # Text to tokens -------------------------------------------------------------------------

    def _encode_text(self, text: str, sequence: int, split_special_tokens: bool) -> Encoding:
        """Exact added tokens first, then in what is left normalised ones, then words."""
        row = _Tokens([], [], [], [])
        exact, in_normalised = self._matchers[split_special_tokens]
        for token, start, end in exact.split(text):
            if token is not None:
                row.add_token(self._added_ids[token.content], text[start:end], (start, end))
            elif in_normalised.tokens:
                self._add_normalized(row, text[start:end], start, in_normalised)
            else:
                self._add_words(row, text, start, end)
        return Encoding.of_text(*row, sequence)

    def _add_words(self, row: _Tokens, text: str, start: int, end: int) -> None:
        pattern = self.normalizer.chunk_pattern
        chunks = [self._chunks[text] for text in pattern.findall(text, start, end)]
        row.add_chunks(chunks, [match.start() for match in pattern.finditer(text, start, end)])

    def _add_normalized(self, row: _Tokens, text: str, origin: int, matcher: TokenMatcher) -> None:
        """Add what `text`, which begins at `origin`, has of normalised added tokens and words."""
        normalised, origins = self.normalizer.normalize(text)
        for token, start, end in matcher.split(normalised):
            if token is None:
                chunk = self._chunk(normalised[start:end], origins[start:end])
                row.add_chunks([chunk], [origin])
                continue
            span = (origin + origins[start], origin + origins[end - 1] + 1)
            row.add_token(self._added_ids[token.content], normalised[start:end], span)

    def _chunk(self, normalised: str, origins: list[int]) -> Chunk:
        """The tokens of normalised text whose characters come from the places `origins`."""
        tokens: list[str] = []
        offsets: list[tuple[int, int]] = []
        new_words: list[int] = []
        for match in self.normalizer.word_pattern.finditer(normalised):
            pieces, (start, stop) = self.wordpiece[match.group()], match.span()
            for piece in pieces[:-1]:  # the first has no "##"
                end = start + len(piece) - (2 if start > match.start() else 0)
                offsets.append((origins[start], origins[end - 1] + 1))
                start = end
            offsets.append((origins[start], origins[stop - 1] + 1))
            tokens += pieces
            new_words += [1, *([0] * (len(pieces) - 1))]
        ids = [self._token_to_id[token] for token in tokens]
        return Chunk(tuple(ids), tuple(tokens), tuple(offsets), tuple(new_words))

    # Tokens to text, files ------------------------------------------------------------------

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Join tokens by spaces, those that begin with "##" to what is before them.

        The space before English punctuation is left out.
        """
        texts = []
        for i, token in enumerate(tokens):
            if i:
                token = token[2:] if token.startswith("##") else " " + token
            if self._file.cleans_up:
                token = clean_up_token(token)
            texts.append(token)
        return "".join(texts)

    @classmethod
    def _vocabulary_files(cls, path: Path) -> dict[str, Path]:
        if path.is_file():
            return {"tokenizer_file" if path.suffix == ".json" else "vocab_file": path}
        files = {option: path / name for option, name in cls.vocab_files_names.items()}
        files = {option: file for option, file in files.items() if file.is_file()}
        if not files:
            raise ValueError(
                f"name_or_path must be a folder with {TOKENIZER_FILE} or vocab.txt; "
                f"there is none at {str(path)!r}"
            )
        return files

    def _tokenizer_json(self) -> str:
        special = {
            str(self._roles[role]): self.role_id(role) for role in ("cls_token", "sep_token")
        }
        return self._file.as_json(
            str(self.unk_token),
            special,
            self.added_tokens_decoder,
            self.normalizer,
            self.strip_accents,
        )


class _Tokens(NamedTuple):
    """The columns of the tokens of a text while it is read."""

    ids: list[int]
    tokens: list[str]
    offsets: list[tuple[int, int]]
    word_ids: list[int | None]

    def add_token(self, token_id: int, token: str, span: tuple[int, int]) -> None:
        self.ids.append(token_id)
        self.tokens.append(token)
        self.offsets.append(span)
        self.word_ids.append(self._next_word())

    def add_chunks(self, chunks: list[Chunk], origins: list[int]) -> None:
        """Add chunks that begin at the places `origins`, in loops that Python runs fast."""
        self.ids.extend([i for chunk in chunks for i in chunk.ids])
        self.tokens.extend([token for chunk in chunks for token in chunk.tokens])
        self.offsets.extend(
            [
                (origin + start, origin + end)
                for chunk, origin in zip(chunks, origins, strict=True)
                for start, end in chunk.offsets
            ]
        )
        new_words = [new for chunk in chunks for new in chunk.new_words]
        last = self._next_word() - 1
        self.word_ids.extend(islice(accumulate(new_words, initial=last), 1, None))

    def _next_word(self) -> int:
        return self.word_ids[-1] + 1 if self.word_ids else 0  # type: ignore[operator]


class _Chunks(WordCache[Chunk]):
    """The tokens of each stretch without spaces that was seen."""

    def __init__(self, tokenizer: BertTokenizerFast) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.longest = tokenizer.max_input_chars_per_word

    def work_out(self, text: str) -> Chunk:
        """The tokens of one stretch."""
        return self.tokenizer._chunk(*self.tokenizer.normalizer.normalize(text))
