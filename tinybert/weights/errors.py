"""The one exception for bad weight files: it names the file and says what is wrong with it."""

import os


class CheckpointError(ValueError):
    """A weight file that cannot be trusted or read.

    Attributes
    ----------
    path : the file (or folder) at fault, as a string.
    fault : what is wrong with it, in one line.
    """

    def __init__(self, path: str | os.PathLike[str], fault: str) -> None:
        self.path = os.fspath(path)
        self.fault = fault
        super().__init__(self.path, fault)

    def __str__(self) -> str:
        return f"{self.path}: {self.fault}"
