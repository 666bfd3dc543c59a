"""Work for the study tests, importable by workers in other processes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # on Windows the second one kills


def square(config: dict) -> dict:
    """Return the square of ``x``."""
    return {"square": config["x"] ** 2}


def picky(config: dict, *, folder: str) -> dict:
    """Fail on x = 3 until the file ``mended`` lies in the folder."""
    if config["x"] == 3 and not (Path(folder) / "mended").exists():
        raise ValueError("no threes today")
    return square(config)


def lost(config: dict) -> dict:
    """Return what JSON cannot hold at x = 3."""
    return {"square": {1, 2}} if config["x"] == 3 else square(config)


def mortal(config: dict, *, folder: str) -> dict:
    """Kill the worker process at x = 5, the first time."""
    mark = Path(folder) / "killed"
    if config["x"] == 5 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), KILL)
    time.sleep(0.02)
    return square(config)


def deadly(config: dict, *, x: int) -> dict:
    """Kill the worker process at this x, every time."""
    if config["x"] == x:
        os.kill(os.getpid(), KILL)
    return square(config)


def slow(config: dict) -> dict:
    """Take 50 ms."""
    time.sleep(0.05)
    return square(config)
