"""Checkpoints that are whole or absent, never half written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from setrade.files import atomic_path


class CheckpointError(ValueError):
    """A checkpoint cannot be read, or belongs to another run."""


def save(path: str | Path, state: dict[str, Any]) -> None:
    """Write ``state`` to ``path`` atomically."""
    # an open file, since torch writes a path's own name into what it saves
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        torch.save(state, file)


def load(path: str | Path) -> dict[str, Any]:
    """Return the state in ``path`` (tensors and plain data only, nothing is unpickled to code)."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds on a damaged file
        raise CheckpointError(f"checkpoint {path} cannot be read: {error}") from error


def random_state(shuffle: torch.Generator, device: torch.device) -> dict[str, Any]:
    """Return the states of the generators that training on ``device`` draws from.

    Of GPUs only the one in use is asked: asking begins to use it.
    """
    cuda = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return {"torch": torch.get_rng_state(), "cuda": cuda, "shuffle": shuffle.get_state()}


def set_random_state(state: dict[str, Any], shuffle: torch.Generator, device: torch.device) -> None:
    """Put the generators back where `random_state` saw them, on any number of GPUs."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"][0], device)
    shuffle.set_state(state["shuffle"])
