"""`CheckpointError`, the exception for malformed weight files."""

import os


class CheckpointError(ValueError):
    """A weight file is malformed or cannot be read. The message names the file and the fault.

    Attributes
    ----------
    path : the file or folder, as a string.
    fault : what is wrong with it, in one line.
    """

    def __init__(self, path: str | os.PathLike[str], fault: str) -> None:
        self.path = os.fspath(path)
        self.fault = fault
        super().__init__(self.path, fault)

    def __str__(self) -> str:
        return f"{self.path}: {self.fault}"
