"""The two ways in which a process may treat memory that it has freed.

``make`` keeps it (``MALLOC_*`` in the Makefile), which spares whoever allocates a large result
anew the page faults of fresh memory. A process as users start one gives it back. The C library
reads its settings once, when it starts, so that each way takes a process of its own.
"""

from __future__ import annotations

import os

# As in the Makefile: glibc's, and huge pages for PyTorch.
KEPT = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "268435456",
    "THP_MEM_ALLOC_ENABLE": "1",
}


def memory() -> str:
    """Return how this process treats freed memory: "kept" or "fresh"."""
    return "kept" if "MALLOC_MMAP_THRESHOLD_" in os.environ else "fresh"


def environment(memory: str) -> dict[str, str]:
    """Return this process's environment for a child that keeps memory, or takes it fresh."""
    others = {name: value for name, value in os.environ.items() if name not in KEPT}
    return others | KEPT if memory == "kept" else others
