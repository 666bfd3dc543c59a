"""The loops that TA-Lib does not have, in numba: one pass over the bars each."""

from __future__ import annotations

import numpy as np

from ..compiled import kernel

TIE = 1e-9  # two moves closer than this fraction of the price are equal
ATR_FLOOR = 1e-6  # of the price: below it a market counts as standing still


@kernel
def _amounts(high, low, close, volume, t):
    """Return of one bar: price, price times volume, volume, signed volume."""
    price = (high[t] + low[t] + close[t]) / 3.0
    sign = np.sign(close[t] - close[t - 1]) if t > 0 else 0.0
    return price, price * volume[t], volume[t], sign * volume[t]


@kernel
def volume_window(high, low, close, volume, n, vwap, mean, flow):
    """Fill three columns over the newest ``n`` bars; rows before the first full window stay.

    ``vwap``: sum of price times volume over sum of volume, the price being (h + l + c) / 3;
    the plain mean of that price where no volume traded. ``mean``: mean volume. ``flow``:
    volume of rising bars minus that of falling ones over all volume, 0 where none traded
    (row n on: it needs the close before the window).

    Nothing is subtracted: a running sum would keep noise of old volumes where the true sum
    is zero. A window is the tail of one block of n bars and the head of the next.
    """
    tails = np.zeros((n + 1, 4))  # row j: sums over bars j.. of the block before
    for start in range(0, len(close), n):
        prices = money = traded = signed = 0.0
        for t in range(start, min(start + n, len(close))):
            a, b, c, d = _amounts(high, low, close, volume, t)
            prices, money, traded, signed = prices + a, money + b, traded + c, signed + d
            if t >= n - 1:
                tail = tails[t - start + 1]
                total = traded + tail[2]
                mean[t] = total / n
                vwap[t] = (money + tail[1]) / total if total > 0.0 else (prices + tail[0]) / n
                flow[t] = (signed + tail[3]) / total if total > 0.0 else 0.0
        for j in range(min(n, len(close) - start) - 1, -1, -1):
            amounts = _amounts(high, low, close, volume, start + j)
            for k in range(4):
                tails[j, k] = tails[j + 1, k] + amounts[k]
    flow[n - 1] = np.nan  # its oldest bar has no close before it


@kernel
def directional(high, low, close, n, plus_di, minus_di, adx):
    """Fill Wilder's +DI, -DI (from row n) and ADX (from row 2n - 1), seeded as TA-Lib does.

    TA-Lib compares the upward and the downward move exactly. On a tick grid they are often
    equal, and then the unit of the price decides by its rounding which one counts. Here
    moves within ``TIE`` of the price are equal, and neither counts, as Wilder has it.
    """
    plus = minus = true_range = total = 0.0
    for t in range(1, len(close)):
        up, down = high[t] - high[t - 1], low[t - 1] - low[t]
        kept = 1.0 - 1.0 / n if t >= n else 1.0
        tie = abs(up - down) <= TIE * close[t]
        plus = plus * kept + (up if up > 0.0 and up > down and not tie else 0.0)
        minus = minus * kept + (down if down > 0.0 and down > up and not tie else 0.0)
        true_range = true_range * kept + max(high[t], close[t - 1]) - min(low[t], close[t - 1])
        if t < n:
            continue
        plus_di[t] = 100.0 * plus / true_range if true_range > 0.0 else 0.0
        minus_di[t] = 100.0 * minus / true_range if true_range > 0.0 else 0.0
        both = plus + minus
        dx = 100.0 * abs(plus - minus) / both if both > 0.0 else 0.0
        if t < 2 * n:
            total += dx
            if t == 2 * n - 1:
                adx[t] = total / n
        else:
            adx[t] = (adx[t - 1] * (n - 1) + dx) / n


@kernel
def percent_b(close, upper, lower, out):
    """Fill where the close stands between two bands, 0 at the lower, 1 at the upper.

    Bands without width (a flat window) have the close in their middle: 0.5.
    """
    for t in range(len(close)):
        width = upper[t] - lower[t]
        flat = width <= TIE * close[t]
        out[t] = 0.5 if flat else (close[t] - lower[t]) / width


@kernel
def level_to_ratio(column, close):
    """Turn a price level into its distance from the close, as a fraction of it, in place."""
    for t in range(len(close)):
        column[t] = column[t] / close[t] - 1.0


@kernel
def difference_to_atr(column, atr, close):
    """Divide a difference of prices by the ATR (at least ``ATR_FLOOR`` of the price), in place."""
    for t in range(len(close)):
        if atr[t] == atr[t]:  # max() would hide a NaN
            column[t] /= max(atr[t], ATR_FLOOR * close[t])
        else:
            column[t] = np.nan


@kernel
def volume_ratios(volume, mean, n, blocks):
    """Turn volume and its n-bar mean into ratios less one, in place.

    ``volume`` becomes volume / mean - 1 and ``mean`` becomes mean / (mean over ``blocks``
    times n bars) - 1; both are 0 where nothing traded.
    """
    for t in range(len(volume) - 1, -1, -1):  # backwards: the older means are still means
        volume[t] = volume[t] / mean[t] - 1.0 if mean[t] != 0.0 else 0.0
        long = np.nan
        if t >= blocks * n - 1:
            long = 0.0
            for k in range(blocks):
                long += mean[t - k * n] / blocks
        mean[t] = mean[t] / long - 1.0 if long != 0.0 else 0.0
