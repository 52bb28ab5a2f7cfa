"""Warnings in the log of "tinybert" that are given once, however often there is reason for them."""

from __future__ import annotations

import functools
import logging

logger = logging.getLogger("tinybert")


@functools.cache
def warn_once(message: str) -> None:
    """Log a warning, the first time that it is given."""
    logger.warning(message)
