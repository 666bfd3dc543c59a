"""Work for the study tests, importable by workers in other processes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # on Windows the second one kills


def square(cell: dict) -> dict:
    """Return the square of ``x``."""
    return {"square": cell["x"] ** 2}


def picky(cell: dict, *, folder: str) -> dict:
    """Fail on x = 3 until the file ``mended`` lies in the folder."""
    if cell["x"] == 3 and not (Path(folder) / "mended").exists():
        raise ValueError("no threes today")
    return square(cell)


def lost(cell: dict) -> dict:
    """Return what JSON cannot hold at x = 3."""
    return {"square": float("nan")} if cell["x"] == 3 else square(cell)


def mortal(cell: dict, *, folder: str) -> dict:
    """Kill the worker process at x = 5, the first time."""
    mark = Path(folder) / "killed"
    if cell["x"] == 5 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), KILL)
    time.sleep(0.02)
    return square(cell)


def deadly(cell: dict, *, x: int) -> dict:
    """Kill the worker process at this x, every time."""
    if cell["x"] == x:
        os.kill(os.getpid(), KILL)
    return square(cell)


def slow(cell: dict) -> dict:
    """Take 50 ms."""
    time.sleep(0.05)
    return square(cell)
