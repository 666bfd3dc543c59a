"""The risk account: the backtest's own account and rules, moved one bar at a time.

`backtest.engine` moves a record of plain numbers through the three moments of a bar. Here the
same compiled functions are called for each bar as it comes, and what they did to the record is
read off as `Move`, which the executor then sends. So live and backtest cannot drift apart.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from setrade.backtest import engine
from setrade.bybit.paper import PaperBroker
from setrade.costs import Costs
from setrade.errors import instance, number
from setrade.live.journal import Journal
from setrade.live.types import Bar
from setrade.risk import REASONS, REFUSALS, SIGNAL, TARGET, Risk, exit_price, levels, refusal

DAY = 86_400_000_000_000  # ns
RESTING = REASONS[TARGET]  # a move for which a limit order would have waited at the price
BAND = 1e-3  # how far a bar must trade beyond a resting order to fill it on paper
TICK = 1_000  # ns: the moments of one bar that a paper broker is shown are told apart by these
FIGURES = engine.ACCOUNT.names or ()


class Move(NamedTuple):
    """A trade to make: signed ``units``, about ``price``; ``closing`` takes all that is held."""

    units: float
    price: float
    reason: str
    closing: bool


class RiskAccount:
    """Account, rules and the average true range of one symbol.

    Args:
        equity: money at the start, above zero.
        costs: fees and slippage. risk: limits, stops and guards.

    ``a`` is the record, ``previous`` the last close, ``refused`` why new exposure waits since the
    last `open`, ``pending_exit`` why the position had to be closed and was not yet.
    """

    def __init__(self, equity: float, costs: Costs, risk: Risk) -> None:
        self.begin(equity)
        self._row = np.zeros(1, engine.LEDGER)[0]
        self.risk = instance("risk", risk, Risk, "a risk.Risk")
        self.rates = instance("costs", costs, Costs, "a costs.Costs").rates()
        self.rules = risk.rules()
        self.atr, self._seen, self._sum = math.nan, 0, 0.0
        self.previous, self.number, self.pending_exit, self.refused = math.nan, 0, "", ""
        self._levels = math.nan, math.nan  # stop and target before the last moves

    def begin(self, equity: float) -> None:
        """Start with this money and nothing else."""
        self.a = engine.new_accounts(1, number("equity", equity, 0.0, above=True))[0]

    def _prices(self, bar: Bar, previous: float) -> engine.BarPrices:
        known = bar.close if math.isnan(previous) else previous
        return engine.BarPrices(
            self.number, bar.open, bar.high, bar.low, bar.close, known, self.atr,
            bar.time // DAY, 0.0, 0.0,
        )  # fmt: skip

    def open(self, bar: Bar, target_position: float, previous: float | None = None) -> list[Move]:
        """At a bar's open: a pending exit, levels jumped over, then the target position.

        The guard against jumps compares with ``previous``; None: with the last close.
        """
        a = self.a
        self._levels = float(a["stop"]), float(a["target"])
        moves, held = [], float(a["units"])
        if self.pending_exit and held:
            fee, slippage = self.rates.fee, self.rates.slippage
            engine.close_trade(a, self.number, bar.open, fee, slippage, SIGNAL, self._row)
            moves, held = [Move(-held, bar.open, f"{self.pending_exit}, again", True)], 0.0
        m, trades = self._prices(bar, self.previous if previous is None else previous), a["trades"]
        engine.open_bar(a, m, float(target_position), False, self.rules, self.rates, self._row)
        if a["trades"] > trades:
            moves.append(Move(-held, bar.open, REASONS[int(self._row["reason"])], True))
            held = 0.0
        now = float(a["units"])
        if now != held:
            moves.append(Move(now - held, bar.open, REASONS[SIGNAL], False))
        self.refused, halted = "", bool(a["halted"])
        if halted or a["pending"]:
            code = refusal(m.open, m.previous, a["age"], m.atr, halted, self.rules)
            self.refused = REFUSALS[code]
        return moves

    def missed(self, move: Move) -> None:
        """Remember that a move did not come about, after `adopt`: the next open tries again."""
        if move.closing and self.a["units"]:
            self.a["stop"], self.a["target"] = self._levels
            engine.set_bounds(self.a, self.rules, self.rates)
        if move.closing and move.reason != REASONS[SIGNAL]:
            self.pending_exit = (self.pending_exit or move.reason) if self.a["units"] else ""
        else:
            self.a["pending"] = 1.0

    def inside(self, bar: Bar) -> list[Move]:
        """Between open and close: stop, target, liquidation, the worse one first."""
        a, held, trades = self.a, float(self.a["units"]), self.a["trades"]
        self._levels = float(a["stop"]), float(a["target"])
        if not held:
            return []
        limits = *self._levels, float(a["liquidation_price"])
        m = self._prices(bar, self.previous)
        engine.inside_bar(a, m, self.rules, self.rates, self._row)
        if a["trades"] == trades:
            return []
        _, price = exit_price(math.copysign(1.0, held), bar.open, bar.high, bar.low, *limits)
        return [Move(-held, price, REASONS[int(self._row["reason"])], True)]

    def close(self, bar: Bar) -> None:
        """After the close: worth, the day's loss, and Wilder's average true range, as TA-Lib's."""
        a, before, n = self.a, self.previous, self.risk.atr_bars
        a["equity"] = a["cash"] + a["units"] * (bar.close - a["entry"])
        engine.close_bar(a, self._prices(bar, before), self.rules)
        self.previous, self.number = bar.close, self.number + 1
        if math.isnan(before):
            return
        span = max(bar.high - bar.low, abs(bar.high - before), abs(bar.low - before))
        self._seen += 1
        if self._seen <= n:
            self._sum += span
            self.atr = self._sum / n if self._seen == n else math.nan
        else:
            self.atr = (self.atr * (n - 1) + span) / n

    def adopt(self, units: float, equity: float, price: float) -> None:
        """Take the broker's word for what is held and what it is worth at ``price``."""
        a = self.a
        price = float(a["entry"]) if math.isnan(price) else price  # no bar was seen yet
        self.pending_exit = self.pending_exit if units else ""
        if units and units * a["wanted"] <= 0:
            a["pending"] = 1.0  # nothing, or the other side, is wanted
        worth = a["cash"] + a["units"] * (price - a["entry"])
        same = math.isclose(units, a["units"], rel_tol=1e-9, abs_tol=1e-12)
        if same and math.isclose(equity, worth, rel_tol=1e-9):
            return
        if not units and a["units"]:
            a["pending"] = 1.0  # it did not come about: try again at the next open
        if not units or not a["entry"] or units * a["units"] < 0:
            a["entry"] = price if units else 0.0
            self._set_levels(units, price)
        a["units"], a["cash"] = units, equity - units * (price - a["entry"])
        engine.set_bounds(a, self.rules, self.rates)

    def _set_levels(self, units: float, entry: float) -> None:
        """Give a position that the account did not open a stop and a target, as an opened one."""
        loose = math.isinf(self.rules.stop_atr) or math.isnan(self.atr)
        distance = math.inf if loose else self.rules.stop_atr * self.atr
        side = math.copysign(1.0, units)
        self.a["stop"], self.a["target"] = levels(side, entry, distance, self.rules.take_profit)

    def figures(self) -> dict[str, object]:
        """Return everything that is needed to go on after a restart, by its name on disk."""
        return {
            "account": self.a.tolist(), "atr": self.atr, "seen": self._seen, "sum": self._sum,
            "previous": self.previous, "number": self.number, "owed": self.pending_exit,
        }  # fmt: skip

    def restore(self, figures: dict) -> None:
        """Stand where `figures` were taken."""
        for name, value in zip(FIGURES, figures["account"], strict=True):
            self.a[name] = value
        self.atr, self._seen, self._sum = figures["atr"], figures["seen"], figures["sum"]
        self.previous, self.number = figures["previous"], figures["number"]
        self.pending_exit = figures.get("owed", "")  # older journals have none


def rehearse(costs: Costs, risk: Risk) -> None:
    """Move an account that counts nothing: what a first call compiles holds up all threads."""
    made = RiskAccount(1e4, costs, risk)
    for k, (low, want) in enumerate(((99.0, 1.0), (50.0, 1.0), (99.0, -1.0), (99.0, 0.5))):
        made.atr, bar = 1.0, Bar(k * DAY, 100.0, 101.0, low, 100.0, 0.0)
        made.open(bar, want)
        made.inside(bar)
        made.close(bar)
    made.pending_exit = "rehearsed"
    made.open(Bar(3 * DAY, 100.0, 101.0, 99.0, 100.0, 0.0), 0.0)
    made.adopt(1.0, 1e4, 100.0)


class PaperPrices:
    """Shows a paper broker the moments of a bar as the backtest sees them, as tiny bars.

    A bar says that a level was reached, not when: each price at which an order fills, the open's
    first, then the close are shown one after another, and each moment once.
    """

    def __init__(self, broker: PaperBroker, journal: Journal) -> None:
        self.broker, self.journal = broker, journal
        self._fees = math.nan  # in the state that the journal has

    def show(self, time_ns: int, price: float, end: float | None = None) -> None:
        """Show one price, or a bar that goes from it to ``end`` and back."""
        if time_ns <= self.broker.newest:
            return
        end = price if end is None else end
        self.broker.on_bar(Bar(time_ns, price, max(price, end), min(price, end), price, 0.0))

    def reach(self, time_ns: int, move: Move) -> None:
        """Show what fills a move, at a time or the first one after it that was not shown yet.

        Through a resting order the price trades from its far side.
        """
        band = BAND * math.copysign(1.0, move.units) * (move.reason == RESTING)
        at = max(time_ns, self.broker.newest + TICK)
        self.show(at, move.price * (1 + band), move.price * (1 - band))

    def save(self, *, traded: bool = False) -> None:
        """Write the broker's state where it has changed; its own liquidation shows in the fees."""
        if traded or self.broker.fees != self._fees:
            self.journal.keep("paper", self.broker.state())
            self._fees = self.broker.fees

    def restore(self, time_ns: int, price: float) -> None:
        """Put a broker that has seen nothing yet where the journal says, at the last close."""
        state = self.journal.kept("paper")
        if state is not None and self.broker.newest < 0:
            self.broker.restore(state)
        if not math.isnan(price):  # else no bar has closed yet
            self.show(time_ns, price)
