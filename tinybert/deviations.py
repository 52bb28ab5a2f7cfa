"""The deliberate differences from transformers 4.57.6, as listed in `deviations.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple


class Deviation(NamedTuple):
    """One difference: where it is, what tinybert does, why, and the test that shows it."""

    where: str
    what: str
    why: str
    test: str


_FILE = Path(__file__).with_suffix(".json")
deviations = tuple(Deviation(**entry) for entry in json.loads(_FILE.read_text(encoding="utf-8")))
