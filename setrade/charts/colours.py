"""What can be painted, and the pre-computed colour maps that say in which colour.

A colour map is data: one RGB triple for each ink. ``"safe"`` takes sky blue and vermilion
from Okabe and Ito's set and makes up much lighter than down, so that the two differ in
brightness too and survive every common colour blindness, and a grey printer. ``"seed"`` is
the green and red of the chapter we started from, where a close equal to the open is green.
"""

from __future__ import annotations

import numpy as np

from ..errors import ArgumentError, choice

AVERAGE_INKS = 3
INKS = (
    "background",
    "up",  # bodies: close > open
    "down",  # close < open
    "flat",  # close == open
    "up_wick",
    "down_wick",
    "flat_wick",
    "up_volume",
    "down_volume",
    "flat_volume",
    "average_1",
    "average_2",
    "average_3",
)
BODY, WICK, VOLUME, AVERAGE = (INKS.index(x) for x in ("up", "up_wick", "up_volume", "average_1"))

Colour = tuple[int, int, int]
YELLOW, PINK, GREEN = (240, 228, 66), (204, 121, 167), (0, 158, 115)


def _map(
    bodies: tuple[Colour, ...], wicks: tuple[Colour, ...], lines: tuple[Colour, ...]
) -> np.ndarray:
    """Return a read-only table (inks, 3); up, down, flat in this order; volume like wicks."""
    table = np.array([(0, 0, 0), *bodies, *wicks, *wicks, *lines], np.uint8)
    table.flags.writeable = False
    return table


def _grey(*levels: int) -> tuple[Colour, ...]:
    """Return one grey for each level."""
    return tuple((x, x, x) for x in levels)


_SEED = ((0, 255, 0), (255, 0, 0), (0, 255, 0))
COLOURS: dict[str, np.ndarray] = {
    "safe": _map(
        ((130, 205, 245), (190, 75, 0), (160, 160, 160)),
        ((70, 125, 155), (115, 45, 0), (95, 95, 95)),
        (YELLOW, PINK, GREEN),
    ),
    "seed": _map(_SEED, _SEED, ((255, 255, 0), (255, 0, 255), (0, 255, 255))),
    "grey": _map(_grey(255, 130, 190), _grey(150, 80, 115), _grey(225, 105, 60)),
}


def palette(colours: str | np.ndarray) -> np.ndarray:
    """Return the colour table (inks, channels), by name or checked, as uint8 in C order."""
    if isinstance(colours, np.ndarray):
        if colours.dtype != np.uint8 or colours.ndim != 2 or len(colours) != len(INKS):
            raise ArgumentError("colours", colours, f"a uint8 array ({len(INKS)}, channels)")
        return colours.copy(order="C")
    return COLOURS[choice("colours", colours, COLOURS)].copy(order="C")
