"""One account: balance, positions, orders, and the bookkeeping of fills and funding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from typing import Any

from .exchange import Exchange
from .orders import ZERO, Order, read
from .wire import Refused, plain, text

TAKER, MAKER = Decimal("0.00055"), Decimal("0.0002")  # VIP 0 on perpetuals
LEVERAGE = 10
Tell = Callable[[str, list[dict[str, Any]]], None]


@dataclass
class Position:
    """Signed size and mean entry price of one symbol."""

    size: Decimal = ZERO
    entry: Decimal = ZERO
    realised: Decimal = ZERO

    def take(self, qty: Decimal, price: Decimal) -> Decimal:
        """Add a signed quantity; return the profit that this realises."""
        old, new = self.size, self.size + qty
        closed = min(abs(old), abs(qty)) if old * qty < 0 else ZERO
        profit = closed * (price - self.entry) * (1 if old > 0 else -1)
        if old * qty >= 0:
            self.entry = (self.entry * abs(old) + price * abs(qty)) / abs(new) if new else ZERO
        elif new * old <= 0:
            self.entry = price if new else ZERO
        self.size, self.realised = new, self.realised + profit
        return profit


class Account:
    """What one API key owns and has asked for.

    Args:
        exchange: where prices and rules come from.
        balance: USDT at the start.
        tell: called with a private topic and its entries whenever something changes.
    """

    def __init__(self, exchange: Exchange, balance: Decimal, tell: Tell) -> None:
        self.exchange, self.balance, self.tell = exchange, balance, tell
        self.orders: list[Order] = []
        self.executions: list[dict[str, Any]] = []
        self.positions: dict[str, Position] = {}
        self._numbers = count(1)

    def position(self, symbol: str) -> Position:
        """Return the position of a symbol, flat at first."""
        return self.positions.setdefault(symbol, Position())

    def equity(self) -> Decimal:
        """Return the balance plus what open positions have earned so far."""
        return self.balance + sum((self.profit(s) for s in self.positions), ZERO)

    def profit(self, symbol: str) -> Decimal:
        """Return the unrealised profit of a position at the last price."""
        held = self.position(symbol)
        return held.size * (self.exchange.price(symbol) - held.entry) if held.size else ZERO

    def accept(self, body: Mapping[str, Any]) -> Order:
        """Check a request and take the order in; `Refused` if it breaks a rule."""
        x = self.exchange
        if body.get("category") != x.category:
            raise Refused(10001, "params error: Category is invalid")
        rules = x.instrument(body.get("symbol"))
        if rules.status != "Trading":
            raise Refused(10001, "params error: symbol is closed")
        last = x.price(rules.symbol)
        order = read(body, rules, last, next(self._numbers), x.clock())
        if order.link and any(o.link == order.link for o in self.orders):
            raise Refused(110072, "OrderLinkedID is duplicate")
        self._afford(order, last)
        self.orders.append(order)
        return order

    def _afford(self, order: Order, last: Decimal) -> None:
        held = self.position(order.symbol).size
        if order.reduce_only:
            if held * order.sign >= 0:
                raise Refused(110017, "current position is zero, cannot fix reduce-only order qty")
            order.qty = min(order.qty, abs(held))
        grown = abs(held + order.sign * order.qty) - abs(held)
        if grown * (order.price or last) > self.equity() * LEVERAGE:
            raise Refused(110007, "ab not enough for new order")

    def work(self, order: Order) -> None:
        """Let an accepted order meet the market for the first time.

        assumption: what can trade fills at once and whole, at the best opposite price.
        """
        if not order.is_open:
            return
        bid, ask = self.exchange.touch(order.symbol, self.exchange.clock())
        price = ask if order.sign > 0 else bid
        meets = not order.price or order.sign * (order.price - price) >= 0
        if meets and order.time_in_force != "PostOnly":
            self.fill(order, price, TAKER, self.exchange.clock())
        elif meets or order.time_in_force in ("IOC", "FOK"):
            self.close(
                order, "EC_PostOnlyWillTakeLiquidity" if meets else "EC_NoImmediateQtyToFill"
            )
        else:
            self.tell("order", [order.entry()])

    def match(self, symbol: str, at: int) -> None:
        """Fill resting orders that the market trades through at time ``at``."""
        for order in self.orders:
            if order.is_open and order.price and order.symbol == symbol and order.created < at:
                bid, ask = self.exchange.touch(symbol, at)
                if order.sign * (order.price - (ask if order.sign > 0 else bid)) > 0:
                    self.fill(order, order.price, MAKER, at)

    def fill(self, order: Order, price: Decimal, rate: Decimal, at: int) -> None:
        """Fill an order whole: position, balance, fee, execution; then tell."""
        value = order.qty * price
        fee = value * rate
        held = self.position(order.symbol)
        self.balance += held.take(order.sign * order.qty, price) - fee
        order.filled, order.value, order.fee = order.qty, value, fee
        order.status, order.updated = "Filled", at
        self._record(
            order.symbol, "Trade", at, order, price=price, qty=order.qty, fee=fee, rate=rate
        )
        self.tell("order", [order.entry()])
        self.tell("position", [self.position_entry(order.symbol)])

    def fund(self, symbol: str, decimal_rate: float, at: int) -> None:
        """Charge funding: longs pay shorts when the rate is positive."""
        held, rate = self.position(symbol), Decimal(text(decimal_rate))
        if held.size:
            price = self.exchange.price(symbol, at)
            fee = held.size * price * rate
            self.balance -= fee
            self._record(
                symbol, "Funding", at, None, price=price, qty=abs(held.size), fee=fee, rate=rate
            )

    def cancel(self, order: Order) -> None:
        """Cancel an open order; refuse (110001) one that is gone."""
        if not order.is_open:
            raise Refused(110001, "order not exists or too late to cancel")
        self.close(order, "EC_PerCancelRequest")

    def close(self, order: Order, reason: str) -> None:
        """End an order unfilled."""
        order.status, order.reason, order.updated = "Cancelled", reason, self.exchange.clock()
        self.tell("order", [order.entry()])

    def _record(self, symbol: str, kind: str, at: int, order: Order | None, **figures: Any) -> None:
        side = order.side if order else ("Sell" if self.position(symbol).size > 0 else "Buy")
        entry = {
            "symbol": symbol,
            "orderId": order.id if order else "",
            "orderLinkId": order.link if order else "",
            "side": side,
            "execId": f"exec-{len(self.executions) + 1:08d}",
            "execType": kind,
            "execTime": str(at),
            "execPrice": plain(figures["price"]),
            "execQty": plain(figures["qty"]),
            "execValue": plain(figures["price"] * figures["qty"]),
            "execFee": plain(figures["fee"]),
            "feeRate": plain(figures["rate"]),
            "isMaker": figures["rate"] == MAKER,
        }
        self.executions.append(entry)
        self.tell("execution", [entry])

    def position_entry(self, symbol: str) -> dict[str, Any]:
        """Return a position as the exchange lists it."""
        held = self.position(symbol)
        side = "Buy" if held.size > 0 else "Sell" if held.size < 0 else ""
        return {
            "symbol": symbol,
            "side": side,
            "size": plain(abs(held.size)),
            "avgPrice": plain(held.entry),
            "positionValue": plain(abs(held.size) * held.entry),
            "unrealisedPnl": plain(self.profit(symbol)),
            "cumRealisedPnl": plain(held.realised),
            "markPrice": plain(self.exchange.price(symbol)),
            "leverage": str(LEVERAGE),
            "positionIdx": 0,
        }
