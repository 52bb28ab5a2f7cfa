"""`Tokenizer`: the options that all tokenizers share, and loading from a folder.

From text to ids is in `calls.py`, from ids to text in `decoding.py`, saving in `saving.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from tinybert import hub
from tinybert.atomic import reading
from tinybert.text.added_token import AddedToken
from tinybert.tokenizers.added_tokens import ROLES
from tinybert.tokenizers.chat import ChatTemplates
from tinybert.tokenizers.config import (
    OLDER_FILES,
    TOKENIZER_FILE,
    check_options,
    read_chat_template,
    read_config,
)
from tinybert.tokenizers.decoding import Decoding
from tinybert.tokenizers.more_calls import MoreCalls
from tinybert.tokenizers.older_files import read_older_files
from tinybert.tokenizers.options import NO_LIMIT
from tinybert.tokenizers.saving import Saving

T = TypeVar("T", bound="Tokenizer")


class Tokenizer(MoreCalls, Decoding, Saving, ChatTemplates):
    """Base class of the tokenizers; a subclass sets `vocab` before it calls `__init__`.

    Arguments, all by keyword:
        bos_token, eos_token, unk_token, sep_token, pad_token, cls_token, mask_token: special
            tokens by role, each a str, an AddedToken or None; those that the vocabulary lacks are
            added to it.
        additional_special_tokens: more special tokens.
        added_tokens_decoder: id -> AddedToken, as files list the added tokens.
        model_max_length: the longest row that the model takes; None means no limit.
        padding_side, truncation_side: "right" or "left".
        model_input_names: which of input_ids, token_type_ids, attention_mask a call returns.
        clean_up_tokenization_spaces: the default of `decode`, if decoding inserts spaces.
        split_special_tokens: treat added tokens in a text as ordinary text.

    Raises TypeError for an option of a wrong type.
    """

    vocab_files_names: ClassVar[dict[str, str]] = {}

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
        self._warned = set()
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

        Options given here replace those in tokenizer_config.json, and these replace the defaults.
        Only the vocabulary is needed. `hub.resolve` explains how a name is looked up, and what
        `revision` and `token` are.

        Raises FileNotFoundError if there is no such model, ValueError if the folder has no
        vocabulary or a file is damaged (naming it), TypeError if an option given here is unknown
        or has a wrong type.
        """
        path = Path(name_or_path)
        check_options(options, cls.option_types)
        if not path.is_file():
            files = [*cls.vocab_files_names.values(), TOKENIZER_FILE]
            path = hub.resolve(name_or_path, files, revision=revision, token=token)
        with reading(path):
            vocabulary = cls._vocabulary_files(path)
            if path.is_dir():
                options = cls._read_options(path, options)
            tokenizer = cls(**{**options, **vocabulary})
            tokenizer.name_or_path = str(name_or_path)
            if path.is_dir():
                tokenizer.chat_template = read_chat_template(path)
        return tokenizer

    @classmethod
    def _read_options(cls, folder: Path, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that a folder holds, replaced by those that are given."""
        options = read_config(folder, cls.option_types)
        has_older_files = any((folder / name).is_file() for name in OLDER_FILES)
        if "added_tokens_decoder" not in options and has_older_files:
            options = read_older_files(folder, options, given, cls.option_types)
        options = {"added_tokens_decoder": {}, **options, **given}
        known = {str(token): token for token in options["added_tokens_decoder"].values()}
        for role in ROLES:  # the list of added tokens knows the flags of a token
            if str(options.get(role)) in known:
                options[role] = known[str(options[role])]
        return options

    @classmethod
    def _vocabulary_files(cls, path: Path) -> dict[str, Path]:
        """Return the arguments that name the files of the vocabulary, in a folder or a file."""
        names = cls.vocab_files_names
        if path.is_dir():
            return {option: path / name for option, name in names.items()}
        if len(names) == 1:
            return dict.fromkeys(names, path)
        raise ValueError(
            f"name_or_path must be a folder with {' and '.join(names.values())}, "
            f"but {str(path)!r} is a file"
        )
