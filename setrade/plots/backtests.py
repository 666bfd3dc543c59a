"""Figures of backtests: equity with drawdown, trades on candles, months at a glance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from . import DOWN, NEUTRAL, UP
from .candles import draw_bars

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

STYLES = ("-", "--", "-.", ":")


def equity_and_drawdown(top: Axes, bottom: Axes, curves: Mapping[str, pd.Series]) -> None:
    """Draw equity curves above, and how far each stands below its peak underneath.

    Args:
        top, bottom: axes that share their x axis.
        curves: equity Series by name, at most four; told apart by colour and by dash.
    """
    for (name, equity), style in zip(curves.items(), STYLES, strict=False):
        x = equity.index.to_numpy()
        (line,) = top.plot(x, equity / equity.iloc[0], style, label=name)
        fall = 100 * (equity / equity.cummax() - 1)
        bottom.plot(x, fall, style, color=line.get_color())
    top.axhline(1.0, color=NEUTRAL, lw=0.8)
    top.set_ylabel("equity, start = 1")
    bottom.set_ylabel("drawdown in %")
    top.legend()


def trades_on_candles(ax: Axes, candles: pd.DataFrame, trades: pd.DataFrame) -> None:
    """Draw candles with entries (triangles: up long, down short) and exits (crosses).

    Args:
        ax: Matplotlib axes.
        candles: (n, 5) bars to show.
        trades: ledger of a backtest; trades that do not touch these bars are left out.
    """
    draw_bars(ax, candles)
    first, last = candles.index[0], candles.index[-1]
    end = trades["exit_time"].fillna(last)
    for trade, left in zip(trades.to_dict("records"), end, strict=True):
        if trade["entry_time"] > last or left < first:
            continue
        colour = UP if trade["side"] > 0 else DOWN
        x = [t.tz_localize(None) for t in (trade["entry_time"], left)]
        y = [trade["entry_price"], trade["exit_price"]]
        ax.plot(x, y, ":", color=colour, lw=1.2)
        ax.plot(x[0], y[0], "^" if trade["side"] > 0 else "v", color=colour, ms=9, mec="black")
        ax.plot(x[1], y[1], "X", color=colour, ms=8, mec="black")
    ax.set_xlim(*(t.tz_localize(None) for t in (first, last)))


def monthly_table(ax: Axes, table: pd.DataFrame) -> AxesImage:
    """Draw returns by year and month (`metrics.monthly_returns`), the figures in the cells."""
    percent = 100 * table.to_numpy()
    limit = float(np.nanmax(np.abs(percent))) or 1.0
    image = ax.imshow(percent, cmap="PuOr", vmin=-1.5 * limit, vmax=1.5 * limit, aspect="auto")
    ax.set_xticks(range(table.shape[1]), [str(month) for month in table.columns])
    ax.set_yticks(range(table.shape[0]), [str(year) for year in table.index])
    ax.grid(False)
    ax.set(xlabel="month", ylabel="year")
    for (row, column), value in np.ndenumerate(percent):
        if not np.isnan(value):
            ax.text(column, row, f"{value:+.1f}", ha="center", va="center", fontsize=8)
    return image
