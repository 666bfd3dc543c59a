"""The device and the seed."""

from __future__ import annotations

import os
import random

import numpy as np
import torch

from setrade.errors import ArgumentError, choice, integer

KINDS = ("cuda", "mps", "cpu")
VARIABLE = "SETRADE_DEVICE"
WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"  # without it cuBLAS may add in another order each time


def available() -> tuple[str, ...]:
    """Return the device kinds of this machine, the fastest first."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    return ("cuda",) * cuda + ("mps",) * mps + ("cpu",)


def device(name: str | None = None) -> torch.device:
    """Return the device named, or the one to use here: a CUDA GPU if there is one, else the CPU.

    Without a name the environment variable ``SETRADE_DEVICE`` decides, where it is set: "cpu"
    keeps all work off a GPU, "cuda:1" takes the second one. An Apple GPU is never taken unasked:
    "mps" has no float64, and copies to it may go wrong (pytorch/pytorch#189690).

    Args:
        name: "cpu", "cuda", "cuda:0", ... or "mps"; None: see above.

    Raises:
        ArgumentError: the name is no device kind, or this machine does not have it.
    """
    asked = "name" if name is not None else VARIABLE
    name = name if name is not None else os.environ.get(VARIABLE) or None
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":") if isinstance(name, str) else (name, "", "")
    choice(asked, kind, KINDS)
    if kind not in available():
        raise ArgumentError(asked, name, "a device of this machine: " + ", ".join(available()))
    count = torch.cuda.device_count() if kind == "cuda" else 1
    whole = index.isascii() and index.isdigit()
    if (":" in name and not whole) or (index and int(index) >= count):
        here = ", ".join(f"{kind}:{i}" for i in range(count))
        raise ArgumentError(asked, name, f"one of the {count} of this machine: {here}")
    return torch.device(name)


def describe(where: str | torch.device | None = None) -> str:
    """Return a device as a result names it: "cpu", or the GPU's name and its driver's CUDA.

    Args:
        where: default the one that `device` gives.
    """
    where = device() if where is None else torch.device(where)
    if where.type != "cuda" or not torch.cuda.is_available():
        return str(where)
    driver = getattr(torch._C, "_cuda_getDriverVersion", lambda: 0)()  # 13000 is 13.0
    told = f", driver for CUDA {driver // 1000}.{driver % 1000 // 10}" if driver else ""
    return f"{torch.cuda.get_device_name(where)}{told}"


def seed_everything(seed: int, *, deterministic: bool | None = None) -> np.random.Generator:
    """Seed Python's, NumPy's and torch's generators (every device); return a NumPy generator.

    On a CPU the same seed gives the same run. On CUDA it does not: sums are made in an order
    that changes, unless ``deterministic`` is True.

    Args:
        seed: an integer from 0 to 2**32 - 1.
        deterministic: True: torch uses algorithms that repeat bit by bit on the same GPU, slower,
            and raises a RuntimeError at an operation that has none; convolutions and products
            are in float32 and not in TF32. Ask for it before the first work on the GPU. False
            takes this back; None leaves it as it is.

    Returns:
        A fresh ``np.random.default_rng(seed)`` for the caller's own draws.
    """
    seed = integer("seed", seed, 0, 2**32 - 1)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  libraries still draw from the global one
    torch.manual_seed(seed)
    if deterministic is not None:
        _repeat(deterministic)
    return np.random.default_rng(seed)


def _repeat(deterministic: bool) -> None:
    """Ask torch for algorithms that repeat, or let it choose again."""
    if not isinstance(deterministic, bool):
        raise ArgumentError("deterministic", deterministic, "True, False or None")
    if deterministic:
        os.environ.setdefault(WORKSPACE, ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = not deterministic
    torch.backends.cuda.matmul.allow_tf32 = False
