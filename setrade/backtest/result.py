"""One backtest: what it is given, checked, and what it returns: curves, ledger, figures."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import talib

from setrade import candles as bars
from setrade import metrics
from setrade.backtest.engine import (
    LEDGER,
    LEDGER_COLUMNS,
    FillOptions,
    MarketArrays,
    decide,
    expand,
    new_accounts,
    simulate,
)
from setrade.candles.checks import A_DAY, check_and_range, on_grid
from setrade.compiled import kernel
from setrade.costs import Costs, funding_by_bar
from setrade.errors import ArgumentError, array, flag, number, same_index
from setrade.risk import LEFT_OPEN, REASONS, Risk, by_confidence

Given = TypeVar("Given", Costs, Risk)
COLUMNS = pd.Index(bars.COLUMNS)


def plain(x: np.ndarray) -> np.ndarray:
    """Return a contiguous read-only view: one kind of array, so that code compiles once."""
    view = np.ascontiguousarray(x).view()
    view.flags.writeable = False
    return view


EMPTY, NO_DAYS = plain(np.empty(0)), plain(np.empty(0, np.int64))


@kernel
def sound_statements(said, n):
    """Say whether bars, the first column of (k, 4), are whole, and rise from 0 to below n."""
    bad = said[0, 0] != 0
    for t in range(len(said)):
        bad |= not ((0 <= said[t, 0] < n) & (said[t, 0] == np.floor(said[t, 0])))
        bad |= t > 0 and not (said[t, 0] > said[t - 1, 0])
    return not bad


@kernel
def sound_ledger(rows, n, reasons):
    """Say whether rows (k, 9) have whole bars below n in order, a side and a known reason."""
    bad = False
    for t in range(len(rows)):
        first, last, side, reason = rows[t, 0], rows[t, 1], rows[t, 2], rows[t, 8]
        bad |= not ((0 <= first <= last < n) & (0 <= reason < reasons) & (abs(side) == 1))
        bad |= (first != np.floor(first)) | (last != np.floor(last)) | (reason != np.floor(reason))
    return not bad


# Rules that look at every bar, or keep a decision waiting. Liquidation and targets only end trades.
BUSY = ("stop_atr", "daily_loss", "max_jump", "max_stale")
DEFAULTS = {Costs: Costs(), Risk: Risk()}


def used(rows: np.ndarray, count: int) -> np.ndarray:
    """Return the first rows: of a small part a copy, so that the others do not stay in memory."""
    return rows[:count] if 2 * count >= len(rows) else rows[:count].copy()


def instance(name: str, value: Given | None, kind: type[Given]) -> Given:
    """Return ``value``, or the default for None; raise if it is of another class."""
    if value is not None and not isinstance(value, kind):
        raise ArgumentError(name, value, f"a {kind.__name__} or None")
    return DEFAULTS[kind] if value is None else value


def frame_arrays(candles: pd.DataFrame) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return stamps (n,); and open, high, low, close (n,), lows and highs as `MarketArrays`.

    Raises:
        CandleError: the frame has faults (those of `candles.check`); all are named.
        ArgumentError: fewer than two bars: a decision needs a next open.
    """
    quick = (
        isinstance(candles, pd.DataFrame)
        and isinstance(candles.index, pd.DatetimeIndex)
        and candles.index.name == "time"
        and str(candles.index.tz) == "UTC"
        and candles.columns.equals(COLUMNS)
        and len(candles) > 1
    )
    # What follows this block would do alone; a run of 5,528 bars would take 3 times as long
    # (measured, n = 400).
    if quick and (table := candles.to_numpy()).dtype == np.float64:
        time, columns = plain(candles.index.asi8), list(plain(table.T))  # type: ignore[union-attr]
        good, *reach = check_and_range(time, *columns)
        good &= on_grid(candles)
        copied = table.flags.writeable  # else one block of floats; of several, some may be sparse
        if good and not (copied and any(not isinstance(t, np.dtype) for t in candles.dtypes)):
            return time, [*columns[:4], *reach]
    bars.check(candles)
    if len(candles) < 2:
        raise ArgumentError("candles", candles, "at least two bars: a decision needs a next open")
    columns = [plain(candles[name].to_numpy(np.float64)) for name in bars.COLUMNS]
    time = plain(candles.index.asi8)  # type: ignore[union-attr]
    return time, [*columns[:4], *check_and_range(time, *columns)[1:]]


def position_array(position: Any, index: pd.Index, *, name: str = "position") -> np.ndarray:
    """Return positions (n,) as float64, one a bar; how large they are is not looked at.

    Args:
        position: a Series on the candles' own index, or an array of their length.
        index: of the candles. name: for errors.

    Raises:
        ArgumentError: another length or index.
    """
    if isinstance(position, pd.Series) and not same_index(position.index, index):
        raise ArgumentError(name, position, "a Series on the candles' own index")
    values = array(name, position, ndim=1, finite=False)
    if len(values) != len(index):
        raise ArgumentError(name, position, f"{len(index)} values, one a bar")
    return plain(values.astype(np.float64, copy=False))


def check_within(values: np.ndarray, index: pd.Index, limit: float, name: str) -> None:
    """Raise `ArgumentError` for the first value that is NaN or outside [−limit, limit]."""
    inside = np.abs(values) <= limit
    if not inside.all():
        bad = int(inside.argmin())
        allowed = f"numbers in [{-limit:g}, {limit:g}] (first fault at bar {bad}, {index[bad]})"
        raise ArgumentError(name, float(values[bad]), allowed)


def market(
    candles: pd.DataFrame,
    funding: pd.Series | None,
    risk: Risk,
    *,
    needs_atr: bool,
    needs_days: bool,
) -> MarketArrays:
    """Return what the loop reads; the average true range is Wilder's, NaN while it warms up.

    Raises:
        CandleError, ArgumentError: as `frame_arrays` and `costs.funding_by_bar`; or fewer bars
            than the average true range needs.
    """
    time, (first, high, low, close, *reach) = frame_arrays(candles)
    at_open = inside = EMPTY
    if funding is not None:
        at_open, inside = map(plain, funding_by_bar(candles.index, funding))  # type: ignore[arg-type]
    atr = plain(talib.ATR(high, low, close, risk.atr_bars)) if needs_atr else EMPTY
    days = plain(time // A_DAY[candles.index.unit]) if needs_days else NO_DAYS  # type: ignore[attr-defined]
    return MarketArrays(first, high, low, close, atr, days, at_open, inside, *reach)


def check_tick(costs: Costs, m: MarketArrays) -> None:
    """Refuse a tick that prices could fall below: a sale would fill at nothing."""
    lowest = float(m.lows.min()) if costs.tick else math.inf
    least = lowest * (1 - costs.slippage_bps / 1e4)
    if costs.tick > least:
        raise ArgumentError("costs", costs.tick, f"a tick of at most {least:g}: the lowest sale")


# ---- What a backtest returns.


METRICS = (
    "annual_return", "volatility", "sharpe", "sortino", "calmar", "max_drawdown",
    "win_rate", "profit_factor", "turnover", "exposure", "fees", "funding",
)  # fmt: skip


def profits(ledger: np.ndarray) -> np.ndarray:
    """Return each trade's profit after fees and funding; slippage is in its prices."""
    gross = ledger["side"] * (ledger["sold_value"] - ledger["bought_value"])
    return gross - ledger["fees"] - ledger["funding"]


@dataclass(frozen=True)
class Result:
    """A finished backtest.

    ``candles``, ``costs``, ``funding_rates``, ``risk`` are what it was run on. ``equity``,
    ``cash`` and ``units`` are Series on the candles' index, valued at each close; equity is
    cash plus the open position's unrealised profit.
    """

    candles: pd.DataFrame = field(repr=False)
    costs: Costs
    funding_rates: pd.Series | None = field(repr=False)
    risk: Risk
    order: str
    ledger: np.ndarray = field(repr=False)
    statements: np.ndarray = field(repr=False)
    account: np.void = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse what `expand` and `trades` would read, or write, out of bounds."""
        n, said, rows = len(self.candles), self.statements, self.ledger
        floats = isinstance(said, np.ndarray) and said.dtype == np.float64
        if not floats or said.ndim != 2 or said.shape[1] != 4 or not len(said):
            raise ArgumentError("statements", said, "floats (k, 4): bar, cash, units, entry")
        if not sound_statements(plain(said), n):
            raise ArgumentError("statements", said, f"rising bar numbers from 0 on, below {n}")
        if not isinstance(rows, np.ndarray) or rows.ndim != 1 or rows.dtype != LEDGER:
            raise ArgumentError("ledger", rows, f"rows of {LEDGER.names}")
        table = rows.view((np.float64, len(LEDGER_COLUMNS)))
        if not sound_ledger(plain(table), n, len(REASONS)):
            allowed = f"whole bars from 0 to {n - 1}, opened first; sides 1 or -1; known reasons"
            raise ArgumentError("ledger", rows, allowed)

    @classmethod
    def _of_run(cls, **fields: Any) -> Result:
        """Return what `run` has just written: nobody needs to look at it once more.

        To look takes 5 % of a run of 100,000 bars with 2,000 trades (measured, n = 300).
        """
        made = cls.__new__(cls)
        vars(made).update(fields)
        return made

    @cached_property
    def curves(self) -> np.ndarray:
        """Equity, cash and units at each close, (3, n): worked out when first asked for."""
        return expand(self.statements, self.candles["close"].to_numpy(np.float64))

    def _series(self, row: int, name: str) -> pd.Series:
        return pd.Series(self.curves[row], self.candles.index, name=name, copy=False)

    @cached_property
    def equity(self) -> pd.Series:
        """Worth of the account at each close."""
        return self._series(0, "equity")

    @cached_property
    def cash(self) -> pd.Series:
        """Realised money at each close: the start plus closed profits less costs paid."""
        return self._series(1, "cash")

    @cached_property
    def units(self) -> pd.Series:
        """Signed size held at each close."""
        return self._series(2, "units")

    @cached_property
    def trades(self) -> pd.DataFrame:
        """The ledger, one row from flat to flat, oldest first.

        ``side`` +1 or −1; ``size`` units entered in all; ``entry_price`` and ``exit_price``
        averages after slippage; ``gross`` = side · size · (exit − entry); ``pnl`` = gross −
        fees − funding, so that the column's sum is the change of equity. A position that is
        open at the end has reason "open", no exit time, and the last close as exit price.
        """
        row, index = self.ledger, self.candles.index
        ended = row["reason"].astype(int)
        left = index[row["closed"].astype(int)]
        columns = {
            "entry_time": index[row["opened"].astype(int)],
            "exit_time": left.where(ended != LEFT_OPEN, pd.NaT),  # type: ignore[call-overload]
            "side": row["side"].astype(int),
            "size": row["size"],
            "entry_price": row["bought_value"] / row["size"],
            "exit_price": row["sold_value"] / row["size"],
            "gross": row["side"] * (row["sold_value"] - row["bought_value"]),
            "fees": row["fees"],
            "funding": row["funding"],
            "pnl": profits(row),
            "reason": np.array(REASONS, dtype=object)[ended],
        }
        return pd.DataFrame(columns)

    @property
    def periods(self) -> float:
        """Bars in a year of 365 days."""
        return metrics.periods_per_year(self.candles.index)  # type: ignore[arg-type]

    def metrics(self) -> dict[str, float]:
        """Return the figures of ``METRICS``.

        Annual return, volatility, Sharpe, Sortino, Calmar, maximum drawdown (negative), win
        rate and profit factor of closed trades (NaN without any), turnover (value traded over
        equity, a year: one round trip of everything is 2), exposure (share of bars in which
        something was held), fees and funding paid in the account's money.
        """
        returns = metrics.returns(self.curves[0])
        pnl = profits(self.ledger[self.ledger["reason"] != LEFT_OPEN])
        figures = metrics.from_returns(returns, self.periods)
        figures |= {"win_rate": metrics.win_rate(pnl), "profit_factor": metrics.profit_factor(pnl)}
        figures |= {
            "turnover": self.account["traded"] * self.periods / len(returns),
            "exposure": self.account["held"] / len(self.candles),
            "fees": self.account["fees"],
            "funding": self.account["funding"],
        }
        return {name: float(figures[name]) for name in METRICS}

    def drawdown(self) -> metrics.Drawdown:
        """Return the deepest fall with the dates of peak, trough and recovery."""
        return metrics.drawdown(self.equity)

    @cached_property
    def buy_and_hold(self) -> Result:
        """The same candles, costs and funding, everything bought once and kept."""
        return run(
            self.candles, np.ones(len(self.candles)), costs=self.costs,
            funding=self.funding_rates, equity=float(self.curves[0, 0]), order=self.order,
        )  # fmt: skip

    def table(self) -> pd.DataFrame:
        """Return `metrics` with buy-and-hold beside them, one row a figure."""
        columns = {"strategy": self.metrics(), "buy_and_hold": self.buy_and_hold.metrics()}
        return pd.DataFrame(columns).loc[list(METRICS)]


def run(
    candles: pd.DataFrame,
    position: Any,
    *,
    costs: Costs | None = None,
    funding: pd.Series | None = None,
    risk: Risk | None = None,
    rebalance: bool = False,
    confidence: Any = None,
    order: str = "taker",
    equity: float = 1.0,
    close_at_end: bool = False,
) -> Result:
    """Backtest positions on candles.

    What is bought is sized after its fee: from flat, position f spends f · equity, the fee
    included. A change of sign closes first, then opens with what is left. A position is held,
    not rebalanced, while ``position`` does not change, unless ``rebalance`` asks for it; after
    a stop, target, liquidation or daily halt the account stays flat until it does change.
    What a guard refuses is tried again at the next open.

    Args:
        candles: (n bars) that pass `candles.check`, at least two.
        position: (n,) or a Series on the candles' index: fraction of equity wanted after
            bar t, in [−max_position, max_position].
        costs: fees, slippage, and the exchange's tick and lot; default ``Costs()``.
        funding: Series of decimal rates by funding time (UTC); longs pay when positive. At a
            bar's open it is charged on what was held into that bar, inside a bar on what is
            held after its open; always on the value at that bar's open.
        risk: limits, stops and guards; default ``Risk()``: no stop, positions within ±1,
            liquidation when nothing is left.
        rebalance: trade back to the wanted fraction at every open.
        confidence: (n,) in [0, 1] to scale positions with (`risk.by_confidence`).
        order: "taker", or "maker": maker fee, no slippage, and the assumption that the order
            is filled at the open all the same, which flatters.
        equity: the account's money at the start, above zero.
        close_at_end: close what is open at the last close, at its cost. Otherwise the open
            position is valued at the last close and listed with reason "open".

    Returns:
        `Result`.

    Raises:
        CandleError: the candles have faults.
        ArgumentError: names the argument; positions of another length or index, NaN or outside
            the limits are never clipped.
    """
    charged, limits = instance("costs", costs, Costs), instance("risk", risk, Risk)
    stops, days = limits.stop_atr is not None, limits.daily_loss is not None
    m = market(candles, funding, limits, needs_atr=stops, needs_days=days)
    check_tick(charged, m)
    wanted, most = position_array(position, candles.index), limits.max_position
    if confidence is not None:
        part = position_array(confidence, candles.index, name="confidence")
        check_within(wanted, candles.index, most, "position")
        check_within(part, candles.index, 1.0, "confidence")
        wanted = plain(by_confidence(wanted, part, limits))
    flags = flag("rebalance", rebalance), flag("close_at_end", close_at_end)
    options = FillOptions(-1.0, 1.0, *flags, False)
    accounts = new_accounts(1, number("equity", equity, 0.0, above=True))
    rules, rates = limits.rules(), charged.rates(order)
    turns, inside = decide(wanted, most)
    if not inside:
        check_within(wanted, candles.index, most, "position")
    # A decision opens one trade at most, and each is closed once: where nothing is paid, watched
    # or kept waiting, the account changes no more often, but for the first bar and the last. One
    # row more is what the engine is handed where no trade is left to write.
    busy = rebalance or funding is not None or any(getattr(limits, r) is not None for r in BUSY)
    decisions, n = len(turns) - 1, len(wanted)
    statements = np.empty((n if busy else min(n, 2 * decisions + 2), 4))
    ledger = np.empty(decisions + 1, LEDGER)
    count = simulate(
        accounts[0], turns, wanted, m, rules, rates, options, ledger, statements, np.empty(0)
    )
    trades = int(accounts["trades"][0])
    assert count <= len(statements)
    assert trades < len(ledger)
    ledger, statements = used(ledger, trades), used(statements, count)
    return Result._of_run(
        candles=candles, costs=charged, funding_rates=funding, risk=limits, order=order,
        ledger=ledger, statements=statements, account=accounts[0],
    )  # fmt: skip
