"""Figures of candles: the bars themselves, their volume, and where a file is dirty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from . import DOWN, NEUTRAL, UP


def _dates(index: pd.DatetimeIndex) -> np.ndarray:
    """Return Matplotlib's day numbers of UTC stamps."""
    from matplotlib.dates import date2num

    return date2num(index.tz_localize(None).to_numpy())


def draw_bars(ax: Any, candles: pd.DataFrame) -> None:
    """Draw candles: hollow blue bodies rise, filled vermilion bodies fall.

    Args:
        ax: Matplotlib axes; x becomes time in UTC, y the price.
        candles: (n, 5) frame of at least two candles.
    """
    x = _dates(candles.index)  # type: ignore[arg-type]
    up = (candles["close"] >= candles["open"]).to_numpy()
    edge = np.where(up, UP, DOWN)
    top, bottom = candles[["open", "close"]].max(axis=1), candles[["open", "close"]].min(axis=1)
    ax.vlines(x, candles["low"], bottom, color=edge, linewidth=0.9)
    ax.vlines(x, top, candles["high"], color=edge, linewidth=0.9)
    ax.bar(x, top - bottom, 0.7 * (x[1] - x[0]), bottom, color=np.where(up, "white", DOWN),
           edgecolor=edge, linewidth=0.9)  # fmt: skip
    ax.use_sticky_edges = False  # the lowest wick keeps its margin
    ax.autoscale_view()
    _time_axis(ax)
    ax.set_ylabel("price in USD")


def draw_volume(ax: Any, candles: pd.DataFrame) -> None:
    """Draw the volume of each bar, hollow where the bar rose."""
    x = _dates(candles.index)  # type: ignore[arg-type]
    up = (candles["close"] >= candles["open"]).to_numpy()
    ax.bar(x, candles["volume"] / 1e6, 0.7 * (x[1] - x[0]), color=np.where(up, "white", DOWN),
           edgecolor=np.where(up, UP, DOWN), linewidth=0.9)  # fmt: skip
    _time_axis(ax)
    ax.set_ylabel("volume in millions")


def draw_timeline(ax: Any, rows: Mapping[str, pd.DatetimeIndex]) -> None:
    """Draw one line of marks a kind of event, the first on top, with its count.

    Args:
        ax: Matplotlib axes; x becomes time in UTC.
        rows: label to stamps.
    """
    labels = list(rows)[::-1]
    for height, stamps in enumerate(rows[label] for label in labels):
        ax.plot(_dates(stamps), np.full(len(stamps), height), "|", color=UP, markersize=14)
        ax.axhline(height, color=NEUTRAL, linewidth=0.4, zorder=0)
    ax.set_yticks(range(len(rows)), [f"{label} ({len(rows[label])})" for label in labels])
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.grid(False)
    _time_axis(ax)


def _time_axis(ax: Any) -> None:
    """Label x as time, with as few words as it takes."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=8)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    ax.set_xlabel("time, UTC")
