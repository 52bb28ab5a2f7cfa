"""What all tokenizers share beside encoding: their options, from ids to text, load and save.

From text to ids is in `calls.py`, and special tokens are in `added_tokens.py`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from tinybert import hub
from tinybert.text.added_token import AddedToken
from tinybert.text.detokenize import clean_up_english
from tinybert.tokenizers.batch_encoding import as_py_list
from tinybert.tokenizers.calls import RowEncoder
from tinybert.tokenizers.chat import ChatTemplates, read_template, write_template
from tinybert.tokenizers.config import (
    ADDED_TOKENS_FILE,
    COMMON_OPTIONS,
    CONFIG_FILE,
    SPECIAL_TOKENS_FILE,
    OptionType,
    check_options,
    read_options,
    write_json,
)
from tinybert.tokenizers.options import NO_LIMIT

T = TypeVar("T", bound="Tokenizer")


class Tokenizer(RowEncoder, ChatTemplates):
    """Base class of the tokenizers; a subclass sets `vocab` before it calls `__init__`.

    Arguments, all by keyword:
        bos_token, eos_token, unk_token, sep_token, pad_token, cls_token, mask_token: special
            tokens by role, each a str, an AddedToken or None; what the vocabulary lacks is added.
        additional_special_tokens: more of them.
        added_tokens_decoder: id -> AddedToken, as files keep the added tokens.
        model_max_length: the longest row that the model takes; None if there is no limit.
        padding_side, truncation_side: "right" or "left".
        model_input_names: which of input_ids, token_type_ids, attention_mask a call returns.
        clean_up_tokenization_spaces: the default of `decode`.
        split_special_tokens: treat added tokens in a text as ordinary text.

    Raises TypeError for an option of a wrong type.
    """

    vocab_files_names: ClassVar[dict[str, str]] = {}
    option_types: ClassVar[dict[str, OptionType]] = COMMON_OPTIONS
    saved_as: ClassVar[str] = ""  # the class of transformers, where its name is another

    def __init__(
        self,
        *,
        additional_special_tokens: Sequence[str | AddedToken] = (),
        added_tokens_decoder: Mapping[int, AddedToken] | None = None,
        model_max_length: int | None = None,
        padding_side: str = "right",
        truncation_side: str = "right",
        model_input_names: Sequence[str] = ("input_ids", "token_type_ids", "attention_mask"),
        clean_up_tokenization_spaces: bool = False,
        split_special_tokens: bool = False,
        **roles: str | AddedToken | None,
    ) -> None:
        self.model_max_length = NO_LIMIT if model_max_length is None else model_max_length
        self.padding_side = padding_side
        self.truncation_side = truncation_side
        self.model_input_names = list(model_input_names)
        self.clean_up_tokenization_spaces = clean_up_tokenization_spaces
        self.split_special_tokens = split_special_tokens
        self.name_or_path = ""
        self._remarks = set()
        added = dict(added_tokens_decoder or {})
        own = {name: getattr(self, name) for name in self.option_types if name in vars(self)}
        tokens = {
            "additional_special_tokens": additional_special_tokens,
            "added_tokens_decoder": added,
        }
        check_options({**own, **tokens, **roles}, self.option_types)
        super().__init__(roles, additional_special_tokens, added)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(name_or_path={self.name_or_path!r}, "
            f"vocab_size={self.vocab_size}, added={len(self) - self.vocab_size}, "
            f"model_max_length={self.model_max_length}, padding_side={self.padding_side!r}, "
            f"truncation_side={self.truncation_side!r}, special_tokens={self.special_tokens_map})"
        )

    # Ids to text --------------------------------------------------------------------------

    @abstractmethod
    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The text that the tokens stand for, as far as it can be known."""

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """The token of an id, or a list of them; an id that no token has gives `unk_token`."""
        ids = as_py_list(ids)
        if isinstance(ids, int):
            return self._id_to_token.get(ids, self.unk_token)
        skipped = set(self.all_special_ids) if skip_special_tokens else ()
        return [self._id_to_token.get(int(i), self.unk_token) for i in ids if i not in skipped]

    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        spaces_between_special_tokens: bool = True,
    ) -> str:
        """The text of an id, or of a row of them (a list, array or Tensor).

        Tokenizing loses information, so that this is not always the text that was encoded.

        skip_special_tokens: leave out special tokens.
        clean_up_tokenization_spaces: do `clean_up_tokenization`; None means the tokenizer's own
            setting.
        spaces_between_special_tokens: put spaces round added tokens that are not special; a
            "Fast" tokenizer always does.
        """
        ids = as_py_list(token_ids)
        row = [ids] if isinstance(ids, int) else ids
        text = self._decode(row, skip_special_tokens, spaces_between_special_tokens)
        clean_up = clean_up_tokenization_spaces
        if self.clean_up_tokenization_spaces if clean_up is None else clean_up:
            return self.clean_up_tokenization(text)
        return text

    @staticmethod
    def clean_up_tokenization(text: str) -> str:
        """Remove the space before English punctuation and contractions."""
        return clean_up_english(text)

    def _decode(self, ids: list[int], skip_special_tokens: bool, spaces: bool) -> str:
        """The text of a row of ids, before it is cleaned up: added tokens stand alone in it."""
        tokens = self.convert_ids_to_tokens(ids, skip_special_tokens)
        special = set(self.all_special_tokens)
        if skip_special_tokens:
            tokens = [token for token in tokens if token not in special]
        new = {t for t in self._additional if self._token_to_id[t] >= self.vocab_size}
        alone = (self._added_ids.keys() - special) | new
        texts: list[str] = []
        run: list[str] = []
        for token in tokens:
            if token not in alone:
                run.append(token)
                continue
            if run and (string := self.convert_tokens_to_string(run)):
                texts.append(string)
            run = []
            texts.append(token)
        if run:
            texts.append(self.convert_tokens_to_string(run))
        return (" " if spaces else "").join(texts)

    def batch_decode(
        self,
        sequences: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        spaces_between_special_tokens: bool = True,
    ) -> list[str]:
        """`decode` for each row of a batch; of a flat list, for each id."""
        options = skip_special_tokens, clean_up_tokenization_spaces, spaces_between_special_tokens
        return [self.decode(sequence, *options) for sequence in as_py_list(sequences)]

    # Files --------------------------------------------------------------------------------

    @abstractmethod
    def save_vocabulary(
        self, save_directory: str | PathLike[str], filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        """Write the vocabulary file(s); returns their names."""

    @classmethod
    def from_pretrained(
        cls: type[T],
        name_or_path: str | PathLike[str],
        *,
        revision: str | None = None,
        token: str | None = None,
        **options: Any,
    ) -> T:
        """Load a tokenizer from a folder, by the name of a model, or from a vocabulary file.

        Options given here come before those in tokenizer_config.json, and these before the
        defaults. Only the vocabulary is needed; `config.read_options` lists the other files, and
        `hub.resolve` says where a name is looked up, and what `revision` and `token` are.

        Raises FileNotFoundError if there is no such model, ValueError if the folder has no
        vocabulary or a file is damaged (naming it), TypeError if an option given here is unknown
        or of a wrong type.
        """
        path = Path(name_or_path)
        check_options(options, cls.option_types)
        if not path.is_file():
            wanted = list(cls.vocab_files_names.values())
            path = hub.resolve(name_or_path, wanted, revision=revision, token=token)
        files = cls._vocabulary_files(path)
        if path.is_dir():
            options = read_options(path, cls.option_types, options)
        options.update(files)
        tokenizer = cls(**options)
        tokenizer.name_or_path = str(name_or_path)
        if path.is_dir():
            tokenizer.chat_template = read_template(path)
        return tokenizer

    @classmethod
    def _vocabulary_files(cls, path: Path) -> dict[str, Path]:
        """The arguments that name the files of the vocabulary, at a folder or file."""
        names = cls.vocab_files_names
        if path.is_dir():
            return {option: path / name for option, name in names.items()}
        if len(names) == 1:
            return dict.fromkeys(names, path)
        raise ValueError(
            f"name_or_path must be a folder with {' and '.join(names.values())}, "
            f"but {str(path)!r} is a file"
        )

    def save_pretrained(
        self,
        save_directory: str | PathLike[str],
        legacy_format: bool | None = None,
        filename_prefix: str | None = None,
    ) -> tuple[str, ...]:
        """Write all files that `from_pretrained`, here or in transformers, needs.

        tokenizer_config.json, special_tokens_map.json, the vocabulary, and, if there are tokens
        that the vocabulary lacks, added_tokens.json; the folder is made if need be.

        legacy_format: False leaves out the vocabulary and added_tokens.json, which only a "Fast"
            tokenizer can do without.
        filename_prefix: the names of the files begin so, and with a hyphen.

        Returns the names of the files. Raises ValueError if `save_directory` is a file, or the
        tokenizer could not be loaded again.
        """
        folder = Path(save_directory)
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"save_directory must be a folder, but {str(folder)!r} is a file")
        if legacy_format is False and not self.is_fast:
            raise ValueError("legacy_format=False: only a 'Fast' tokenizer is complete without")
        folder.mkdir(parents=True, exist_ok=True)
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        config: dict[str, Any] = {name: getattr(self, name) for name in self.option_types}
        config["added_tokens_decoder"] = {
            str(token_id): token.as_dict() for token_id, token in self.added_tokens_decoder.items()
        }
        config["extra_special_tokens"] = {}
        config["tokenizer_class"] = self.saved_as or type(self).__name__.removesuffix("Fast")
        files = {CONFIG_FILE: config, SPECIAL_TOKENS_FILE: self.special_tokens_map}
        new = {t: i for t, i in self.added_tokens_encoder.items() if i >= self.vocab_size}
        if new and legacy_format is not False:
            files[ADDED_TOKENS_FILE] = new
        for name, value in files.items():
            write_json(folder / (prefix + name), value)
        written = tuple(str(folder / (prefix + name)) for name in files)
        written += write_template(self.chat_template, folder, prefix)
        if legacy_format is False:
            return written
        return written + self.save_vocabulary(folder, filename_prefix)
