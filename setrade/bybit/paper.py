"""A broker that trades on paper, with the backtest's account, against bars or against books."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from setrade.backtest import engine
from setrade.bybit import constants, orders
from setrade.bybit.orders import Instrument, Order, OrderRejectedError, OrderRequest
from setrade.candles.checks import valid_bar
from setrade.costs import Costs, fill_price
from setrade.errors import ArgumentError, choice, instance, integer, number
from setrade.orderbook import Snapshots
from setrade.risk import Risk

OHLC = ("open", "high", "low", "close")
FIGURES = ("cash", "units", "entry", "bought_value", "fees", "funding")  # of an account, in a state
NOTHING_TO_REDUCE, NO_PRICE, NO_MARGIN = 110017, 110094, 110007  # the exchange's, for the like
LEVERAGE, FUNDING = 10.0, 0.0001
STATUSES = (*orders.OPEN, "filled", "cancelled", "rejected")
REMEMBERED, STORED = 1_000, 4  # ended orders: in memory, and in a state


@dataclass
class PaperOrder:
    """An order at work; quantities in floats, as the account counts."""

    request: OrderRequest
    status: str = "new"
    filled: float = 0.0
    value: float = 0.0
    reason: str = ""

    @classmethod
    def read(cls, record: Any, status: Any, filled: Any, value: Any, reason: Any) -> PaperOrder:
        """Return an order from a state; ArgumentError where a part of it cannot be."""
        request = OrderRequest.from_record(record)
        done = number("filled", filled, 0.0, float(request.qty) * (1 + 1e-9))
        paid, why = number("value", value, 0.0), instance("reason", reason, str, "text")
        return cls(request, choice("status", status, STATUSES), done, paid, why)

    @property
    def is_open(self) -> bool:
        """True while the order can still fill."""
        return self.status in orders.OPEN

    @cached_property
    def limit(self) -> float:
        """The worst price it takes: infinite for a market order."""
        price = self.request.price
        return self.request.sign * math.inf if price is None else float(price)

    def left(self, held: float) -> float:
        """Return what may still trade, signed; of a ``reduce_only`` order no more than is held."""
        left = self.request.sign * (float(self.request.qty) - self.filled)
        if not self.request.reduce_only:
            return left
        return math.copysign(min(abs(left), abs(held)), left) if held * left < 0 else 0.0

    def take(self, units: float, price: float) -> None:
        """Note a fill of ``units`` (signed) at a price after slippage."""
        self.filled += abs(units)
        self.value += abs(units) * price
        whole = self.filled >= float(self.request.qty)
        self.status = "filled" if whole else "partly_filled"

    def end(self, reason: str) -> None:
        """End it with what it has."""
        self.status, self.reason = "cancelled", reason

    def order(self) -> Order:
        """Return the order as others see it."""
        average = self.value / self.filled if self.filled else None
        return Order.of(
            self.request, f"paper-{self.request.client_order_id}", self.status,
            filled=Decimal(repr(self.filled)), average=average, reason=self.reason,
        )  # fmt: skip


def against_book(units: float, limit: float, book: Snapshots) -> tuple[float, float]:
    """Return how many of ``units`` (signed) trade against a book at once, and their average price.

    ``limit`` is the worst price, infinite with the sign of ``units`` for any. They are fewer than
    wanted where the visible levels within it hold no more; the price of none is NaN.
    """
    side = "ask" if units > 0 else "bid"
    price, size = (getattr(book, f"{side}_{what}")[0] for what in ("price", "size"))
    sizes = np.where(price <= limit if units > 0 else price >= limit, size, 0.0)
    before = sizes.cumsum() - sizes
    taken = np.clip(abs(units) - before, 0.0, sizes)
    total = float(taken.sum())
    if total >= abs(units) * (1 - 1e-15):
        total = abs(units)  # not one rounding less than was asked for
    return math.copysign(total, units), float(taken @ price / taken.sum()) if total else math.nan


def ohlc(bar: Any) -> list[float]:
    """Return open, high, low and close of anything that has them; raise what is wrong."""
    first, high, low, last = found = [bar.open, bar.high, bar.low, bar.close]
    if set(map(type, found)) == {float} and valid_bar(first, high, low, last, 0.0):
        return found
    found = [number(f"bar.{n}", getattr(bar, n), 0.0, above=True) for n in OHLC]
    if not found[2] <= min(found) or not max(found) <= found[1]:
        raise ArgumentError("bar", found, "low <= open, close <= high")
    return found


class PaperBroker:
    """One symbol on paper, behind the same interface as the real brokers.

    Its account is the backtest's record, moved order by order. It is in memory alone, and told
    the same things in the same order it comes to the same end. `state` says where it stands, in
    a size that does not grow with its age, and `restore` goes on from there; the live pipeline
    keeps the state in the run's journal.

    Args:
        symbol: such as ``"BTCUSDT"``; orders in others are refused.
        equity: money at the start, above zero.
        costs: fees and slippage; default ``Costs()``.
        order: what market orders are charged as in bar mode, "taker" or "maker".
        against: ``"bar"``: market orders wait for the next `on_bar` and fill at its open, with
            slippage; limit orders fill at their price, at the maker fee, when a bar trades
            through it. ``"book"``: market orders fill at once against the last `on_book`, level
            by level, and what the visible levels cannot fill is cancelled.
        instrument: steps, minima and maxima that orders must keep to; None: none. See `strict`.
        max_leverage: liquidate when position over equity reaches it; None: when nothing is left.
        leverage: what positions and open orders may come to, times equity, for an order that
            opens to be taken; None: ten times with an instrument (as an account of the exchange
            begins), without one no bound.
        funding_rate: charged at every multiple of ``funding_minutes`` that a bar's open reaches
            where `on_bar` is told no other; longs pay when it is above zero. In bar mode.

    ``newest`` is the time of the newest bar in ns since 1970, -1 before the first.

    Raises:
        ArgumentError: names the argument.
    """

    def __init__(
        self, symbol: str, *, equity: float = 10_000.0, costs: Costs | None = None,
        order: str = "taker", against: str = "bar", instrument: Instrument | None = None,
        max_leverage: float | None = None, leverage: float | None = None,
        funding_rate: float = 0.0, funding_minutes: int = 480,
    ) -> None:  # fmt: skip
        self.symbol = constants.symbol(symbol)
        self.against = choice("against", against, ("bar", "book"))
        if not isinstance(costs, Costs | None):
            raise ArgumentError("costs", costs, "a Costs or None")
        if not isinstance(instrument, Instrument | None):
            raise ArgumentError("instrument", instrument, "an Instrument or None")
        self.costs, start = costs or Costs(), number("equity", equity, 0.0, above=True)
        self.rates, self._rules = self.costs.rates(order), Risk(max_leverage=max_leverage).rules()
        self._a, self._row = engine.new_accounts(1, start)[0], np.zeros(1, engine.LEDGER)[0]
        self._orders: dict[str, PaperOrder] = {}  # oldest first: all open ones, the newest ended
        self._active: list[PaperOrder] = []  # those that were open when last looked
        self._instrument, self._book = instrument, None
        known = leverage is not None or instrument is None
        self._lever = leverage if known else LEVERAGE
        if self._lever is not None:
            number("leverage", self._lever, 1.0, 100.0)
        self._funding = number("funding_rate", funding_rate, -0.01, 0.01)
        self._every = integer("funding_minutes", funding_minutes, 1, 1440) * 60 * 10**9
        self._price: float | None = None
        self.newest = self._decided = -1  # bar and target, ns
        self._waiting: list | None = None  # fraction and time of a target for the next open
        rules = instrument and {k: orders.text(v) for k, v in vars(instrument).items()
                                if isinstance(v, Decimal)}  # fmt: skip
        self.kind = {
            "symbol": symbol, "equity": start, "costs": vars(self.costs), "order": order,
            "against": against, "max_leverage": max_leverage, "instrument": rules,
        }  # fmt: skip
        more = {"leverage": leverage, "funding_rate": funding_rate or None}
        self.kind |= {name: value for name, value in more.items() if value is not None}

    @classmethod
    def strict(cls, symbol: str, **settings: Any) -> PaperBroker:
        """Return an account that refuses what the exchange would, by `Instrument.usual` rules.

        It has ten times leverage and pays 0.01 % funding every eight hours. ``settings`` are the
        arguments of the class; those given here take the place of these.
        """
        usual = {"instrument": Instrument.usual(symbol), "funding_rate": FUNDING}
        return cls(symbol, **usual | settings)

    def state(self) -> dict[str, Any]:
        """Return where it stands, as plain text and numbers for JSON, for `restore`.

        In it are the account, all open orders and the newest ended ones. Of books there is only
        the last mid: after `restore` orders wait for the next `on_book`.
        """
        ended = (order for order in reversed(self._orders.values()) if not order.is_open)
        newest = [*islice(ended, STORED)][::-1]
        return {
            "kind": self.kind, "account": [float(self._a[name]) for name in FIGURES],
            "newest": self.newest, "price": self._price, "decided": self._decided,
            "waiting": self._waiting,
            "orders": [[o.request.record(), o.status, o.filled, o.value, o.reason]
                       for o in (*newest, *self._working())],
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Stand where `state` was taken.

        Raises:
            ArgumentError: it is no state, or that of another kind of account.
        """
        if not isinstance(state, Mapping) or state.get("kind") != self.kind:
            raise ArgumentError("state", state, f"the state of an account {self.kind}")
        try:
            made = [PaperOrder.read(*parts) for parts in state["orders"]]
            account = {n: number(n, v) for n, v in zip(FIGURES, state["account"], strict=True)}
            last, times = constants.LAST_NS, ("newest", "decided")
            newest, decided = (integer(name, state[name], -1, last) for name in times)
            if (price := state["price"]) is not None:
                number("price", price, 0.0, above=True)
            if (waiting := state["waiting"]) is not None:
                want, at = waiting
                number("waiting", want, -100.0, 100.0)
                integer("waiting", at, 0, decided)
            named = {o.request.client_order_id: o for o in made}
            if len(named) < len(made):
                raise ValueError("an order twice")
        except (LookupError, TypeError, ValueError) as error:
            raise ArgumentError("state", state, "what `PaperBroker.state` returned") from error
        for name, value in account.items():  # nothing is changed before all has been read
            self._a[name] = value
        self._orders, self._active = named, made
        self.newest, self._price, self._decided, self._waiting = newest, price, decided, waiting
        self._set_bounds()

    @property
    def fees(self) -> float:
        """Fees paid so far."""
        return float(self._a["fees"])

    @property
    def funding(self) -> float:
        """Funding paid so far (negative: received)."""
        return float(self._a["funding"])

    def instrument(self, symbol: str) -> Instrument | None:
        """Return the steps and minima that orders must keep to; None: none."""
        if symbol != self.symbol:
            raise ArgumentError("symbol", symbol, repr(self.symbol))
        return self._instrument

    def position(self, symbol: str) -> float:
        """Return the signed size held."""
        if symbol != self.symbol:
            raise ArgumentError("symbol", symbol, repr(self.symbol))
        return float(self._a["units"])

    def equity(self) -> float:
        """Return cash plus the open position's profit at the last price seen."""
        return self._worth(self._price or 0.0)

    def _worth(self, price: float) -> float:
        return float(self._a["cash"] + self._a["units"] * (price - self._a["entry"]))

    def order(self, client_order_id: str) -> Order | None:
        """Return an order by its name; None if there is none, or a thousand have come since."""
        order = self._orders.get(client_order_id)
        return None if order is None else order.order()

    def open_orders(self, symbol: str) -> list[Order]:
        """Return the orders that can still fill, oldest first."""
        if symbol != self.symbol:
            raise ArgumentError("symbol", symbol, repr(self.symbol))
        return [order.order() for order in self._working()]

    def _working(self) -> list[PaperOrder]:
        # `is_open`, spelled out: this is asked several times a bar
        self._active = [order for order in self._active if order.status in orders.OPEN]
        return self._active

    def submit(self, request: OrderRequest) -> Order:
        """Take an order; one that was sent before is not taken again.

        Raises:
            ArgumentError: another symbol.
            OrderRuleError: against the instrument's steps or minima.
            OrderRejectedError: nothing to reduce, or no book yet.
            OrderConflictError: an order of that name exists with other figures.
        """
        if not isinstance(request, OrderRequest):
            raise ArgumentError("request", request, "an OrderRequest")
        if request.symbol != self.symbol:
            raise ArgumentError("symbol", request.symbol, repr(self.symbol))
        known = self._orders.get(request.client_order_id)
        if known is not None:
            return orders.same(known.order(), request)
        if self._instrument is not None:
            self._instrument.check(request, lambda: self._price)
        if request.reduce_only and self._a["units"] * request.sign >= 0:
            name = request.client_order_id
            raise OrderRejectedError(name, NOTHING_TO_REDUCE, "no position to reduce")
        if not self._affords(request, self._price):
            name = request.client_order_id
            raise OrderRejectedError(name, NO_MARGIN, "the margin does not cover it")
        if self.against == "book":
            self._require_book(request.client_order_id)
        order = self._take(request)
        if self.against == "book":
            self._meet_book(order)
        return order.order()

    def _affords(self, request: OrderRequest, price: float | None) -> bool:
        """Say whether the account can bear an order; before the first price nobody knows."""
        price = price if request.price is None else float(request.price)
        if self._lever is None or price is None or request.reduce_only:
            return True
        held = float(self._a["units"])
        grown = abs(held + request.sign * float(request.qty)) - abs(held)
        waiting = sum(abs(o.left(held)) * float(o.request.price or price)
                      for o in self._working() if not o.request.reduce_only)  # fmt: skip
        bound = (abs(held) + max(grown, 0.0)) * price + waiting
        return grown <= 0 or bound <= self._lever * self._worth(price) * (1 + 1e-9)

    def _require_book(self, name: str) -> None:
        if self._book is None:
            raise OrderRejectedError(name, NO_PRICE, "no book seen yet")

    def _take(self, request: OrderRequest) -> PaperOrder:
        """Note a new order, in the place of the oldest ended one where there are many."""
        if len(self._orders) >= REMEMBERED:
            oldest = next((n for n, order in self._orders.items() if not order.is_open), "")
            self._orders.pop(oldest, None)
        order = self._orders[request.client_order_id] = PaperOrder(request)
        self._active.append(order)
        return order

    def cancel(self, client_order_id: str) -> Order:
        """Cancel an open order; one that has ended is returned as it is.

        Raises:
            OrderNotFoundError: no order of that name.
        """
        order = self._orders.get(client_order_id)
        if order is None:
            raise orders.OrderNotFoundError(str(client_order_id), "there is none")
        if order.is_open:
            order.end("cancelled")
        return order.order()

    def target(
        self, symbol: str, fraction: float, *, decided: pd.Timestamp, price: float | None = None
    ) -> list[Order]:
        """Ask for a position of ``fraction`` of equity.

        In bar mode it is sized and filled at the next bar's open, as `backtest.run` does, and
        nothing is returned yet; in book mode at once, sized at ``price``, or at the mid. A
        decision that is not newer than the newest is not carried out (again).
        """
        if symbol != self.symbol:
            raise ArgumentError("symbol", symbol, repr(self.symbol))
        want = number("fraction", fraction, -100.0, 100.0)
        at = constants.moment("decided", decided)
        worth = self._price if price is None else number("price", price, 0.0, above=True)
        if at > self._decided:
            if self.against == "book":
                self._require_book(str(decided))
            self._decided = at
            if self.against == "bar":
                self._waiting = [want, at]
            else:
                for order in self._legs(want, at, number("price", worth)):
                    if order.is_open:
                        self._meet_book(order)
        names = orders.target_names(symbol, at)
        return [order for order in map(self.order, names) if order is not None]

    def _legs(self, fraction: float, decided: int, price: float) -> list[PaperOrder]:
        """Return the orders that lead to a target, taken in but not yet traded."""
        held, rates, made = float(self._a["units"]), self.rates, []
        if self.against == "book":  # the book's own levels are the slippage
            rates = rates._replace(slippage=0.0)
        at = pd.Timestamp(decided, tz="UTC")
        for units in orders.legs(fraction, self._worth(price), held, price, rates):
            request = orders.target_request(units, held, self.symbol, price, at, self._instrument)
            if request is not None:
                made.append(self._take_or_refuse(request, price))
            held += units
        return made

    def _take_or_refuse(self, request: OrderRequest, price: float) -> PaperOrder:
        """Take an order of a target; one that the exchange would refuse ends as it would."""
        most = self._instrument and self._instrument.most(request)
        reason = "" if self._affords(request, price) else "no_margin"
        if most is not None and request.qty > most and not request.reduce_only:
            reason = "above_the_maximum"
        order = self._take(request)
        if reason:
            order.status, order.reason = "rejected", reason
        return order

    def on_bar(self, bar: Any, *, funding_open: float = 0.0, funding_inside: float = 0.0) -> None:
        """Live through a closed bar (bar mode): its open, what lies between, its close.

        Args:
            bar: anything with ``time`` (UTC, or ns since 1970) and ``open high low close``.
            funding_open: rate charged at its open, on what was held into it.
            funding_inside: sum of the rates inside, charged at the open on what is then held.

        Raises:
            ArgumentError: book mode, prices that make no bar, a bar that is not newer than the
                last, or a rate beyond -1 to 1.
        """
        if self.against != "bar":
            raise ArgumentError("against", self.against, '"bar"')
        time = bar.time if type(bar.time) is int else constants.moment("bar.time", bar.time)
        if not self.newest < time <= constants.LAST_NS:
            raise ArgumentError("bar", bar.time, f"after {pd.Timestamp(self.newest)}, by 2200")
        first, high, low, last = ohlc(bar)
        for name, rate in (("funding_open", funding_open), ("funding_inside", funding_inside)):
            if rate != 0.0:  # nearly every bar pays none
                number(name, rate, -1.0, 1.0)
        if self._funding and not funding_open and self.newest >= 0:
            funding_open = self._funding * (time // self._every - self.newest // self._every)
        self.newest = time
        self._fund_and_force(funding_open, first, first, first)
        for order in self._working():
            self._meet_open(order, first)
        if self._waiting is not None:
            (fraction, decided), self._waiting = self._waiting, None
            for order in self._legs(fraction, decided, first):
                if order.is_open:
                    self._meet_open(order, first)
        self._fund_and_force(funding_inside, first, high, low)
        self._trade_through(low, high)
        self._price = last

    def on_book(self, book: Snapshots) -> None:
        """Look at the newest book, one row (book mode); what it trades through is filled.

        Raises:
            ArgumentError: bar mode, several rows, or another kind of thing.
        """
        if self.against != "book":
            raise ArgumentError("against", self.against, '"book"')
        if not isinstance(book, Snapshots) or len(book) != 1:
            raise ArgumentError("book", book, "orderbook.Snapshots of one row")
        self._book, mid = book, float(book.mid()[0])
        self._price = mid
        self._fund_and_force(0.0, mid, mid, mid)
        self._trade_through(float(book.ask_price[0, 0]), float(book.bid_price[0, 0]))

    def fund(self, time: pd.Timestamp, rate: float, price: float) -> None:
        """Charge funding (longs pay when ``rate`` > 0) on the value held at ``price``."""
        constants.moment("time", time)
        self._fund(number("rate", rate, -1.0, 1.0), number("price", price, 0.0, above=True))

    def _fund(self, rate: float, price: float) -> None:
        if self._a["units"]:
            engine.pay_funding(self._a, rate, price)
            self._set_bounds()

    def _fund_and_force(self, rate: float, first: float, high: float, low: float) -> None:
        """Charge funding, then close what a bar with these prices forces to close."""
        if not self._a["units"]:
            return
        if rate:
            self._fund(rate, first)
        bar = engine.BarPrices(0, first, high, low, first, first, math.nan, 0, 0.0, 0.0)
        engine.force_exit(self._a, bar, high, low, self.rates, self._row)
        if not self._a["units"]:
            self._waiting = None

    def _set_bounds(self) -> None:
        """Recompute the liquidation price; on paper there is neither stop nor target."""
        side = math.copysign(1.0, self._a["units"])
        self._a["stop"], self._a["target"] = -side * math.inf, side * math.inf
        engine.set_bounds(self._a, self._rules, self.rates)

    def _trade_through(self, ask: float, bid: float) -> None:
        """Fill resting orders whose price lies beyond ``ask`` or ``bid``: a touch is not enough."""
        for order in self._working():
            if order.limit > ask if order.request.sign > 0 else order.limit < bid:
                self._fill(order, order.limit, self.rates.maker)

    def _meet_open(self, order: PaperOrder, first: float) -> None:
        """Trade at a bar's open: market orders, and limit orders that it satisfies."""
        sign, price, slippage = order.request.sign, first, self.rates.slippage
        if sign * first > sign * order.limit:
            return
        if sign * fill_price(first, sign, slippage) > sign * order.limit:
            price, slippage = order.limit, 0.0
        self._fill(order, price, self.rates.fee, slippage)

    def _meet_book(self, order: PaperOrder) -> None:
        """Trade against the book at once; a market order's rest is cancelled."""
        assert self._book is not None
        wanted = order.left(self._a["units"])
        units, price = against_book(wanted, order.limit, self._book)
        if units:
            self._fill(order, price, self.rates.taker, most=abs(units))
        if order.is_open and order.request.price is None:
            order.end("book_too_thin" if wanted else "nothing_to_reduce")

    def _fill(
        self, order: PaperOrder, price: float, fee: float, slippage: float = 0.0,
        most: float = math.inf,
    ) -> None:  # fmt: skip
        """Trade what is left of an order, at ``most`` so many units, at a price."""
        left = order.left(self._a["units"])
        units = math.copysign(min(most, abs(left)), left)
        if units:
            order.take(units, self._trade(units, price, fee, slippage))
        if order.is_open and not order.left(self._a["units"]):
            order.end("nothing_to_reduce")

    def _trade(self, units: float, price: float, fee_rate: float, slippage: float) -> float:
        """Buy (``units`` > 0) or sell; return the price after slippage.

        A trade through zero is two: the close, then the opening of the rest.
        """
        a, held = self._a, float(self._a["units"])
        if held * units < 0 and abs(units) > abs(held):
            self._trade(-held, price, fee_rate, slippage)
            return self._trade(units + held, price, fee_rate, slippage)
        engine.fill(a, units, price, fee_rate, slippage)
        if self._instrument is not None:  # sums of floats leave the steps by a rounding
            step = self._instrument.qty_step
            a["units"] = float(round(Decimal(repr(float(a["units"]))) / step) * step)
        if a["units"] == 0:
            a["entry"] = 0.0
        self._set_bounds()
        return fill_price(price, units, slippage)


def replay_lines(broker: PaperBroker, path: Path) -> None:
    """Live once more through the JSON lines that the first version kept beside a run's journal.

    A line that a crash cut short says nothing that was done.

    Raises:
        ArgumentError: a line that cannot be read, or those of another kind of account.
    """
    raw = path.read_bytes()
    for line in raw[: raw.rfind(b"\n") + 1].splitlines():
        try:
            entry = json.loads(line)
            kind = entry.pop("kind")
            if kind == "account":  # costs of the first version knew no tick and no lot
                entry["costs"] = {"tick": 0.0, "lot": 0.0} | dict(entry["costs"])
                if entry != broker.kind:
                    raise ValueError(f"not an account {broker.kind}")
            if kind == "bar":
                at, prices = pd.Timestamp(entry["time"]).value, entry["prices"]
                broker.on_bar(SimpleNamespace(time=at, **dict(zip(OHLC, prices, strict=True))))
            elif kind == "submit":
                broker.submit(OrderRequest.from_record(entry["intent"]))
            elif kind == "cancel":
                broker.cancel(entry["link_id"])
            elif kind not in ("account", "fill"):  # a fill follows from the others
                raise ValueError(f"{kind}: the live pipeline told no such thing")
        except (LookupError, TypeError, ValueError) as error:
            raise ArgumentError("journal", line, f"a line of {path.name} to go on from") from error
