"""Numeric environments: what other machines and installs do to the last digits.

The Makefile pins one (two threads, AVX2 code paths, memory kept in the process). Each entry
of `ENVIRONMENTS` is another; ``tools/book.py notebooks --environment NAME`` compares all chapters
under it, and ``make robust`` under every one. Values of processors that this one is not are
ignored by the libraries: a machine without AVX-512 shows less than one that has it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
ALLOCATOR = (
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "THP_MEM_ALLOC_ENABLE",
)
PATHS = (
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "MKL_ENABLE_INSTRUCTIONS",
    "OPENBLAS_CORETYPE",
    "NPY_DISABLE_CPU_FEATURES",
)
NUMERIC = (*THREADS, *PATHS, *ALLOCATOR)  # all that the Makefile pins, and no more


def threads(count: int) -> dict[str, str]:
    """Return the settings that give every library so many threads."""
    return dict.fromkeys(THREADS, str(count))


AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "OPENBLAS_CORETYPE": "Haswell"}
SSE4 = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    "OPENBLAS_CORETYPE": "Nehalem",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 X86_V3",
}
# None: as the Makefile and the caller set it. Else: nothing but these.
ENVIRONMENTS: dict[str, dict[str, str] | None] = {
    "pinned": None,
    "no pins": {},
    "one thread, SSE4": threads(1) | SSE4,
    "one thread, native": threads(1),
    "two threads, AVX2, own allocator": threads(2) | AVX2,
    "four threads, native": threads(4),
    "ATen default, the rest native": threads(2) | {"ATEN_CPU_CAPABILITY": "default"},
    "oneDNN SSE4.1, the rest native": threads(2) | {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "OpenBLAS Nehalem, the rest native": threads(2) | {"OPENBLAS_CORETYPE": "Nehalem"},
    "NumPy without AVX-512, the rest native": threads(2) | {"NPY_DISABLE_CPU_FEATURES": "X86_V4"},
}
OTHER = "one thread, SSE4"  # what `make test` compares beside the pinned one: the farthest away


def environment(name: str, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables of a process in a named environment.

    Raises:
        KeyError: No environment has this name; the message lists them.
    """
    if name not in ENVIRONMENTS:
        raise KeyError(f"environment: got {name!r}, allowed: {list(ENVIRONMENTS)}")
    variables = dict(os.environ if base is None else base)
    wanted = ENVIRONMENTS[name]
    if wanted is not None:
        variables = {k: v for k, v in variables.items() if k not in NUMERIC} | wanted
    return variables
