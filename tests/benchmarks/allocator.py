"""Run a peer with the C library's own allocator settings, as its users have them.

``make`` keeps freed memory in the process (``MALLOC_*`` in the Makefile), which spares a peer
that allocates its result anew the page faults that it costs elsewhere.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # malloc.h
MIB = 1 << 20


def _set(trim: int, pad: int, mmap: int) -> None:
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):  # not glibc: nothing was set either
        return
    for option, value in ((TRIM_THRESHOLD, trim), (TOP_PAD, pad), (MMAP_THRESHOLD, mmap)):
        library.mallopt(option, min(value, 2**31 - 1))
    library.malloc_trim(0)  # what was kept goes back to the kernel


def glibc_defaults(call: Callable[[], Any]) -> Callable[[], Any]:
    """Return ``call`` run with glibc's settings: arrays above 32 MiB come fresh from the kernel.

    glibc's threshold moves with use, up to 32 MiB; here it stands where a long run ends up.
    """

    def run() -> Any:
        _set(64 * MIB, 128 << 10, 32 * MIB)
        try:
            return call()
        finally:
            if "MALLOC_MMAP_THRESHOLD_" in os.environ:
                _set(8 << 30, 256 * MIB, 4 << 30)

    return run
