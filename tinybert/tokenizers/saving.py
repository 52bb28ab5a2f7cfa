"""Writing the files of a tokenizer."""

from __future__ import annotations

import json
import os
import tempfile
from abc import abstractmethod
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

from tinybert.checks import plain
from tinybert.tokenizers.config import (
    ADDED_TOKENS_FILE,
    COMMON_OPTIONS,
    CONFIG_FILE,
    MORE_TEMPLATES,
    SPECIAL_TOKENS_FILE,
    TEMPLATE_FILE,
    OptionType,
    Template,
)
from tinybert.tokenizers.special_tokens import SpecialTokens


class Saving(SpecialTokens):
    """The part of a tokenizer that writes its files."""

    is_fast: bool
    chat_template: Template
    option_types: ClassVar[dict[str, OptionType]] = COMMON_OPTIONS
    saved_as: ClassVar[str] = ""  # the class name in transformers, if it is another

    @abstractmethod
    def save_vocabulary(
        self, save_directory: str | PathLike[str], filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        """Write the vocabulary file(s); return their names."""

    def save_pretrained(
        self,
        save_directory: str | PathLike[str],
        legacy_format: bool | None = None,
        filename_prefix: str | None = None,
    ) -> tuple[str, ...]:
        """Write all files that `from_pretrained`, here or in transformers, needs.

        They are tokenizer_config.json, special_tokens_map.json, the vocabulary, and
        added_tokens.json if there are tokens that the vocabulary lacks. The folder is made if it
        does not exist.

        legacy_format: False omits the vocabulary and added_tokens.json; only a "Fast" tokenizer,
            which has tokenizer.json, can be loaded without them.
        filename_prefix: put this and a hyphen before the name of each file.

        Returns the names of the files. Raises ValueError if `save_directory` is a file, or the
        tokenizer could not be loaded again.
        """
        folder = Path(save_directory)
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"save_directory must be a folder, but {str(folder)!r} is a file")
        if legacy_format is False and not self.is_fast:
            raise ValueError("legacy_format=False: only a 'Fast' tokenizer has a tokenizer.json")
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
        written += write_chat_template(self.chat_template, folder, prefix)
        if legacy_format is False:
            return written
        return written + self.save_vocabulary(folder, filename_prefix)


def write_text(path: Path, text: str) -> None:
    """Write a file completely or not at all: to a temporary name, which is then renamed."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with open(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # the mode that `open` would have given
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object in the layout that transformers uses."""
    write_text(path, json.dumps(plain(value), indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def write_chat_template(template: Template, folder: Path, prefix: str = "") -> tuple[str, ...]:
    """Write the files that `read_chat_template` reads; return their names."""
    named = template if isinstance(template, dict) else {"default": template} if template else {}
    written = []
    for name, text in named.items():
        path = folder / (prefix + TEMPLATE_FILE)
        if name != "default":
            path = folder / (prefix + MORE_TEMPLATES) / f"{Path(name).name}.jinja"
            path.parent.mkdir(exist_ok=True)
        write_text(path, text)
        written.append(str(path))
    return tuple(written)
