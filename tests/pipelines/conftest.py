"""The fixtures of `twins.py`, for all tests here; and torch on one thread."""

from collections.abc import Iterator

import pytest
import torch

from tests.pipelines.twins import model_folder  # noqa: F401


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """On models as small as these, torch's threads wait for each other more than they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
