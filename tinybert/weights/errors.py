"""`CheckpointError`, the exception for malformed weight files."""

from tinybert.files import FileError


class CheckpointError(FileError):
    """A weight file is malformed or cannot be read. The message names the file and the fault."""
