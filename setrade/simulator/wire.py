"""What goes over the wire (decimal strings, envelopes, refusals), the clock, and the contracts."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from setrade.errors import ArgumentError, Pickled, choice, number

CODES = {str(m): m * 60_000 for m in (1, 3, 5, 15, 30, 60, 120, 240, 360, 720)}  # to ms
CODES["D"] = 1440 * 60_000
EXTRA = "retExtInfo"
MAX_LEVERAGE = "100.00"
POSITIVE = re.compile(r"(?=.*[1-9])[0-9]+(\.[0-9]+)?")  # a decimal string
Default = TypeVar("Default", int, None)
Now = Callable[[], int]  # the time in ms


class Refused(Pickled, Exception):
    """A request that the exchange answers with a ``retCode`` other than 0."""

    def __init__(self, code: int, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(f"{code}: {message}")


def wall_ms() -> int:
    """Return the computer's own clock in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@lru_cache(1 << 16)
def text(x: float) -> str:
    """Return the shortest decimal string that reads back as ``x``, without an exponent."""
    shortest = repr(float(x))
    if "e" in shortest:
        return np.format_float_positional(x, trim="-")
    return shortest.removesuffix(".0")


def plain(x: Decimal) -> str:
    """Return a Decimal without exponent and without trailing zeros."""
    short = f"{x:f}"
    return (short.rstrip("0").rstrip(".") if "." in short else short) or "0"


def envelope(
    result: Mapping[str, Any] | None, now: int, code: int = 0, message: str = "OK"
) -> dict[str, Any]:
    """Return the answer that all REST calls share."""
    found = dict(result or {})
    more = found.pop(EXTRA, {})  # the codes of a batch, one by one
    return {"retCode": code, "retMsg": message, "result": found, EXTRA: more, "time": now}


def whole(
    query: Mapping[str, str], name: str, default: Default, low: int = 0, high: int = 1 << 62
) -> int | Default:
    """Return an integer parameter of a query; refuse (10001) what is none or out of range."""
    raw = query.get(name, "")
    if raw == "":
        return default
    if not raw.isdecimal() or not low <= int(raw) <= high:
        # assumption: a limit out of range is refused, not cut to the range
        raise Refused(10001, f"params error: {name} invalid")
    return int(raw)


def positive(name: str, raw: Any) -> Decimal:
    """Return a positive decimal string as a Decimal; refuse numbers and exponents.

    ``1e-05``, which pybit makes of the float 0.00001, is refused as the exchange does.
    """
    if not isinstance(raw, str) or not POSITIVE.fullmatch(raw):
        raise Refused(10001, f"params error: {name} invalid")
    return Decimal(raw)


def to_ms(name: str, value: Any) -> int:
    """Return a moment (UTC timestamp, ISO text with zone, or milliseconds) in milliseconds."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        stamp = pd.Timestamp(value)
        if stamp.tzinfo is not None:
            return int(stamp.value // 1_000_000)
    except (TypeError, ValueError):
        pass
    raise ArgumentError(name, value, "a moment with its zone, or integer milliseconds")


def duration_ms(name: str, value: Any) -> int:
    """Return a length of time (text, Timedelta, or milliseconds) in milliseconds, from 0 on."""
    try:
        length = value if isinstance(value, int) else int(pd.Timedelta(value).value // 1_000_000)
        if length >= 0 and not isinstance(value, bool):
            return length
    except (TypeError, ValueError):
        pass
    raise ArgumentError(name, value, 'a length such as "1h", a Timedelta, or milliseconds >= 0')


class Clock:
    """A clock that can be called for its time, in milliseconds since 1970.

    Args:
        start: the first reading, a moment with its zone or milliseconds.
        speed: market seconds a second; 0 (the default) stands still until `advance`.
    """

    def __init__(self, start: Any, speed: float = 0.0) -> None:
        self.speed = number("speed", speed, 0.0, 1e7)
        self._start, self._origin = to_ms("start", start), time.monotonic()

    def __call__(self) -> int:
        return self._start + int(self.speed * (time.monotonic() - self._origin) * 1000)

    def advance(self, duration: Any) -> int:
        """Move on by a length of time, and return the new reading."""
        self._start += duration_ms("duration", duration)
        return self()


@dataclass(frozen=True)
class ListedInstrument:
    """One listed contract; all figures are decimal strings, as the exchange sends them."""

    symbol: str  # such as "BTCUSDT"
    tick_size: str = "0.1"  # step of prices
    qty_step: str = "0.001"  # step of quantities, in coins
    min_qty: str = "0.001"
    min_notional: str = "5"  # smallest value of an order, in the quote coin
    max_qty: str = "1190"  # of a limit order
    max_market_qty: str | None = None  # of a market order; None: as of a limit order
    funding_minutes: int = 480  # between two payments
    status: str = "Trading"  # or "Closed", for a dead symbol

    def __post_init__(self) -> None:
        for name in ("tick_size", "qty_step", "min_qty", "min_notional", "max_qty",
                     "max_market_qty"):  # fmt: skip
            value = getattr(self, name)
            if value is None and name == "max_market_qty":
                continue
            if not isinstance(value, str) or not POSITIVE.fullmatch(value):
                raise ArgumentError(name, value, "a positive decimal string")
        choice("status", self.status, ("Trading", "Closed"))

    @property
    def quote(self) -> str:
        """The coin that prices are in."""
        if self.symbol.endswith("PERP"):
            return "USDC"
        return next((c for c in ("USDT", "USDC") if self.symbol.endswith(c)), "USD")

    @property
    def base(self) -> str:
        """The coin that is traded."""
        return self.symbol.removesuffix("PERP").removesuffix(self.quote)

    def settles(self, category: str) -> str:
        """Return the coin that a position is paid in."""
        return self.base if category == "inverse" else self.quote

    def most(self, kind: str) -> str:
        """Return the largest quantity of one ``"Limit"`` or ``"Market"`` order."""
        return self.max_market_qty or self.max_qty if kind == "Market" else self.max_qty

    def listing(self, category: str) -> dict[str, Any]:
        """Return the entry of ``/v5/market/instruments-info``."""
        lot = {"minOrderQty": self.min_qty, "maxOrderQty": self.max_qty}
        entry: dict[str, Any] = {
            "symbol": self.symbol, "status": self.status, "baseCoin": self.base,
            "quoteCoin": self.quote, "priceFilter": {"tickSize": self.tick_size},
        }  # fmt: skip
        if category == "spot":
            lot |= {"basePrecision": self.qty_step, "quotePrecision": "0.0000001"}
            lot |= {"minOrderAmt": self.min_notional, "maxOrderAmt": "8000000"}
            lot |= {"maxLimitOrderQty": self.max_qty, "maxMarketOrderQty": self.most("Market")}
            more = {"innovation": "0", "marginTrading": "none", "riskParameters": {}}
            return entry | {"lotSizeFilter": lot} | more
        lot |= {"qtyStep": self.qty_step, "minNotionalValue": self.min_notional}
        lot |= {"postOnlyMaxOrderQty": self.max_qty, "maxMktOrderQty": self.most("Market")}
        return entry | {
            "contractType": f"{category.title()}Perpetual", "settleCoin": self.settles(category),
            "launchTime": "1585526400000", "deliveryTime": "0", "deliveryFeeRate": "",
            "fundingInterval": self.funding_minutes, "unifiedMarginTrade": True,
            "leverageFilter": {"minLeverage": "1", "maxLeverage": MAX_LEVERAGE,
                               "leverageStep": "0.01"},
            "upperFundingRate": "0.00375", "lowerFundingRate": "-0.00375", "copyTrading": "none",
            "isPreListing": False, "preListingInfo": None, "lotSizeFilter": lot,
        }  # fmt: skip


# ---- what the exchange's documentation lists of an entry beside what changes (2026-07)

ORDER: dict[str, Any] = {
    "parentOrderLinkId": "", "blockTradeId": "", "isLeverage": "", "positionIdx": 0,
    "cancelType": "UNKNOWN", "stopOrderType": "", "orderIv": "", "marketUnit": "",
    "triggerPrice": "", "takeProfit": "", "stopLoss": "", "tpslMode": "", "ocoTriggerBy": "",
    "tpLimitPrice": "", "slLimitPrice": "", "tpTriggerBy": "", "slTriggerBy": "",
    "triggerDirection": 0, "triggerBy": "", "basePrice": "", "closeOnTrigger": False,
    "placeType": "", "smpType": "None", "smpGroup": 0, "smpOrderId": "", "brokerOrderPrice": "",
    "slippageToleranceType": "UNKNOWN", "slippageTolerance": "", "rpiTakerAccess": False,
    "rpiMatchedQty": "0",
}  # fmt: skip
EXECUTION: dict[str, Any] = {
    "isLeverage": "0", "stopOrderType": "UNKNOWN", "execFeeV2": "", "tradeIv": "", "markIv": "",
    "indexPrice": "", "underlyingPrice": "", "blockTradeId": "", "extraFees": "",
    "marketUnit": "",
}  # fmt: skip
POSITION: dict[str, Any] = {
    "positionIdx": 0, "riskId": 1, "riskLimitValue": "2000000", "autoAddMargin": 0,
    "positionStatus": "Normal", "liqPrice": "", "trailingStop": "0", "sessionAvgPrice": "",
    "delta": "", "gamma": "", "vega": "", "theta": "", "adlRankIndicator": 0,
    "isReduceOnly": False, "mmrSysUpdatedTime": "", "leverageSysUpdatedTime": "",
    "tpslMode": "Full", "bustPrice": "", "tradeMode": 0,
}  # fmt: skip
COIN: dict[str, Any] = {
    "locked": "0", "spotHedgingQty": "0", "borrowAmount": "0", "accruedInterest": "0",
    "bonus": "0", "marginCollateral": True, "collateralSwitch": True, "colRes": "0",
    "spotBorrow": "0", "free": "", "availableToWithdraw": "", "availableToBorrow": "",
}  # fmt: skip
