"""What tests in pseudo-terminals share."""

from __future__ import annotations

import signal

HANG = 300  # seconds: a program that does not show what it should is not busy, but hangs


def heed_interrupts() -> None:
    """Tests that run in the background ignore Ctrl-C, and so would their processes."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
