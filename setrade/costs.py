"""What trading costs: fees, slippage and funding, as numbers and as compiled rules.

The compiled functions work on plain numbers, so that the backtest and the live pipeline
charge the same. Rates are decimals here (5.5 bps is 0.00055); only `Costs` speaks bps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from setrade.compiled import kernel
from setrade.errors import ArgumentError, array, choice, number, timed

# Division by zero gives infinity as in NumPy; the check for it would slow each bar.
compiled = kernel(error_model="numpy", forceinline=True)

ORDERS = ("taker", "maker")
SECOND = 1_000_000_000  # ns
MAX_BPS = 5_000.0  # half the price: whoever asks for more has mistaken the unit


class Rates(NamedTuple):
    """What compiled code reads: decimal fee and slippage of a decision, fee of a target, the grid.

    ``tick`` and ``lot`` are 0 where prices and sizes are not rounded.
    """

    fee: float
    slippage: float
    taker: float
    maker: float
    stop_slippage: float
    tick: float = 0.0
    lot: float = 0.0


@dataclass(frozen=True)
class Costs:
    """Fees and slippage of each side of a trade, in basis points of its value; steps of both.

    A taker order crosses the spread: it pays ``fee_bps`` and fills ``slippage_bps`` worse than
    the price. A maker order rests: it pays ``maker_fee_bps`` and does not slip.

    Args:
        fee_bps: taker fee, 0 to 5,000.
        maker_fee_bps: maker fee, 0 to 5,000 (rebates, which are negative, are refused).
        slippage_bps: how much worse than the price a taker order fills, 0 to 5,000.
        tick: step of prices; a fill moves to it against whoever trades. Liquidations do not:
            the exchange carries them out at any price. 0: no steps.
        lot: step of sizes in units of the base; what is left over is not traded, and what is
            less than one lot is not tried again until the position wanted changes. 0: no steps.

    Raises:
        ArgumentError: a figure is negative, not finite or above 5,000 bps.
    """

    fee_bps: float = 5.5
    maker_fee_bps: float = 2.0
    slippage_bps: float = 1.0
    tick: float = 0.0
    lot: float = 0.0

    def __post_init__(self) -> None:
        for name in ("fee_bps", "maker_fee_bps", "slippage_bps"):
            number(name, getattr(self, name), 0.0, MAX_BPS)
        number("tick", self.tick, 0.0)
        number("lot", self.lot, 0.0)

    def rates(self, order: str = "taker") -> Rates:
        """Return decimal rates when decisions are sent as ``order``, "taker" or "maker"."""
        taker, maker = self.fee_bps / 1e4, self.maker_fee_bps / 1e4
        slip = self.slippage_bps / 1e4
        resting = choice("order", order, ORDERS) == "maker"
        fee, slippage = (maker, 0.0) if resting else (taker, slip)
        return Rates(fee, slippage, taker, maker, slip, float(self.tick), float(self.lot))


FREE = Costs(fee_bps=0.0, maker_fee_bps=0.0, slippage_bps=0.0)


@compiled
def fill_price(price: float, units: float, slippage: float) -> float:
    """Return the price that ``units`` (signed: buy > 0) fill at; slippage is always against us."""
    return price * (1.0 + slippage) if units > 0 else price * (1.0 - slippage)


@compiled
def on_tick(price: float, units: float, slippage: float, tick: float) -> tuple[float, float]:
    """Return the price, and the slippage still to come, of a fill that lies on the tick.

    The slipped price moves to the tick against whoever trades: a buy up, a sale down.
    """
    if not tick > 0:
        return price, slippage
    steps = fill_price(price, units, slippage) / tick
    near = np.round(steps)
    if abs(steps - near) > 1e-9 * max(1.0, near):  # less is the rounding of a price on its tick
        near = np.ceil(steps) if units > 0 else np.floor(steps)
    return near * tick, 0.0


@compiled
def in_lots(units: float, lot: float) -> float:
    """Return a size >= 0 cut down to whole lots: what is left over is not traded."""
    return np.floor(units / lot * (1 + 1e-12)) * lot if lot > 0 else units


@compiled
def fee(price: float, units: float, rate: float) -> float:
    """Return the fee of one leg: rate times its value. Each leg is charged once."""
    return abs(units) * price * rate


@compiled
def funding_paid(units: float, price: float, rate: float) -> float:
    """Return what a position pays at one funding time: longs pay shorts when rate > 0."""
    return units * price * rate


@compiled
def affordable(budget: float, price: float, fee_rate: float) -> float:
    """Return how many units a budget buys when it has to cover their fee too."""
    return budget / (price * (1.0 + fee_rate))


def impact(
    value: float, day_value: float, day_volatility: float, *, coefficient: float = 1.0
) -> float:
    """Return how far an order of ``value`` moves the price on average, as a fraction of it.

    The square-root law: coefficient · day_volatility · √(value / day_value). It is an empirical
    rule of thumb, measured on orders between about a thousandth and a tenth of a day's value in
    many markets with coefficients near 1. It is an assumption wherever it was not measured.

    Args:
        value: of the order, in money. day_value: traded on the market in a day, the same money.
        day_volatility: standard deviation of a day's return (0.03 is 3 %).
        coefficient: of the law.

    Raises:
        ArgumentError: a figure is negative, or nothing is traded in a day.

    Source: B. Tóth et al., Anomalous Price Impact and the Critical Nature of Liquidity in
    Financial Markets, Physical Review X 1 (2011).
    """
    value, day_value = number("value", value, 0.0), number("day_value", day_value, 0.0, above=True)
    volatility = number("day_volatility", day_volatility, 0.0)
    return number("coefficient", coefficient, 0.0) * volatility * (value / day_value) ** 0.5


def capacity(
    edge: float, day_value: float, day_volatility: float, *, coefficient: float = 1.0
) -> float:
    """Return the order whose `impact` a side eats an ``edge`` a side whole; 0 where there is none.

    Args:
        edge: what a side of a trade earns before impact, as a fraction, fees and slippage paid.
        day_value, day_volatility, coefficient: as `impact`; the last two above 0.
    """
    day_value = number("day_value", day_value, 0.0, above=True)
    volatility = number("day_volatility", day_volatility, 0.0, above=True)
    size = max(number("edge", edge), 0.0) / number("coefficient", coefficient, 0.0, above=True)
    return day_value * (size / volatility) ** 2


def funding_by_bar(index: pd.DatetimeIndex, funding: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Sum funding rates by the bar that they fall into.

    Exchanges stamp a funding some milliseconds late: 08:00:00.011 is the one of 08:00:00. Stamps
    are rounded to the nearest second (half up) before their bar is looked for.

    Args:
        index: bar opens in UTC, (n,), evenly spaced, at least two.
        funding: decimal rates by funding time (UTC); stamps before the first bar or after the
            last one's close concern nobody here and are left aside.

    Returns:
        Two arrays (n,): the rate charged exactly at a bar's open, on what was held into it, and
        the sum of the rates strictly inside a bar, on what is held after its open.

    Raises:
        ArgumentError: not a Series of finite rates on sorted, unique UTC stamps, or one that
            shares no time with the bars; two rates within one second, which are one funding.
    """
    times = _funding_times(funding)
    opens = timed("index", index, even=True).as_unit("ns").asi8
    if len(opens) < 2:
        raise ArgumentError("index", index, "at least two bars")
    step = int(opens[1] - opens[0])
    here = (times >= opens[0]) & (times < opens[-1] + step)
    if not here.any():
        raise ArgumentError("funding", funding, "rates at times within the candles' span")
    times, rates = times[here], array("funding", funding).astype(np.float64)[here]
    bar, exact = (times - opens[0]) // step, (times - opens[0]) % step == 0
    at_open, inside = np.zeros(len(opens)), np.zeros(len(opens))
    np.add.at(at_open, bar[exact], rates[exact])
    np.add.at(inside, bar[~exact], rates[~exact])
    return at_open, inside


def _funding_times(funding: pd.Series) -> np.ndarray:
    """Return the funding stamps in ns, or raise what is wrong with the series."""
    allowed = "a Series of finite decimal rates on a sorted, unique UTC DatetimeIndex"
    if not isinstance(funding, pd.Series) or not isinstance(funding.index, pd.DatetimeIndex):
        raise ArgumentError("funding", funding, allowed)
    index, values = timed("funding", funding).index, array("funding", funding, ndim=1)
    if np.abs(values).max(initial=0.0) >= 1.0:
        worst = float(values[np.abs(values).argmax()])
        raise ArgumentError("funding", worst, "decimal rates below 1 (0.0001 is 1 bp)")
    times = (index.as_unit("ns").asi8 + SECOND // 2) // SECOND * SECOND
    if (again := times[1:] == times[:-1]).any():  # two sources merged: it would be charged twice
        row = int(again.argmax()) + 1
        raise ArgumentError("funding", index[row], f"one rate a second: row {row} is a second one")
    return times
