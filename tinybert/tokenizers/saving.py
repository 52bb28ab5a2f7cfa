"""Writing the files of a tokenizer."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

from tinybert.atomic import atomic_write, saving
from tinybert.checks import plain
from tinybert.tokenizers.config import (
    ADDED_TOKENS_FILE,
    COMMON_OPTIONS,
    CONFIG_FILE,
    MORE_TEMPLATES,
    SPECIAL_TOKENS_FILE,
    TEMPLATE_FILE,
    TOKENIZER_FILE,
    OptionType,
    Template,
)
from tinybert.tokenizers.special_tokens import SpecialTokens


class Saving(SpecialTokens):
    """The part of a tokenizer that writes its files."""

    is_fast: bool
    chat_template: Template
    vocab_files_names: ClassVar[dict[str, str]]
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
        does not exist. All files change in one step; files of an older tokenizer in the folder,
        which would contradict the new ones, are deleted.

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
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        config: dict[str, Any] = {name: getattr(self, name) for name in self.option_types}
        config["added_tokens_decoder"] = {
            str(token_id): token.as_dict() for token_id, token in self.added_tokens_decoder.items()
        }
        config["extra_special_tokens"] = {}
        config["tokenizer_class"] = self.saved_as or type(self).__name__.removesuffix("Fast")
        files = {CONFIG_FILE: config, SPECIAL_TOKENS_FILE: self.special_tokens_map}
        added = {t: i for t, i in self.added_tokens_encoder.items() if i >= self.vocab_size}
        if added and legacy_format is not False:
            files[ADDED_TOKENS_FILE] = added
        with saving(folder, self._older_files(prefix)) as new:
            for name, value in files.items():
                write_json(new / (prefix + name), value)
            written = tuple(str(new / (prefix + name)) for name in files)
            written += write_chat_template(self.chat_template, new, prefix)
            if legacy_format is not False:
                written += self.save_vocabulary(new, filename_prefix)
        return tuple(str(folder / Path(name).relative_to(new)) for name in written)

    def _older_files(self, prefix: str) -> Callable[[Path], Iterable[Path]]:
        """Return f(folder): the files that this class reads from a folder."""
        names = {*self.vocab_files_names.values(), TOKENIZER_FILE, ADDED_TOKENS_FILE, TEMPLATE_FILE}

        def find(folder: Path) -> Iterable[Path]:
            yield from filter(Path.is_file, (folder / (prefix + name) for name in names))
            yield from (folder / (prefix + MORE_TEMPLATES)).glob("*.jinja")

        return find


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file completely or not at all."""
    with atomic_write(path, "w") as file:
        file.write(text)


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
