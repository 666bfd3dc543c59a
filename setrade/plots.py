"""One style for every figure of the book, and the figures that it draws more than once.

Colours are the Okabe-Ito set, which survives the common kinds of colour blindness. Up is
blue and filled from the left of the spectrum, down is vermilion; where it matters a shape or
a hatch says it again, so that nothing is told by colour alone.

``ax`` is where Matplotlib draws. What does not fit is refused by an `ArgumentError` that names it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from itertools import count, product
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from setrade.candles import COLUMNS
from setrade.channels import GROUPS
from setrade.errors import ArgumentError, array, flag, integer, number, same_index, timed

UP, DOWN, NEUTRAL = "#0072B2", "#D55E00", "#7F7F7F"


def use_style() -> None:
    """Apply the book's Matplotlib style and sharp, small PNG figures in notebooks."""
    with as_file(files("setrade") / "book.mplstyle") as style:
        plt.style.use(style)


# ---- What is drawn, checked.


def _mapping(name: str, value: Any, most: int = 1000) -> Mapping[str, Any]:
    """Return a mapping of one to ``most`` parts, or say what is wrong."""
    if not isinstance(value, Mapping) or not 0 < len(value) <= most:
        raise ArgumentError(name, value, f"a mapping of 1 to {most} names to what is drawn")
    return value


def _part(name: str, value: Any, columns: Sequence[str]) -> pd.DataFrame:
    """Return these columns of a frame (all of them, where none are named)."""
    if not isinstance(value, pd.DataFrame) or any(list(value).count(c) != 1 for c in columns):
        each = f" with columns {' '.join(columns)}, each once" if columns else ""
        raise ArgumentError(name, value, f"a DataFrame{each}")
    return value[list(columns)] if columns else value


def _table(
    name: str, value: Any, columns: Sequence[str] = (), *, rows: int = 1, finite: bool = True
) -> pd.DataFrame:
    """Return a frame of numbers with these columns, or say what is wrong."""
    value = _part(name, value, columns)
    if len(value) < rows:
        raise ArgumentError(name, value, f"{rows} rows or more")
    return pd.DataFrame(array(name, value, finite=finite), value.index, value.columns)


def _bars(candles: Any) -> tuple[np.ndarray, pd.DataFrame]:
    """Return where two candles or more stand on the axis of time, and their numbers."""
    table = timed("candles", _table("candles", candles, COLUMNS, rows=2))
    return _dates(table.index), table


def _along(name: str, value: Any) -> np.ndarray:
    """Return where rows stand on the axis: at their stamps, or at plain numbers."""
    if (index := timed(name, value, needed=False).index).dtype.kind not in "iufM":
        raise ArgumentError(name, index, "stamps in UTC (a DatetimeIndex), or row numbers")
    return index.to_numpy()


# ---- Candles.


def _dates(index: pd.DatetimeIndex) -> np.ndarray:
    """Return Matplotlib's day numbers of UTC stamps."""
    return date2num(index.tz_localize(None).to_numpy())


def draw_bars(ax: Any, candles: pd.DataFrame) -> None:
    """Draw a frame (n, 5) of two candles or more over time in UTC.

    Hollow blue bodies rise, filled vermilion bodies fall.
    """
    x, table = _bars(candles)
    _draw_candles(ax, x, table[list(COLUMNS[:4])].to_numpy(float).T, 0.7 * (x[1] - x[0]), 0.9)
    _time_axis(ax)
    ax.set_ylabel("price in USD")


def _draw_candles(ax: Any, x: np.ndarray, prices: np.ndarray, width: float, line: float) -> None:
    """Draw prices (4, n), open high low close, at places x; the lowest wick keeps its margin."""
    first, high, low, close = prices
    up, top, bottom = close >= first, np.maximum(first, close), np.minimum(first, close)
    edge, face = np.where(up, UP, DOWN), np.where(up, "white", DOWN)
    for foot, head in ((low, bottom), (top, high)):
        ax.vlines(x, foot, head, color=edge, linewidth=line)
    ax.bar(x, top - bottom, width, bottom, color=face, edgecolor=edge, linewidth=line)
    ax.use_sticky_edges = False
    ax.autoscale_view()


def draw_volume(ax: Any, candles: pd.DataFrame) -> None:
    """Draw the volume of each bar, hollow where the bar rose."""
    x, table = _bars(candles)
    up = (table["close"] >= table["open"]).to_numpy()
    ax.bar(x, table["volume"] / 1e6, 0.7 * (x[1] - x[0]), color=np.where(up, "white", DOWN),
           edgecolor=np.where(up, UP, DOWN), linewidth=0.9)  # fmt: skip
    _time_axis(ax)
    ax.set_ylabel("volume in millions")


def draw_timeline(ax: Any, rows: Mapping[str, pd.DatetimeIndex]) -> None:
    """Draw a line of marks for each kind of event (label to stamps), the first on top, counted."""
    labels = list(_mapping("rows", rows))[::-1]
    for stamps in rows.values():
        if not isinstance(stamps, pd.DatetimeIndex) or stamps.hasnans:
            raise ArgumentError("rows", stamps, "stamps: a DatetimeIndex")
    for height, stamps in enumerate(rows[label] for label in labels):
        ax.plot(_dates(stamps), np.full(len(stamps), height), "|", color=UP, markersize=14)
        ax.axhline(height, color=NEUTRAL, linewidth=0.4, zorder=0)
    ax.set_yticks(range(len(rows)), [f"{label} ({len(rows[label])})" for label in labels])
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.grid(False)
    _time_axis(ax)


def _time_axis(ax: Any) -> None:
    """Label x as time, with as few words as it takes."""
    locator = AutoDateLocator(minticks=3, maxticks=8)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    ax.set_xlabel("time, UTC")


# ---- Channels.


def correlations(table: pd.DataFrame, ax: Axes) -> AxesImage:
    """Draw the correlation of every pair of channels, with lines between the groups.

    ``table`` (bars, C) has the columns of `setrade.channels.compute`; rows with a NaN are left out.
    The image is returned, for a colour bar; -1 is orange, 0 white, +1 violet.
    """
    timed("table", _table("table", table, finite=False), needed=False)
    if len(table.dropna()) < 2:
        raise ArgumentError("table", table, "a DataFrame with at least 2 rows without NaN")
    names = list(table.columns)
    image = ax.imshow(table.dropna().corr(), cmap="PuOr", vmin=-1, vmax=1)
    ax.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
    ax.set_yticks(range(len(names)), names, fontsize=6)
    ax.grid(False)
    sizes = [sum(name in names for name in group) for group in GROUPS.values()]
    for edge, line in product(np.cumsum(sizes)[:-1], (ax.axhline, ax.axvline)):
        line(edge - 0.5, color="black", linewidth=0.6)
    return image


def _write_cells(
    ax: Any, image: AxesImage, table: pd.DataFrame, text: str, ink: Sequence[float] = ()
) -> AxesImage:
    """Label rows and columns, and write each number; white beyond ``ink`` = (least, most)."""
    ax.set_xticks(range(table.shape[1]), [str(c).replace("_", "\n") for c in table.columns])
    ax.set_yticks(range(table.shape[0]), [str(r) for r in table.index])
    ax.grid(False)
    for (row, column), value in np.ndenumerate(np.ma.asarray(image.get_array()).filled(np.nan)):
        if not np.isnan(value):
            colour = "white" if ink and ink[0] < value < ink[1] else "black"
            ax.text(column, row, text.format(value), ha="center", va="center", color=colour,
                    fontsize=8)  # fmt: skip
    return image


# ---- Gates and squeezes.


def gates_over_time(close: pd.Series, gates: pd.DataFrame, *, label: str = "gate") -> Figure:
    """Draw the price above a strip of gates, one row a channel, on one time axis.

    Args:
        close: closing price, indexed by time, regular.
        gates: gates in (0, 1), same index, one column a channel. Half is the middle colour,
            and the scale is symmetric about it, as wide as the gates need.
        label: name of the colour scale.

    Returns:
        The figure, its axes price and gates in this order.
    """
    array("close", timed("close", close), ndim=1, finite=False)
    gates = _table("gates", gates)
    if not same_index(gates.index, close.index):
        raise ArgumentError("gates", gates, "one row for each row of close, same index")
    strip_height = 0.2 * gates.shape[1]
    fig, (top, strip) = plt.subplots(
        2, 1, sharex=True, figsize=(7.2, 1.8 + strip_height), height_ratios=[1.2, strip_height]
    )
    top.plot(close.index, close, color="black")
    top.set_ylabel("close, USD")
    fig.colorbar(_strip(strip, gates), ax=strip, label=label, pad=0.01)
    return fig


def _strip(axis: Axes, gates: pd.DataFrame) -> AxesImage:
    """Draw the gates as an image over time; half is the middle colour."""
    wide = float(np.abs(gates.to_numpy() - 0.5).max())
    left, right = date2num(gates.index[0]), date2num(gates.index[-1])
    axis.set_yticks(range(gates.shape[1]), [str(name) for name in gates])
    axis.grid(False)
    locator = AutoDateLocator()
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz="UTC"))
    axis.set_xlabel("time, UTC")
    return axis.imshow(
        gates.T, aspect="auto", cmap="PuOr_r", vmin=0.5 - wide, vmax=0.5 + wide,
        extent=(float(left), float(right), gates.shape[1] - 0.5, -0.5),
    )  # fmt: skip


def squeeze_weights(x: np.ndarray, weights: Mapping[str, np.ndarray]) -> Figure:
    """Draw one channel's window above the weights that each squeeze puts on its bars.

    Args:
        x: the channel, ``(T,)``, newest bar last.
        weights: for each squeeze its weights, ``(T,)``, sum 1; each row has its own scale.

    Returns:
        The figure, its axes the window and then one a squeeze.
    """
    x = array("x", x, ndim=1)
    weights = {k: array("weights", w, ndim=1) for k, w in _mapping("weights", weights).items()}
    if any(len(weight) != len(x) for weight in weights.values()):
        raise ArgumentError("weights", weights, f"{len(x)} weights for each squeeze")
    age = np.arange(1 - len(x), 1)
    fig, axes = plt.subplots(
        len(weights) + 1, 1, sharex=True, figsize=(7.2, 1.6 + 0.7 * len(weights)),
        height_ratios=[2.2] + [1.0] * len(weights),
    )  # fmt: skip
    axes[0].axhline(0, color=NEUTRAL, lw=0.8)
    axes[0].plot(age, x, color="black", marker=".", ms=4)
    axes[0].set_ylabel("channel")
    for axis, colour, (name, weight) in zip(axes[1:], count(), weights.items(), strict=False):
        axis.bar(age, weight, color=f"C{colour}")
        axis.set_title(f"{name}: z = {x @ weight:.2f}", fontsize="small", pad=2)
        axis.set_ylim(0, 1.15 * weight.max())
        axis.set_yticks([0, round(float(weight.max()), 2)])
    axes[-1].set_xlabel("bars before the newest")
    return fig


# ---- Square pictures of a series: time runs right and down.


def field(ax: Any, image: Any, title: str = "", *, signed: bool = True) -> Any:
    """Draw one square picture; return the Matplotlib image, for a colour bar.

    Args:
        image: Shape (m, m); row 0 and column 0 belong to the oldest bar.
        title: Short title above it.
        signed: True for values in [-1, 1], white at 0; False for values from 0 up.
    """
    if not isinstance(title, str):
        raise ArgumentError("title", title, "text")
    signs: dict[str, Any] = {"cmap": "PuOr_r", "vmin": -1, "vmax": 1}
    scale = signs if flag("signed", signed) else {"cmap": "cividis", "vmin": 0}
    drawn = ax.imshow(array("image", image, ndim=2), **scale)
    ax.set_title(title)
    ax.set(xlabel="bar j", ylabel="bar i")
    ax.grid(False)
    return drawn


# ---- Order books.


def draw_ladder(ax: Axes, price: np.ndarray, size: np.ndarray, is_bid: np.ndarray) -> None:
    """Draw one snapshot as bars: price upwards, size to the right; asks are hatched."""
    price, size = array("price", price, ndim=1), array("size", size, ndim=1)
    flags = isinstance(is_bid, np.ndarray) and not np.ma.is_masked(is_bid) and is_bid.dtype == bool
    if not flags or is_bid.shape != price.shape or len(size) != len(price):
        raise ArgumentError("is_bid", is_bid, "as many booleans as there are prices and sizes")
    order = np.argsort(price)
    labels = [f"{p:g}" for p in price[order]]
    for side, colour, hatch in ((True, UP, ""), (False, DOWN, "//")):
        rows = np.flatnonzero(is_bid[order] == side)
        ax.barh(rows, size[order][rows], color=colour, hatch=hatch, edgecolor="white",
                label="bids" if side else "asks")  # fmt: skip
    ax.set_yticks(range(len(price)), labels)
    ax.set(xlabel="size (BTC)", ylabel="price (USDT)")
    ax.legend()


def draw_heatmap(ax: Axes, volume: np.ndarray, seconds: float, span_bps: float) -> AxesImage:
    """Draw a picture ``(2, rows, columns)``: bids above zero (purple), asks below (orange).

    The colour is log(1 + bids) - log(1 + asks), on a scale symmetric about zero; time runs
    to the right over ``seconds``, rows from ``+span_bps`` down to ``-span_bps``.
    """
    if len(v := array("volume", volume, ndim=3)) != 2 or v.min() < 0:
        raise ArgumentError("volume", volume, "(2, rows, columns) numbers >= 0: bids, then asks")
    volume, seconds = v, number("seconds", seconds, 0, above=True)
    span_bps = number("span_bps", span_bps, 0, above=True)
    signed = np.log1p(volume[0]) - np.log1p(volume[1])
    limit = float(np.abs(signed).max()) or 1.0
    picture = ax.imshow(
        signed, cmap="PuOr", vmin=-limit, vmax=limit, aspect="auto",
        extent=(0, seconds, -span_bps, span_bps),
    )  # fmt: skip
    ax.grid(False)
    ax.set(xlabel="time (s)", ylabel="price from reference (bps)")
    return picture


# ---- Patterns.


def window(ax: Any, candles: np.ndarray) -> None:
    """Draw one window (5, n) of candles as `draw_bars` does, over the bars' numbers."""
    rows = array("candles", candles, ndim=2)
    if len(rows) < 4:
        raise ArgumentError("candles", candles, "(5, n): open, high, low, close, volume")
    _draw_candles(ax, np.arange(rows.shape[1]), rows[:4], 0.7, 0.5)


def box(ax: Any, start: float, end: float, low: float, high: float) -> None:
    """Draw the box of a pattern: its first and last bar, its lowest and highest price."""
    from matplotlib.patches import Rectangle

    for name, value in (("start", start), ("end", end), ("low", low), ("high", high)):
        number(name, value)
    shape = Rectangle((start - 0.5, low), end - start + 1, high - low)
    shape.set(facecolor=NEUTRAL, alpha=0.15, edgecolor=NEUTRAL, zorder=0)
    ax.add_patch(shape)


def confusion(ax: Any, counts: np.ndarray, names: Sequence[str]) -> None:
    """Draw a confusion matrix (k, k) of named classes as percentages of each row.

    A row is a true class, a column an answer; shares below 1 % stay blank.
    """
    if not isinstance(names, list | tuple) or not all(isinstance(n, str) for n in names):
        raise ArgumentError("names", names, "a list of names")
    counts, labels = array("counts", counts, ndim=2), [name.replace("_", " ") for name in names]
    if counts.shape != (len(labels),) * 2 or counts.min() < 0:
        raise ArgumentError("counts", counts, f"a square of counts, one row for each of {labels}")
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    ax.imshow(share, cmap="cividis", vmin=0, vmax=100)
    for (i, j), value in np.ndenumerate(share):
        if value >= 1:
            colour = "black" if value > 55 else "white"
            ax.text(j, i, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=7)
    ax.set_xticks(range(len(names)), labels, rotation=60, ha="right", fontsize=7)
    ax.set_yticks(range(len(names)), labels, fontsize=7)
    ax.set(xlabel="answer", ylabel="truth")
    ax.grid(False)


def reliability(ax: Any, tables: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """Draw forecast against share of hits beside the diagonal.

    A line for each table of ``forecast``, ``share``, ``low``, ``high`` by label, at most three.
    """
    _mapping("tables", tables, len(COLOURS))
    ax.plot([0, 1], [0, 1], color=NEUTRAL, lw=1, ls="--")
    styles = ((DOWN, "o"), (UP, "D"), (NEUTRAL, "s"))
    for (label, t), (colour, mark) in zip(tables.items(), styles, strict=False):
        _, share, low, high = _columns("tables", t, ("forecast", "share", "low", "high"))
        err = np.maximum([share - low, high - share], 0)
        ax.errorbar(t["forecast"], share, yerr=err, fmt=mark + "-", ms=4, capsize=2,
                    color=colour, label=label)  # fmt: skip
    ax.set(xlabel="forecast probability", ylabel="share right", xlim=(0, 1), ylim=(0, 1))
    ax.legend()


# ---- Strategies, and values with their intervals.


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


def _columns(name: str, value: Any, columns: Sequence[str]) -> list[np.ndarray]:
    """Return the columns of one table as arrays of one length; NaN is left out of the figure."""
    if not isinstance(value, Mapping | pd.DataFrame) or not set(columns) <= set(value):
        raise ArgumentError(name, value, f"{' '.join(columns)} in each")
    found = [array(name, value[c], ndim=1, finite=False) for c in columns]
    if len({len(x) for x in found}) > 1:
        raise ArgumentError(name, value, "columns of one length")
    return found


def forest(ax: Axes, cells: Mapping[str, Mapping[str, Any]], *, reference: float = 0.0) -> None:
    """Draw figures with their intervals, one a row, and a line where nothing is gained.

    ``cells`` are, by name, mappings with ``value``, ``low`` and ``high``.
    """
    names, keys = list(_mapping("cells", cells)), ("value", "low", "high")
    if not all(isinstance(c, Mapping) and set(keys) <= set(c) for c in cells.values()):
        raise ArgumentError("cells", cells, "value, low and high in each")
    each = [[[cells[n][k]] for k in keys] for n in names]
    value, low, high = array("cells", each, ndim=3, finite=False)[:, :, 0].T
    number("reference", reference)
    rows = np.arange(len(names))[::-1]
    error = np.maximum([value - low, high - value], 0)
    ax.errorbar(value, rows, xerr=error, fmt="o", color=UP, capsize=3)
    ax.axvline(reference, color=NEUTRAL, linewidth=0.8)
    ax.set_yticks(rows, names)


# ---- Regimes and their transitions.


# From light to dark, so that the order survives a grey printer; told apart by hatch as well.
STATE_COLOURS = ("#DDEAF4", "#56B4E9", "#0B3C5D", "#D55E00", "#CC79A7")
HATCHES = ("", "", "//", "..", "xx")


def probability_bands(ax: Axes, probabilities: pd.DataFrame) -> None:
    """Draw probabilities (n, k) that sum to 1 as bands over time, the first state lowest."""
    table = _table("probabilities", probabilities, finite=False)
    x, shares = _along("probabilities", table), table.to_numpy(float)
    if np.nanmin(shares) < -1e-6 or np.nanmax(shares) > 1 + 1e-6:
        raise ArgumentError("probabilities", probabilities, "shares in [0, 1], or NaN")
    names = list(probabilities.columns)
    if len(names) > len(STATE_COLOURS):
        raise ArgumentError("probabilities", probabilities, f"at most {len(STATE_COLOURS)} columns")
    floor = np.zeros(len(probabilities))
    for i, name in enumerate(names):
        top = floor + shares[:, i]
        ax.fill_between(x, floor, top, step="post", lw=0, color=STATE_COLOURS[i], hatch=HATCHES[i],
                        label=str(name))  # fmt: skip
        floor = top
    ax.set_ylim(0, 1)
    ax.set_ylabel("probability")
    ax.grid(False)


def share_table(ax: Axes, table: pd.DataFrame, digits: int = 3) -> AxesImage:
    """Draw shares in [0, 1] as a square of cells, from (rows) to (columns), with the numbers."""
    integer("digits", digits, 0, 12)
    values = _table("table", table, finite=False).to_numpy(float)
    image = ax.imshow(values, vmin=0, vmax=1, cmap="Blues")
    return _write_cells(ax, image, table, f"{{:.{digits}f}}", (0.5, np.inf))


def interval_rows(ax: Axes, rows: pd.DataFrame, zero: float = 0.0) -> None:
    """Draw one estimate with its interval a row, the first on top: columns ``mean low high``."""
    rows = _table("rows", rows, ("mean", "low", "high"), finite=False)
    place = np.arange(len(rows))[::-1]
    number("zero", zero)
    mean = rows["mean"].to_numpy()
    reach = np.abs(rows[["low", "high"]].to_numpy().T - mean)
    ax.errorbar(mean, place, xerr=reach, fmt="o", capsize=3)
    ax.axvline(zero, color="black", ls="--", lw=0.8)
    ax.set_yticks(place, [str(name) for name in rows.index])
    ax.set_ylim(-0.6, len(rows) - 0.4)


# ---- Backtests.


STYLES = ("-", "--", "-.", ":")


def equity_and_drawdown(top: Axes, bottom: Axes, curves: Mapping[str, pd.Series]) -> None:
    """Draw equity curves above, and how far each stands below its peak underneath.

    Args:
        top, bottom: axes that share their x axis.
        curves: equity Series by name, at most four; told apart by colour and by dash.
    """
    for equity in _mapping("curves", curves, len(STYLES)).values():
        array("curves", timed("curves", equity), ndim=1)
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
        candles: (n, 5) bars to show.
        trades: ledger of a backtest; trades that do not touch these bars are left out.
    """
    needed = ("entry_time", "exit_time", "side", "entry_price", "exit_price")
    trades = _part("trades", trades, needed)
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


def waterfall(ax: Axes, steps: Mapping[str, float], *, unit: str = "% a year") -> None:
    """Draw how a gross figure becomes a net one: a bar for each cost, hung from the one before.

    Args:
        steps: name to amount as a fraction, the gross figure first, then what each cost takes
            (negative) or brings; the last, the net figure, is their sum.
    """
    if not isinstance(unit, str):
        raise ArgumentError("unit", unit, "text")
    amounts = array("steps", list(_mapping("steps", steps).values()), ndim=1)
    names, height = list(steps), 100 * amounts.astype(float)
    slack = 1e-5 * np.abs(height).max(initial=0.0)  # stored figures keep seven digits
    if len(names) < 3 or not abs(height[:-1].sum() - height[-1]) <= slack:
        raise ArgumentError("steps", steps, "at least 3, the last of them the sum of the others")
    foot = np.r_[0.0, height[:-2].cumsum(), 0.0]
    whole = np.arange(len(names)) % (len(names) - 1) == 0
    colour = np.where(whole, NEUTRAL, np.where(height < 0, DOWN, UP))
    hatch = ["" if h >= 0 else "//" for h in height]
    ax.bar(names, height, 0.6, foot, color=colour, hatch=hatch, edgecolor="white")
    ends = foot + height
    ax.hlines(ends[:-1], np.arange(len(ends) - 1), np.arange(1, len(ends)), color=NEUTRAL, lw=0.8)
    for x, (top, value) in enumerate(zip(np.maximum(foot, ends), height, strict=True)):
        ax.text(x, top, f"{value:+.1f}", ha="center", va="bottom", fontsize=8)
    ax.axhline(0.0, color="black", lw=0.8)
    ax.use_sticky_edges = False  # room for the numbers
    ax.margins(y=0.15)
    ax.set_ylabel(unit)


def monthly_table(ax: Axes, table: pd.DataFrame) -> AxesImage:
    """Draw returns by year and month (`metrics.monthly_returns`), the figures in the cells."""
    percent = 100 * _table("table", table, finite=False).to_numpy(float)
    wide = 1.5 * float(np.abs(np.nan_to_num(percent)).max()) or 1.0
    image = ax.imshow(percent, cmap="PuOr", vmin=-wide, vmax=wide, aspect="auto")
    ax.set(xlabel="month", ylabel="year")
    return _write_cells(ax, image, table, "{:+.1f}")


# ---- Gates by regime.


REGIME_COLOURS = ("#0072B2", "#D55E00", "#DDDDDD", "#CC79A7", "#F0E442")


def regime_strip(ax: Axes, regime: pd.Series) -> None:
    """Draw one row a regime (a categorical Series (n,)), filled where it is in force."""
    named = isinstance(getattr(regime, "dtype", None), pd.CategoricalDtype)
    if not isinstance(regime, pd.Series) or not named or regime.empty:
        raise ArgumentError("regime", regime, "a categorical Series, as regimes.by_rules gives")
    names, x = list(map(str, regime.cat.categories)), _along("regime", regime)
    if len(names) > len(REGIME_COLOURS):
        raise ArgumentError("regime", regime, f"at most {len(REGIME_COLOURS)} regimes")
    for row, (name, colour) in enumerate(zip(names, REGIME_COLOURS, strict=False)):
        on = (regime == name).to_numpy()
        ax.fill_between(x, row - 0.4, row + 0.4, where=on, color=colour, step="post", lw=0)
    ax.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    ax.grid(False)
    ax.invert_yaxis()


def heat_map(ax: Axes, table: pd.DataFrame, low: float = 0.0, high: float = 1.0) -> AxesImage:
    """Draw a table of gates, features down and regimes across, with the numbers in the cells."""
    low, high = number("low", low), number("high", high, low, above=True)
    values = _table("table", table, finite=False).to_numpy(float)
    image = ax.imshow(values, vmin=low, vmax=high, aspect="auto")
    return _write_cells(ax, image, table, "{:.2f}", (-np.inf, (low + high) / 2))
