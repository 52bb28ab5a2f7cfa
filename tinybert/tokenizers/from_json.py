"""`TokenizerJSON`: a tokenizer made of the parts that a tokenizer.json describes.

The parts are in the package `tinybert.tokenizer_json`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from tinybert.text.added_token import AddedToken
from tinybert.text.byte_level import kept_whole
from tinybert.tokenizer_json.added_tokens import read_added_tokens
from tinybert.tokenizer_json.decoders import DECODERS, decode
from tinybert.tokenizer_json.encoding import Encoding, joined, text_of_ids
from tinybert.tokenizer_json.fields import Fields
from tinybert.tokenizer_json.models import Model, read_model
from tinybert.tokenizer_json.normalizers import NORMALIZERS
from tinybert.tokenizer_json.patterns import TimeLimit
from tinybert.tokenizer_json.pipeline import Pipeline
from tinybert.tokenizer_json.post_processors import PROCESSORS, bos_and_eos, nothing
from tinybert.tokenizer_json.pre_tokenizers import PRE_TOKENIZERS
from tinybert.tokenizer_json.streaming import inserts_spaces, settled_tokens
from tinybert.tokenizers.bert_file import read_sides, read_tokenizer_json
from tinybert.tokenizers.classes import class_settings
from tinybert.tokenizers.config import (
    BOOL_OR_NONE,
    COMMON_OPTIONS,
    TOKENIZER_FILE,
    ErrorsName,
    OptionType,
    check_options,
)
from tinybert.tokenizers.fast import FastTokenizer
from tinybert.tokenizers.options import EncodeOptions

T = TypeVar("T")

VERSION = "1.0"  # the only version
BUILT = (  # by `_build`
    *("vocab", "_normalize", "_steps", "_process", "_decoder", "_bytes_first", "_model"),
)
# Classes of transformers that set the post-processor themselves.
LIKE_LLAMA = ("LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer", "CohereTokenizer")


class TokenizerJSON(FastTokenizer):
    """Text to ids as a tokenizer.json describes it, with the characters and the word of each token.

    Arguments:
        tokenizer_file: the file; every part of it must be known.
        bos_token, eos_token, unk_token, sep_token, pad_token, cls_token, mask_token: the tokens
            with these roles, which the file does not name. The pad token may be in its "padding".
        tokenizer_class: the class of transformers that the file was written for. It decides which
            inputs a call returns, the side of padding and the special tokens, unless they are
            given (see `classes.py`). Classes like that of Llama put bos before a text and may put
            eos after it, and ignore the file.
        add_bos_token, add_eos_token: whether these classes do; None means True and False. They also
            apply without a tokenizer_class, but not with any other class.
        add_prefix_space: put a space before a text that has none, for a file whose pre-tokenizer
            is ByteLevel. None means the value in the file.
        **common: the options of every `Tokenizer`.

    Truncation and padding are those of a call; only the sides and the pad token are taken from the
    file.

    Raises ValueError, naming the file and the path in it, if it is missing, damaged or has an
    unknown part; TypeError for a wrong option.
    """

    saved_as = "PreTrainedTokenizerFast"
    vocab_files_names: ClassVar[dict[str, str]] = {"tokenizer_file": TOKENIZER_FILE}
    option_types: ClassVar[dict[str, OptionType]] = COMMON_OPTIONS | {
        "tokenizer_class": OptionType("a str or None", lambda v: v is None or isinstance(v, str)),
        "add_bos_token": BOOL_OR_NONE,
        "add_eos_token": BOOL_OR_NONE,
        "add_prefix_space": BOOL_OR_NONE,
    }

    def __init__(
        self,
        tokenizer_file: str | PathLike[str],
        tokenizer_class: str | None = None,
        add_bos_token: bool | None = None,
        add_eos_token: bool | None = None,
        add_prefix_space: bool | None = None,
        **common: Any,
    ) -> None:
        self._path = path = Path(tokenizer_file)
        self.tokenizer_class = tokenizer_class
        self.add_bos_token = add_bos_token
        self.add_eos_token = add_eos_token
        self.add_prefix_space = add_prefix_space
        with ErrorsName(path):
            self._file = read_tokenizer_json(path)
            if (version := self._file.get("version", VERSION)) != VERSION:
                raise ValueError(f"version must be {VERSION!r}, got {version!r:.80}")
            before = self._file.get("pre_tokenizer")
            is_byte_level = isinstance(before, dict) and before.get("type") == "ByteLevel"
            if add_prefix_space is not None and is_byte_level:
                changed = {**dict(before or {}), "add_prefix_space": add_prefix_space}
                self._file = {**self._file, "pre_tokenizer": changed}
            self._build()
            given = read_added_tokens(self._file)
            _check_ids(given, self.vocab)
            found: dict[str, Any] = {**read_sides(self._file), **_padding(self._file)}
        options: dict[str, Any] = {**class_settings(tokenizer_class), **found, **common}
        self.pad_token_type_id = options.pop("pad_token_type_id", 0)
        check_options(common, self.option_types)
        more = sorted(common.get("added_tokens_decoder", {}).items())
        options["added_tokens_decoder"] = _numbered([*given, *more], self.vocab)
        super().__init__(**options)
        like_llama = str(tokenizer_class).removesuffix("Fast") in LIKE_LLAMA
        asked = add_bos_token is not None or add_eos_token is not None
        if like_llama or (asked and tokenizer_class is None):
            self._add_bos_and_eos(add_bos_token is not False if like_llama else add_bos_token)

    def _build(self) -> None:
        """Make the parts that the file describes."""
        self._normalize = _part(self._file, "normalizer", NORMALIZERS)
        self._steps = _part(self._file, "pre_tokenizer", PRE_TOKENIZERS) or []
        self._process = _part(self._file, "post_processor", PROCESSORS) or nothing
        self._decoder = _part(self._file, "decoder", DECODERS)
        self._bytes_first = _begins_with_bytes(self._file.get("decoder"))
        self._model = _model(self._file)
        self.vocab = self._model.vocab

    def _make_pipeline(self) -> Pipeline:
        return Pipeline(self._normalize, self._steps, self._model)

    def __getstate__(self) -> dict[str, Any]:
        """Return all but the parts, whose functions cannot be pickled; they are made again."""
        return {name: v for name, v in super().__getstate__().items() if name not in BUILT}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._build()
        self._vocabulary_changed()

    def _add_bos_and_eos(self, adds_bos: bool | None) -> None:
        """Replace the post-processor by one that puts bos and eos around every text."""
        bos = (str(self.bos_token), self.role_id("bos_token")) if adds_bos else None
        eos = (str(self.eos_token), self.role_id("eos_token")) if self.add_eos_token else None
        self._file = {**self._file, "post_processor": bos_and_eos(bos, eos)}
        self._process = _part(self._file, "post_processor", PROCESSORS) or nothing

    # Text to tokens -------------------------------------------------------------------------

    def _encode_text(self, text: str, sequence: int, split_special_tokens: bool) -> Encoding:
        with ErrorsName(self._path), TimeLimit(len(text)):
            return super()._encode_text(text, sequence, split_special_tokens)

    def _encode_words(self, text: Any, sequence: int, settings: EncodeOptions) -> Encoding:
        if not settings.is_split_into_words:
            return super()._encode_words(text, sequence, settings)
        with TimeLimit(sum(len(word) for word in text if isinstance(word, str))):
            return super()._encode_words(text, sequence, settings)

    # Rows -----------------------------------------------------------------------------------

    def _with_special_tokens(
        self, first: Encoding, second: Encoding | None, settings: EncodeOptions
    ) -> Encoding:
        texts = [first] if second is None else [first, second]
        return self._processed(texts, settings.add_special_tokens)

    def _processed(self, texts: list[Encoding], special: bool) -> Encoding:
        """Return the row that the post-processor makes of its texts."""
        with ErrorsName(self._path):
            return joined(self._process(texts, special), len(texts))

    def _row_of(self, first: list[int], second: list[int] | None) -> Encoding:
        """Return the row of ids that the post-processor makes."""
        texts = [first] if second is None else [first, second]
        encodings = [text_of_ids(ids, i) for i, ids in enumerate(texts)]
        return self._processed(encodings, True)

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Return the row of a text or a pair that the post-processor makes."""
        return self._row_of(token_ids_0, token_ids_1).ids

    def create_token_type_ids_from_sequences(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Return the token types of `build_inputs_with_special_tokens`."""
        return self._row_of(token_ids_0, token_ids_1).type_ids

    # Ids to text, and files -----------------------------------------------------------------

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Return the result of the decoder of the file; without a decoder, join with spaces."""
        if self._decoder is None:
            return " ".join(tokens)
        if self._bytes_first:
            tokens = kept_whole(tokens, self._not_in_vocab)
        with ErrorsName(self._path), TimeLimit(sum(map(len, tokens))):
            return decode(self._decoder, tokens)

    @property
    def inserts_spaces(self) -> bool:  # type: ignore[override]
        """Whether the decoder of the file puts spaces between tokens."""
        return inserts_spaces(self._file.get("decoder"))

    def settled(self, ids: list[int], skip_special_tokens: bool = False) -> int:
        """Return how many of the ids have a text that further ids cannot change."""
        skipped = {i for i, token in self._added.items() if skip_special_tokens and token.special}
        tokens = ["" if i in skipped else self._id_to_token.get(i, "") for i in ids]
        return settled_tokens(self._file.get("decoder"), tokens)

    def save_vocabulary(
        self, save_directory: str | PathLike[str], filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        """Write nothing: the vocabulary is in tokenizer.json, which `save_pretrained` writes."""
        return ()

    def save_pretrained(
        self,
        save_directory: str | PathLike[str],
        legacy_format: bool | None = None,
        filename_prefix: str | None = None,
    ) -> tuple[str, ...]:
        """Write tokenizer.json, with the added tokens, and the configuration files.

        Raises ValueError for legacy_format=True: this class has no older files.
        """
        if legacy_format:
            raise ValueError("legacy_format=True: a TokenizerJSON is only saved as tokenizer.json")
        return super().save_pretrained(save_directory, False, filename_prefix)

    def _tokenizer_json(self) -> str:
        added = [{"id": i, **t.as_dict()} for i, t in self.added_tokens_decoder.items()]
        value = {**self._file, "added_tokens": added}
        return json.dumps(value, indent=2, ensure_ascii=False)


def _part(
    file: Mapping[str, Any], name: str, known: Mapping[str, Callable[[Fields], T]]
) -> T | None:
    """Return the part `name` of the file, or None if it has none."""
    value = file.get(name)
    return None if value is None else Fields(value, name).build(known)


def _begins_with_bytes(decoder: Any) -> bool:
    """Return whether the first step of a decoder of the file is ByteLevel."""
    while isinstance(decoder, dict) and decoder.get("type") == "Sequence" and decoder["decoders"]:
        decoder = decoder["decoders"][0]
    return isinstance(decoder, dict) and decoder.get("type") == "ByteLevel"


def _model(file: Mapping[str, Any]) -> Model:
    part = Fields(file.get("model"), "model")
    try:
        return read_model(part)
    except ValueError as error:
        if str(error).startswith("model"):
            raise
        raise ValueError(f"model: {error}") from error


def _check_ids(added: Iterable[tuple[int, AddedToken]], vocab: Mapping[str, int]) -> None:
    """Raise ValueError for an added token that has the id of another token of the model."""
    token_of = {token_id: token for token, token_id in vocab.items()}
    for i, token in added:
        if token.content not in vocab and i in token_of:
            raise ValueError(
                f"added_tokens: {token.content!r} has the id {i}, which {token_of[i]!r} has in "
                "the vocabulary"
            )


def _numbered(
    added: Iterable[tuple[int, AddedToken]], vocab: Mapping[str, int]
) -> dict[int, AddedToken]:
    """Return the added tokens by the ids that the library gives them, whatever the file says.

    A token of the vocabulary keeps its id; another gets the next free one after all others. (If the
    ids of the vocabulary have gaps, taken ids are skipped.) Of equal tokens the first decides the
    id, and the last the flags.
    """
    ids, found = dict(vocab), dict[int, AddedToken]()
    taken, token_id = set(ids.values()), 0
    for _, token in added:
        if token.content not in ids:
            token_id = max(token_id, len(ids))
            while token_id in taken:
                token_id += 1
            ids[token.content] = token_id
            taken.add(token_id)
        found[ids[token.content]] = token
    return found


def _padding(file: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pad token, if the file stores padding."""
    if file.get("padding") is None:
        return {}
    return {"pad_token": Fields(file["padding"], "padding").get("pad_token", str)}
