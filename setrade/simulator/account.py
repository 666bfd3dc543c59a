"""Accounts: their orders, fills, positions, coins and funding, and how the exchange lists them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import count
from typing import Any

from setrade.simulator import wire
from setrade.simulator.market import Exchange
from setrade.simulator.wire import ListedInstrument, Refused, plain, positive, text

ZERO = Decimal(0)
CONDITIONAL = ("triggerPrice", "takeProfit", "stopLoss", "trailingStop")
TAKER, MAKER = Decimal("0.00055"), Decimal("0.0002")  # VIP 0 on perpetuals
LEVERAGE, MAINTENANCE = Decimal(10), Decimal("0.005")  # at first; of the lowest risk tier
FORCES = ("GTC", "IOC", "FOK", "PostOnly")
Entry = dict[str, Any]  # a thing as the exchange lists it
Params = Mapping[str, Any]


@dataclass
class RestingOrder:
    """One order and what has become of it."""

    id: str
    symbol: str
    side: str
    kind: str
    qty: Decimal
    price: Decimal
    time_in_force: str
    link: str
    reduce_only: bool
    created: int
    updated: int
    status: str = "New"
    filled: Decimal = ZERO
    value: Decimal = ZERO
    fee: Decimal = ZERO
    reason: str = "EC_NoError"
    category: str = "linear"
    coin: str = "USDT"  # that fees are paid in
    made_by: str = "CreateByUser"
    last: Decimal = ZERO  # price of the last trade when it was taken
    closed: Decimal = ZERO  # profit of what it closed

    @property
    def sign(self) -> int:
        """+1 for a buy, -1 for a sell."""
        return 1 if self.side == "Buy" else -1

    @property
    def is_open(self) -> bool:
        """True while the order can still fill."""
        return self.status == "New"

    def ids(self) -> dict[str, str]:
        """Return the two names of the order."""
        return {"orderId": self.id, "orderLinkId": self.link}

    def entry(self) -> Entry:
        """Return the order as the exchange lists it."""
        average = self.value / self.filled if self.filled else None
        left = self.qty - self.filled if self.is_open else ZERO
        cancelled = self.status == "Cancelled"
        by_user = self.reason == "EC_PerCancelRequest"
        return wire.ORDER | self.ids() | {
            "category": self.category, "symbol": self.symbol, "side": self.side,
            "orderType": self.kind, "price": plain(self.price), "qty": plain(self.qty),
            "timeInForce": self.time_in_force, "reduceOnly": self.reduce_only,
            "orderStatus": self.status, "rejectReason": self.reason, "createType": self.made_by,
            "cancelType": "CancelByUser" if cancelled and by_user else "UNKNOWN",
            "avgPrice": "" if average is None else plain(average), "leavesQty": plain(left),
            "leavesValue": plain(left * self.price), "cumExecQty": plain(self.filled),
            "cumExecValue": plain(self.value), "cumExecFee": plain(self.fee),
            "cumFeeDetail": {self.coin: plain(self.fee)} if self.filled else {},
            "feeCurrency": self.coin, "closedPnl": plain(self.closed),
            "lastPriceOnCreated": plain(self.last),
            "createdTime": str(self.created), "updatedTime": str(self.updated),
        }  # fmt: skip


def read(
    body: Params, rules: ListedInstrument, last: Decimal, number: int, now: int
) -> RestingOrder:
    """Return the order that the body of ``/v5/order/create`` asks for.

    ``last`` is the price that a market order is valued at; the running ``number`` and the time
    ``now`` (ms) make the order id.

    Raises:
        Refused: a field is missing, malformed or against the rules.
    """
    for name, allowed in (("side", ("Buy", "Sell")), ("orderType", ("Market", "Limit"))):
        if body.get(name) not in allowed:
            raise Refused(10001, f"params error: {name} invalid")
    market = body["orderType"] == "Market"
    force = "IOC" if market else body.get("timeInForce") or "GTC"
    if force == "RPI":
        raise Refused(110119, "RPI orders are restricted to approved market makers only")
    if force not in FORCES or body.get("timeInForce") not in (None, "", *FORCES):
        raise Refused(10001, "params error: timeInForce invalid")
    if any(body.get(name) for name in CONDITIONAL) or body.get("positionIdx", 0) != 0:
        # assumption: this exchange knows one-way positions and plain orders only
        raise Refused(10001, "position idx not match position mode, or a conditional order")
    link = body.get("orderLinkId") or ""
    if not isinstance(link, str) or len(link) > 36:
        raise Refused(10001, "params error: orderLinkId invalid")
    price = ZERO if market else positive("price", body.get("price"))
    qty = _quantity(body, rules, price or last, last)
    if price % Decimal(rules.tick_size):
        raise Refused(10001, "params error: price is not a multiple of tickSize")
    return RestingOrder(
        f"{number:08x}-0000-4000-8000-{now:012x}", rules.symbol, body["side"], body["orderType"],
        qty, price, force, link, bool(body.get("reduceOnly")), created=now, updated=now,
        category=body["category"], coin=rules.settles(body["category"]), last=last,
    )  # fmt: skip


def _quantity(body: Params, rules: ListedInstrument, price: Decimal, last: Decimal) -> Decimal:
    """Return the quantity in coins, by the rules; assumption: their codes and texts.

    One that only reduces may be larger than the largest: it is split. A quantity of 0 that also
    closes on trigger stands for all that is held.
    """
    reduces, step = bool(body.get("reduceOnly")), Decimal(rules.qty_step)
    if body.get("qty") == "0" and reduces and body.get("closeOnTrigger"):
        return ZERO
    qty = positive("qty", body.get("qty"))
    by_value = body["category"] == "spot" and body["orderType"] == "Market"
    if by_value and body["side"] == "Buy" and body.get("marketUnit") != "baseCoin":
        qty = qty / last // step * step  # a spot market buy is sized by value
    if qty < Decimal(rules.min_qty):
        raise Refused(10001, "The number of contracts exceeds minimum limit allowed")
    if qty > Decimal(rules.most(body["orderType"])) and not reduces:
        raise Refused(10001, "The number of contracts exceeds maximum limit allowed")
    if qty % step:
        raise Refused(10001, "params error: qty is not a multiple of qtyStep")
    if not reduces and qty * price < Decimal(rules.min_notional):
        raise Refused(110094, f"Order does not meet minimum order value {rules.min_notional}USDT")
    return qty


@dataclass
class Position:
    """Signed size and mean entry price of one symbol.

    ``realised`` is what was earned so far, less fees, ``current`` by what is held now; ``stops``
    are the prices of ``takeProfit`` and ``stopLoss``.
    """

    size: Decimal = ZERO
    entry: Decimal = ZERO
    realised: Decimal = ZERO
    current: Decimal = ZERO
    created: int = 0
    opened: int = 0
    updated: int = 0
    stops: dict[str, Decimal] = field(default_factory=dict)

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

    def stamp(self, before: Decimal, at: int) -> None:
        """Note a change at a time; what hung on a position that has ended is gone."""
        self.created, self.updated = self.created or at, at
        if self.size * before <= 0:
            self.stops, self.current, self.opened = {}, ZERO, at if self.size else 0


class Account:
    """What one API key owns and has asked for.

    Args:
        exchange: where prices and rules come from.
        balance: USDT at the start.
        tell: called with a private topic and its entry whenever something changes.
    """

    def __init__(
        self, exchange: Exchange, balance: Decimal, tell: Callable[[str, Entry], None]
    ) -> None:
        self.exchange, self.balance, self.tell = exchange, balance, tell
        self.orders: list[RestingOrder] = []
        self.executions: list[Entry] = []
        self.closed: list[Entry] = []  # what positions earned, one entry a closing fill
        self.positions: dict[str, Position] = {}
        self.coins: dict[str, Decimal] = {}  # bought on spot
        self.leverages: dict[str, Decimal] = {}
        self._numbers = count(1)

    def position(self, symbol: str) -> Position:
        """Return the position of a symbol, flat at first."""
        return self.positions.setdefault(symbol, Position())

    def leverage(self, symbol: str) -> Decimal:
        """Return the leverage that a symbol is set to."""
        return self.leverages.get(symbol, LEVERAGE)

    def equity(self) -> Decimal:
        """Return the balance, what open positions have earned so far, and the worth of coins."""
        return self.balance + sum((self.profit(s) for s in self.positions), self._coins_worth())

    def _coins_worth(self) -> Decimal:
        known = self.exchange.instruments.values() if self.coins else ()
        held = ((self.coins.get(rules.base, ZERO), rules.symbol) for rules in known)
        return sum((size * self.exchange.price(name) for size, name in held if size), ZERO)

    def profit(self, symbol: str) -> Decimal:
        """Return the unrealised profit of a position at the last price."""
        held = self.position(symbol)
        return held.size * (self.exchange.price(symbol) - held.entry) if held.size else ZERO

    def margin(self) -> tuple[Decimal, Decimal]:
        """Return what positions and open orders bind of the equity; assumption: no netting."""
        held = sum((abs(p.size) * self.exchange.price(s) / self.leverage(s)
                    for s, p in self.positions.items() if p.size), ZERO)  # fmt: skip
        ordered = sum((o.qty * o.price / self.leverage(o.symbol) for o in self.orders
                       if o.is_open and not o.reduce_only), ZERO)  # fmt: skip
        return held, ordered

    def accept(self, body: Params) -> list[RestingOrder]:
        """Check a request and take it in, as several orders where a large one only reduces.

        Raises:
            Refused: it breaks a rule.
        """
        x = self.exchange
        rules = x.instrument(body.get("symbol"))
        if x.category == "inverse":
            # assumption: contracts of one dollar, paid in coins, are quoted here and not traded
            raise Refused(110102, "this simulator does not trade inverse contracts")
        if rules.status != "Trading":
            raise Refused(110074, "This contract is not live")
        last = x.price(rules.symbol)
        order = read(body, rules, last, next(self._numbers), x.clock())
        if order.link and any(o.link == order.link for o in self.orders):
            raise Refused(110072, "OrderLinkedID is duplicate")
        self._afford(order, last)
        made = [*self._split(order, Decimal(rules.most(order.kind)))]
        self.orders += made
        return made

    def _split(self, order: RestingOrder, most: Decimal) -> Iterator[RestingOrder]:
        """Yield the orders that a reducing one becomes; assumption: the first bears its name."""
        left = min(order.qty, most)
        yield replace(order, qty=left)
        while left < order.qty:
            name = f"{next(self._numbers):08x}{order.id[8:]}"
            yield replace(order, id=name, link="", qty=min(order.qty - left, most))
            left += most

    def _afford(self, order: RestingOrder, last: Decimal) -> None:
        """Cut a reducing order to what is held, and refuse what the account cannot pay for."""
        if order.category == "spot":
            base = self.exchange.instruments[order.symbol].base
            value, owned = order.qty * (order.price or last), self.coins.get(base, ZERO)
            if (value > self.balance) if order.sign > 0 else (order.qty > owned):
                raise Refused(170131, "Insufficient balance.")
            return
        held = self.position(order.symbol).size
        if order.reduce_only:
            if held * order.sign >= 0:
                raise Refused(110017, "current position is zero, cannot fix reduce-only order qty")
            order.qty = min(order.qty or abs(held), abs(held))
        grown = abs(held + order.sign * order.qty) - abs(held)
        needed = grown * (order.price or last) / self.leverage(order.symbol)
        if grown > 0 and needed > self.equity() - sum(self.margin()):
            raise Refused(110007, "ab not enough for new order")

    def work(self, order: RestingOrder) -> None:
        """Let an accepted order meet the market for the first time.

        assumption: what can trade fills at once and whole, at the best opposite price.
        """
        order.status = "New"
        bid, ask = self.exchange.touch(order.symbol, self.exchange.clock())
        price = ask if order.sign > 0 else bid
        meets = not order.price or order.sign * (order.price - price) >= 0
        if meets and order.time_in_force != "PostOnly":
            self.fill(order, price, TAKER, self.exchange.clock())
        elif meets or order.time_in_force in ("IOC", "FOK"):
            why = "EC_PostOnlyWillTakeLiquidity" if meets else "EC_NoImmediateQtyToFill"
            self.cancel(order, why)
        else:
            self.tell("order", order.entry())
            self.tell("wallet", self.wallet())

    def amend(self, order: RestingOrder, body: Params) -> None:
        """Change price or quantity of an open order; it meets the market anew."""
        changed = {n: positive(n, body[n]) for n in ("price", "qty") if body.get(n)}
        now = {"price": order.price, "qty": order.qty}
        if not changed or now | changed == now:
            raise Refused(10001, "The order remains unchanged as the parameters match it")
        fresh, rules = now | changed, self.exchange.instruments[order.symbol]
        limits = order.entry() | {"category": order.category, "timeInForce": order.time_in_force}
        limits |= {name: plain(value) for name, value in fresh.items()} | {"takeProfit": ""}
        wanted = read(limits, rules, self.exchange.price(order.symbol), 0, self.exchange.clock())
        order.status = "Created"  # its own margin is free meanwhile
        try:
            self._afford(wanted, self.exchange.price(order.symbol))
        finally:
            order.status = "New"
        order.price, order.qty, order.updated = wanted.price, wanted.qty, self.exchange.clock()
        self.work(order)

    def match(self, symbol: str, at: int) -> None:
        """Fill what the market trades through at time ``at``: resting orders, then stops."""
        for order in self.orders:
            if order.is_open and order.price and order.symbol == symbol and order.created < at:
                bid, ask = self.exchange.touch(symbol, at)
                if order.sign * (order.price - (ask if order.sign > 0 else bid)) > 0:
                    self.fill(order, order.price, MAKER, at)
        held = self.positions.get(symbol)
        if held is not None and held.size and held.stops:
            self._stop(symbol, held, at)

    def _stop(self, symbol: str, held: Position, at: int) -> None:
        """Close a position whose stop or target is touched, at the market."""
        side, (bid, ask) = (1 if held.size > 0 else -1), self.exchange.touch(symbol, at)
        price = bid if side > 0 else ask
        for name, beyond in (("stopLoss", -1), ("takeProfit", 1)):
            level = held.stops.get(name)
            if level is not None and beyond * side * (price - level) >= 0:
                order = RestingOrder(
                    f"{next(self._numbers):08x}-0000-4000-8000-{at:012x}", symbol,
                    "Sell" if side > 0 else "Buy", "Market", abs(held.size), ZERO, "IOC", "",
                    True, at, at, made_by=f"CreateBy{name[0].upper()}{name[1:]}", last=price,
                )  # fmt: skip
                self.orders.append(order)
                self.fill(order, price, TAKER, at)
                return

    def fill(self, order: RestingOrder, price: Decimal, rate: Decimal, at: int) -> None:
        """Fill an order whole: position or coins, balance, fee, execution; then tell."""
        value, spot = order.qty * price, order.category == "spot"
        fee, before, profit = value * rate, ZERO, ZERO
        held = self.position(order.symbol) if not spot else Position()
        if order.reduce_only:  # another order may have closed meanwhile
            order.qty = min(order.qty, abs(held.size)) if held.size * order.sign < 0 else ZERO
            if not order.qty:
                return self.cancel(order, "EC_Others")
            value, fee = order.qty * price, order.qty * price * rate
        if spot:
            fee = self._swap(order, value, rate)
        else:
            before, entry = held.size, held.entry
            profit = held.take(order.sign * order.qty, price)
            self.balance += profit - fee
            held.realised, held.current = held.realised - fee, held.current + profit - fee
            held.stamp(before, at)
            if before * order.sign < 0:
                order.closed = profit - fee
                self._note_closed(order, min(abs(before), order.qty), entry, price, at)
        order.filled, order.value, order.fee = order.qty, value, fee
        order.status, order.updated = "Filled", at
        self._record(order, "Trade", at, price, order.qty, fee, rate,
                     min(abs(before), order.qty) if before * order.sign < 0 else ZERO)  # fmt: skip
        self.tell("order", order.entry())
        if not spot:
            self.tell("position", self.position_entry(order.symbol))
        self.tell("wallet", self.wallet())

    def _swap(self, order: RestingOrder, value: Decimal, rate: Decimal) -> Decimal:
        """Exchange coins for money on spot; return the fee, taken from what comes in."""
        base = self.exchange.instruments[order.symbol].base
        fee = (order.qty if order.sign > 0 else value) * rate
        order.coin = base if order.sign > 0 else order.coin
        came = order.qty - fee if order.sign > 0 else -order.qty
        self.coins[base] = self.coins.get(base, ZERO) + came
        self.balance -= value if order.sign > 0 else fee - value
        return fee

    def fund(self, symbol: str, decimal_rate: float, at: int) -> None:
        """Charge funding: longs pay shorts when the rate is positive."""
        held, rate = self.position(symbol), Decimal(text(decimal_rate))
        if held.size:
            price, side = self.exchange.price(symbol, at), "Sell" if held.size > 0 else "Buy"
            fee = held.size * price * rate
            self.balance -= fee
            held.realised, held.current = held.realised - fee, held.current - fee
            coin = self.exchange.instruments[symbol].settles(self.exchange.category)
            order = RestingOrder("", symbol, side, "UNKNOWN", ZERO, ZERO, "", "", False, at, at,
                                 category=self.exchange.category, coin=coin)  # fmt: skip
            self._record(order, "Funding", at, price, abs(held.size), fee, rate, ZERO)
            self.tell("wallet", self.wallet())

    def cancel(self, order: RestingOrder, reason: str = "EC_PerCancelRequest") -> None:
        """End an open order unfilled."""
        order.status, order.reason, order.updated = "Cancelled", reason, self.exchange.clock()
        self.tell("order", order.entry())
        self.tell("wallet", self.wallet())

    def _record(
        self, order: RestingOrder, kind: str, at: int, price: Decimal, qty: Decimal, fee: Decimal,
        rate: Decimal, closed: Decimal,
    ) -> None:  # fmt: skip
        number = len(self.executions) + 1
        entry = wire.EXECUTION | order.ids() | {
            "category": order.category, "symbol": order.symbol, "side": order.side,
            "execType": kind, "execId": f"exec-{number:08d}", "execTime": str(at),
            "execPrice": plain(price), "execQty": plain(qty), "execValue": plain(price * qty),
            "execFee": plain(fee), "feeRate": plain(rate), "feeCurrency": order.coin,
            "isMaker": rate == MAKER, "orderPrice": plain(order.price),
            "orderQty": plain(order.qty), "orderType": order.kind, "leavesQty": "0",
            "createType": order.made_by, "closedSize": plain(closed), "seq": number,
            "markPrice": plain(price), "execPnl": plain(order.closed),
        }  # fmt: skip
        self.executions.append(entry)
        self.tell("execution", entry)

    def _note_closed(
        self, order: RestingOrder, qty: Decimal, entry: Decimal, price: Decimal, at: int
    ) -> None:
        self.closed.append({
            "symbol": order.symbol, "orderId": order.id, "side": order.side, "qty": plain(qty),
            "orderPrice": plain(order.price), "orderType": order.kind, "execType": "Trade",
            "closedSize": plain(qty), "cumEntryValue": plain(qty * entry),
            "avgEntryPrice": plain(entry), "cumExitValue": plain(qty * price),
            "avgExitPrice": plain(price), "closedPnl": plain(order.closed), "fillCount": "1",
            "leverage": plain(self.leverage(order.symbol)), "createdTime": str(at),
            "updatedTime": str(at),
        })  # fmt: skip

    def position_entry(self, symbol: str) -> Entry:
        """Return a position as the exchange lists it."""
        held, lever = self.position(symbol), self.leverage(symbol)
        side = "Buy" if held.size > 0 else "Sell" if held.size < 0 else ""
        mark = self.exchange.price(symbol)
        value, worth = abs(held.size) * held.entry, abs(held.size) * mark
        stops = {name: plain(held.stops.get(name, ZERO)) for name in ("takeProfit", "stopLoss")}
        initial, least = plain(worth / lever), plain(worth * MAINTENANCE)
        even = held.entry - held.current / held.size if held.size else ZERO
        return wire.POSITION | stops | {
            "category": self.exchange.category, "symbol": symbol, "side": side,
            "size": plain(abs(held.size)), "avgPrice": plain(held.entry),
            "entryPrice": plain(held.entry), "positionValue": plain(value) if value else "",
            "leverage": plain(lever), "markPrice": plain(mark), "positionIM": initial,
            "positionIMByMp": initial, "positionBalance": initial, "positionMM": least,
            "positionMMByMp": least, "breakEvenPrice": plain(even) if held.size else "",
            "unrealisedPnl": plain(self.profit(symbol)), "curRealisedPnl": plain(held.current),
            "cumRealisedPnl": plain(held.realised), "createdTime": str(held.created),
            "updatedTime": str(held.updated), "openTime": held.opened,
            "seq": len(self.executions),
        }  # fmt: skip

    def wallet(self) -> Entry:
        """Return the account's money as the exchange lists it; a USDT is taken as a dollar."""
        equity, (held, ordered) = self.equity(), self.margin()
        profit = sum((self.profit(s) for s in self.positions), ZERO)
        cash, worth = self.balance, self._coins_worth()
        realised = sum((p.realised for p in self.positions.values()), ZERO)
        least = plain(held * LEVERAGE * MAINTENANCE)
        money = wire.COIN | {
            "coin": "USDT", "equity": plain(cash + profit), "usdValue": plain(cash + profit),
            "walletBalance": plain(cash), "totalOrderIM": plain(ordered),
            "totalPositionIM": plain(held), "totalPositionMM": least,
            "unrealisedPnl": plain(profit), "cumRealisedPnl": plain(realised),
        }  # fmt: skip
        coins = [money, *(self._coin(name, size) for name, size in self.coins.items() if size)]
        rates = {"IM": held + ordered, "MM": held * LEVERAGE * MAINTENANCE}
        shares = {f"account{n}Rate": plain(v / equity) if equity else "0" for n, v in rates.items()}
        bound = {"totalInitialMargin": plain(held + ordered), "totalMaintenanceMargin": least}
        both = shares | bound
        return both | {f"{name}ByMp": value for name, value in both.items()} | {
            "accountType": "UNIFIED", "accountLTV": "0", "totalEquity": plain(equity),
            "totalWalletBalance": plain(cash + worth), "totalMarginBalance": plain(equity),
            "totalAvailableBalance": plain(max(ZERO, equity - held - ordered)),
            "totalPerpUPL": plain(profit), "coin": coins,
        }  # fmt: skip

    def _coin(self, name: str, size: Decimal) -> Entry:
        known = next((r for r in self.exchange.instruments.values() if r.base == name), None)
        worth = size * self.exchange.price(known.symbol) if known else ZERO
        return wire.COIN | {
            "coin": name, "equity": plain(size), "walletBalance": plain(size),
            "usdValue": plain(worth), "totalOrderIM": "0", "totalPositionIM": "0",
            "totalPositionMM": "0", "unrealisedPnl": "0", "cumRealisedPnl": "0",
        }  # fmt: skip
