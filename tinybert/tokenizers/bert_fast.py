"""BERT's tokenizer with the offsets of its tokens in the text.

It gives the results of the class of transformers that is built on the Rust library `tokenizers`: it
uses the same tables of characters, and differs from `bert.py` in the same small ways.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

from tinybert.text.added_token import AddedToken
from tinybert.text.bert_normalizer import BertNormalizer
from tinybert.text.detokenize import clean_up_token
from tinybert.tokenizer_json.fields import Fields
from tinybert.tokenizer_json.models import of_word_piece
from tinybert.tokenizer_json.normalizers import of_bert
from tinybert.tokenizer_json.pipeline import Pipeline
from tinybert.tokenizer_json.pre_tokenizers import PRE_TOKENIZERS
from tinybert.tokenizers.bert import BertBase, load_vocab
from tinybert.tokenizers.bert_file import PREFIX, BertFile, read_bert_file
from tinybert.tokenizers.config import (
    BOOL,
    BOOL_OR_NONE,
    COMMON_OPTIONS,
    TOKENIZER_FILE,
    OptionType,
)
from tinybert.tokenizers.fast import FastTokenizer


class BertTokenizerFast(FastTokenizer, BertBase):
    """Text to WordPiece ids, with the characters and the word of each token.

    Arguments:
        vocab_file: one token a line; see `load_vocab`.
        tokenizer_file: a tokenizer.json of a BERT, used instead of `vocab_file`. The arguments
            below replace what it says.
        do_lower_case: lower-case the text (uncased models).
        unk_token, sep_token, pad_token, cls_token, mask_token: the special tokens. One that the
            vocabulary lacks is appended to it, in this order.
        tokenize_chinese_chars: make each Chinese character a word (unsuitable for Japanese).
        strip_accents: remove accents; None means "if do_lower_case".
        clean_text: drop control characters, and replace whitespace by spaces; None means the value
            in tokenizer_file, or True.
        wordpieces_prefix: the mark of tokens that continue a word; only "##" is allowed.
        **common: the options of every `Tokenizer`; clean_up_tokenization_spaces is True unless
            there is a tokenizer_file.

    Where both classes differ, each follows the class of the same name in transformers:

    case                            BertTokenizer               BertTokenizerFast
    ------------------------------  --------------------------  ------------------------------
    accents that are kept           composed (NFC)              as they are
    U+2B820 to U+2B91F, Chinese     a word each                 letters
    signs newer than Unicode 9      punctuation                 letters
    an empty second text            a text without tokens       no text
    ... in a batch                  a text without tokens       a text without tokens
    two long texts, longest_first   removed one by one          both keep half of the room
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

    Some faults of the original are corrected: a max_length below the number of special tokens, and
    a stride as large as the room for text, are a ValueError; rows of different lengths never become
    an array of objects; added tokens of a tokenizer_file are searched in text that is normalized by
    the arguments.

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
        self.normalizer = BertNormalizer(
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

    def _make_pipeline(self) -> Pipeline:
        model = of_word_piece(self.wordpiece, self._token_to_id)
        steps = Fields({"type": "BertPreTokenizer"}, "pre_tokenizer").build(PRE_TOKENIZERS)
        return Pipeline(of_bert(self.normalizer), steps, model)

    # Tokens to text, files ------------------------------------------------------------------

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Join tokens with spaces, but a token that begins with "##" directly.

        The space before English punctuation is removed.
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
