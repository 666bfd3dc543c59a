"""The four ways from a picture to a signal, as one diagram, and values with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from . import DOWN, NEUTRAL, UP

WAYS = (
    ("1 end to end", ("picture", "EfficientNet", "sell · hold · buy")),
    ("2 frozen", ("picture", "EfficientNet\nfrozen", "boosted trees")),
    ("3 many heads", ("picture", "EfficientNet", "direction\nmagnitude\nvolatility")),
    ("4 Siamese", ("two pictures", "one EfficientNet,\ntwice", "distance")),
)
COLOURS = (NEUTRAL, UP, DOWN)


def four_ways(ax: Axes) -> None:
    """Draw the four strategies as rows of three boxes: input, trunk, answer."""
    for row, (title, boxes) in enumerate(WAYS):
        ax.text(-0.75, -row, title, ha="left", va="center", weight="bold", fontsize=9)
        for column, (text, colour) in enumerate(zip(boxes, COLOURS, strict=True)):
            box = {"boxstyle": "round,pad=0.4", "fc": "white", "ec": colour}
            ax.text(column + 0.3, -row, text, ha="center", va="center", fontsize=8, bbox=box)
            if column:
                tip, tail = (column - 0.02, -row), (column - 0.38, -row)
                arrow = {"arrowstyle": "->", "color": NEUTRAL}
                ax.annotate("", xy=tip, xytext=tail, arrowprops=arrow)
    ax.set(xlim=(-0.8, 2.8), ylim=(-3.6, 0.6))
    ax.axis("off")


def forest(ax: Axes, cells: Mapping[str, Mapping[str, Any]], *, reference: float = 0.0) -> None:
    """Draw figures with their intervals, one a row, and a line where nothing is gained.

    Args:
        ax: where.
        cells: by name, mappings with ``value``, ``low`` and ``high``.
        reference: the value of no effect.
    """
    names = list(cells)
    value, low, high = (np.array([cells[n][k] for n in names]) for k in ("value", "low", "high"))
    rows = np.arange(len(names))[::-1]
    error = np.maximum([value - low, high - value], 0)
    ax.errorbar(value, rows, xerr=error, fmt="o", color=UP, capsize=3)
    ax.axvline(reference, color=NEUTRAL, linewidth=0.8)
    ax.set_yticks(rows, names)
