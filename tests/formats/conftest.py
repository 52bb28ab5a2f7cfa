"""Fixtures for malformed and malicious files."""

import os
import subprocess
import sys

import pytest

from tests.formats.torch_crafting import FLAG, FORMS


@pytest.fixture(params=FORMS)
def form(request):
    """Both forms of PyTorch's files, by name."""
    return request.param


@pytest.fixture
def write(form, tmp_path):
    """Put a pickle into a PyTorch file, and give its path."""
    return lambda code, **more: FORMS[form](tmp_path / "pytorch_model.bin", code, **more)


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """Nothing that a test reads may leave a file, a variable, a module or a process behind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(FLAG, raising=False)
    ran = []
    monkeypatch.setattr(os, "system", lambda command: ran.append(command))
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **more: ran.append(args))
    modules = set(sys.modules)
    yield
    assert not ran
    assert FLAG not in os.environ
    assert not (tmp_path / "ran").exists()
    assert not {"antigravity", "this", "pty"} & (set(sys.modules) - modules)
