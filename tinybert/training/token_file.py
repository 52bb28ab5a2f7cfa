"""`TokenFile`: a text corpus as token ids, in one file that is mapped into memory.

A corpus is tokenized once. The file is a safetensors file: `tinybert inspect` shows it. Neither
the text nor the ids have to fit into memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.progress import progress_bar
from tinybert.training.readers import TABLES, column_of, read_lines, read_rows
from tinybert.weights import CheckpointError, save_file
from tinybert.weights.safetensors import SafetensorsFile

LINES_AT_A_TIME = 2000
KIND = "tinybert token file"


class TokenFile:
    """The tokens of a corpus, without special tokens.

    Attributes:
        ids: (N,) all token ids, uint16 or uint32.
        continues: (N,) bool, whether a token continues the word of the token before.
        sentences: (S + 1,) sentence i is `ids[sentences[i] : sentences[i + 1]]`.
        documents: (K + 1,) document k has the sentences `documents[k]` to `documents[k + 1] - 1`.
        source: what the file was made from; a change of text or tokenizer changes it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open a token file; CheckpointError if it is something else."""
        with SafetensorsFile(path) as file:
            metadata = file.metadata or {}
            if metadata.get("kind") != KIND:
                raise CheckpointError(os.fspath(path), "is not a token file of `tinybert pretrain`")
            self.ids, self.continues = file["ids"], file["continues"].view(bool)
            self.sentences, self.documents = file["sentences"], file["documents"]
        self.source: str = metadata.get("source", "")

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.ids)

    @classmethod
    def build(
        cls,
        path: str | os.PathLike[str],
        texts: Sequence[str | os.PathLike[str]],
        tokenizer: Any,
        column: str = "text",
    ) -> TokenFile:
        """Tokenize text files into the file `path`, or open it if it was made from the same.

        Args:
            path: the token file; it is replaced if text or tokenizer are other ones.
            texts: UTF-8 text files with one sentence or paragraph a line. An empty line ends a
                document, and so does the end of a file. In a CSV, TSV or JSON lines file, each row
                is a document.
            tokenizer: with the vocabulary of the model to train.
            column: which column of such a file has the text.

        Raises ValueError for a text file without text or not in UTF-8, OSError if one cannot be
        read. While it works, ids are in temporary files in the folder of `path`.
        """
        source = describe(texts, tokenizer, column)
        if Path(path).exists():
            found = cls(path)
            if found.source == source:
                return found
        with tempfile.TemporaryDirectory(dir=Path(path).parent, prefix=".tokens") as folder:
            arrays = _tokenize(Path(folder), texts, tokenizer, column)
            save_file(arrays, path, metadata={"kind": KIND, "source": source})
            del arrays  # Windows cannot delete files that are mapped
        return cls(path)


def describe(texts: Sequence[str | os.PathLike[str]], tokenizer: Any, column: str = "text") -> str:
    """Return a description that changes with the text files, the column and the tokenizer."""
    files = [[Path(text).name, os.stat(text).st_size, os.stat(text).st_mtime_ns] for text in texts]
    vocabulary = json.dumps(sorted(tokenizer.get_vocab().items()))
    options = repr(tokenizer).replace(repr(tokenizer.name_or_path), "")  # wherever it is stored
    digest = hashlib.sha256((vocabulary + options).encode()).hexdigest()
    other = {} if column == "text" else {"column": column}
    return json.dumps({"files": files, "tokenizer": digest, **other})


def _tokenize(
    folder: Path, texts: Sequence[Any], tokenizer: Any, column: str
) -> dict[str, np.ndarray]:
    """Write the arrays of a token file to `folder` and return them, mapped into memory."""
    dtype = np.dtype(np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32)
    sentences, documents = [0], [0]
    total = sum(os.stat(text).st_size for text in texts)
    with (
        open(folder / "ids", "wb") as ids,
        open(folder / "continues", "wb") as continues,
        progress_bar("tokenizing", total, "B") as advance,
    ):
        for text in texts:
            before = len(sentences)
            for lines, ends in read_documents(text, advance, column):
                for tokens, same_word in _encode(lines, tokenizer):
                    ids.write(tokens.astype(dtype).tobytes())
                    continues.write(same_word.tobytes())
                    sentences.append(sentences[-1] + len(tokens))
                if ends and documents[-1] < len(sentences) - 1:
                    documents.append(len(sentences) - 1)
            if len(sentences) == before:
                raise ValueError(f"{os.fspath(text)}: there is no text in this file")
    shape = (sentences[-1],)
    return {
        "ids": np.memmap(folder / "ids", dtype, "r", shape=shape),
        "continues": np.memmap(folder / "continues", np.uint8, "r", shape=shape),
        "sentences": np.array(sentences, np.int64),
        "documents": np.array(documents, np.int64),
    }


def read_documents(
    text: Any, advance: Callable[[int], object] = lambda size: None, column: str = "text"
) -> Iterator[tuple[list[str], bool]]:
    """Yield the lines of a file, a document or a part of a long one, and whether it ends there.

    Args:
        text: a text file; or a CSV, TSV or JSON lines file whose rows are documents.
        advance: called with the number of bytes read.
        column: which column of the rows has the text.
    """
    if Path(text).suffix.lower() in TABLES:
        rows, where = read_rows(text), os.fspath(text)
        for number, row in enumerate(rows, 1):
            value = column_of(row, "text", column, f"{where}: row {number}")
            yield [line.strip() for line in str(value).splitlines() if line.strip()], True
            advance(os.stat(text).st_size // len(rows))
        return
    lines: list[str] = []
    for _, raw in read_lines(text, advance):
        line = raw.strip()
        if line:
            lines.append(line)
        if not line or len(lines) == LINES_AT_A_TIME:
            yield lines, not line
            lines = []
    yield lines, True


def _encode(lines: list[str], tokenizer: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for each line with tokens their ids, and whether each continues a word."""
    if not lines:
        return
    encoded = tokenizer(lines, add_special_tokens=False, verbose=False)
    for row, tokens in enumerate(encoded["input_ids"]):
        if tokens:
            words = np.array(encoded.word_ids(row), np.int64)
            yield np.array(tokens), np.diff(words, prepend=-1) == 0
