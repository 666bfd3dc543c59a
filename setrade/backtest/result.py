"""What a backtest returns: curves, ledger, figures, and buy-and-hold beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from setrade import metrics
from setrade.costs import Costs
from setrade.risk import OPEN, REASONS, Risk

from .loop import expand

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
    book: np.ndarray = field(repr=False)
    account: np.void = field(repr=False)

    @cached_property
    def curves(self) -> np.ndarray:
        """Equity, cash and units at each close, (3, n): worked out when first asked for."""
        return expand(self.book, self.candles["close"].to_numpy(np.float64))

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
            "exit_time": left.where(ended != OPEN, pd.NaT),  # type: ignore[call-overload]
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
        pnl = profits(self.ledger[self.ledger["reason"] != OPEN])
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
        from . import run

        return run(
            self.candles, np.ones(len(self.candles)), costs=self.costs,
            funding=self.funding_rates, equity=float(self.curves[0, 0]), order=self.order,
        )  # fmt: skip

    def table(self) -> pd.DataFrame:
        """Return `metrics` with buy-and-hold beside them, one row a figure."""
        columns = {"strategy": self.metrics(), "buy_and_hold": self.buy_and_hold.metrics()}
        return pd.DataFrame(columns).loc[list(METRICS)]
