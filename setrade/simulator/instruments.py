"""What is listed, and the rules that orders have to keep."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ..errors import ArgumentError, choice
from .wire import PLAIN

STATUSES = ("Trading", "Closed")


@dataclass(frozen=True)
class Instrument:
    """One listed contract; all figures are decimal strings, as the exchange sends them.

    Args:
        symbol: such as "BTCUSDT".
        tick_size: step of prices.
        qty_step: step of quantities, in coins.
        min_qty: smallest quantity.
        min_notional: smallest value of an order, in the quote coin.
        max_qty: largest quantity of a limit order.
        funding_minutes: length of the funding interval.
        status: "Trading", or "Closed" for a dead symbol.
    """

    symbol: str
    tick_size: str = "0.1"
    qty_step: str = "0.001"
    min_qty: str = "0.001"
    min_notional: str = "5"
    max_qty: str = "1190"
    funding_minutes: int = 480
    status: str = "Trading"

    def __post_init__(self) -> None:
        for name in ("tick_size", "qty_step", "min_qty", "min_notional", "max_qty"):
            value = getattr(self, name)
            if not isinstance(value, str) or not PLAIN.fullmatch(value) or Decimal(value) <= 0:
                raise ArgumentError(name, value, "a positive decimal string")
        choice("status", self.status, STATUSES)

    def listing(self, category: str) -> dict[str, Any]:
        """Return the entry of ``/v5/market/instruments-info``."""
        quote = "USDT" if self.symbol.endswith("USDT") else "USD"
        base = self.symbol.removesuffix(quote)
        lot = {"minOrderQty": self.min_qty, "maxOrderQty": self.max_qty}
        if category == "spot":
            lot |= {"basePrecision": self.qty_step, "minOrderAmt": self.min_notional}
        else:
            lot |= {"qtyStep": self.qty_step, "minNotionalValue": self.min_notional}
        entry = {
            "symbol": self.symbol,
            "status": self.status,
            "baseCoin": base,
            "quoteCoin": quote,
            "priceFilter": {"tickSize": self.tick_size},
            "lotSizeFilter": lot,
        }
        if category == "spot":
            return entry
        kind = "LinearPerpetual" if category == "linear" else "InversePerpetual"
        coins = {"settleCoin": quote, "contractType": kind, "launchTime": "1585526400000"}
        return entry | coins | {"fundingInterval": self.funding_minutes}


def listed(symbols: Iterable[str], given: Iterable[Instrument]) -> dict[str, Instrument]:
    """Return the instruments by symbol, in order of the name; those not given get defaults."""
    book = {symbol: Instrument(symbol) for symbol in symbols}
    for instrument in given:
        if not isinstance(instrument, Instrument):
            raise ArgumentError("instruments", instrument, "simulator.Instrument entries")
        book[instrument.symbol] = instrument
    return dict(sorted(book.items()))
