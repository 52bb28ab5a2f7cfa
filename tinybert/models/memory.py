"""Whether a new model fits into memory: asked before its weights are drawn, for large models only.

A model that is too large does not fail at once: the operating system promises more memory than
there is (overcommitment), and kills this process, or another one, when the weights are written.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tinybert.autograd import get_default_device, get_default_dtype
from tinybert.nn import init

FACTOR = 16  # a model may have so many times the numbers of its file: new layers, packed weights
GIB = 1 << 30
CGROUPS: tuple[tuple[str, str, str, str], ...] = (  # folder, limit, used, reclaimable; v2 and v1
    ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    (
        "/sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)


def check_memory(config: Any, weights: int) -> None:
    """Raise if a model of `config` with so many weights cannot be made.

    Raises MemoryError if the weights would be drawn and do not fit into the free memory (of the
    CPU; on other systems than Linux into all of it, on Windows and on GPUs nothing is checked), and
    ValueError if they would be read from a file that holds far fewer.
    """
    name = type(config).__name__
    stored = init.stored_weights()
    if stored and weights > FACTOR * stored:
        raise ValueError(
            f"the {name} describes a model of {weights:,} weights, but the file holds "
            f"{stored:,}: use the config that belongs to the file"
        )
    dtype, free = get_default_dtype(), free_memory()
    if stored or get_default_device() != "cpu" or free is None:
        return
    needed, presets = weights * dtype.itemsize, getattr(config, "presets", ())
    if needed > free:
        sizes = f", such as {name}.preset(...) of {', '.join(presets)}" if presets else ""
        raise MemoryError(
            f"a new model of this {name} has {weights:,} weights, {needed / GIB:.1f} GiB in "
            f"{dtype}, but {free / GIB:.1f} GiB of memory are free. Published weights can be used "
            "with from_pretrained(..., low_memory=True), which leaves them in their files; "
            "dtype='float16' takes half the memory of float32 (set_default_dtype('float16') for a "
            f"new model); or choose a smaller config{sizes}"
        )


def free_memory() -> int | None:
    """Return how many bytes of memory the process can still get; None if that is not known."""
    known = [_free_of_machine(), *(_free_of_group(*group) for group in CGROUPS)]
    return min((free for free in known if free is not None), default=None)


def _free_of_machine() -> int | None:
    sizes = _fields(Path("/proc/meminfo"))
    if "MemAvailable:" in sizes:
        return 1024 * (sizes["MemAvailable:"] + sizes.get("SwapFree:", 0))
    names = getattr(os, "sysconf_names", {})
    if {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= set(names):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _free_of_group(folder: str, limit: str, used: str, reclaimable: str) -> int | None:
    """Return the free memory of the container; None if it has no limit."""
    most, taken = (_number(Path(folder) / name) for name in (limit, used))
    if most is None or taken is None:
        return None
    cached = _fields(Path(folder) / "memory.stat").get(reclaimable, 0)
    return max(0, most - taken + cached)


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None  # "max" means no limit


def _fields(path: Path) -> dict[str, int]:
    """Return a file of lines "name number ..." as a dict."""
    rows = (line.split() for line in _text(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:  # there is no such file on this system
        return ""
