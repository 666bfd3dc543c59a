"""The order book: kept true to the exchange, drawn without losing volume, measured by hand."""

from __future__ import annotations

import json
import os
import zipfile
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from setrade import orderbook as ob
from setrade.errors import ArgumentError

T0 = np.datetime64("2024-01-01T00:00:00", "ns")
SECOND = np.timedelta64(1, "s")
NAMES = ("time", "bid_price", "bid_size", "ask_price", "ask_size")
T0_MS = 1_700_000_000_000


def hand_book(n: int = 1) -> ob.Snapshots:
    """n equal snapshots, one a second: bids 100 99 98 of 3 2 1, asks 101 102 103 of 1 1 4."""
    return ob.Snapshots(
        T0 + np.arange(n) * SECOND,
        np.tile([100.0, 99, 98], (n, 1)), np.tile([3.0, 2, 1], (n, 1)),
        np.tile([101.0, 102, 103], (n, 1)), np.tile([1.0, 1, 4], (n, 1)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def market() -> ob.SyntheticBook:
    return ob.synthetic(2_000, seed=3, signal=0.5, walls=3, filled=12, spoofs=12)


def message(kind: str, u: int, bids=(), asks=(), symbol: str = "X") -> dict:
    data = {"s": symbol, "b": [list(x) for x in bids], "a": [list(x) for x in asks], "u": u}
    return {"topic": f"orderbook.50.{symbol}", "type": kind, "ts": T0_MS + int(u), "data": data}


def started(**options) -> ob.OrderBook:
    book = ob.OrderBook(**options)
    book.apply(message("snapshot", 10, [("99", "2"), ("100", "1")], [("101", "5"), ("102", "6")]))
    return book


# Snapshots ---------------------------------------------------------------------------------


def test_snapshots_by_hand():
    books = hand_book(2)
    assert books.levels == 3
    assert len(books) == 2
    assert books.mid().tolist() == [100.5] * 2
    assert books.spread().tolist() == [1.0] * 2
    assert books.imbalance().tolist() == [0.0] * 2  # 6 against 6
    assert books.imbalance(1).tolist() == [0.5] * 2  # (3 - 1) / 4
    assert ob.depth_imbalance(books)[0] == pytest.approx([2 / 4, 3 / 7, 0])
    assert ob.microprice(books)[0] == pytest.approx((3 * 101 + 1 * 100) / 4)
    with pytest.raises(ValueError, match="read-only"):
        books.bid_size[0, 0] = 9


def test_join_takes_the_last_snapshot_at_or_before_the_time():
    books = hand_book(3)
    after = np.array([-1, 0, 999, 1000, 5000]) * np.timedelta64(1, "ms")
    times = pd.DatetimeIndex(T0 + after, tz="UTC")
    assert books.at(times).tolist() == [-1, 0, 0, 1, 2]
    zoned = times.tz_convert("Europe/Berlin")
    assert books.at(zoned).tolist() == [-1, 0, 0, 1, 2]
    assert np.array_equal(books.join([1, 2, 3], times), [np.nan, 1, 1, 2, 3], equal_nan=True)


@pytest.mark.parametrize(
    ("field", "change", "law"),
    [
        ("bid_price", lambda x: x.__setitem__((1, 0), 101.0), "crossed book"),
        ("bid_price", lambda x: x.__setitem__((1, 1), 100.0), "bids not falling"),
        ("ask_price", lambda x: x.__setitem__((1, 2), 101.5), "asks not rising"),
        ("bid_size", lambda x: x.__setitem__((1, 2), -1.0), "negative size"),
        ("ask_size", lambda x: x.__setitem__((1, 0), 0.0), "empty best level"),
        ("ask_size", lambda x: x.__setitem__((1, 0), np.nan), "NaN or infinity"),
        ("ask_price", lambda x: x.__setitem__((1, 2), np.inf), "NaN or infinity"),
        ("bid_price", lambda x: x.__setitem__((1, 2), -1.0), "price not above zero"),
        ("time", lambda x: x.__setitem__(1, T0 - SECOND), "time goes back"),
    ],
)
def test_every_broken_law_is_named_with_its_time(field, change, law):
    books = hand_book(3)
    parts = {k: getattr(books, k).copy() for k in NAMES}
    change(parts[field])
    with pytest.raises(ob.BookError, match=law) as error:
        ob.Snapshots(**parts)
    assert error.value.faults[law].tolist() == [parts["time"][1].astype(int)]


# The local book ----------------------------------------------------------------------------


def test_book_by_hand():
    book = ob.OrderBook()
    assert not book.is_valid
    assert book.best_bid is None
    assert book.apply(message("snapshot", 7, [("99", "2"), ("100.50", "1")], [("101", "5")]))
    assert (book.best_bid, book.best_ask) == (100.5, 101.0)
    assert book.apply(message("delta", 8, [("100.50", "0"), ("98", "4")], [("101", "7.5")]))
    assert book.levels("bid") == [("99", "2"), ("98", "4")]
    assert book.levels("ask") == [("101", "7.5")]
    assert book.apply(message("delta", 1, [("50", "1")], [("51", "1.10")]))  # u == 1: overwrites
    assert (book.best_bid, book.best_ask) == (50.0, 51.0)
    assert book.levels("ask") == [("51", "1.10")]  # the string as it was sent
    assert book.apply(message("delta", 2, [("49", "3")]))
    assert not book.faults


@pytest.mark.parametrize(
    ("fault", "bad", "valid"),
    [
        ("gap", message("delta", 12, [("100", "9")]), False),
        ("crossed", message("delta", 11, [("101", "9")]), False),
        ("stale", message("delta", 10, [("100", "9")]), True),
        ("stale", message("delta", 4, [("100", "9")]), True),
        ("absent_level", message("delta", 11, [("55", "0")]), True),
        ("too_deep", message("delta", 11, [("97", "1")]), False),
    ],
)
def test_each_fault_is_counted_and_known(fault, bad, valid):
    book = started(depth=2)
    assert book.apply(bad) is valid
    assert book.is_valid is valid
    assert book.faults == {fault: 1}
    if not valid:
        assert book.best_bid is None
        with pytest.raises(ob.BookStateError, match=fault):
            book.snapshot()
        assert not book.apply(message("delta", bad["data"]["u"] + 1))  # waits for a snapshot
        assert book.ignored == 1
    assert book.apply(message("snapshot", 90, [("1", "1")], [("2", "1")]))
    assert book.best_bid == 1.0
    with pytest.raises(ob.BookStateError) as error:
        started(depth=2, strict=True).apply(bad)
    assert error.value.kind == fault


def test_delta_before_the_snapshot_breaks_nothing_for_good():
    book = ob.OrderBook()
    assert not book.apply(message("delta", 9, [("100", "1")]))
    assert book.faults == {"delta_before_snapshot": 1}
    assert book.apply(message("snapshot", 10, [("99", "1")], [("101", "1")]))


def test_snapshot_is_a_copy():
    book = started()
    before = book.snapshot(2)
    book.apply(message("delta", 11, [("100", "8")]))
    assert before.bid_size.tolist() == [[1.0, 2.0]]
    assert book.snapshot(1).bid_size.tolist() == [[8.0]]
    assert before.time[0] == np.datetime64(1_700_000_000_010, "ms")


class Naive:
    """The truth, kept independently: Decimals in dictionaries, no checks at all."""

    def __init__(self):
        self.sides = {"b": {}, "a": {}}

    def apply(self, m: dict) -> None:
        for key, side in self.sides.items():
            if m["type"] == "snapshot":
                side.clear()
            for price, size in m["data"][key]:
                side[Decimal(price)] = Decimal(size)
                if not Decimal(size):
                    del side[Decimal(price)]

    def agrees(self, book: ob.OrderBook) -> bool:
        return all(
            {Decimal(p): Decimal(s) for p, s in book.levels(name)} == self.sides[key]
            for name, key in (("bid", "b"), ("ask", "a"))
        )

    def best(self) -> tuple[float, float]:
        return float(max(self.sides["b"])), float(min(self.sides["a"]))


def recorded(n: int, seed: int, depth: int = 200) -> list[dict]:
    """One snapshot and n deltas of a feed that walks, never crossed, never deeper than depth."""
    rng = np.random.default_rng(seed)
    mid, truth, out = 10_000, {"b": {}, "a": {}}, []
    for u in range(n + 1):
        mid += int(rng.integers(-1, 2))
        changes = {}
        for key, sign in (("b", -1), ("a", 1)):
            low, high = sorted((mid + sign, mid + sign * depth))
            gone = [p for p in truth[key] if not low <= p <= high]
            some = range(low, high + 1) if u == 0 else rng.integers(low, high + 1, 3).tolist()
            sizes = dict.fromkeys(gone, 0)
            sizes |= {p: int(rng.integers(1, 5_000)) for p in some}
            if u and rng.random() < 0.3 and len(truth[key]) > 20:
                sizes[next(iter(truth[key]))] = 0
            for p, s in sizes.items():
                truth[key].pop(p, None)
                if s:
                    truth[key][p] = s
            changes[key] = [(f"{p / 10:.1f}", f"{s / 1000:g}") for p, s in sizes.items()]
        out.append(message("delta" if u else "snapshot", u + 100, changes["b"], changes["a"]))
    return out


def test_ten_thousand_deltas_against_the_truth():
    book, truth = ob.OrderBook(depth=200), Naive()
    for i, m in enumerate(recorded(10_000, seed=1)):
        truth.apply(m)
        assert book.apply(m)
        if i % 50 == 0 or i > 9_990:
            assert (book.best_bid, book.best_ask) == truth.best()
            assert truth.agrees(book)
    assert not {"gap", "crossed", "stale", "too_deep"} & set(book.faults)


def test_lost_and_reordered_deltas_are_never_undetected():
    """TRAPS 34: the naive book applies what comes and is wrong; ours says so, then resyncs."""
    feed, rng = recorded(3_000, seed=2), np.random.default_rng(0)
    truth, careless, book = Naive(), Naive(), ob.OrderBook()
    wrong_careless = wrong_ours = resyncs = 0
    received = list(feed)
    for i in rng.choice(np.arange(1, 2_900), 40, replace=False):
        received[i], received[i + 1] = received[i + 1], received[i]
    lost = set(rng.choice(np.arange(1, 3_000), 40, replace=False).tolist())
    for i, (sent, got) in enumerate(zip(feed, received, strict=True)):
        truth.apply(sent)
        if i in lost:
            continue
        careless.apply(got)
        if not book.apply(got):  # ask again: the exchange answers with a snapshot
            b, a = ([(str(p), str(s)) for p, s in truth.sides[k].items()] for k in "ba")
            book.apply(message("snapshot", sent["data"]["u"], b, a))
            resyncs += 1
        wrong_careless += careless.sides != truth.sides
        wrong_ours += book.is_valid and got is sent and not truth.agrees(book)
    assert wrong_careless > 1_000
    assert wrong_ours == 0
    assert resyncs >= 40


def test_raw_bybit_sample_replays_whole():
    if "SETRADE_DATA" not in os.environ:
        pytest.skip("SETRADE_DATA is not set: no raw Bybit sample to replay")
    path = Path(os.environ["SETRADE_DATA"]) / "bybit_xrpusdt_ob500_raw_sample_20241201.zip"
    with zipfile.ZipFile(path) as archive:
        lines = archive.read(archive.namelist()[0]).splitlines()
    book, truth = ob.OrderBook(depth=500, strict=True), Naive()
    for m in map(json.loads, lines):
        assert book.apply(m)
        truth.apply(m)
        assert truth.agrees(book)
    assert len(lines) == 50
    assert len(book.levels("bid")) == len(book.levels("ask")) == 500
    assert (book.best_bid, book.best_ask) == (1.9537, 1.9538)


@pytest.mark.parametrize(
    "bad",
    [
        None, [], {}, {"type": "delta"},
        message("delta", 11, [("100", "nan")]), message("delta", 11, [("100", "-1")]),
        message("delta", 11, [("100", "inf")]), message("delta", 11, [("100",)]),
        message("delta", 11, [("abc", "1")]), message("delta", 11, [("-5", "1")]),
        message("delta", 11, [("100", None)]), message("trade", 11),
        message("delta", 11, symbol="Y"),
        message("snapshot", 11, symbol="Y"), message("delta", "11"),
        message("delta", 11) | {"ts": "5"},
    ],
)  # fmt: skip
def test_malformed_messages_are_refused_and_break_the_book(bad):
    book = started()
    with pytest.raises(ArgumentError, match="message"):
        book.apply(bad)
    assert not book.is_valid
    assert book.apply(message("snapshot", 12, [("1", "1")], [("2", "1")]))


def test_feed_of_a_book_rebuilds_it(market):
    book = ob.OrderBook(depth=20, strict=True)
    for row, m in enumerate(ob.messages(market.books[:300])):
        book.apply(m)
        if row % 50 == 49:
            ours = book.snapshot(20)
            for name in NAMES:
                assert np.array_equal(getattr(ours, name)[0], getattr(market.books, name)[row])


# Heat map ----------------------------------------------------------------------------------


def test_heatmap_by_hand():
    books = hand_book(2)  # mid 100.5: levels 50, 150, 250 bps away, near enough
    drawn = ob.heatmap(books, rows=4, span_bps=200)
    assert drawn.volume.shape == (1, 2, 4, 2)
    assert drawn.volume[0, 0, :, 1].tolist() == [0, 0, 3, 2]  # bids below the middle
    assert drawn.volume[0, 1, :, 1].tolist() == [1, 1, 0, 0]  # row 0 is the top
    assert drawn.outside[0].tolist() == [[1, 1], [4, 4]]
    assert drawn.edges_bps.tolist() == [200, 100, 0, -100, -200]
    logged = ob.heatmap(books, rows=4, span_bps=200, log=True)
    assert logged.volume == pytest.approx(np.log1p(drawn.volume))
    assert np.array_equal(logged.outside, drawn.outside)


def test_fixed_reference_shows_the_move():
    books, lift = hand_book(2), np.array([[0], [1]])
    up = ob.Snapshots(books.time, books.bid_price + lift, books.bid_size,
                      books.ask_price + lift, books.ask_size)  # fmt: skip
    own = ob.heatmap(up, rows=8, span_bps=400, reference="mid").volume[0]
    fixed = ob.heatmap(up, rows=8, span_bps=400, reference="fixed").volume[0]
    assert np.array_equal(own[:, :, 0], own[:, :, 1])
    assert np.array_equal(fixed[:, 1:, 0], fixed[:, :-1, 1])  # one row higher


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    rows=st.integers(1, 40),
    span=st.floats(0.01, 50),
    reference=st.sampled_from(["mid", "fixed"]),
)
def test_heatmap_conserves_volume(seed, rows, span, reference):
    rng = np.random.default_rng(seed)
    n, levels = 6, 5
    mid = 100 + rng.normal(0, 0.05, (n, 1)).cumsum(0)
    away = rng.uniform(0.001, 0.05, (2, n, levels)).cumsum(2)
    sizes = rng.integers(1, 2**20, (2, n, levels)).astype(float)  # whole lots: exact sums
    time = T0 + np.arange(n) * SECOND
    books = ob.Snapshots(time, mid - away[0], sizes[0], mid + away[1], sizes[1])
    drawn = ob.heatmap(books, rows=rows, span_bps=span, reference=reference)
    total = drawn.volume.sum(2, dtype=np.float64) + drawn.outside
    assert np.array_equal(total[0], sizes.sum(2))


def test_heatmap_batches_into_a_kept_buffer(market):
    ends = np.array([63, 100, 500])
    out = np.full((3, 2, 16, 64), 7.0, np.float32)
    drawn = ob.heatmap(market.books, rows=16, span_bps=0.3, window=64, ends=ends, out=out)
    assert drawn.volume is out
    for b, end in enumerate(ends):
        alone = ob.heatmap(market.books[end - 63 : end + 1], rows=16, span_bps=0.3)
        assert np.array_equal(out[b], alone.volume[0])


# Nothing sees the future -------------------------------------------------------------------


def other_future(books: ob.Snapshots, last: int) -> ob.Snapshots:
    """The same past up to ``last``, then a book 3 % higher with other sizes."""
    after = np.arange(len(books)) > last
    price, size = np.where(after, 1.03, 1.0)[:, None], np.where(after, 9.0, 1.0)[:, None]
    return ob.Snapshots(books.time, books.bid_price * price, books.bid_size * size,
                        books.ask_price * price, books.ask_size * size)  # fmt: skip


CAUSAL = {
    "mid": lambda b: b.mid(),
    "spread": lambda b: b.spread(),
    "imbalance": lambda b: b.imbalance(5),
    "depth_imbalance": ob.depth_imbalance,
    "microprice": ob.microprice,
    "slippage": lambda b: ob.slippage_bps(b, np.array([1.0, 9.0]), "sell"),
    "heatmap": lambda b: ob.heatmap(b, rows=16, span_bps=0.3).volume[0].transpose(2, 0, 1),
    "heatmap fixed": lambda b: (
        ob.heatmap(
            b, rows=16, span_bps=0.3, window=1, reference="fixed", ends=np.arange(len(b))
        ).volume
    ),
    "heatmap log": lambda b: (
        ob.heatmap(b, rows=16, span_bps=0.3, log=True).volume[0].swapaxes(0, 2)
    ),
}


@pytest.mark.parametrize("name", CAUSAL)
def test_truncation(name, market):
    books, last = market.books[:400], 250
    full = CAUSAL[name](books)
    for part in (books[: last + 1], other_future(books, last)):
        assert np.array_equal(CAUSAL[name](part)[: last + 1], full[: last + 1], equal_nan=True)


def test_truncation_of_windowed_pictures(market):
    books, last, ends = market.books[:400], 250, np.arange(40, 251, 10)
    full = ob.heatmap(books, rows=8, span_bps=0.3, window=40, ends=ends, reference="fixed").volume
    for part in (books[: last + 1], other_future(books, last)):
        again = ob.heatmap(part, rows=8, span_bps=0.3, window=40, ends=ends, reference="fixed")
        assert np.array_equal(again.volume, full)


def test_truncation_of_episodes_and_the_future_is_seen_only_by_labels(market):
    full = ob.spoofing(market.books, market.trades, min_size=6, tick=0.1)
    last = 900
    cut = market.books[: last + 1]
    trades = market.trades[market.trades.time <= pd.Timestamp(cut.time[-1], tz="UTC")]
    part = ob.spoofing(cut, trades, min_size=6, tick=0.1)
    pd.testing.assert_frame_equal(part, full[full.end <= last].reset_index(drop=True))
    move = ob.next_move(hand_book(5), 2)
    assert np.array_equal(move, [0, 0, 0, np.nan, np.nan], equal_nan=True)


def test_order_flow_by_hand():
    """Four events: a bid grows by 2, improves with 4, an ask of 5 leaves, the bid falls back."""
    bid, ask = np.array([100, 100, 101, 101, 100.0]), np.array([103, 103, 103, 104, 104.0])
    bid_size, ask_size = np.array([3, 5, 4, 4, 2.0]), np.array([5, 5, 5, 6, 6.0])
    sides = [x[:, None] for x in (bid, bid_size, ask, ask_size)]
    books = ob.Snapshots(T0 + np.arange(5) * SECOND, *sides)
    assert ob.order_flow_imbalance(books).tolist() == [0, 2, 4, 5, -4]
    swapped = ob.Snapshots(books.time, 200 - sides[2], sides[3], 200 - sides[0], sides[1])
    assert ob.order_flow_imbalance(swapped).tolist() == [0, -2, -4, -5, 4]  # buyers are sellers


# Single orders -----------------------------------------------------------------------------

BORN = [
    (0.1, 1, 100.0, 10.0, 1, "created"), (0.1, 2, 101.0, 5.0, -1, "created"),
    (0.2, 3, 99.0, 7.0, 1, "created"), (0.2, 4, 102.0, 1.0, -1, "created"),
]  # fmt: skip


def orders(*rows: tuple) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["seconds", "id", "price", "size", "side", "action"])
    frame["time"] = pd.Timestamp(T0, tz="UTC") + pd.to_timedelta(frame.seconds, unit="s")
    return frame


def test_a_book_of_single_orders_by_hand():
    rows = [
        *BORN,
        (1.1, 9, 103.0, 4.0, 1, "deleted"),  # it overtook its own creation
        (1.2, 9, 103.0, 4.0, 1, "created"),  # a ghost above every ask
        (1.3, 5, 101.0, 2.0, 1, "created"),  # takes 2 of the ask at 101
        (1.4, 2, 101.0, 3.0, -1, "changed"), (1.4, 5, 101.0, 0.0, 1, "deleted"),
        (2.5, 1, 100.0, 10.0, 1, "deleted"),  # cancelled: no trade
        (3.0, 6, 98.0, 3.0, 1, "changed"),  # older than the recording
    ]  # fmt: skip
    made = ob.rebuild(orders(*rows), "1s", levels=2)
    assert (made.time - T0).tolist() == [int(1e9), int(2e9), int(3e9)]
    assert made.books.bid_price.tolist() == [[100, 99], [100, 99], [99, 98]]
    assert made.books.bid_size.tolist() == [[10, 7], [10, 7], [7, 3]]
    assert made.books.ask_size.tolist() == [[5, 1], [3, 1], [3, 1]]
    assert made.trades[["price", "size", "side"]].to_numpy().tolist() == [[101, 2, 1]]
    assert not made.crossed.any()
    assert made.odd["created after death"] == made.odd["changed before creation"] == 1
    naive = ob.rebuild(orders(*rows), "1s", levels=2, remember=False)
    assert naive.crossed.tolist() == [False, True, True]
    assert len(naive.books) == 1
    late = ob.rebuild(orders(*rows), None, levels=2)
    assert late.shallow[0]
    assert late.crossed.tolist() == [False] * 4 + [True] + [False] * 3  # while it takes


class Plain:
    """A reader in dicts: the orders that live, and their sums by price."""

    def __init__(self) -> None:
        self.live: dict[int, tuple[float, float, int]] = {}
        self.dead: set[int] = set()

    def take(self, row) -> None:
        if row.action == "deleted":
            self.live.pop(row.id, None)
            self.dead.add(row.id)
        elif row.id not in self.dead:
            self.live[row.id] = (row.price, row.size, row.side)

    def side(self, side: int) -> list[tuple[float, float]]:
        sums: dict[float, float] = {}
        for price, size, own in self.live.values():
            if own == side and size > 0:
                sums[price] = sums.get(price, 0.0) + size
        return sorted(sums.items(), reverse=side == 1)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 8), st.integers(0, 9), st.integers(0, 5), st.sampled_from(ob.ACTIONS),
            st.booleans(),
        ),
        max_size=40,
    )
)  # fmt: skip
def test_a_rebuilt_book_is_what_a_plain_reader_has(drawn):
    """Sides never meet here, so that every stamp with both of them is sound."""
    base = [(0.0, 100, 50.0, 1.0, 1, "created"), (0.0, 101, 60.0, 1.0, -1, "created")]
    rows = [
        (1.0 + n, 2 * key + buy, (50.0 - price) if buy else (60.0 + price), size,
         1 if buy else -1, action)
        for n, (key, price, size, action, buy) in enumerate(drawn)
    ]  # fmt: skip
    frame = orders(*base, *rows)
    made, plain = ob.rebuild(frame, None, levels=1), Plain()
    assert not (made.crossed | made.shallow).any()
    for k, (_, group) in enumerate(frame.groupby("time")):
        for row in group.itertuples():
            plain.take(row)
        sides = ((1, made.books.bid_price, made.books.bid_size),
                 (-1, made.books.ask_price, made.books.ask_size))  # fmt: skip
        for side, price, size in sides:
            assert (price[k, 0], size[k, 0]) == pytest.approx(plain.side(side)[0])


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"time": None}, "events"), ({"size": -1.0}, "events"), ({"price": np.nan}, "events"),
        ({"price": 0.0}, "events"), ({"side": 0}, "events.side"), ({"id": 0.5}, "events"),
        ({"action": "moved"}, "events"),
    ],
)  # fmt: skip
def test_orders_that_are_none_are_named(change, name):
    frame = orders(*BORN).drop(columns="seconds")
    wrong = frame.drop(columns="time") if "time" in change else frame.assign(**change)
    with pytest.raises(ArgumentError) as error:
        ob.rebuild(wrong, None, levels=1)
    assert error.value.name == name
    for bad, argument in ((frame[::-1], "events.time"), (frame[frame.side > 0], "levels")):
        with pytest.raises(ArgumentError) as error:
            ob.rebuild(bad, None, levels=1)
        assert error.value.name == argument
    with pytest.raises(ArgumentError, match="every"):
        ob.rebuild(frame, "often", levels=1)


# Impact ------------------------------------------------------------------------------------


def test_walking_the_book_by_hand():
    books, sizes = hand_book(), np.array([1.0, 2.0, 4.0, 6.0, 6.1])
    buy = ob.walk(books, sizes, "buy")[0]
    assert buy[:4] == pytest.approx([101, 101.5, (101 + 102 + 206) / 4, (101 + 102 + 412) / 6])
    assert np.isnan(buy[4])
    sell = ob.slippage_bps(books, np.array([3.0, 4.0]), "sell")[0]
    assert sell == pytest.approx([50 / 100.5 * 100, (100.5 - 99.75) / 100.5 * 1e4])


@given(sizes=st.lists(st.floats(0.01, 6), min_size=2, max_size=8))
def test_larger_orders_never_fill_better(sizes):
    cost = ob.slippage_bps(hand_book(), np.sort(sizes), "buy")[0]
    assert (np.diff(cost) >= -1e-9).all()


def test_power_law_recovers_a_square_root():
    rng, sizes = np.random.default_rng(0), np.array([0.1, 0.5, 1, 5, 10])
    cost = 2 * np.sqrt(sizes) * rng.lognormal(0, 0.3, (500, 1)) * rng.lognormal(0, 0.1, (500, 5))
    law = ob.fit_power_law(sizes, cost, seed=1, draws=200)
    assert law.low < 0.5 < law.high
    assert law.exponent == pytest.approx(0.5, abs=0.01)
    assert law(np.array([4.0]))[0] == pytest.approx(law.coefficient * 4**law.exponent)
    assert law == ob.fit_power_law(sizes, cost, seed=1, draws=200)


# Large orders ------------------------------------------------------------------------------


def with_order(sizes: list[float], level: int = 1) -> ob.Snapshots:
    """The hand book, one snapshot a second, with these bid sizes at one level."""
    books = hand_book(len(sizes))
    bid = books.bid_size.copy()
    bid[:, level] = sizes
    return ob.Snapshots(books.time, books.bid_price, bid, books.ask_price, books.ask_size)


def trades(*rows: tuple[float, float, float, int]) -> pd.DataFrame:
    """Trades (seconds after the start, price, size, side)."""
    frame = pd.DataFrame(rows, columns=["seconds", "price", "size", "side"])
    frame["time"] = pd.DatetimeIndex(T0 + (frame.seconds * 1e9).astype("timedelta64[ns]"), tz="UTC")
    return frame


@pytest.mark.parametrize(
    ("hits", "traded", "unfilled"),
    [
        ([], 0, 1),
        ([(2.5, 99.0, 5.0, -1)], 5, 0.5),
        ([(2.5, 99.0, 50.0, -1)], 50, 0),
        ([(2.5, 99.0, 5.0, 1)], 0, 1),  # a buyer cannot hit a bid
        ([(2.5, 98.0, 5.0, -1)], 0, 1),  # another price
        ([(0.5, 99.0, 5.0, -1), (3.5, 99.0, 5.0, -1)], 0, 1),  # before and after
    ],
)
def test_spoofing_score_by_hand(hits, traded, unfilled):
    books = with_order([2, 2, 12, 2, 2])  # 10 more at 99, in snapshot 2 only
    found = ob.spoofing(books, trades(*hits), min_size=8, tick=1.0)
    assert len(found) == 1
    one = found.iloc[0]
    assert (one.side, one.price, one["size"], one.start, one.end) == (1, 99, 10, 2, 3)
    assert (one.ticks_away, one.seconds, one.traded) == (1, 1.0, traded)
    assert one.score == pytest.approx(unfilled * np.exp(-1 / 5 - 1 / 2))


def test_orders_that_stay_or_leave_the_view_are_no_episodes():
    empty = trades()
    assert len(ob.spoofing(with_order([2, 2, 12, 12]), empty, min_size=8, tick=1.0)) == 0
    books = with_order([2, 12, 12, 12], level=2)
    price = books.bid_price.copy()
    price[2:] = [100.9, 100.5, 100.3]  # the large bid at 98 is below what is visible
    moved = ob.Snapshots(books.time, price, books.bid_size, books.ask_price, books.ask_size)
    assert len(ob.spoofing(moved, empty, min_size=8, tick=0.1)) == 0
    # An order that comes into view from below was there before: unknown, so no episode.
    back = ob.Snapshots(books.time, price[::-1], with_order([2, 2, 12, 2], level=2).bid_size,
                        books.ask_price, books.ask_size)  # fmt: skip
    assert len(ob.spoofing(back, empty, min_size=8, tick=0.1)) == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_planted_spoofs_are_found_among_false_alarms(seed):
    """By the score alone: no filter that knows where the generator plants none."""
    market = ob.synthetic(6_000, seed=seed, walls=6, filled=40, spoofs=40)
    found = ob.spoofing(market.books, market.trades, min_size=6, tick=0.1)
    flagged = found[found.score >= 0.2].round({"price": 6})
    spoofs = market.planted[market.planted.kind == "spoof"].round({"price": 6})
    hits = len(flagged.merge(spoofs, on=["side", "price", "start"]))
    assert hits / len(spoofs) >= 0.9
    assert 0.3 < hits / len(flagged) < 0.9
    honest = market.planted[market.planted.kind == "filled"].round({"price": 6})
    assert len(flagged.merge(honest, on=["side", "price", "start"])) <= 1


def test_planted_walls_are_found(market):
    found = ob.clusters(market.books, min_size=10)
    rows, tall = np.arange(len(market.books)), found[found.points >= 50]
    for wall in market.planted[market.planted.kind == "wall"].itertuples():
        inside = market.books.bid_price if wall.side == 1 else market.books.ask_price
        shown = (np.abs(inside - wall.price) < 1e-6).any(1)
        shown &= (rows >= wall.start) & (rows < wall.end)
        near = tall[(tall.side == wall.side) & (np.abs(tall.price - wall.price) < 0.05)]
        covered = sum(shown[a : b + 1].sum() for a, b in zip(near.start, near.end, strict=True))
        assert covered >= 0.9 * shown.sum()
    points = ob.large_levels(market.books, 10)
    assert (points["size"] >= 10).all()
    assert len(ob.clusters(market.books, min_size=1e6)) == 0


# The synthetic book ------------------------------------------------------------------------


def test_synthetic_book_is_repeatable_and_tells_its_truth(market):
    again = ob.synthetic(2_000, seed=3, signal=0.5, walls=3, filled=12, spoofs=12)
    assert np.array_equal(again.books.bid_size, market.books.bid_size)
    assert again.trades.equals(market.trades)
    assert market.planted.kind.value_counts()["wall"] == 3
    for order in market.planted.itertuples():
        price = market.books.bid_price if order.side == 1 else market.books.ask_price
        size = market.books.bid_size if order.side == 1 else market.books.ask_size
        at = np.abs(price[order.start] - order.price) < 1e-6
        assert size[order.start][at] > order.size
        before = np.abs(price[order.start - 1] - order.price) < 1e-6
        assert size[order.start - 1][before].sum() < order.size


def test_signal_is_there_when_planted_and_absent_when_not():
    def rank(signal: float, seed: int) -> float:
        market = ob.synthetic(8_000, seed=seed, signal=signal, walls=0, filled=0, spoofs=0)
        move = ob.next_move(market.books, 5)[:-5]
        return spearmanr(market.books.imbalance(1)[:-5], move).statistic

    weak, strong = ([rank(s, seed) for seed in range(4)] for s in (0.0, 1.0))
    assert abs(np.mean(weak)) < 0.03
    assert min(strong) > 0.25


# Bad input ---------------------------------------------------------------------------------

BAD = [
    (lambda m: ob.Snapshots([1, 2], *[np.ones((2, 1))] * 4), "time"),
    (lambda m: ob.Snapshots(pd.date_range("2024", periods=1), *[np.ones((1, 1))] * 4), "time"),
    (lambda m: ob.Snapshots([T0], np.ones(3), *[np.ones((1, 3))] * 3), "bid_price"),
    (lambda m: ob.Snapshots([T0], np.empty((1, 0)), *[np.ones((1, 3))] * 3), "bid_price"),
    (
        lambda m: ob.Snapshots([T0], *[np.ones((1, 3))] * 2, np.ones((1, 2)), np.ones((1, 3))),
        "ask_price",
    ),
    (lambda m: m.books.imbalance(0), "levels"),
    (lambda m: m.books.imbalance(21), "levels"),
    (lambda m: m.books.at(pd.date_range("2024", periods=2)), "times"),
    (lambda m: m.books.at([np.datetime64("NaT")]), "times"),
    (lambda m: m.books.join([1.0], m.books.time), "values"),
    (lambda m: ob.OrderBook(depth=0), "depth"),
    (lambda m: started().levels("buy"), "side"),
    (lambda m: started().snapshot(3), "levels"),
    (lambda m: list(ob.messages(m.books, first_update=1)), "first_update"),
    (lambda m: ob.heatmap(m.books, rows=0), "rows"),
    (lambda m: ob.heatmap(m.books, span_bps=0), "span_bps"),
    (lambda m: ob.heatmap(m.books, span_bps=float("nan")), "span_bps"),
    (lambda m: ob.heatmap(m.books, window=2_001), "window"),
    (lambda m: ob.heatmap(m.books, window=10, ends=np.array([8])), "ends"),
    (lambda m: ob.heatmap(m.books, window=10, ends=np.array([2_000])), "ends"),
    (lambda m: ob.heatmap(m.books, reference="last"), "reference"),
    (lambda m: ob.heatmap(m.books, out=np.zeros((1, 2, 64, 1_999))), "out"),
    (lambda m: ob.heatmap(m.books, out=np.zeros((1, 2, 64, 2_000), np.float16)), "out"),
    (lambda m: ob.next_move(m.books, 2_000), "horizon"),
    (lambda m: ob.walk(m.books, np.array([0.0]), "buy"), "sizes"),
    (lambda m: ob.walk(m.books, np.array([np.nan]), "buy"), "sizes"),
    (lambda m: ob.walk(m.books, np.array([1.0]), "long"), "side"),
    (lambda m: ob.fit_power_law(np.ones(3), np.ones((9, 3)), seed=0, block=2), "sizes"),
    (lambda m: ob.fit_power_law(np.arange(1, 4), np.full((9, 3), np.nan), seed=0), "cost"),
    (lambda m: ob.fit_power_law(np.arange(1, 4), -np.ones((9, 3)), seed=0), "cost"),
    (lambda m: ob.fit_power_law(np.arange(1, 4), np.ones((9, 3)), seed=0), "block"),
    (
        lambda m: ob.fit_power_law(np.arange(1, 4), np.ones((9, 3)), seed=0, block=2, level=1.0),
        "level",
    ),
    (lambda m: ob.clusters(m.books, min_size=0), "min_size"),
    (lambda m: ob.clusters(m.books, min_size=1, seconds=0), "seconds"),
    (lambda m: ob.clusters(m.books, min_size=1, bps=-1), "bps"),
    (lambda m: ob.spoofing(m.books, m.trades, min_size=0, tick=0.1), "min_size"),
    (lambda m: ob.spoofing(m.books, m.trades, min_size=1, tick=0.3), "tick"),
    (lambda m: ob.spoofing(m.books, None, min_size=1, tick=0.1), "trades"),
    (lambda m: ob.spoofing(m.books, m.trades[::-1], min_size=1, tick=0.1), "trades.time"),
    (lambda m: ob.spoofing(m.books, m.trades.assign(side=0), min_size=1, tick=0.1), "trades.side"),
    (lambda m: ob.spoofing(m.books, m.trades.assign(price=np.nan), min_size=1, tick=0.1), "trades"),
    (lambda m: ob.synthetic(99, seed=0), "n"),
    (lambda m: ob.synthetic(200, seed=0), "n"),
    (lambda m: ob.synthetic(1_000, seed=0, signal=2), "signal"),
    (lambda m: ob.synthetic(1_000, seed=0, levels=5), "levels"),
    (lambda m: ob.synthetic(1_000, seed=0, price=50.0), "price"),
    (lambda m: ob.synthetic(1_000, seed=0, tick=0.0), "tick"),
    (lambda m: ob.synthetic(1_000, seed=0, spoofs=-1), "spoofs"),
    (lambda m: ob.synthetic(1_000, seed=0, interval="often"), "interval"),
    (lambda m: ob.synthetic(1_000, seed=-1), "seed"),
]


@pytest.mark.parametrize(("call", "name"), BAD)
def test_bad_input_is_named(call, name, market):
    with pytest.raises(ArgumentError) as error:
        call(market)
    assert error.value.name == name


def test_a_series_is_joined_at_its_own_stamps():
    time = np.datetime64("2024-01-01T00:00:00", "ms") + np.array([0, 100, 100, 250])
    side = np.ones((4, 1))
    books = ob.Snapshots(time, 99 * side, side, 101 * side, side)
    stamps = pd.DatetimeIndex(time, tz="UTC")
    values = pd.Series(np.arange(4.0), stamps)
    for index in (stamps, stamps.tz_convert("Etc/UTC"), stamps.as_unit("us")):
        assert books.join(values.set_axis(index), stamps).tolist() == [0, 2, 2, 3]
    for bad in (values[::-1], values.set_axis(stamps + pd.Timedelta("1ms"))):
        with pytest.raises(ArgumentError, match="^values: .* stamps of the snapshots"):
            books.join(bad, stamps)
    with pytest.raises(ArgumentError, match="^values: .* naive"):
        books.join(values.tz_localize(None), stamps)
