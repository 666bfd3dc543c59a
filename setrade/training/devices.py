"""The device and the seed."""

from __future__ import annotations

import random

import numpy as np
import torch

from setrade.errors import ArgumentError, choice, integer


def available() -> tuple[str, ...]:
    """Return the device kinds of this machine, the fastest first."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    return ("cuda",) * cuda + ("mps",) * mps + ("cpu",)


def device(name: str | None = None) -> torch.device:
    """Return the fastest device here (CUDA, then MPS, then CPU), or the one named.

    Raises:
        ArgumentError: ``name`` is no device kind, or this machine does not have it.
    """
    if name is None:
        return torch.device(available()[0])
    choice("name", name.split(":")[0] if isinstance(name, str) else name, ("cuda", "mps", "cpu"))
    if name.split(":")[0] not in available():
        raise ArgumentError("name", name, "a device of this machine: " + ", ".join(available()))
    return torch.device(name)


def seed_everything(seed: int) -> np.random.Generator:
    """Seed Python's, NumPy's and torch's generators (every device); return a NumPy generator.

    Args:
        seed: an integer from 0 to 2**32 - 1.

    Returns:
        A fresh ``np.random.default_rng(seed)`` for the caller's own draws.
    """
    seed = integer("seed", seed, 0, 2**32 - 1)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  libraries still draw from the global one
    torch.manual_seed(seed)
    return np.random.default_rng(seed)
