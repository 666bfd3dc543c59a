"""Examples gathered by number, never copied whole; the device to use; the seed of every draw."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sized
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from setrade.errors import MOST, ArgumentError, array, choice, flag, integer, paired, places, timed


@runtime_checkable
class Examples(Protocol):
    """Anything that has a length and gives the examples of some rows as ``(x, y)``."""

    def __len__(self) -> int: ...

    def batch(self, rows: Tensor) -> tuple[Any, Any]:
        """Return the inputs and the targets of ``rows`` (int64, in that order)."""
        ...


class TensorSet:
    """Examples that exist already as one tensor of inputs and one of targets, row by row."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        for name, part in (("x", x), ("y", y)):
            dense = isinstance(part, Tensor) and part.layout == torch.strided and not part.is_meta
            if not dense or not part.ndim or part.is_complex():
                raise ArgumentError(name, part, "a dense tensor, a row an example")
        if len(x) != len(y) or not len(x):
            raise ArgumentError("y", y, f"as many targets as inputs, {len(x)}, and at least one")
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs and targets of ``rows``."""
        return self.x[rows], self.y[rows]


class WindowSet:
    """Windows of channels that end at given bars, each with its target; a batch is one gather.

    The memory is that of the channels, (n, C) float32, whatever the lookback: a batch copies
    its own windows only.

    Args:
        channels: (n, C) numbers, one row a bar, newest last; finite wherever a window reads.
        targets: (n,) one target a bar; finite at ``ends``.
        ends: (m,) bar numbers at which windows end, as a split gives them.
        lookback: bars of a window, T.
        kind: "class" (targets 0, 1, 2, ... as int64) or "value" (float32).

    Raises:
        ArgumentError: names the argument; a NaN under a window is refused, never filled.
    """

    def __init__(
        self,
        channels: pd.DataFrame | np.ndarray,
        targets: pd.Series | np.ndarray,
        ends: np.ndarray,
        lookback: int,
        *,
        kind: str = "class",
    ) -> None:
        for name, value in (("channels", channels), ("targets", targets)):
            if isinstance(getattr(value, "index", None), pd.DatetimeIndex):
                timed(name, value)
        x = array("channels", channels, ndim=2, finite=False)
        y = array("targets", targets, ndim=1, finite=False)
        self.lookback = integer("lookback", lookback, 1, len(x))
        ends = places("ends", ends, self.lookback - 1, len(x) - 1)
        if len(y) != len(x):
            raise ArgumentError("targets", targets, f"one a bar: {len(x)}")
        paired("targets", targets, channels)
        choice("kind", kind, ("class", "value"))
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused
            x = np.ascontiguousarray(x, np.float32)
            chosen = y[ends].astype(np.float32) if kind == "value" else y[ends]
        _finite_windows(x, ends, self.lookback)
        whole = (chosen >= 0) & (chosen <= MOST) & (chosen == np.floor(chosen))
        if not np.isfinite(chosen).all() or not (kind == "value" or whole.all()):
            raise ArgumentError("targets", targets, f"a finite {kind} at every bar in ends")
        self.channels = torch.from_numpy(x)
        self.y = torch.from_numpy(chosen.astype(np.int64 if kind == "class" else np.float32))
        self.ends = torch.from_numpy(ends)

    def __len__(self) -> int:
        return len(self.ends)

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return windows (B, C, T) float32, newest bar last, and targets (B,)."""
        views = self.channels.unfold(0, self.lookback, 1)  # (n - T + 1, C, T), no copy
        return views[self.ends[rows] - self.lookback + 1], self.y[rows]

    def all(self) -> tuple[Tensor, Tensor]:
        """Return every window and target as one batch: (m, C, T) in memory."""
        return self.batch(torch.arange(len(self)))


def _finite_windows(x: np.ndarray, ends: np.ndarray, lookback: int) -> None:
    """Raise unless every bar under a window is finite; the error names the first that is not."""
    bad = np.cumsum(np.r_[0, ~np.isfinite(x).all(axis=1)])
    hit = bad[ends + 1] - bad[ends + 1 - lookback] > 0
    if hit.any():
        first = int(ends[hit.argmax()]) - lookback + 1
        row = first + int((~np.isfinite(x[first : first + lookback]).all(1)).argmax())
        allowed = f"finite numbers, in float32, under every window; bar {row} is not"
        raise ArgumentError("channels", x[row], allowed)


def move(value: Any, device: torch.device) -> Any:
    """Return tensors, also inside tuples, lists and dicts, on ``device``."""
    if isinstance(value, Tensor):
        # Elsewhere it gains nothing, or (on MPS) lets the buffer change while it is copied.
        pinned = device.type == "cuda" and value.device.type == "cpu" and value.is_pinned()
        return value.to(device, non_blocking=pinned)
    if isinstance(value, dict):
        return {key: move(item, device) for key, item in value.items()}
    if isinstance(value, list | tuple):
        moved = [move(item, device) for item in value]
        return type(value)(*moved) if hasattr(value, "_fields") else type(value)(moved)
    return value


def batches(
    data: Any, batch_size: int, device: torch.device, generator: torch.Generator | None = None
) -> Iterator[tuple[Any, Any]]:
    """Yield ``(x, y)`` on ``device``: shuffled with ``generator``, in order without one.

    What is no `Examples` (a DataLoader, a list of batches) is iterated as it is.
    """
    if isinstance(data, Examples):
        n = len(data)
        order = torch.arange(n) if generator is None else torch.randperm(n, generator=generator)
        source = (data.batch(rows) for rows in order.split(batch_size))
    else:
        source = iter(data)
    for pair in source:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise ArgumentError("data", pair, "batches of two parts: inputs and targets")
        yield move(pair[0], device), move(pair[1], device)


def check_source(name: str, data: Any) -> None:
    """Refuse what gives no batches ``(x, y)``, or none at all."""
    odd = isinstance(data, str | bytes | dict | type | np.ndarray) or (
        isinstance(data, list | tuple)
        and not all(isinstance(part, list | tuple) and len(part) == 2 for part in data)
    )
    if odd or not (isinstance(data, Examples) or hasattr(data, "__iter__")):
        raise ArgumentError(name, data, "Examples, or batches (x, y) as of a DataLoader")
    if isinstance(data, Sized) and not len(data):
        raise ArgumentError(name, data, "at least one example")


def count_batches(data: Any, batch_size: int) -> int:
    """Return how many batches one pass over ``data`` takes."""
    return -(-len(data) // batch_size) if isinstance(data, Examples) else len(data)


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
    if flag("deterministic", deterministic):
        os.environ.setdefault(WORKSPACE, ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = not deterministic
    torch.backends.cuda.matmul.allow_tf32 = False
