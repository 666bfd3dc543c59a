"""Labels by hand, splits that share no bar, and the random split that finds skill in noise."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from setrade import labels
from setrade.costs import Costs
from setrade.errors import ArgumentError


def frame(opens, highs=None, lows=None, closes=None) -> pd.DataFrame:
    """Bars from lists; what is not given equals the open."""
    opens = np.asarray(opens, float)
    index = pd.date_range("2024-01-01", periods=len(opens), freq="15min", tz="UTC", name="time")
    columns = {
        "open": opens,
        "high": opens if highs is None else np.asarray(highs, float),
        "low": opens if lows is None else np.asarray(lows, float),
        "close": opens if closes is None else np.asarray(closes, float),
        "volume": np.ones(len(opens)),
    }
    return pd.DataFrame(columns, index=index)


def walk(n: int, seed: int = 0, step: float = 0.01) -> pd.DataFrame:
    """A random walk with intrabar ranges."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(rng.normal(0, step, n).cumsum())
    opens = np.r_[100.0, close[:-1]]
    high = np.maximum(opens, close) * np.exp(rng.exponential(step / 2, n))
    low = np.minimum(opens, close) * np.exp(-rng.exponential(step / 2, n))
    return frame(opens, high, low, close)


def test_forward_return_by_hand():
    got = labels.forward_return(frame([100, 101, 103, 99, 110]), 2)
    np.testing.assert_allclose(got[:2], [99 / 101 - 1, 110 / 103 - 1])
    assert got[2:].isna().all()  # no complete future: NaN, never 0


def test_forward_return_starts_at_the_next_open():
    candles = walk(50)
    before = labels.forward_return(candles, 3)
    candles.loc[candles.index[10], ["open", "high", "low", "close"]] *= 1.5
    changed = np.flatnonzero(labels.forward_return(candles, 3) != before)
    # Bar 10 is the entry of t = 9 and the exit of t = 6; for t = 10 itself it plays no part.
    assert changed[changed < 46].tolist() == [6, 9]


def test_classes_at_the_break_even():
    costs = Costs(fee_bps=5.5, slippage_bps=1.0)
    short, long = labels.break_even(costs)
    assert long == pytest.approx(13e-4, rel=1e-2)
    assert short == pytest.approx(-13e-4, rel=1e-2)
    returns = pd.Series([long * 1.001, long * 0.999, 0.0, short * 0.999, short * 1.001, np.nan])
    got = labels.sell_hold_buy(returns, costs)
    assert got[:5].tolist() == [2, 1, 1, 1, 0]
    assert np.isnan(got[5])
    assert labels.sell_hold_buy(returns, costs, multiple=0)[:5].tolist() == [2, 2, 1, 0, 0]


def test_break_even_is_what_a_trade_keeps():
    fee, slip = 5.5e-4, 1e-4
    short, long = labels.break_even(Costs(fee_bps=5.5, slippage_bps=1.0))
    assert (1 + long) * (1 - slip) * (1 - fee) == pytest.approx((1 + slip) * (1 + fee), abs=1e-15)
    assert (1 - slip) * (1 - fee) == pytest.approx((1 + short) * (1 + slip) * (1 + fee), abs=1e-15)


def test_class_shares():
    assert labels.class_shares(pd.Series([0, 1, 1, 2, np.nan])) == {
        "sell": 0.25, "hold": 0.5, "buy": 0.25,
    }  # fmt: skip


# Entry at bar 1's open, 100; barriers one unit away at 101 and 99; time barrier the open of bar 4.
BARRIERS = {
    "up": ([100, 100, 100, 100, 100.5], [0, 0, 1.5, 0, 0], [0, 0, 0, 0, 0], (2, 2, 0.01)),
    "down": ([100, 100, 100, 100, 100.5], [0, 0, 0, 0, 0], [0, 0, 0, 2, 0], (0, 3, -0.01)),
    "time": ([100, 100, 100, 100, 100.5], [0, 0.9, 0, 0, 0], [0, 0.9, 0, 0, 0], (1, 4, 0.005)),
    "both": ([100, 100, 100, 100, 100.5], [0, 1, 0, 0, 0], [0, 1, 0, 0, 0], (1, 1, -0.01)),
    "gap up": ([100, 100, 104, 100, 100.5], [0] * 5, [0, 0, 9, 0, 0], (2, 2, 0.04)),
    "gap down": ([100, 100, 96, 100, 100.5], [0, 0, 9, 0, 0], [0] * 5, (0, 2, -0.04)),
    "entry bar": ([100, 100, 100, 100, 100.5], [0, 1, 0, 0, 0], [0] * 5, (2, 1, 0.01)),
    "too late": ([100, 100, 100, 100, 100.5], [0, 0, 0, 0, 5], [0] * 5, (1, 4, 0.005)),
}


@pytest.mark.parametrize("case", BARRIERS)
def test_triple_barrier_by_hand(case):
    opens, above, below, expected = BARRIERS[case]
    candles = frame(opens, np.add(opens, above), np.subtract(opens, below))
    got = labels.triple_barrier(candles, upper=1, lower=1, horizon=3, scale=np.ones(5))
    assert got.iloc[0].to_numpy() == pytest.approx(expected)
    assert got.iloc[1:].isna().all(axis=None)


def slow_triple_barrier(candles, up, down, horizon, width):
    """An independent peer: one pandas slice a bar."""
    rows = []
    for t in range(len(candles)):
        ahead = candles.iloc[t + 1 : t + 1 + horizon]
        if t + 1 + horizon >= len(candles) or not width[t] > 0:
            rows.append((np.nan, np.nan))
            continue
        top = ahead["open"].iloc[0] + up * width[t]
        floor = ahead["open"].iloc[0] - down * width[t]
        ups = np.flatnonzero((ahead["high"] >= top) & (ahead["open"] > floor))
        downs = np.flatnonzero((ahead["low"] <= floor) & (ahead["open"] < top))
        first_up = ups[0] if len(ups) else horizon
        first_down = downs[0] if len(downs) else horizon
        label = 1 if first_up == first_down else 2 if first_up < first_down else 0
        rows.append((label, t + 1 + min(first_up, first_down)))
    return np.array(rows, float)


@pytest.mark.parametrize("scale", ["atr", "volatility"])
def test_triple_barrier_against_a_slow_peer(scale):
    candles = walk(400, seed=3)
    got = labels.triple_barrier(candles, upper=1.5, lower=1.0, horizon=12, scale=scale)
    warm = got["label"].first_valid_index()
    from setrade.labels import _widths

    width = _widths(candles, scale, 14)
    np.testing.assert_array_equal(
        got[["label", "end"]].to_numpy(), slow_triple_barrier(candles, 1.5, 1.0, 12, width)
    )
    assert candles.index.get_loc(warm) == 14
    assert set(got["label"].dropna()) == {0, 1, 2}


def test_tail_labels_are_left_out_even_if_decided():
    """Keeping those that hit a barrier early would leave a tail of moves without holds."""
    got = labels.triple_barrier(walk(200), upper=0.5, lower=0.5, horizon=20)
    assert got["label"].iloc[-21:].isna().all()
    assert got["label"].iloc[-22:-21].notna().all()
    assert (got["end"].dropna() > np.flatnonzero(got["end"].notna())).all()


def test_labels_look_ahead_exactly_as_far_as_they_say():
    """Altering what lies beyond ``end`` changes nothing; the purge relies on it."""
    candles = walk(300, seed=5)
    got = labels.triple_barrier(candles, horizon=15)
    for t in (40, 100, 250):
        end = int(got["end"].iloc[t])
        other = candles.copy()
        other.iloc[end + 1 :, :4] *= 3
        if got["label"].iloc[t] == 1:  # at a time-out only the open of the last bar is read
            other.iloc[end, 1:4] *= 3
        pd.testing.assert_series_equal(
            labels.triple_barrier(other, horizon=15).iloc[t], got.iloc[t]
        )


def used(ends_at, lookback, end):
    """Every bar that examples read, the slow way."""
    return {bar for t in ends_at for bar in range(t - lookback + 1, int(end[t]) + 1)}


@settings(max_examples=150, deadline=None)
@given(
    n=st.integers(60, 400), lookback=st.integers(1, 25), horizon=st.integers(1, 20),
    embargo=st.integers(0, 10), first=st.integers(0, 15), data=st.data(),
)  # fmt: skip
def test_chronological_sets_share_no_bar(n, lookback, horizon, embargo, first, data):
    end = labels.last_bars(n, horizon)
    if data.draw(st.booleans()):  # labels that are decided earlier, as barriers are
        early = np.random.default_rng(n).integers(1, horizon + 2, n)
        end = np.where(np.isnan(end), np.nan, np.minimum(end, np.arange(n) + early))
    try:
        split = labels.chronological(
            n, lookback=lookback, horizon=horizon, embargo=embargo, first=first, end=end
        )
    except ArgumentError:  # nothing is left of a set: said, not returned empty
        return
    sets = [used(rows, lookback, end) for rows in (split.train, split.validation, split.test)]
    for earlier, later in ((0, 1), (1, 2), (0, 2)):
        assert not sets[earlier] & sets[later]
        assert max(sets[earlier]) + embargo < min(sets[later])
    for rows, bars in zip((split.train, split.validation, split.test), sets, strict=True):
        assert set(np.flatnonzero(labels.bars_used(rows, lookback, end))) == bars
        assert min(bars) >= first


@settings(max_examples=100, deadline=None)
@given(
    n=st.integers(150, 500), lookback=st.integers(1, 20), horizon=st.integers(1, 10),
    validation=st.sampled_from((0, 45)), expanding=st.booleans(), embargo=st.integers(0, 5),
)  # fmt: skip
def test_walk_forward_sets_share_no_bar(n, lookback, horizon, validation, expanding, embargo):
    end = labels.last_bars(n, horizon)
    folds = labels.walk_forward(
        n, lookback=lookback, horizon=horizon, train=60, test=40, validation=validation,
        expanding=expanding, embargo=embargo,
    )  # fmt: skip
    for fold in folds:
        bars = [used(r, lookback, end) for r in (fold.train, fold.validation, fold.test)]
        assert not bars[0] & bars[2]
        assert not bars[1] & (bars[0] | bars[2])
    joined = np.concatenate([fold.test for fold in folds])
    np.testing.assert_array_equal(joined, np.arange(joined[0], joined[-1] + 1))  # one series
    assert len({len(fold.train) for fold in folds}) == (len(folds) if expanding else 1)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(80, 250), lookback=st.integers(1, 12), horizon=st.integers(1, 8),
    groups=st.integers(2, 6), tests=st.integers(1, 3), embargo=st.integers(0, 10),
    early=st.booleans(),
)  # fmt: skip
def test_combinatorial_drops_what_touches_a_test_and_nothing_else(
    n, lookback, horizon, groups, tests, embargo, early
):
    end = labels.last_bars(n, horizon)
    if early:  # labels that are decided early, as barriers are
        end = np.minimum(end, np.arange(n) + np.random.default_rng(n).integers(1, horizon + 2, n))
    try:
        splits = labels.combinatorial(
            n, lookback=lookback, horizon=horizon, groups=groups, tests=min(tests, groups - 1),
            embargo=embargo, end=end,
        )  # fmt: skip
    except ArgumentError:  # no training example is left: said, not returned empty
        return
    rows = np.flatnonzero(np.isfinite(end) & (np.arange(n) >= lookback - 1)).tolist()
    assert len(splits) == math.comb(groups, min(tests, groups - 1))
    for split in splits:
        seen = used(split.test, lookback, end)
        closed = seen | {bar + later for bar in seen for later in range(1, embargo + 1)}
        expected = [t for t in rows if not closed & used([t], lookback, end)]
        assert split.train.tolist() == expected


def test_combinatorial_by_hand():
    """12 bars, label at the bar after the next: examples 0 … 9, five groups of two."""
    splits = labels.combinatorial(12, lookback=1, horizon=1, groups=5, tests=1, embargo=1)
    assert len(splits) == 5
    assert splits[2].test.tolist() == [4, 5]  # reads bars 4 … 7, the embargo closes bar 8
    assert splits[2].train.tolist() == [0, 1, 9]
    without = labels.combinatorial(12, lookback=1, horizon=1, groups=5, tests=1)
    assert without[2].train.tolist() == [0, 1, 8, 9]


@pytest.mark.parametrize(("groups", "tests"), [(6, 2), (5, 1), (5, 3), (10, 2)])
def test_each_path_holds_every_group_once_and_no_prediction_twice(groups, tests):
    table = labels.paths(groups, tests)
    assert table.shape == (math.comb(groups - 1, tests - 1), groups)
    splits = labels.combinatorial(300, lookback=2, horizon=2, groups=groups, tests=tests)
    parts = np.array_split(np.arange(1, 297), groups)
    pairs = {(split, group) for row in table.tolist() for group, split in enumerate(row)}
    assert len(pairs) == table.size == len(splits) * tests
    for split, group in pairs:
        assert set(parts[group]) <= set(splits[split].test)


def test_chronological_by_hand():
    split = labels.chronological(100, lookback=5, horizon=2)
    # 70/15/15; the first validation window starts at bar 66, so a training label ends by 65.
    assert (split.train[0], split.train[-1]) == (4, 62)
    assert (split.validation[0], split.validation[-1]) == (70, 77)
    assert (split.test[0], split.test[-1]) == (85, 96)


def test_a_purge_is_needed():
    """Cutting the end bars at 70 % alone shares bars: the wrong version is caught."""
    end = labels.last_bars(100, 2)
    wrong_train, wrong_test = np.arange(4, 70), np.arange(70, 97)
    shared = labels.bars_used(wrong_train, 5, end) & labels.bars_used(wrong_test, 5, end)
    assert np.flatnonzero(shared).tolist() == [66, 67, 68, 69, 70, 71, 72]


def knn_score(x, y, train, test):
    """Accuracy of one nearest neighbour."""
    return KNeighborsClassifier(1).fit(x[train], y[train]).score(x[test], y[test])


def test_random_split_finds_skill_in_a_random_walk():
    """TRAPS 3: overlapping windows, shuffled, let the neighbour give the answer away."""
    lookback, horizon, random, ordered = 48, 24, [], []
    for seed in range(5):
        candles = walk(3_000, seed)
        up = labels.sell_hold_buy(labels.forward_return(candles, horizon), multiple=0) == 2
        closes = np.log(candles["close"].to_numpy())
        x = np.lib.stride_tricks.sliding_window_view(closes, lookback)
        x = np.r_[np.zeros((lookback - 1, lookback)), x]  # row t: the window that ends at bar t
        split = labels.chronological(3_000, lookback=lookback, horizon=horizon)
        ordered.append(knn_score(x, up.to_numpy(), split.train, split.test))
        rows = np.random.default_rng(seed).permutation(np.arange(lookback, 2_975))
        random.append(knn_score(x, up.to_numpy(), rows[:2_400], rows[2_400:]))
    assert np.mean(random) > 0.75
    assert 0.42 < np.mean(ordered) < 0.58


GOOD = {
    labels.forward_return: {"candles": walk(60), "horizon": 4},
    labels.sell_hold_buy: {"returns": pd.Series([0.1, np.nan]), "costs": Costs(), "multiple": 1.0},
    labels.break_even: {"costs": Costs()},
    labels.class_shares: {"labels": pd.Series([0.0, 1.0, 2.0])},
    labels.triple_barrier: {
        "candles": walk(60), "upper": 2.0, "lower": 2.0, "horizon": 5, "scale": "atr", "period": 14,
    },
    labels.last_bars: {"n_bars": 60, "horizon": 4},
    labels.combinatorial: {"n_bars": 100, "lookback": 5, "horizon": 2, "groups": 4, "tests": 2},
    labels.paths: {"groups": 6, "tests": 2},
    labels.chronological: {
        "n_bars": 100, "lookback": 5, "horizon": 2, "fractions": (0.7, 0.15, 0.15), "embargo": 0,
        "first": 0, "end": labels.last_bars(100, 2),
    },
    labels.walk_forward: {
        "n_bars": 100, "lookback": 5, "horizon": 2, "train": 40, "test": 20, "validation": 10,
        "embargo": 0, "first": 0, "end": labels.last_bars(100, 2),
    },
}  # fmt: skip
NAN_PRICE, ZERO_PRICE = walk(60), walk(60)
NAN_PRICE.iloc[7, 0] = np.nan
ZERO_PRICE.iloc[7, :4] = 0
BAD = [
    (labels.forward_return, "candles", [1, 2, 3]),
    (labels.forward_return, "candles", walk(60)[["close"]]),
    (labels.forward_return, "candles", NAN_PRICE),
    (labels.forward_return, "candles", ZERO_PRICE),
    (labels.forward_return, "candles", walk(5)),
    (labels.forward_return, "candles", walk(5).iloc[:0]),
    (labels.forward_return, "horizon", 0),
    (labels.forward_return, "horizon", 1.5),
    (labels.sell_hold_buy, "returns", [0.1]),
    (labels.sell_hold_buy, "returns", pd.Series(["a"])),
    (labels.sell_hold_buy, "returns", pd.Series([np.inf])),
    (labels.sell_hold_buy, "returns", pd.Series([], dtype=float)),
    (labels.sell_hold_buy, "costs", 0.001),
    (labels.sell_hold_buy, "multiple", -1),
    (labels.break_even, "costs", None),
    (labels.class_shares, "labels", pd.Series([3.0])),
    (labels.class_shares, "labels", pd.Series([np.nan])),
    (labels.triple_barrier, "candles", NAN_PRICE),
    (labels.triple_barrier, "candles", walk(6)),
    (labels.triple_barrier, "upper", 0),
    (labels.triple_barrier, "lower", -1),
    (labels.triple_barrier, "lower", np.nan),
    (labels.triple_barrier, "horizon", 0),
    (labels.triple_barrier, "scale", "range"),
    (labels.triple_barrier, "scale", np.ones(3)),
    (labels.triple_barrier, "scale", np.zeros(60)),
    (labels.triple_barrier, "period", 1),
    (labels.last_bars, "n_bars", 0),
    (labels.last_bars, "horizon", True),
    (labels.chronological, "n_bars", 2),
    (labels.chronological, "lookback", 0),
    (labels.chronological, "horizon", 0),
    (labels.chronological, "fractions", (0.7, 0.3)),
    (labels.chronological, "fractions", (0.7, 0.2, 0.2)),
    (labels.chronological, "fractions", (0.7, 0.3, 0.0)),
    (labels.chronological, "embargo", -1),
    (labels.chronological, "first", 100),
    (labels.chronological, "end", np.arange(100.0)),
    (labels.chronological, "end", np.ones(3)),
    (labels.combinatorial, "groups", 1),
    (labels.combinatorial, "tests", 4),
    (labels.combinatorial, "n_bars", 8),
    (labels.paths, "tests", 6),
    (labels.combinatorial, "embargo", -1),
    (labels.walk_forward, "train", 0),
    (labels.walk_forward, "test", 0),
    (labels.walk_forward, "validation", -1),
    (labels.walk_forward, "n_bars", 50),
    (labels.walk_forward, "embargo", 1.0),
]


@pytest.mark.parametrize(("function", "argument", "value"), BAD)
def test_bad_input_is_named(function, argument, value):
    arguments = GOOD[function] | {argument: value}
    if argument in ("n_bars", "horizon"):
        arguments.pop("end", None)
    with pytest.raises(ArgumentError) as error:
        function(**arguments)
    assert error.value.name == argument
    assert "allowed" in str(error.value)


def test_an_empty_set_is_named():
    with pytest.raises(ArgumentError) as error:
        labels.chronological(100, lookback=20, horizon=10)
    assert error.value.name == "validation"
    with pytest.raises(ArgumentError) as error:
        labels.walk_forward(100, lookback=30, horizon=10, train=20, test=20)
    assert error.value.name == "train"


def test_good_arguments_pass():
    for function, arguments in GOOD.items():
        function(**arguments)


STAMPS = pd.date_range("2024-01-01", periods=80, freq="1h", tz="UTC")


@pytest.mark.parametrize(
    "other", [STAMPS[::-1], STAMPS + pd.Timedelta("1D"), STAMPS.tz_localize(None)]
)
def test_a_scale_has_the_stamps_of_the_candles(other):
    price = 100 + np.arange(80.0)
    bars = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), price), STAMPS)
    scale = pd.Series(np.linspace(1, 2, 80), STAMPS)
    expected = labels.triple_barrier(bars, scale=scale.to_numpy())
    for index in (STAMPS, STAMPS.tz_convert("Etc/UTC"), STAMPS.as_unit("s")):
        found = labels.triple_barrier(bars, scale=scale.set_axis(index))
        pd.testing.assert_frame_equal(found, expected)
    with pytest.raises(ArgumentError, match="^scale: "):
        labels.triple_barrier(bars, scale=scale.set_axis(other))


def test_ends_of_labels_keep_their_order():
    end = pd.Series(labels.last_bars(80, 4), STAMPS)
    assert len(labels.chronological(80, lookback=5, horizon=4, end=end).test)
    with pytest.raises(ArgumentError, match="^end: .* index that rises"):
        labels.chronological(80, lookback=5, horizon=4, end=end[::-1])
