"""What the GPU does, if this process uses one."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any


def gpu(torch: Any = None) -> dict[str, float]:
    """Return ``utilization`` in [0, 1], ``memory_used`` and ``memory_total`` in bytes.

    Empty where this process uses no GPU: to ask would begin to use it. Utilisation is missing
    without NVIDIA's management library (package ``nvidia-ml-py``).

    Args:
        torch: the module; None: the one that is imported, if any.
    """
    torch = torch or sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    if cuda is None or not cuda.is_available() or not cuda.is_initialized():
        return {}
    free, total = cuda.mem_get_info()
    found = {"memory_used": float(total - free), "memory_total": float(total)}
    with suppress(ImportError, RuntimeError):  # no library, or a driver that does not tell
        found["utilization"] = cuda.utilization() / 100
    return found
