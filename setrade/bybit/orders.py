"""What is wanted of an exchange, in its own steps, before anything is sent."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from decimal import InvalidOperation as NoNumber
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from setrade.bybit import constants
from setrade.costs import Rates, affordable, fee, fill_price
from setrade.errors import ArgumentError, choice, integer, number

__all__ = ["Instrument", "Intent", "OrderRuleError", "decimal", "legs", "text"]


# ---- The steps and minima of an instrument, kept in decimals from end to end.
#
# A float says 0.1 + 0.2 = 0.30000000000000004, and prints 0.00001 as "1e-05", which pybit sends
# as it is. So prices and quantities are `Decimal` here and leave as plain decimal text.


MODES = {
    "down": ROUND_FLOOR,
    "up": ROUND_CEILING,
    "nearest": ROUND_HALF_EVEN,
}
POSITIVE = "a finite number > 0 (Decimal, int, float or decimal text)"


class OrderRuleError(ArgumentError):
    """An order breaks a rule of its instrument; it has not been sent."""


def decimal(name: str, value: Any) -> Decimal:
    """Return ``value`` as an exact Decimal above zero; a float counts as what it prints.

    Raises:
        ArgumentError: not a number, NaN, infinite, zero or negative.
    """
    if isinstance(value, bool) or not isinstance(
        value, Decimal | str | int | float | np.integer | np.floating
    ):
        raise ArgumentError(name, value, POSITIVE)
    try:
        number = value if isinstance(value, Decimal) else Decimal(str(value))
    except NoNumber as error:
        raise ArgumentError(name, value, POSITIVE) from error
    if not number.is_finite() or number <= 0:
        raise ArgumentError(name, value, POSITIVE)
    return number


def text(value: Decimal) -> str:
    """Return a Decimal as plain text: no exponent, no zeros at the end."""
    plain = format(value, "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


@dataclass(frozen=True)
class Instrument:
    """What orders in one symbol must keep to.

    Args:
        symbol: such as ``"BTCUSDT"``.
        tick_size: prices are multiples of it.
        qty_step: quantities (base coin) are multiples of it.
        min_qty: smallest quantity.
        min_notional: smallest value, in quote coin; 0 for none.
        max_qty: largest quantity; None where unknown.
    """

    symbol: str
    tick_size: Decimal
    qty_step: Decimal
    min_qty: Decimal
    min_notional: Decimal = Decimal(0)
    max_qty: Decimal | None = None

    def __post_init__(self) -> None:
        for name in ("tick_size", "qty_step", "min_qty"):
            object.__setattr__(self, name, decimal(name, getattr(self, name)))
        if self.max_qty is not None:
            object.__setattr__(self, "max_qty", decimal("max_qty", self.max_qty))
        value = Decimal(str(self.min_notional))
        object.__setattr__(self, "min_notional", decimal("min_notional", value) if value else value)

    @classmethod
    def from_listing(cls, entry: Mapping[str, Any]) -> Instrument:
        """Return the rules from an entry of ``instruments-info``, or of `Rest.instruments`.

        Raises:
            ArgumentError: the entry lacks a step or a minimum.
        """
        lots = entry.get("lotSizeFilter", {})
        try:
            return cls(
                str(entry["symbol"]),
                tick_size=entry.get("tick_size") or entry["priceFilter"]["tickSize"],
                qty_step=entry.get("qty_step") or lots.get("qtyStep") or lots["basePrecision"],
                min_qty=entry.get("min_qty") or lots["minOrderQty"],
                min_notional=Decimal(
                    entry.get("min_notional")
                    or lots.get("minNotionalValue")
                    or lots.get("minOrderAmt", "0")
                ),
                max_qty=lots.get("maxMktOrderQty") or lots.get("maxOrderQty"),
            )
        except (KeyError, TypeError) as error:
            raise ArgumentError("entry", entry, "tick, step and minimum of a symbol") from error

    def price(self, value: Any, *, rounding: str | None = None) -> Decimal:
        """Return a price that the exchange takes.

        Args:
            value: a number above zero.
            rounding: ``"down"``, ``"up"`` or ``"nearest"`` to move it onto a tick; None: a
                price off the tick is an error.

        Raises:
            OrderRuleError: off the tick, or rounded away to nothing.
        """
        return self._step("price", decimal("price", value), self.tick_size, rounding)

    def quantity(self, value: Any, *, rounding: str | None = None) -> Decimal:
        """Return a quantity that the exchange takes; ``rounding`` as in `price`.

        Raises:
            OrderRuleError: off the step, below the minimum, above the maximum.
        """
        qty = self._step("qty", decimal("qty", value), self.qty_step, rounding)
        if qty < self.min_qty:
            raise OrderRuleError("qty", text(qty), f"at least {text(self.min_qty)} {self.symbol}")
        if self.max_qty is not None and qty > self.max_qty:
            raise OrderRuleError("qty", text(qty), f"at most {text(self.max_qty)} {self.symbol}")
        return qty

    def value(self, qty: Decimal, price: Decimal) -> Decimal:
        """Return quantity times price; raise `OrderRuleError` below the smallest value."""
        value = qty * price
        if value < self.min_notional:
            allowed = f"an order worth at least {text(self.min_notional)}"
            raise OrderRuleError("qty", f"{text(qty)} at {text(price)}", allowed)
        return value

    def floor(self, value: float) -> Decimal:
        """Return a quantity cut down to the step, 0 where less than the minimum is left."""
        qty = Decimal(repr(float(value))).quantize(Decimal("1e-12"), ROUND_DOWN)
        qty = (qty / self.qty_step).to_integral_value(ROUND_DOWN) * self.qty_step
        return qty if qty >= self.min_qty else Decimal(0)

    def _step(self, name: str, value: Decimal, step: Decimal, rounding: str | None) -> Decimal:
        if rounding is not None and rounding not in MODES:
            raise ArgumentError("rounding", rounding, "None, 'down', 'up' or 'nearest'")
        steps = value / step
        if steps != steps.to_integral_value():
            if rounding is None:
                allowed = f"a multiple of {text(step)} ({self.symbol}), or rounding="
                raise OrderRuleError(name, text(value), allowed)
            steps = steps.to_integral_value(MODES[rounding])
        if steps == 0:
            raise OrderRuleError(name, text(value), f"at least {text(step)} ({self.symbol})")
        return steps * step


# ---- An order that somebody has decided on, and the name by which it can never exist twice.


SIDES = ("buy", "sell")
STRATEGY = re.compile(r"[A-Za-z0-9_]{1,8}")


@dataclass(frozen=True)
class Intent:
    """One order, before it is sent.

    Args:
        symbol: such as ``"BTCUSDT"``.
        side: ``"buy"`` or ``"sell"``.
        qty: quantity in base coin, above zero.
        decided: when the decision was made (UTC): the close of the bar that it rests on.
        price: limit price; None for a market order.
        reduce_only: never open or turn a position.
        strategy: up to eight letters, digits or underscores.
        leg: which order of the same decision; 0 for the first.

    ``link_id`` names the decision, not its figures: a strategy that restarts and decides anew
    on the same bar comes to the same name, and the exchange takes a name once.

    Raises:
        ArgumentError: names the argument.
    """

    symbol: str
    side: str
    qty: Decimal
    decided: pd.Timestamp
    price: Decimal | None = None
    reduce_only: bool = False
    strategy: str = "setrade"
    leg: int = 0

    def __post_init__(self) -> None:
        constants.symbol(self.symbol)
        choice("side", self.side, SIDES)
        object.__setattr__(self, "qty", decimal("qty", self.qty))
        if self.price is not None:
            object.__setattr__(self, "price", decimal("price", self.price))
        ns = constants.moment("decided", self.decided)
        object.__setattr__(self, "decided", pd.Timestamp(ns, tz="UTC"))
        if not isinstance(self.reduce_only, bool):
            raise ArgumentError("reduce_only", self.reduce_only, "True or False")
        if not isinstance(self.strategy, str) or not STRATEGY.fullmatch(self.strategy):
            raise ArgumentError("strategy", self.strategy, "1 to 8 letters, digits, underscores")
        integer("leg", self.leg, 0, 99)

    @property
    def sign(self) -> int:
        """+1 for a buy, -1 for a sell."""
        return 1 if self.side == "buy" else -1

    @property
    def link_id(self) -> str:
        """The order's own name, at most 36 characters, the same whenever it is asked for."""
        words = f"{self.strategy}|{self.symbol}|{self.decided.value}|{self.leg}"
        digest = hashlib.sha256(words.encode()).hexdigest()
        return f"{self.strategy}-{digest[:27]}"

    def record(self) -> dict[str, Any]:
        """Return the intent as plain text and numbers, for a journal."""
        price = None if self.price is None else text(self.price)
        plain = {"qty": text(self.qty), "price": price, "decided": self.decided.isoformat()}
        return asdict(self) | plain

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Intent:
        """Return the intent that `record` wrote."""
        return cls(**{name: record[name] for name in cls.__dataclass_fields__})


# ---- From the position that is wanted to the orders that lead there, as the backtest does it.


DUST = 1e-12  # of equity: a smaller change is rounding, not an order


def legs(fraction: float, equity: float, units: float, price: float, rates: Rates) -> list[float]:
    """Return signed quantities to trade, in order, to hold ``fraction`` of equity.

    A change of sign closes first and opens with what the close leaves; what is bought is sized
    after its fee; the same rules as `backtest.run`, to the last digit but rounding.

    Args:
        fraction: position wanted, signed, as a fraction of equity.
        equity: worth of the account at ``price``.
        units: signed size held.
        price: what the orders are expected to fill at, before slippage.
        rates: from `Costs.rates`.

    Returns:
        None, one or two quantities, without rounding to the exchange's steps.

    Raises:
        ArgumentError: not finite, or a price not above zero.
    """
    want = number("fraction", fraction, -100.0, 100.0)
    worth, held = number("equity", equity), number("units", units)
    number("price", price, 0.0, above=True)
    orders: list[float] = []
    if held != 0 and want * held <= 0:
        filled = fill_price(price, -held, rates.slippage)
        worth += held * (filled - price) - fee(filled, held, rates.fee)
        orders, held = [-held], 0.0
    if want == 0 or worth <= 0:  # with nothing left nothing is opened
        return orders
    change, side = abs(want) * worth - abs(held) * price, 1.0 if want > 0 else -1.0
    if change > DUST * worth:
        filled = fill_price(price, side, rates.slippage)
        return [*orders, side * affordable(change, filled, rates.fee)]
    return [*orders, side * change / price] if change < -DUST * worth else orders


# ---- What every broker can be asked, what it answers, and how it refuses.


STATUSES = ("new", "partly_filled", "filled", "cancelled", "rejected")
OPEN = ("new", "partly_filled")
TARGET = "target"  # strategy of the orders that `Broker.target` makes, apart from all others


class OrderError(RuntimeError):
    """Something about an order; ``link_id`` names it."""

    def __init__(self, link_id: str, message: str) -> None:
        self.link_id = link_id
        super().__init__(f"order {link_id}: {message}")


class OrderRejectedError(OrderError):
    """The broker refused the order: it does not exist. ``code`` is the exchange's."""

    def __init__(self, link_id: str, code: int, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(link_id, f"refused, {message} (code {code})")


class OrderUnknownError(OrderError):
    """Nobody knows whether the order exists: ask again by its name before sending another."""


class OrderNotFoundError(OrderError):
    """There is no order of that name."""


class OrderConflictError(OrderError):
    """An order of that name exists, but with other figures; ``order`` is the one that exists."""

    def __init__(self, order: Order, intent: Intent) -> None:
        self.order, self.intent = order, intent
        super().__init__(
            order.link_id,
            f"exists as {order.side} {text(order.qty)}, wanted {intent.side} {text(intent.qty)}",
        )


@dataclass(frozen=True)
class Order:
    """An order as the broker knows it.

    ``filled`` is the quantity traded so far, ``average`` its mean price (None before the first
    fill), ``status`` one of ``STATUSES``, ``reason`` why it ended unfilled, if it did.
    """

    link_id: str
    order_id: str
    symbol: str
    side: str
    qty: Decimal
    price: Decimal | None
    status: str
    filled: Decimal = Decimal(0)
    average: float | None = None
    reduce_only: bool = False
    reason: str = ""

    @property
    def is_open(self) -> bool:
        """True while the order can still fill."""
        return self.status in OPEN


@runtime_checkable
class Broker(Protocol):
    """The interface that paper, testnet and demo share.

    ``submit`` is idempotent: the same intent, sent twice, is one order.
    """

    def submit(self, intent: Intent) -> Order:
        """Send an order; return it as the broker took it."""
        ...

    def target(
        self, symbol: str, fraction: float, *, decided: pd.Timestamp, price: float
    ) -> list[Order]:
        """Send what leads to a position of ``fraction`` of equity."""
        ...

    def cancel(self, link_id: str) -> Order:
        """Cancel an open order; return it as it ended."""
        ...

    def order(self, link_id: str) -> Order | None:
        """Return an order by its name; None if there is none."""
        ...

    def open_orders(self, symbol: str) -> list[Order]:
        """Return the orders that can still fill, oldest first."""
        ...

    def position(self, symbol: str) -> float:
        """Return the signed size held, in base coin."""
        ...

    def equity(self) -> float:
        """Return the worth of the account, in quote coin."""
        ...


def same(order: Order, intent: Intent) -> Order:
    """Return the order if it is what the intent asked for; else raise `OrderConflictError`."""
    if (order.symbol, order.side, order.price) != (intent.symbol, intent.side, intent.price):
        raise OrderConflictError(order, intent)
    # a reduce-only order may have been cut down to the position by the exchange
    if order.qty != intent.qty and not (intent.reduce_only and order.qty < intent.qty):
        raise OrderConflictError(order, intent)
    return order
