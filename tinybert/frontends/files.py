"""The weights that a save in another framework's format replaces."""

from __future__ import annotations

from pathlib import Path

import tinybert.formats  # registers its formats  # noqa: F401
from tinybert.weights.folder import weight_files
from tinybert.weights.reader import file_formats

H5, MSGPACK = "tf_model.h5", "flax_model.msgpack"


def older_weights(folder: Path) -> list[Path]:
    """Return the weights in a folder of the formats up to Flax's, in the order of loading.

    `from_pretrained` reads one file; a file of another format that is left would be read instead
    of the new one.
    """
    names = [name for file_format in file_formats for name in file_format.names]
    paths = (folder / name for name in names[: names.index(MSGPACK) + 1])
    return [*{*weight_files(folder), *(path for path in paths if path.is_file())}]
