"""Streams and orders through every fault of the simulator, counted (chapter 20b).

Four runs; nothing leaves this machine. Books: deltas of a true book through every stream
fault, the local book compared with the true one at every update. Acks: connections whose
subscription is acknowledged at once, which kills pybit's own callback. Orders: each answer is
lost in another way; afterwards each order exists once. And what pybit's own local book makes
of one lost message.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from collections import Counter
from typing import Any

import numpy as np
from pybit.unified_trading import WebSocket
from tqdm import tqdm

from setrade import candles, orderbook, results, simulator
from setrade.bybit import Retry
from setrade.bybit.broker import TestnetBroker
from setrade.bybit.connection import Backoff
from setrade.bybit.events import BookHandler, BookUpdate, Gap, parse
from setrade.bybit.orders import OrderRequest
from setrade.bybit.stream import Stream

TOPIC, LEVELS, STEP = "orderbook.50.BTCUSDT", 50, 5
AT_SUBSCRIPTION = ("nack", "delta_first", "instant_ack")
ANSWERS = ("drop", "cut_body", "bad_json", "slow", "http_500", "http_429", "rate_limit_bare")
KEY, SECRET = "loopback-key", "loopback-secret"  # of the simulator, worth nothing


class Witness:
    """Compares each update of a stream's book with the true book at that moment."""

    def __init__(self, stream: Stream, books: orderbook.Snapshots) -> None:
        self.stream, self.books = stream, books
        self.rows = {t: i for i, t in enumerate(books.time.astype("M8[ms]").astype(int).tolist())}
        self.updates = self.divergences = self.gaps = 0
        self.reasons: Counter[str] = Counter()

    def until(self, row: int, seconds: float) -> bool:
        """Read events until the book has reached a row of the truth; False: not in time."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            event = self.stream.get(min(left, 0.05))
            if isinstance(event, Gap):
                self.gaps += 1
                self.reasons[event.reason] += 1
            if isinstance(event, BookUpdate) and self._compare(event) == row:
                return True
        return False

    def _compare(self, event: BookUpdate) -> int:
        row, book = self.rows[event.time_ms], self.stream.book("BTCUSDT")
        truth = self.books[row : row + 1]
        names = ("bid_price", "bid_size", "ask_price", "ask_size")
        equal = all(np.array_equal(getattr(book, n), getattr(truth, n)) for n in names)
        self.updates += 1
        self.divergences += not equal
        return row


def faults_by_step(
    steps: int, each: int, rng: np.random.Generator
) -> dict[int, list[simulator.Fault]]:
    """Return which faults strike at which step, every kind ``each`` times or more."""
    kinds = [k for k in simulator.STREAM if k not in AT_SUBSCRIPTION] * each
    rng.shuffle(kinds)
    plan = {}
    for n, step in enumerate(rng.choice(steps, len(kinds), replace=False).tolist()):
        plan[step] = [simulator.Fault(kinds[n], seconds=0.02)]
        if n % 2:  # waits for the next subscription, which such a fault causes
            plan[step].append(simulator.Fault(AT_SUBSCRIPTION[n // 2 % 3]))
    return plan


def books_through_faults(deltas: int, each: int, seed: int) -> dict[str, Any]:
    """Send ``deltas`` changes of a book, every stream fault ``each`` times or more."""
    truth = orderbook.synthetic(deltas + 1, seed=seed, levels=LEVELS).books
    steps = deltas // STEP
    plan = faults_by_step(steps, each, np.random.default_rng(seed))
    backoff = Backoff(0.005, 0.02, healthy=1e9, seed=seed)
    with (
        simulator.serve(None, truth, ack_delay=0.0) as exchange,
        Stream(TOPIC, exchange.ws_url, backoff=backoff, silence=0.25, timeout=2.0) as stream,
    ):
        witness, stuck = Witness(stream, truth), 0
        assert witness.until(0, 10)
        for step in tqdm(range(steps), desc="books"):
            exchange.inject(*plan.get(step, ()))
            exchange.advance(updates=STEP)
            stuck += not witness.until((step + 1) * STEP, 10)
        fired, counters = dict(exchange.faults.fired), dict(stream.counters)
    return {
        "deltas": steps * STEP, "updates_compared": witness.updates,
        "undetected_divergences": witness.divergences, "gaps_reported": dict(witness.reasons),
        "not_recovered": stuck, "faults": fired, "counters": counters,
    }  # fmt: skip


def instant_acks(connections: int, at_once: int = 20) -> dict[str, Any]:
    """Open connections that are acknowledged at once; count those that bring nothing."""
    truth = orderbook.synthetic(100, seed=0, levels=LEVELS, filled=0, spoofs=0).books
    dead = reconnected = 0
    fault = simulator.Fault("instant_ack", times=connections)
    with simulator.serve(None, truth, [fault], ack_delay=0.0) as exchange:
        for first in tqdm(range(0, connections, at_once), desc="acks"):
            count = min(at_once, connections - first)
            streams = [Stream(TOPIC, exchange.ws_url).start() for _ in range(count)]
            for stream in streams:
                dead += not isinstance(stream.get(10.0), BookUpdate)
                reconnected += stream.counters["reconnects"]
                stream.close()
        fired = exchange.faults.fired["instant_ack"]
    return {"connections": connections, "instant_acks": fired, "dead": dead,
            "reconnected": reconnected}  # fmt: skip


def lost_answers(each: int) -> dict[str, Any]:
    """Place orders whose answers get lost; count how many orders there are in the end."""
    os.environ |= {"BYBIT_TESTNET_API_KEY": KEY, "BYBIT_TESTNET_API_SECRET": SECRET}
    market = candles.synthetic(200, seed=0).candles
    kinds = [kind for kind in ANSWERS for _ in range(each)]
    with simulator.serve(market, keys={KEY: SECRET}, order_delay=0.02, balance=1e9) as exchange:
        broker = TestnetBroker(
            base_url=exchange.http_url, timeout=0.15, settle=0.2, retry=Retry(first=0.01)
        )
        names = set()
        for leg, kind in enumerate(tqdm(kinds, desc="orders")):
            exchange.inject(simulator.Fault(kind, path="/v5/order/create", seconds=0.3))
            decided = market.index[leg // 100]
            order = broker.submit(OrderRequest("BTCUSDT", "buy", "0.01", decided, leg=leg % 100))  # type: ignore[arg-type]
            names.add(order.client_order_id)
        time.sleep(0.1)
        held = broker.position("BTCUSDT")
        missing = sum(broker.order(name) is None for name in names)
        sent = exchange.requests["/v5/order/create"]
        fired = dict(exchange.faults.fired)
    return {"orders": len(kinds), "sent": sent, "missing": missing, "faults": fired,
            "doubled": round(held / 0.01) - (len(kinds) - missing)}  # fmt: skip


def one_lost_message(trials: int, updates: int, seed: int) -> dict[str, int]:
    """Lose one message a trial; count the wrong books that pybit's own book then hands out."""
    truth = orderbook.synthetic(trials * updates + 1, seed=seed, levels=LEVELS).books
    wrong = dead = noticed = 0
    for first in tqdm(range(0, trials * updates, updates), desc="pybit"):
        rows = truth[first : first + updates]
        messages = list(orderbook.messages(rows))
        theirs: Any = object.__new__(WebSocket)  # its book without its connection
        theirs.data, ours = {}, BookHandler(parse(TOPIC))
        lost = int(np.flatnonzero((rows.bid_price[1:] != rows.bid_price[:-1]).any(1))[0]) + 1
        for row in [row for row in range(updates) if row != lost]:
            noticed += isinstance(ours.take(messages[row]), Gap)
            try:
                theirs._process_delta_orderbook(copy.deepcopy(messages[row]), TOPIC)
            except StopIteration:  # a delete of what it does not hold: there its stream ends
                dead += 1
                break
            book = {float(p): float(s) for p, s in theirs.data[TOPIC]["b"]}
            wrong += book != dict(zip(rows.bid_price[row], rows.bid_size[row], strict=True))
    return {"trials": trials, "updates_a_trial": updates, "wrong_books_handed_out": wrong,
            "streams_killed": dead, "gaps_we_noticed": noticed}  # fmt: skip


def main() -> None:
    """Run all four and store what they counted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deltas", type=int, default=10_000)
    parser.add_argument("--each", type=int, default=20, help="faults of each kind")
    parser.add_argument("--connections", type=int, default=200)
    options = parser.parse_args()
    start = time.perf_counter()
    found = {
        "books": books_through_faults(options.deltas, options.each, seed=0),
        "instant_acks": instant_acks(options.connections),
        "orders": lost_answers(options.each),
        "pybits_own_book": one_lost_message(20, 500, seed=0),
    }
    seconds = time.perf_counter() - start
    results.save("torture_stream", found, command="make study STUDY=torture_stream",
                 seed=0, seconds=seconds)  # fmt: skip


if __name__ == "__main__":
    main()
