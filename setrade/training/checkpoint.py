"""Checkpoints that are whole or absent, never half written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch


class CheckpointError(ValueError):
    """A checkpoint cannot be read, or belongs to another run."""


def save(path: str | Path, state: dict[str, Any]) -> None:
    """Write ``state`` to ``path`` atomically: a temporary file beside it, then a rename."""
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def load(path: str | Path) -> dict[str, Any]:
    """Return the state in ``path`` (tensors and plain data only, nothing is unpickled to code)."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds on a damaged file
        raise CheckpointError(f"checkpoint {path} cannot be read: {error}") from error


def random_state(shuffle: torch.Generator) -> dict[str, Any]:
    """Return the states of the generators that training draws from."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"torch": torch.get_rng_state(), "cuda": cuda, "shuffle": shuffle.get_state()}


def set_random_state(state: dict[str, Any], shuffle: torch.Generator) -> None:
    """Put the generators back where `random_state` saw them."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    shuffle.set_state(state["shuffle"])
