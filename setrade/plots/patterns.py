"""Figures of patterns: a window with its box, a confusion matrix, a reliability curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import DOWN, NEUTRAL, UP


def window(ax: Any, candles: np.ndarray) -> None:
    """Draw one window of candles: hollow blue bodies rise, filled vermilion bodies fall.

    Args:
        ax: Matplotlib axes; x becomes the bar's number, y the price.
        candles: (5, n) open, high, low, close, volume.
    """
    first, high, low, close = candles[:4]
    bar, up = np.arange(len(close)), close >= first
    edge = np.where(up, UP, DOWN)
    ax.vlines(bar, low, high, color=edge, linewidth=0.6, zorder=1)
    face = np.where(up, "white", DOWN)
    bottom = np.minimum(first, close)
    ax.bar(bar, np.abs(close - first), 0.7, bottom, color=face, edgecolor=edge, lw=0.5, zorder=2)
    ax.use_sticky_edges = False
    ax.autoscale_view()


def box(ax: Any, start: float, end: float, low: float, high: float) -> None:
    """Draw the box of a pattern: its first and last bar, its lowest and highest price."""
    from matplotlib.patches import Rectangle

    shape = Rectangle((start - 0.5, low), end - start + 1, high - low)
    shape.set(facecolor=NEUTRAL, alpha=0.15, edgecolor=NEUTRAL, zorder=0)
    ax.add_patch(shape)


def confusion(ax: Any, counts: np.ndarray, names: Sequence[str]) -> None:
    """Draw a confusion matrix as percentages of each row; shares below 1 % stay blank.

    Args:
        ax: Matplotlib axes.
        counts: (k, k), a row a true class, a column an answer.
        names: of the k classes.
    """
    share = 100 * counts / counts.sum(1, keepdims=True)
    ax.imshow(share, cmap="cividis", vmin=0, vmax=100)
    for (i, j), value in np.ndenumerate(share):
        if value >= 1:
            colour = "black" if value > 55 else "white"
            ax.text(j, i, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=7)
    labels = [name.replace("_", " ") for name in names]
    ax.set_xticks(range(len(names)), labels, rotation=60, ha="right", fontsize=7)
    ax.set_yticks(range(len(names)), labels, fontsize=7)
    ax.set(xlabel="answer", ylabel="truth")
    ax.grid(False)


def reliability(ax: Any, tables: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """Draw forecast against share of hits, one line a table, beside the diagonal.

    Args:
        ax: Matplotlib axes.
        tables: label to columns ``forecast``, ``share``, ``low``, ``high``.
    """
    ax.plot([0, 1], [0, 1], color=NEUTRAL, lw=1, ls="--")
    styles = ((DOWN, "o"), (UP, "D"), (NEUTRAL, "s"))
    for (label, t), (colour, mark) in zip(tables.items(), styles, strict=False):
        share, low, high = (np.asarray(t[key]) for key in ("share", "low", "high"))
        err = np.maximum([share - low, high - share], 0)
        ax.errorbar(t["forecast"], share, yerr=err, fmt=mark + "-", ms=4, capsize=2,
                    color=colour, label=label)  # fmt: skip
    ax.set(xlabel="forecast probability", ylabel="share right", xlim=(0, 1), ylim=(0, 1))
    ax.legend()
