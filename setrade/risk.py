"""Risk rules over plain numbers, compiled, so that backtest and live pipeline share them.

`Risk` holds the parameters for people; `Risk.rules` gives the same as numbers, where an
infinite limit means none. Nothing here keeps state: whoever calls keeps the account.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from setrade.costs import compiled
from setrade.errors import ArgumentError, array, integer, number, paired, timed

MOST_ATR_BARS = 100_000  # of TA-Lib


class Rules(NamedTuple):
    """`Risk` as compiled code reads it: an infinite limit never binds."""

    stop_atr: float
    take_profit: float
    inverse_leverage: float
    daily_loss: float
    max_jump: float
    max_stale: float


@dataclass(frozen=True)
class Risk:
    """Parameters of every risk rule; None switches a rule off.

    Args:
        max_position: largest position allowed, as a fraction of equity (1: no leverage).
        stop_atr: stop this many average true ranges from the entry; while that range is unknown
            or zero nothing is entered, and the wish is tried again at the next open.
        take_profit: target this many stop distances from the entry (needs ``stop_atr``).
        atr_bars: bars of the average true range (Wilder).
        max_leverage: liquidate when position value over equity reaches it; above
            ``max_position`` and 1. None: only when nothing would be left (bankruptcy).
        daily_loss: fraction of the day's first equity that may be lost in a UTC day.
        max_jump: refuse new exposure when the price is this fraction away from the last close.
        max_stale: refuse new exposure when the price has not moved for more bars than this.
        min_confidence: at or below this confidence nothing is held.
        full_confidence: from this confidence on the whole position is held.

    Raises:
        ArgumentError: a parameter is outside its range, or a target has no stop.
    """

    max_position: float = 1.0
    stop_atr: float | None = None
    take_profit: float | None = None
    atr_bars: int = 14
    max_leverage: float | None = None
    daily_loss: float | None = None
    max_jump: float | None = None
    max_stale: int | None = None
    min_confidence: float = 0.0
    full_confidence: float = 1.0

    def __post_init__(self) -> None:
        number("max_position", self.max_position, 0.0, 100.0, above=True)
        integer("atr_bars", self.atr_bars, 2, MOST_ATR_BARS)
        for name, top in (("stop_atr", 1e6), ("take_profit", 1e6), ("max_jump", 1e6)):
            if getattr(self, name) is not None:
                number(name, getattr(self, name), 0.0, top, above=True)
        if self.daily_loss is not None:
            number("daily_loss", self.daily_loss, 0.0, 1.0, above=True)
        if self.max_stale is not None:
            integer("max_stale", self.max_stale, 0)
        if self.max_leverage is not None:
            number("max_leverage", self.max_leverage, max(1.0, self.max_position), above=True)
        if self.take_profit is not None and self.stop_atr is None:
            allowed = "None without stop_atr: it counts in stop distances"
            raise ArgumentError("take_profit", self.take_profit, allowed)
        number("min_confidence", self.min_confidence, 0.0, 1.0)
        number("full_confidence", self.full_confidence, self.min_confidence, 1.0, above=True)

    def rules(self) -> Rules:
        """Return the numbers that compiled code reads."""

        def limit(value: float | None) -> float:
            return math.inf if value is None else float(value)

        return Rules(
            limit(self.stop_atr), limit(self.take_profit), 1.0 / limit(self.max_leverage),
            limit(self.daily_loss), limit(self.max_jump), limit(self.max_stale),
        )  # fmt: skip


# ---- The rules, one short compiled function each.


# Why a position ended: the ledger stores the place in this tuple.
REASONS = ("signal", "stop", "target", "liquidation", "daily_loss", "end", "open")
SIGNAL, STOP, TARGET, LIQUIDATION, DAILY_LOSS, END, LEFT_OPEN = range(7)
STAY = -1
DUST = 1e-12  # of equity: a smaller change of position is rounding, not an order
# Why new exposure was refused; the first is «it was not».
REFUSALS = ("", "halted", "stale", "jump", "no_atr")


@compiled
def levels(side: float, entry: float, distance: float, ratio: float) -> tuple[float, float]:
    """Return the stop and the target of a trade.

    Args:
        side: +1 long, −1 short.
        entry: fill price.
        distance: from entry to stop, in price (infinite: no stop).
        ratio: target's distance over the stop's (infinite: no target).

    Returns:
        Two prices; an infinite one is never reached.
    """
    target = math.inf if ratio == math.inf or distance == math.inf else ratio * distance
    return entry - side * distance, entry + side * target


@compiled
def exit_price(
    side: float, first: float, high: float, low: float, stop: float, target: float,
    liquidation: float,
) -> tuple[int, float]:  # fmt: skip
    """Return why and at what price a bar ends a position, the worse event first.

    A bar does not say whether its high or its low came first; if it touches both stop and
    target, the stop counts. A level that the bar opened beyond fills at the open.

    Args:
        side: +1 long, −1 short.
        first: the bar's open. high, low: its extremes.
        stop, target: from `levels`. liquidation: from `liquidation_price`.

    Returns:
        A reason (place in ``REASONS``, or ``STAY``) and the price before slippage.
    """
    # seen from the position's side, up is always good
    opened, worst, best = side * first, side * low, side * high
    if side < 0:
        worst, best = best, worst
    floor = max(side * stop, side * liquidation)
    if worst <= floor:
        forced = side * liquidation >= side * stop or opened <= side * liquidation
        return (LIQUIDATION if forced else STOP), side * min(opened, floor)
    if best >= side * target:
        return TARGET, side * max(opened, side * target)
    return STAY, 0.0


@compiled
def liquidation_price(
    cash: float, units: float, entry: float, inverse_leverage: float, fee: float, slippage: float
) -> float:
    """Return the price at which a position is worth its largest multiple of what it leaves.

    What it leaves is the equity after closing at that price, fee and slippage paid. With
    ``inverse_leverage`` 0 nothing is left: the bankruptcy price.

    Args:
        cash: realised money. units: signed size, not zero. entry: average entry price.
        inverse_leverage: 1 / largest leverage allowed. fee, slippage: decimal rates.

    Returns:
        A price; zero or below: no fall of the price reaches it.
    """
    held, side = abs(units), (1.0 if units > 0 else -1.0)
    kept = (1.0 - side * slippage) * (units - fee * held)
    return (cash - units * entry) / (held * inverse_leverage - kept)


@compiled
def refusal(
    price: float, previous: float, age: float, atr: float, halted: bool, rules: Rules
) -> int:
    """Return why new exposure is refused now, as a place in ``REFUSALS`` (0: it is not).

    Args:
        price: what we would trade at. previous: the last close that was seen.
        age: bars since the price last moved (live: age of the newest bar, in bars).
        atr: average true range after the newest bar (NaN while it warms up). Where a stop is
            set, nothing is entered until it is large enough to put the stop below the price:
            bars that never moved have none.
        halted: whether the daily loss limit has been hit. rules: from `Risk.rules`.
    """
    if halted:
        return 1
    if age > rules.max_stale:
        return 2
    if abs(price - previous) > rules.max_jump * previous:
        return 3
    if rules.stop_atr < math.inf and not price - rules.stop_atr * atr < price:
        return 4  # NaN: it would stand unprotected; 0: it would be stopped at its own entry
    return 0


@compiled
def day_lost(equity: float, day_start: float, limit: float) -> bool:
    """Tell whether the day's loss has reached its limit, a fraction of the day's first equity."""
    return equity <= day_start * (1.0 - limit)


@compiled
def exposure(confidence: float, low: float, full: float) -> float:
    """Return the part of a position to hold: 0 up to ``low``, rising evenly to 1 at ``full``."""
    return min(max((confidence - low) / (full - low), 0.0), 1.0)


@compiled
def _scaled(position: np.ndarray, confidence: np.ndarray, low: float, full: float) -> np.ndarray:
    out = np.empty(len(position))
    for t in range(len(position)):
        out[t] = position[t] * exposure(confidence[t], low, full)
    return out


def _column(name: str, value: Any, beside: Any = None, *, even: bool = False) -> np.ndarray:
    """Return finite float64 numbers (n,); the index of a Series keeps the law of the index."""
    if isinstance(value, pd.Series):
        timed(name, value, needed=False, even=even)
        paired(name, value, beside)
    return array(name, value, ndim=1).astype(np.float64)


def by_confidence(position: np.ndarray, confidence: np.ndarray, risk: Risk) -> np.ndarray:
    """Scale positions by the confidence of the forecasts behind them.

    Args:
        position: (n,) fractions of equity.
        confidence: (n,) in [0, 1].
        risk: gives ``min_confidence`` and ``full_confidence``.

    Returns:
        (n,) float64.

    Raises:
        ArgumentError: NaN, another shape, other stamps, or a confidence outside [0, 1].
    """
    if not isinstance(risk, Risk):
        raise ArgumentError("risk", risk, "a Risk")
    given, position = position, _column("position", position)
    confidence = _column("confidence", confidence, given)
    if len(confidence) != len(position):
        raise ArgumentError("confidence", confidence, f"shape ({len(position)},), as position")
    if confidence.min() < 0 or confidence.max() > 1:
        worst = confidence[np.abs(confidence - 0.5).argmax()]
        raise ArgumentError("confidence", float(worst), "confidences in [0, 1]")
    return _scaled(position, confidence, risk.min_confidence, risk.full_confidence)


def by_volatility(
    position: np.ndarray, close: np.ndarray, target: float, periods: float, *,
    halflife: float, limit: float = 1.0,
) -> np.ndarray:  # fmt: skip
    """Scale positions so that the account's volatility stays near a target.

    The forecast after bar t is the root of an exponentially weighted mean of squared log returns
    up to the close of t. Bar t's position is multiplied by target over forecast.

    Args:
        position: (n,) fractions of equity.
        close: (n,) closing prices.
        target: volatility wanted, a year (0.2 is 20 %).
        periods: bars in a year.
        halflife: bars after which a squared return counts half.
        limit: largest position, as ``Risk.max_position``; what is above is cut to it.

    Returns:
        (n,) float64; 0 where no price has moved yet, and during the first two half-lives.

    Raises:
        ArgumentError: NaN, another shape, other stamps, a gap in those of the closes, or a price,
            target or half-life that is not above 0.

    Source: A. Moreira and T. Muir, Volatility-Managed Portfolios, Journal of Finance 72 (2017).
    """
    given, position = position, _column("position", position)
    close = _column("close", close, given, even=True)
    if len(close) != len(position) or close.min() <= 0:
        raise ArgumentError("close", close, f"{len(position)} prices > 0, one a position")
    target, periods = (
        number(name, value, 0.0, above=True)
        for name, value in (("target", target), ("periods", periods))
    )
    halflife = number("halflife", halflife, 0.0, above=True)
    limit = number("limit", limit, 0.0, 100.0, above=True)
    squares = np.square(np.diff(np.log(close), prepend=np.log(close[0])))
    forecast = np.sqrt(periods * _decayed(squares, 0.5 ** (1.0 / halflife)))
    known = (np.arange(len(close)) >= 2 * halflife) & (forecast > 0)
    scale = np.divide(target, forecast, out=np.zeros(len(close)), where=known)
    return np.clip(position * scale, -limit, limit)


@compiled
def _decayed(x: np.ndarray, keep: float) -> np.ndarray:
    """Return exponentially weighted means (n,) of x after its first value, which is no return."""
    out, total, weight = np.zeros(len(x)), 0.0, 0.0
    for t in range(1, len(x)):
        total, weight = keep * total + x[t], keep * weight + 1.0
        out[t] = total / weight
    return out
