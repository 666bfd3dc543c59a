"""What the GPU does, if this process uses one."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any


def gpu(torch: Any = None) -> dict[str, float]:
    """Return ``utilization`` in [0, 1], ``memory_used`` and ``memory_total`` in bytes.

    Empty where this process uses no GPU: to ask would begin to use it. What cannot be told is
    missing: utilisation without NVIDIA's management library (package ``nvidia-ml-py``) or on a
    slice of a card (MIG). Nothing that goes wrong here may cost the status page.

    Args:
        torch: the module; None: the one that is imported, if any.
    """
    torch = torch or sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    if cuda is None or not cuda.is_available() or not cuda.is_initialized():
        return {}
    found: dict[str, float] = {}
    with suppress(Exception):
        free, total = cuda.mem_get_info()
        found |= {"memory_used": float(total - free), "memory_total": float(total)}
    with suppress(Exception):  # pynvml's own errors are of no kind that can be named here
        found["utilization"] = cuda.utilization() / 100
    return found
