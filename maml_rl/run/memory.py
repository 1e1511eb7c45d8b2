"""Keeps memory that tensors free inside the process, so that the next tensors need not be mapped and zeroed anew."""

import ctypes
import sys

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def keep_freed_memory(limit: int = 1 << 30, largest: int = 1 << 25) -> bool:
    """Lets glibc keep up to `limit` freed bytes, and serve blocks below `largest` from them.

    A meta-update allocates and frees thousands of blocks of some MB. Left alone, glibc hands them back to the system,
    and page faults take a sixth of the update's time. Elsewhere than on glibc nothing happens.

    Returns:
        Whether both settings were taken.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, limit)) and bool(mallopt(_M_MMAP_THRESHOLD, largest))
