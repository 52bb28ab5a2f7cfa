"""Warnings that are logged only once, in the logger "tinybert"."""

from __future__ import annotations

import functools
import logging

logger = logging.getLogger("tinybert")


@functools.cache
def warn_once(message: str) -> None:
    """Log a warning, unless the same message was logged before."""
    logger.warning(message)
