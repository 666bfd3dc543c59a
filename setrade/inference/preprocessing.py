"""Preprocessing as a checkpoint describes it, tried out before anything is fed to a net."""

from __future__ import annotations

from typing import Any

import numpy as np

from setrade.channels import GROUPS, Standardizer
from setrade.errors import ArgumentError, choice, integer
from setrade.pictures import ENCODERS, Encoder, encoder

from .errors import CheckpointError

CHANNELS = tuple(name for group in GROUPS if group != "order_flow" for name in GROUPS[group])
FIELDS = {
    "windows": {"kind", "columns", "scale_free", "standardizer"},
    "pictures": {"kind", "encoder", "options", "bars"},
}
MOST_BARS, MOST_PIXELS = 100_000, 4_096  # of a window, and of a side: a damaged file asks for more


def try_out(given: Any, kind: str, shape: tuple[int, ...]) -> None:
    """Build what a checkpoint's preprocessing describes, and run it once.

    Args:
        given: the field ``preprocessing`` of a `Spec`.
        kind: "windows" or "pictures", as the net wants.
        shape: of one example that the net is given.

    Raises:
        CheckpointError: it cannot be built, fails, or gives another shape; ``name`` is the field.
    """
    if not isinstance(given, dict) or set(given) != FIELDS[kind] or given["kind"] != kind:
        raise CheckpointError("preprocessing", given, f"kind {kind!r} with {sorted(FIELDS[kind])}")
    if kind == "windows":
        _try_windows(given, shape)
    else:
        _try_pictures(given, shape)


def standardizer(state: Any) -> Standardizer:
    """Return the standardizer that a dict describes, or raise `CheckpointError`."""
    try:
        return Standardizer.from_dict(state)
    except (TypeError, ValueError, OverflowError) as error:  # an ArgumentError is a ValueError
        allowed = error.allowed if isinstance(error, ArgumentError) else f"numbers ({error})"
        raise CheckpointError("standardizer", state, allowed) from error


def picture_encoder(given: dict[str, Any], side: int) -> Encoder:
    """Return the encoder of a checkpoint's pictures, or raise `CheckpointError`."""
    name, options = given["encoder"], given["options"]
    try:
        choice("encoder", name, ENCODERS)
    except ArgumentError as error:
        raise CheckpointError("encoder", name, error.allowed) from error
    try:
        return encoder(name, side, **options)
    except (TypeError, ValueError) as error:
        raise CheckpointError("options", options, f"those of {name!r} ({error})") from error


def _try_windows(given: dict[str, Any], shape: tuple[int, ...]) -> None:
    columns = given["columns"]
    known = isinstance(columns, list | tuple) and all(c in CHANNELS for c in columns)
    if not known or len(set(columns)) != len(columns):
        raise CheckpointError("columns", columns, f"different names out of {list(CHANNELS)}")
    if len(columns) != shape[0]:
        raise CheckpointError("columns", columns, f"{shape[0]} names, one a channel")
    if not isinstance(given["scale_free"], bool):
        raise CheckpointError("scale_free", given["scale_free"], "true or false")
    made = standardizer(given["standardizer"])
    if made.columns != tuple(columns):
        raise CheckpointError("columns", columns, "those of the standardizer, in order")
    with np.errstate(over="ignore"):
        zeros = made.transform(np.zeros((1, len(columns)))).astype(np.float32)
    if not np.isfinite(zeros).all():
        allowed = "means and scales that float32 can hold"
        raise CheckpointError("standardizer", given["standardizer"], allowed)
    if shape[1] > MOST_BARS:
        raise CheckpointError("input_shape", shape, f"at most {MOST_BARS} bars")


def _try_pictures(given: dict[str, Any], shape: tuple[int, ...]) -> None:
    if shape[1] != shape[2] or shape[1] > MOST_PIXELS:
        allowed = f"height and width alike, as encoders draw, at most {MOST_PIXELS} pixels"
        raise CheckpointError("input_shape", shape, allowed)
    try:
        bars = integer("bars", given["bars"], 1, MOST_BARS)
    except ArgumentError as error:
        raise CheckpointError("bars", error.value, error.allowed) from error
    made = picture_encoder(given, shape[-1])
    try:
        drawn = made.draw(zigzag(bars, given["options"].get("price_range")))
    except Exception as error:  # whatever foreign options make of a drawing
        field = "options" if isinstance(error, TypeError) else "preprocessing"
        allowed = f"bars and options with which {given['encoder']!r} can draw ({error})"
        raise CheckpointError(field, given.get(field, given), allowed) from error
    gives = drawn.shape[1:] if drawn.ndim == 4 else (1, *drawn.shape[1:])
    if gives != shape:
        raise CheckpointError("input_shape", shape, f"{gives}, as {given['encoder']!r} draws it")


def zigzag(bars: int, limits: Any = None) -> np.ndarray:
    """Return one window (1, 5, bars) of candles that go up and down in turns.

    Args:
        bars: how many.
        limits: a price range to stay within; anything but two numbers is for the encoder to judge.
    """
    two = isinstance(limits, list | tuple) and len(limits) == 2
    fits = two and all(isinstance(v, int | float) for v in limits)
    low, high = sorted(limits) if fits else (1.0, 2.0)
    first, second = (low + share * (high - low) for share in (0.4, 0.6))
    up = np.arange(bars) % 2 == 0
    opens, closes = np.where(up, first, second), np.where(up, second, first)
    ends = np.full(bars, second), np.full(bars, first)
    return np.stack([opens, *ends, closes, np.ones(bars)])[None]
