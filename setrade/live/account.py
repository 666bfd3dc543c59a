"""The risk manager: the backtest's own account and rules, driven one bar at a time.

`backtest.bar` moves a record of plain numbers through the three moments of a bar. Here the
same compiled functions are called for each bar as it comes, and what they did to the record is
read off as `Move`, which the executor then sends. So live and backtest cannot drift apart.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from setrade.backtest.engine import (
    ACCOUNT,
    LEDGER,
    close_bar,
    close_trade,
    inside_bar,
    new_accounts,
    open_bar,
    set_bounds,
)
from setrade.backtest.engine import Bar as Moment
from setrade.costs import Costs
from setrade.errors import number
from setrade.live.types import Bar
from setrade.risk import REASONS, REFUSALS, SIGNAL, TARGET, Risk, exit_price, levels, refusal

DAY = 86_400_000_000_000  # ns
FIGURES = ACCOUNT.names or ()


class Move(NamedTuple):
    """A trade to make: signed ``units``, about ``price``; ``closing`` takes all that is held."""

    units: float
    price: float
    reason: str
    closing: bool

    @property
    def resting(self) -> bool:
        """True where a limit order would have waited at the price."""
        return self.reason == REASONS[TARGET]


class Desk:
    """Account, rules and the average true range of one symbol.

    Args:
        equity: money at the start.
        costs: fees and slippage. risk: limits, stops and guards.
    """

    def __init__(self, equity: float, costs: Costs, risk: Risk) -> None:
        self.a = new_accounts(1, equity)[0]
        self._row = np.zeros(1, LEDGER)[0]
        self.risk, self.rules, self.rates = risk, risk.rules(), costs.rates()
        self.atr, self._seen, self._sum = math.nan, 0, 0.0
        self.previous = math.nan  # the last close
        self.number = 0
        self._levels = math.nan, math.nan  # stop and target before the last moves
        self.owed = ""  # why the position had to be closed, and was not yet

    def begin(self, equity: float) -> None:
        """Start with this money and nothing else."""
        self.a = new_accounts(1, number("equity", equity, 0.0, above=True))[0]

    def _moment(self, bar: Bar) -> Moment:
        known = bar.close if math.isnan(self.previous) else self.previous
        return Moment(
            self.number, bar.open, bar.high, bar.low, bar.close, known, self.atr,
            bar.time // DAY, 0.0, 0.0,
        )  # fmt: skip

    def open(self, bar: Bar, want: float) -> list[Move]:
        """At the open: what is owed, levels that it jumped over, then the position wanted."""
        self._levels = float(self.a["stop"]), float(self.a["target"])
        moves = self._owing(bar)
        held, trades = float(self.a["units"]), self.a["trades"]
        moment = self._moment(bar)
        open_bar(self.a, moment, float(want), False, self.rules, self.rates, self._row)
        now = float(self.a["units"])
        if self.a["trades"] > trades:
            moves.append(Move(-held, bar.open, REASONS[int(self._row["reason"])], True))
            held = 0.0
        if now != held:
            moves.append(Move(now - held, bar.open, REASONS[SIGNAL], False))
        return moves

    def _owing(self, bar: Bar) -> list[Move]:
        """Close what should have been closed before."""
        held = float(self.a["units"])
        if not self.owed or not held:
            return []
        fee, slippage = self.rates.fee, self.rates.slippage
        close_trade(self.a, self.number, bar.open, fee, slippage, SIGNAL, self._row)
        return [Move(-held, bar.open, f"{self.owed}, again", True)]

    def missed(self, move: Move) -> None:
        """Remember that a move did not come about, after `adopt`: the next open tries again."""
        if move.closing and self.a["units"]:
            self.a["stop"], self.a["target"] = self._levels
            set_bounds(self.a, self.rules, self.rates)
        if move.closing and move.reason != REASONS[SIGNAL]:
            self.owed = (self.owed or move.reason) if self.a["units"] else ""
        else:
            self.a["pending"] = 1.0

    def refused(self, bar: Bar) -> str:
        """Say why new exposure waits after `open`; empty where none does."""
        if not self.a["pending"] and not self.a["halted"]:
            return ""
        m = self._moment(bar)
        halted = bool(self.a["halted"])
        return REFUSALS[refusal(m.open, m.previous, self.a["age"], m.atr, halted, self.rules)]

    def inside(self, bar: Bar) -> list[Move]:
        """Between open and close: stop, target, liquidation, the worse one first."""
        held, trades = float(self.a["units"]), self.a["trades"]
        self._levels = float(self.a["stop"]), float(self.a["target"])
        if not held:
            return []
        side, levels = math.copysign(1.0, held), [self.a[n] for n in ("stop", "target", "ruin")]
        _, price = exit_price(side, bar.open, bar.high, bar.low, *map(float, levels))
        inside_bar(self.a, self._moment(bar), self.rules, self.rates, self._row)
        if self.a["trades"] == trades:
            return []
        return [Move(-held, price, REASONS[int(self._row["reason"])], True)]

    def close(self, bar: Bar) -> None:
        """After the close: worth, the day's loss, the average true range."""
        a = self.a
        a["equity"] = a["cash"] + a["units"] * (bar.close - a["entry"])
        close_bar(a, self._moment(bar), self.rules)
        self.learn(bar)

    def learn(self, bar: Bar) -> None:
        """Take a bar into Wilder's average true range, as TA-Lib does, and no further."""
        n, before = self.risk.atr_bars, self.previous
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
        self.owed = self.owed if units else ""
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
        set_bounds(a, self.rules, self.rates)

    def _set_levels(self, units: float, entry: float) -> None:
        """Give a position that the account did not open a stop and a target, as an opened one."""
        loose = math.isinf(self.rules.stop_atr) or math.isnan(self.atr)
        distance = math.inf if loose else self.rules.stop_atr * self.atr
        side = math.copysign(1.0, units)
        self.a["stop"], self.a["target"] = levels(side, entry, distance, self.rules.take_profit)

    def figures(self) -> dict[str, object]:
        """Return everything that is needed to go on after a restart."""
        return {
            "account": [float(self.a[name]) for name in FIGURES], "atr": self.atr,
            "seen": self._seen, "sum": self._sum, "previous": self.previous, "number": self.number,
            "owed": self.owed,
        }  # fmt: skip

    def restore(self, figures: dict) -> None:
        """Stand where `figures` were taken."""
        for name, value in zip(FIGURES, figures["account"], strict=True):
            self.a[name] = value
        self.atr, self._seen, self._sum = figures["atr"], figures["seen"], figures["sum"]
        self.previous, self.number = figures["previous"], figures["number"]
        self.owed = figures.get("owed", "")  # older journals have none
