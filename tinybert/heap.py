"""Let the C library keep freed memory for the next arrays.

glibc's malloc gives freed memory back to Linux once more than a threshold of it is free at the end
of the heap, and it takes arrays above another threshold from Linux directly. Both thresholds begin
at 128 KB and grow with the largest array that was freed. A training step of a small model frees
more: Linux then provides all pages again in the next step, filled with zeros.

Source  man 3 mallopt; malloc/malloc.c of glibc 2.36
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

GIVEN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
# Of malloc.h. The first is set to the most that glibc would choose itself.
M_MMAP_THRESHOLD, LARGEST_ON_HEAP = -3, 32 << 20
M_TRIM_THRESHOLD, MOST_KEPT = -1, 512 << 20


def keep_freed_memory(environ: Mapping[str, str]) -> None:
    """Let malloc keep up to 512 MB, unless the user has set a threshold; only with glibc."""
    if sys.platform != "linux" or any(environ.get(name) for name in GIVEN):
        return
    from ctypes import CDLL

    mallopt = getattr(CDLL(None), "mallopt", None)  # other C libraries do not have it
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_ON_HEAP)
        mallopt(M_TRIM_THRESHOLD, MOST_KEPT)
