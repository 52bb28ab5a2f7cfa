"""Only regular files are read, small ones up to a size and a nesting; nothing waits."""

import os
import socket

import pytest

from tinybert.files import FileError, check_nesting, open_regular, read_regular


def test_a_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert read_regular(path) == read_regular(path, 3) == b"abc"
    with open_regular(path) as file:
        assert file.read(2) == b"ab"
    with pytest.raises(FileError, match=r"file: 3 bytes are too many; at most 2 are allowed"):
        read_regular(path, 2)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none")


@pytest.mark.skipif(os.name != "posix", reason="special files of POSIX systems")
def test_special_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    os.mkfifo("pipe")
    os.symlink("pipe", "link")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        for path in ("pipe", "link", "socket", ".", "/dev/zero"):
            with pytest.raises(FileError, match="is not a regular file"):
                read_regular(path)


@pytest.mark.skipif(os.name != "posix", reason="special files of POSIX systems")
def test_a_file_that_is_exchanged_for_a_pipe(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(os, "stat", lambda path: os.lstat(__file__))
    with pytest.raises(FileError, match="is not a regular file"):
        open_regular(tmp_path / "pipe")


def test_nesting():
    value = 1
    for _ in range(50):
        value = {"a": [value, 2]}
    check_nesting(value)
    check_nesting([1] * 3, 1)
    for deep, most in (([value], 100), ([[]], 1), ({"a": [[]]}, 2)):
        with pytest.raises(ValueError, match=f"nested over {most} deep"):
            check_nesting(deep, most)
