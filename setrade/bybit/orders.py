"""Orders before they are sent: steps and minima, requests, sizes, and what every broker answers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from decimal import InvalidOperation as NoNumber
from functools import cached_property, lru_cache
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from setrade.bybit import constants
from setrade.costs import Rates, affordable, fee, fill_price
from setrade.errors import ArgumentError, Pickled, choice, flag, integer, number
from setrade.risk import DUST

# A float says 0.1 + 0.2 = 0.30000000000000004, and prints 0.00001 as "1e-05", which pybit sends
# as it is. So prices and quantities are `Decimal` here and leave as plain decimal text.
MOST = ("max_qty", "max_limit_qty")
USUAL = {  # tick, step, smallest quantity and value, largest market and limit quantity
    "BTCUSDT": ("0.1", "0.001", "0.001", "5", "500", "1190"),
    "ETHUSDT": ("0.01", "0.01", "0.01", "5", "724", "7240"),
}
ROUNDINGS = {"down": ROUND_FLOOR, "up": ROUND_CEILING, "nearest": ROUND_HALF_EVEN}
POSITIVE = "a finite number > 0 (Decimal, int, float or decimal text)"
NUMBERS = Decimal | str | int | float | np.integer | np.floating


class OrderRuleError(ArgumentError):
    """An order breaks a rule of its instrument; it has not been sent."""


def decimal(name: str, value: Any) -> Decimal:
    """Return ``value`` as an exact Decimal above zero; a float counts as what it prints.

    Raises:
        ArgumentError: not a number, NaN, zero or negative, more than a float holds, or text with
            underscores or with digits other than 0 to 9, which Python would read.
    """
    try:
        exact = value if isinstance(value, Decimal) else Decimal(str(value))
        held = 0 < float(exact) < np.inf
    except (NoNumber, ValueError) as error:  # the latter: thousands of digits, a signalling NaN
        raise ArgumentError(name, value, POSITIVE) from error
    plain = not isinstance(value, str) or (value.isascii() and "_" not in value)
    if not (isinstance(value, NUMBERS) and held and plain):
        raise ArgumentError(name, value, POSITIVE)
    return exact


def text(value: Decimal) -> str:
    """Return a Decimal as plain text: no exponent, no zeros at the end."""
    plain = format(value, "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


@dataclass(frozen=True)
class Instrument:
    """What orders in one symbol must keep to.

    Args:
        tick_size, qty_step: prices and quantities (base coin) are multiples of these.
        min_qty, max_qty: smallest and largest quantity; None where the largest is unknown.
        min_notional: smallest value, in quote coin; 0 for none.
        max_limit_qty: largest quantity of a limit order, where it differs from ``max_qty``.
    """

    symbol: str
    tick_size: Decimal
    qty_step: Decimal
    min_qty: Decimal
    min_notional: Decimal = Decimal(0)
    max_qty: Decimal | None = None
    max_limit_qty: Decimal | None = None

    def __post_init__(self) -> None:
        for name in ("tick_size", "qty_step", "min_qty", "min_notional", *MOST):
            value = getattr(self, name)
            none = value is None if name in MOST else name == "min_notional" and not value
            object.__setattr__(self, name, value if none else decimal(name, value))

    @classmethod
    def usual(cls, symbol: str) -> Instrument:
        """Return rules to trade on paper by, where the exchange was not asked.

        BTCUSDT's are those of the exchange's documentation (2026-07); ETHUSDT's steps are the
        exchange's too, its maxima an assumption. Any other symbol gets a tick of 0.0001 and a
        step of 0.1, typical of perpetuals priced near one dollar.
        """
        steps = USUAL.get(symbol, ("0.0001", "0.1", "0.1", "5", "1000000", "1000000"))
        return cls(symbol, *map(Decimal, steps))

    @classmethod
    def from_listing(cls, entry: Mapping[str, Any]) -> Instrument:
        """Return the rules from an entry of ``instruments-info``, or of `Rest.instruments`."""
        try:
            lots = entry.get("lotSizeFilter") or {}
            least = lots.get("minNotionalValue") or lots.get("minOrderAmt") or "0"
            limit = lots.get("maxLimitOrderQty") or lots.get("maxOrderQty") or None
            market = lots.get("maxMktOrderQty") or lots.get("maxMarketOrderQty") or limit
            return cls(
                str(entry["symbol"]),
                tick_size=entry.get("tick_size") or entry["priceFilter"]["tickSize"],
                qty_step=entry.get("qty_step") or lots.get("qtyStep") or lots["basePrecision"],
                min_qty=entry.get("min_qty") or lots["minOrderQty"],
                min_notional=Decimal(entry.get("min_notional") or least),
                max_qty=market, max_limit_qty=None if limit == market else limit,
            )  # fmt: skip
        except (KeyError, TypeError, AttributeError, NoNumber) as error:
            raise ArgumentError("entry", entry, "tick, step and minimum of a symbol") from error

    def price(self, value: Any, *, rounding: str | None = None) -> Decimal:
        """Return a price that the exchange takes; `OrderRuleError` off the tick, or at nothing.

        ``rounding`` moves it onto a tick: ``"down"``, ``"up"`` or ``"nearest"``; None: does not.
        """
        return self._step("price", decimal("price", value), self.tick_size, rounding)

    def quantity(self, value: Any, *, rounding: str | None = None) -> Decimal:
        """Return a quantity that the exchange takes; `OrderRuleError` if not; as `price`."""
        return self._quantity(value, self.max_qty, rounding)

    def _quantity(self, value: Any, most: Decimal | None, rounding: str | None = None) -> Decimal:
        qty = self._step("qty", decimal("qty", value), self.qty_step, rounding)
        if qty < self.min_qty:
            raise OrderRuleError("qty", text(qty), f"at least {text(self.min_qty)} {self.symbol}")
        if most is not None and qty > most:
            raise OrderRuleError("qty", text(qty), f"at most {text(most)} {self.symbol}")
        return qty

    def most(self, request: OrderRequest) -> Decimal | None:
        """Return the largest quantity that one order of this kind may have; None: unknown."""
        return self.max_qty if request.price is None else self.max_limit_qty or self.max_qty

    def value(self, qty: Decimal, price: Decimal) -> Decimal:
        """Return quantity times price; raise `OrderRuleError` below the smallest value."""
        value = qty * price
        if value < self.min_notional:
            allowed = f"an order worth at least {text(self.min_notional)}"
            raise OrderRuleError("qty", f"{text(qty)} at {text(price)}", allowed)
        return value

    def check(self, request: OrderRequest, near: Callable[[], Any]) -> None:
        """Raise `OrderRuleError` if an order breaks a rule; nothing is rounded.

        A market order is valued at the price that ``near`` tells, if it tells one. One that can
        only reduce has neither a largest quantity (it goes out in `parts`) nor a smallest value.
        """
        qty = self._quantity(request.qty, None if request.reduce_only else self.most(request))
        price = request.price and self.price(request.price)
        if not request.reduce_only and self.min_notional and (price := price or near()):
            self.value(qty, decimal("price", price))

    def closable(self, request: OrderRequest) -> OrderRequest:
        """Return an order that reduces, its size on these steps; any other one as it is.

        It is cut down to the step, and made the smallest quantity where less is left: more than
        is held the exchange cuts down by itself.
        """
        if (
            not request.reduce_only
            or request.qty % self.qty_step == 0 <= request.qty - self.min_qty
        ):
            return request
        steps = (request.qty / self.qty_step).to_integral_value(ROUND_DOWN)
        return replace(request, qty=max(steps * self.qty_step, self.min_qty))

    def floor(self, value: float) -> Decimal:
        """Return a quantity cut down to the step, 0 where less than the minimum is left.

        A sum of floats that lies a rounding below a step is on it. `ArgumentError` where the
        value is no finite number.
        """
        qty = Decimal(repr(number("value", value)))
        if abs(qty) < 10**15:  # a larger float has no digit that small
            qty = qty.quantize(Decimal("1e-12"), ROUND_HALF_EVEN)
        qty = (qty / self.qty_step).to_integral_value(ROUND_DOWN) * self.qty_step
        return qty if qty >= self.min_qty else Decimal(0)

    def _step(self, name: str, value: Decimal, step: Decimal, rounding: str | None) -> Decimal:
        steps = value / step
        if rounding is not None:
            steps = steps.to_integral_value(ROUNDINGS[choice("rounding", rounding, ROUNDINGS)])
        if steps != steps.to_integral_value():
            allowed = f"a multiple of {text(step)} ({self.symbol}), or rounding="
            raise OrderRuleError(name, text(value), allowed)
        if steps == 0:
            raise OrderRuleError(name, text(value), f"at least {text(step)} ({self.symbol})")
        return steps * step


SIDES = ("buy", "sell")
MOST_NAME = 36  # characters that the exchange takes
STRATEGY = re.compile(r"[A-Za-z0-9_]{1,8}")


@lru_cache(maxsize=64)  # a name is asked for before and after its order is made
def client_order_id(strategy: str, symbol: str, decided: int, leg: int) -> str:
    """Return an order's own name, at most 36 characters; ``decided`` in ns since 1970."""
    words = f"{strategy}|{symbol}|{decided}|{leg}"
    return f"{strategy}-{hashlib.sha256(words.encode()).hexdigest()[:27]}"


@dataclass(frozen=True)
class OrderRequest:
    """One order, before it is sent.

    Args:
        side: ``"buy"`` or ``"sell"``.
        qty: quantity in base coin, above zero.
        decided: when the decision was made (UTC): the close of the bar that it rests on.
        price: limit price; None for a market order.
        reduce_only: never open or turn a position.
        strategy: up to eight letters, digits or underscores.
        leg: which order of the same decision; 0 for the first.

    ``client_order_id`` names the decision, not its figures: a strategy that restarts and decides
    anew on the same bar comes to the same name, and the exchange takes a name once.

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
        if type(self.reduce_only) is not bool:  # NumPy's
            object.__setattr__(self, "reduce_only", flag("reduce_only", self.reduce_only))
        if not isinstance(self.strategy, str) or not STRATEGY.fullmatch(self.strategy):
            raise ArgumentError("strategy", self.strategy, "1 to 8 letters, digits, underscores")
        integer("leg", self.leg, 0, 99)

    @cached_property
    def sign(self) -> int:
        """+1 for a buy, -1 for a sell."""
        return 1 if self.side == "buy" else -1

    @cached_property
    def client_order_id(self) -> str:
        """The order's own name, the same whenever it is asked for."""
        return client_order_id(self.strategy, self.symbol, self.decided.value, self.leg)

    def record(self) -> dict[str, Any]:
        """Return the request as plain text and numbers, for a journal."""
        price = None if self.price is None else text(self.price)
        plain = {"qty": text(self.qty), "price": price, "decided": self.decided.isoformat()}
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | plain

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> OrderRequest:
        """Return the request that `record` wrote; `ArgumentError` for anything else."""
        try:
            fields = {name: record[name] for name in cls.__dataclass_fields__}
        except (LookupError, TypeError) as error:
            raise ArgumentError("record", record, "what `record` wrote") from error
        return cls(**fields)


@dataclass(frozen=True)
class Part(OrderRequest):
    """One of the orders that a larger one is sent as; ``name`` is its own."""

    name: str = ""

    @cached_property
    def client_order_id(self) -> str:
        """The part's own name."""
        return self.name


def part_name(client_order_id: str, number: int) -> str:
    """Return the name of an earlier part of an order: made of the order's, so known anew."""
    return f"{client_order_id[: MOST_NAME - 4]}_{number:03d}"


def parts(request: OrderRequest, rules: Instrument) -> list[OrderRequest]:
    """Return the orders to send for one that reduces: none above the largest quantity.

    The last bears the order's own name. So where that name exists all have been sent, and after
    a crash between two of them the same call sends the same names, each of which is taken once.
    """
    most = rules.most(request)
    if not request.reduce_only or most is None or request.qty <= most:
        return [request]
    full = int(request.qty / most) - (request.qty % most == 0)
    fields = {name: getattr(request, name) for name in request.__dataclass_fields__}
    name = request.client_order_id
    earlier = [Part(**fields | {"qty": most, "name": part_name(name, k + 1)}) for k in range(full)]
    return [*earlier, replace(request, qty=request.qty - full * most)]


TARGET = "target"  # strategy of the orders that `Broker.target` makes, apart from all others
CLOSING, OPENING = 0, 1  # their legs: fixed, so that names stay the same when one is left out


def legs(fraction: float, equity: float, units: float, price: float, rates: Rates) -> list[float]:
    """Return signed quantities to trade, none to two in order, to hold ``fraction`` of equity.

    A change of sign closes first and opens with what the close leaves; what is bought is sized
    after its fee; the same rules as `backtest.run`, to the last digit but rounding. ``equity``
    is the account's worth at ``price``, before slippage, ``units`` the signed size held.

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


def target_request(
    units: float, held: float, symbol: str, price: float, decided: pd.Timestamp,
    rules: Instrument | None,
) -> OrderRequest | None:  # fmt: skip
    """Return the order for one of the `legs`; None where the rules make it too small to be sent.

    ``units`` are the leg's, ``held`` the position before it, ``price`` is near the market.
    """
    closing, size = held * units < 0, abs(units)
    qty = decimal("qty", size) if rules is None else rules.floor(size)
    if rules and (not qty or (not closing and qty * Decimal(str(price)) < rules.min_notional)):
        return None
    side, leg = "buy" if units > 0 else "sell", CLOSING if closing else OPENING
    return OrderRequest(symbol, side, qty, decided, reduce_only=closing, strategy=TARGET, leg=leg)


def target_names(symbol: str, decided: int) -> list[str]:
    """Return the names that the orders of a target have; ``decided`` in ns since 1970."""
    return [client_order_id(TARGET, symbol, decided, leg) for leg in (CLOSING, OPENING)]


OPEN = ("new", "partly_filled")  # the others: filled, cancelled, rejected


class OrderError(Pickled, RuntimeError):
    """Something about an order; ``client_order_id`` names it."""

    def __init__(self, client_order_id: str, message: str) -> None:
        self.client_order_id = client_order_id
        super().__init__(f"order {client_order_id}: {message}")


class OrderRejectedError(OrderError):
    """The broker refused the order: it does not exist. ``code`` is the exchange's."""

    def __init__(self, client_order_id: str, code: int, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(client_order_id, f"refused, {message} (code {code})")


class OrderUnknownError(OrderError):
    """Nobody knows whether the order exists: ask again by its name before sending another."""


class OrderNotFoundError(OrderError):
    """There is no order of that name."""


class OrderConflictError(OrderError):
    """An order of that name exists, but with other figures; ``order`` is the one that exists."""

    def __init__(self, order: Order, request: OrderRequest) -> None:
        self.order, self.request = order, request
        super().__init__(
            order.client_order_id,
            f"exists as {order.side} {text(order.qty)}, wanted {request.side} {text(request.qty)}",
        )


@dataclass(frozen=True)
class Order:
    """An order as the broker knows it.

    ``filled`` is the quantity traded so far, ``average`` its mean price (None before the first
    fill), ``status`` new, partly_filled, filled, cancelled or rejected, ``reason`` why it ended
    unfilled, if it did.
    """

    client_order_id: str
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

    @classmethod
    def of(cls, request: OrderRequest, order_id: str, status: str = "new", **more: Any) -> Order:
        """Return the order that a request became; ``more``: filled, average, reason."""
        return cls(
            request.client_order_id, order_id, request.symbol, request.side, request.qty,
            request.price, status, reduce_only=request.reduce_only, **more,
        )  # fmt: skip


def together(orders: list[Order]) -> Order:
    """Return several `parts` as the one order whose name the last of them bears."""
    last, filled = orders[-1], sum((o.filled for o in orders), Decimal(0))
    paid = sum(float(o.filled) * o.average for o in orders if o.average is not None)
    status = next((o.status for o in orders if o.is_open), "")
    if not status:
        status = next((o.status for o in orders if o.status != "filled"), "filled")
    reason = next((o.reason for o in orders if o.reason), "")
    qty, average = (
        sum((o.qty for o in orders), Decimal(0)),
        paid / float(filled) if filled else None,
    )
    return replace(last, qty=qty, filled=filled, average=average, status=status, reason=reason)


@runtime_checkable
class Broker(Protocol):
    """The interface that paper, testnet and demo share.

    ``instrument`` says what orders must keep to (None: nothing). ``submit`` returns an order as
    it was taken; the same request, sent twice, is one order. ``target`` sends what leads to a
    position of ``fraction`` of equity. ``cancel`` returns an order as it ended, ``order`` as it
    is (None: there is none). ``position`` is signed, in base coin, ``equity`` in quote coin.
    """

    def instrument(self, symbol: str) -> Instrument | None: ...
    def submit(self, request: OrderRequest) -> Order: ...
    def target(
        self, symbol: str, fraction: float, *, decided: pd.Timestamp, price: float
    ) -> list[Order]: ...
    def cancel(self, client_order_id: str) -> Order: ...
    def order(self, client_order_id: str) -> Order | None: ...
    def open_orders(self, symbol: str) -> list[Order]: ...
    def position(self, symbol: str) -> float: ...
    def equity(self) -> float: ...


def same(order: Order, request: OrderRequest) -> Order:
    """Return the order if it is what was requested; else raise `OrderConflictError`."""
    if (order.symbol, order.side, order.price) != (request.symbol, request.side, request.price):
        raise OrderConflictError(order, request)
    # a reduce-only order may have been cut down to the position by the exchange
    if order.qty != request.qty and not (request.reduce_only and order.qty < request.qty):
        raise OrderConflictError(order, request)
    return order
