"""Memory that tensors give back stays with the process, instead of being returned to the system and asked for again, page by page."""

from __future__ import annotations

import ctypes
import sys

# glibc's malloc.h
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4
PAD = 2**26  # bytes that the heap grows by at a time


def keep_freed_memory() -> bool:
    """Tells the C library's allocator to keep what is freed; whether it listened (glibc does, others have no such setting).

    A loop of attack steps frees and takes the same megabytes in every step. By default glibc hands the top of its heap back to the system
    each time, and touching it again costs a page fault every 4 KB (docs/decisions/0060). For the whole process: commands do this, the
    library never on its own.

    Example:
        >>> keep_freed_memory() in (True, False)
        True
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        tell = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    wanted = ((MMAP_MAX, 0), (TRIM_THRESHOLD, 2**31 - 1), (TOP_PAD, PAD))
    return all(tell(key, value) == 1 for key, value in wanted)
