"""How Python, the C library and PyTorch hand out memory, set before PyTorch is loaded."""

import atexit
import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# Of glibc's mallopt.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
MOST = 2**31 - 1


def keep_freed() -> None:
    """Keep what is freed for the next step, in large pages, in place of giving it back to the system.

    A step frees and asks for the same hundreds of megabytes again, and the system clears each page of them. The peak
    is the same; what lies below it stays with the process until its end. Does nothing where the C library is not glibc.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # read by PyTorch at its first large tensor
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, MOST)


def give_back() -> None:
    """Give back what is free at the moment, as `keep_freed` does not: what comes next may be measured against it."""
    if sys.platform.startswith("linux"):
        with suppress(AttributeError):  # musl
            ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for no garbage meanwhile, nor ever again among what is there at the end.

    Importing libraries makes millions of objects that stay. Python would go through all of them again and again, a
    fifth of the time that it takes, and twice more afterwards, 0.3 s each. To be used once: what lives then is not
    freed where it comes to refer to itself.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        atexit.register(gc.unfreeze)  # libraries count at the end what was not freed, and say so
        if enabled:
            gc.enable()
