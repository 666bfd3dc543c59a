"""The engine: a ledger by hand, the ledger laws, a second engine, vectorbt, traps 13 to 21."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import slow_engine
import talib
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import assert_causal

from setrade import backtest, candles, metrics
from setrade.backtest import METRICS, Costs, Risk, engine
from setrade.costs import FREE
from setrade.errors import ArgumentError

QUICK = settings(deadline=None, max_examples=60)


def frame(opens, highs=None, lows=None, closes=None, interval="15min", start="2024-01-01"):
    """Candles from lists; missing closes equal the opens, missing extremes the body's."""
    opens = np.asarray(opens, float)
    closes = opens if closes is None else np.asarray(closes, float)
    highs = np.maximum(opens, closes) if highs is None else np.asarray(highs, float)
    lows = np.minimum(opens, closes) if lows is None else np.asarray(lows, float)
    index = pd.date_range(start, periods=len(opens), freq=interval, tz="UTC", name="time")
    data = {"open": opens, "high": highs, "low": lows, "close": closes, "volume": 1.0}
    return pd.DataFrame(data, pd.DatetimeIndex(index, freq=None))


def random_candles(seed, n=300, vol=0.01):
    """A random walk with gaps between bars and wicks on both sides."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, vol, (2, n)).cumsum(axis=1).sum(axis=0)
    opens = 100 * np.exp(steps)
    closes = opens * np.exp(rng.normal(0, vol, n))
    wick = np.exp(np.abs(rng.normal(0, vol, (2, n))))
    return frame(
        opens, np.maximum(opens, closes) * wick[0], np.minimum(opens, closes) / wick[1], closes
    )


def random_positions(seed, n=300, levels=(-1.0, -0.5, 0.0, 0.3, 1.0), every=7):
    rng = np.random.default_rng(seed + 1000)
    return np.repeat(rng.choice(levels, n // every + 1), every)[:n]


# --- by hand -----------------------------------------------------------------------------


def test_four_bars_by_hand():
    """Buy at the open of bar 1 for 100, its 1 % fee included; sell at the open of bar 3."""
    bars = frame([100, 100, 104, 110], closes=[100, 102, 108, 111])
    result = backtest.run(bars, [1, 1, 0, 0], costs=Costs(100, 0, 0), equity=101.0)
    assert result.equity.tolist() == pytest.approx([101, 102, 108, 110 - 1.10])
    assert result.units.tolist() == pytest.approx([0, 1, 1, 0])
    (trade,) = result.trades.to_dict("records")
    assert (trade["entry_time"], trade["exit_time"]) == (bars.index[1], bars.index[3])
    assert [trade[k] for k in ("side", "reason")] == [1, "signal"]
    assert [trade[k] for k in ("size", "entry_price", "exit_price", "gross", "fees", "pnl")] == (
        pytest.approx([1, 100, 110, 10, 2.1, 7.9])
    )


def test_trap_13_long_from_100_to_104_earns_four_per_cent_less_costs():
    bars = frame([100, 100, 104, 104])
    result = backtest.run(bars, [1, 0, 0, 0], costs=FREE)
    assert result.equity.iloc[-1] == pytest.approx(1.04)
    assert result.trades.pnl.tolist() == pytest.approx([0.04])
    position = 0.0  # the wrong version zeroes the position, then reads the profit
    assert position * (104 - 100) == 0 != pytest.approx(result.trades.pnl[0])


def test_trap_14_a_short_on_a_flat_price_earns_nothing():
    result = backtest.run(frame([100.0] * 6), [-1] * 6, costs=FREE, equity=100_000.0)
    assert (result.equity == 100_000).all()
    proceeds = 100_000 - result.units.iloc[-1] * 100  # sold short, taken for income
    assert proceeds == 200_000


def test_trap_15_one_charge_a_leg():
    bars = frame([100.0] * 5)
    result = backtest.run(bars, [1, 1, 0, 0, 0], costs=Costs(100, 0, 0))
    size = 1 / 101
    assert result.trades.fees.tolist() == pytest.approx([2 * size])
    assert result.cash.iloc[-1] - 1 == pytest.approx(result.trades.pnl.sum())
    assert result.metrics()["fees"] == pytest.approx(2 * size)
    for charges in (1, 4):  # once, or twice a leg
        assert result.cash.iloc[-1] - 1 != pytest.approx(-charges * size)


def test_trap_16_the_forced_close_is_in_the_curve():
    bars = random_candles(1)
    closed = backtest.run(bars, np.ones(300), close_at_end=True)
    assert (
        closed.equity.iloc[-1] == closed.cash.iloc[-1] == pytest.approx(1 + closed.trades.pnl.sum())
    )
    assert closed.trades.reason.tolist() == ["end"]
    left = backtest.run(bars, np.ones(300))
    assert left.trades.reason.tolist() == ["open"]
    assert left.trades.exit_time.isna().all()
    assert left.equity.iloc[-1] == pytest.approx(1 + left.trades.pnl.sum())
    assert left.equity.iloc[-1] != left.cash.iloc[-1]  # a curve without the last close
    assert left.equity.iloc[-1] > closed.equity.iloc[-1]


def test_trap_17_sharpe_uses_the_length_of_the_bar():
    bars = random_candles(2)
    quarter = backtest.run(bars, np.ones(300), costs=FREE)
    hourly = backtest.run(
        bars.set_axis(frame(range(1, 301), interval="1h").index), np.ones(300), costs=FREE
    )
    ratio = quarter.metrics()["sharpe"] / hourly.metrics()["sharpe"]
    assert ratio == pytest.approx(2.0)  # √(4 bars an hour); √252 for all would give 1


def test_trap_20_a_stop_works_inside_the_bar_and_comes_before_the_target():
    lows, highs = [100.0] * 20, [102.0] * 20
    lows[17], highs[17] = 90.0, 120.0  # touches both
    bars = frame([101.0] * 20, highs, lows, [101.0] * 20)
    position = np.r_[np.zeros(15), np.ones(5)]
    result = backtest.run(bars, position, costs=FREE, risk=Risk(stop_atr=2.0, take_profit=2.0))
    (trade,) = result.trades.to_dict("records")
    assert (trade["reason"], trade["exit_time"]) == ("stop", bars.index[17])
    assert trade["exit_price"] == pytest.approx(101 - 2 * 2.0)
    assert bars.close.iloc[17] > trade["exit_price"]  # on closes alone it is not seen
    assert trade["pnl"] < 0  # taken as a win it would be positive


def test_trap_21_an_oracle_for_one_bar_earns_nothing_it_could_not_trade():
    """All of the move happens between a close and the next open, where nobody can trade."""
    rng = np.random.default_rng(3)
    gap = np.zeros(200)
    gap[::2] = rng.normal(0, 0.02, 100)  # into every second bar
    price = 100 * np.exp(gap.cumsum())
    bars = frame(price)  # open = close: nothing moves inside a bar
    oracle = np.r_[np.sign(np.diff(price)), 0.0]  # knows the next gap at each close
    honest = backtest.run(bars, oracle, costs=FREE)
    assert honest.equity.iloc[-1] == pytest.approx(1.0, abs=1e-12)
    same_close = np.prod(1 + oracle[:-1] * (price[1:] / price[:-1] - 1))
    assert same_close > 3


def test_the_last_decision_is_never_filled():
    bars = random_candles(4)
    position = np.zeros(300)
    position[-1] = 1.0
    assert len(backtest.run(bars, position).trades) == 0


def test_half_a_position_spends_half_of_the_equity_fee_included():
    result = backtest.run(frame([100.0] * 3), [0.5] * 3, costs=Costs(100, 0, 0))
    assert result.units.iloc[-1] * 100 * 1.01 == pytest.approx(0.5)


def test_held_not_rebalanced_unless_asked():
    bars = frame([100, 100, 120, 150, 90, 90])
    held = backtest.run(bars, [0.5] * 6, costs=FREE)
    assert held.units.iloc[1:].nunique() == 1
    followed = backtest.run(bars, [0.5] * 6, costs=FREE, rebalance=True)
    share = followed.units * bars.close / followed.equity
    assert share.iloc[1:].to_numpy() == pytest.approx(0.5)
    whole = backtest.run(bars, [1.0] * 6, costs=Costs(), rebalance=True)
    assert whole.units.iloc[1:].nunique() == 1  # all is in it already: nothing to trade


def test_more_and_less_of_a_position():
    bars = frame([100.0, 100, 200, 200, 200])
    result = backtest.run(bars, [0.5, 1.0, 0.5, 0.0, 0.0], costs=FREE)
    # 0.005 units; worth 1 of 1.5 when the whole is wanted: 0.0025 more; then half, then none
    assert result.units.tolist() == pytest.approx([0, 0.005, 0.0075, 0.00375, 0])
    (trade,) = result.trades.to_dict("records")
    assert trade["size"] == pytest.approx(0.0075)
    assert trade["entry_price"] == pytest.approx((0.5 + 0.5) / 0.0075)
    assert trade["gross"] == pytest.approx(trade["size"] * (200 - trade["entry_price"]))


def test_funding_is_charged_on_what_was_held_into_its_time():
    bars = frame([100.0] * 10, interval="1h", start="2024-01-01 05:00")
    at_eight = pd.Series([0.01], pd.DatetimeIndex(["2024-01-01 08:00"], tz="UTC"))
    position = np.zeros(10)
    position[1:4] = 1.0  # filled at 07:00, closed at 10:00
    paid = backtest.run(bars, position, costs=FREE, funding=at_eight)
    assert paid.metrics()["funding"] == pytest.approx(0.01) == paid.trades.funding.sum()
    assert backtest.run(bars, -position, costs=FREE, funding=at_eight).equity.iloc[-1] > 1
    position[1] = 0.0  # filled at 08:00 itself: decided too late to be charged
    late = backtest.run(bars, position, costs=FREE, funding=at_eight)
    assert late.metrics()["funding"] == 0


def test_funding_inside_a_daily_bar():
    bars = frame([100.0] * 3, interval="1D")
    rates = pd.Series(0.01, pd.date_range("2024-01-01", periods=9, freq="8h", tz="UTC"))
    result = backtest.run(bars, [1, 1, 1], costs=FREE, funding=rates)
    # bought at midnight of the 2nd: 08:00 and 16:00 that day, all three the next
    assert result.metrics()["funding"] == pytest.approx(0.05)


def test_gap_through_the_stop_fills_at_the_open():
    opens = [100.0] * 18 + [90.0, 90.0]
    highs, lows = np.array(opens) + 1, np.array(opens) - 1
    position = np.r_[np.zeros(15), np.ones(5)]
    result = backtest.run(frame(opens, highs, lows), position, costs=FREE, risk=Risk(stop_atr=1.0))
    assert result.trades.exit_price.tolist() == [90.0]
    assert result.trades.reason.tolist() == ["stop"]


def test_after_a_stop_the_account_waits_for_a_new_decision():
    lows = [99.0] * 40
    lows[20] = 50.0
    bars = frame([100.0] * 40, [101.0] * 40, lows, [100.0] * 40)
    position = np.r_[np.zeros(15), np.ones(25)]
    risk = Risk(stop_atr=3.0)
    for rebalance in (False, True):
        assert len(backtest.run(bars, position, risk=risk, rebalance=rebalance).trades) == 1
    position[30] = 0.0
    assert backtest.run(bars, position, risk=risk).trades.reason.tolist() == ["stop", "open"]


def test_no_stop_no_entry_while_the_atr_warms_up():
    bars = random_candles(5)
    result = backtest.run(bars, np.ones(300), risk=Risk(stop_atr=50.0))
    assert result.trades.entry_time[0] == bars.index[15]  # ATR of 14 known after bar 14


def test_a_leveraged_long_is_liquidated_and_a_gap_costs_no_more_than_everything():
    opens = [100.0, 100, 100, 60, 60]
    lows = [100.0, 100, 66, 60, 60]
    bars = frame(opens, None, lows)
    result = backtest.run(bars, [3.0] * 5, costs=FREE, risk=Risk(max_position=3, max_leverage=50))
    (trade,) = result.trades.to_dict("records")
    # 0.03 units: 0.03 x = 50 (1 + 0.03 (x - 100)) at x = 100 / 1.47
    assert (trade["reason"], trade["exit_price"]) == ("liquidation", pytest.approx(100 / 1.47))
    assert trade["exit_time"] == bars.index[2]
    gap = frame([100.0, 100, 60, 60, 60])
    ruined = backtest.run(gap, [3.0] * 5, risk=Risk(max_position=3, max_leverage=50))
    assert ruined.equity.tolist()[-3:] == [0, 0, 0]
    assert ruined.metrics()["annual_return"] == -1
    assert ruined.metrics()["max_drawdown"] == -1


def test_a_short_whose_price_more_than_doubles_is_ruined_not_negative():
    bars = frame([100.0, 100, 150, 230, 300, 50], closes=[100.0, 120, 190, 240, 300, 50])
    result = backtest.run(bars, [-1.0] * 6, costs=FREE)
    assert result.trades.reason.tolist() == ["liquidation"]
    assert result.equity.iloc[-1] == 0


def test_daily_loss_closes_at_the_next_open_and_a_new_decision_waits_for_the_next_day():
    price = np.full(24 * 3, 100.0)
    price[5:] = 90.0
    bars = frame(price, interval="1h")
    position = np.ones(72)
    position[8:10] = 0.0  # a new decision on the same day
    result = backtest.run(bars, position, costs=FREE, risk=Risk(daily_loss=0.05))
    assert result.trades.reason.tolist() == ["daily_loss", "open"]
    assert result.trades.exit_time[0] == bars.index[6]
    assert result.trades.entry_time[1] == bars.index[24]


def test_guards_refuse_new_exposure_only():
    price = np.full(40, 100.0)
    price[10:] = 120.0
    bars = frame(price, price + 1, price - 1)
    position = np.zeros(40)
    position[9:] = 1.0
    jump = backtest.run(bars, position, risk=Risk(max_jump=0.1))
    assert jump.trades.entry_time[0] == bars.index[11]  # tried again at the next open
    leaving = np.r_[np.ones(9), np.zeros(31)]
    assert (
        backtest.run(bars, leaving, risk=Risk(max_jump=0.1)).trades.exit_time[0] == bars.index[10]
    )
    frozen = frame(np.r_[np.full(20, 100.0), 100 + np.arange(20.0)])
    stale = backtest.run(frozen, np.r_[0.0, np.ones(39)], risk=Risk(max_stale=0))
    assert stale.trades.entry_time[0] == frozen.index[22]  # bar 21 moved; seen at its close


def test_confidence_scales_positions():
    bars = random_candles(6)
    risk = Risk(min_confidence=0.4, full_confidence=0.8)
    ours = backtest.run(bars, np.ones(300), confidence=np.full(300, 0.6), risk=risk)
    pd.testing.assert_series_equal(ours.equity, backtest.run(bars, np.full(300, 0.5)).equity)


# --- laws --------------------------------------------------------------------------------

runs = st.fixed_dictionaries({
    "seed": st.integers(0, 10_000),
    "fee": st.floats(0, 50),
    "maker": st.floats(0, 20),
    "slip": st.floats(0, 20),
    "stop": st.none() | st.floats(0.5, 5),
    "target": st.none() | st.floats(0.3, 4),
    "leverage": st.none() | st.floats(3.5, 30),
    "daily": st.none() | st.floats(0.005, 0.2),
    "size": st.sampled_from([1.0, 3.0]),
    "funding": st.booleans(),
    "rebalance": st.booleans(),
    "tick": st.sampled_from([0.0, 0.01, 0.5, 1.0]),
    "lot": st.sampled_from([0.0, 1e-4, 0.001]),
})  # fmt: skip


def setting(p):
    """Candles, positions and keyword arguments of one drawn run."""
    bars = random_candles(p["seed"], vol=0.01 * p["size"])
    position = random_positions(p["seed"]) * p["size"]
    rng = np.random.default_rng(p["seed"])
    rates = pd.Series(rng.normal(0, 1e-3, 10), bars.index[::32])
    kwargs = {
        "costs": Costs(p["fee"], p["maker"], p["slip"], p["tick"], p["lot"]),
        "funding": rates if p["funding"] else None,
        "rebalance": p["rebalance"],
        "risk": Risk(
            max_position=p["size"], stop_atr=p["stop"], take_profit=p["stop"] and p["target"],
            max_leverage=p["leverage"], daily_loss=p["daily"],
        ),
    }  # fmt: skip
    return bars, position, kwargs


@QUICK
@given(runs)
def test_law_equal_to_the_slow_engine(p):
    bars, position, kwargs = setting(p)
    risk, costs = kwargs["risk"], kwargs["costs"]
    at_open = None
    if p["funding"]:
        at_open = kwargs["funding"].reindex(bars.index, fill_value=0.0).to_numpy()
    high, low, close = (bars[c].to_numpy() for c in ("high", "low", "close"))
    curve, trades = slow_engine.backtest(
        bars.open.to_numpy(), high, low, close, position,
        fee=costs.fee_bps / 1e4, maker=costs.maker_fee_bps / 1e4, slip=costs.slippage_bps / 1e4,
        funding=at_open, stop_atr=risk.stop_atr or math.inf, ratio=risk.take_profit or math.inf,
        atr=talib.ATR(high, low, close, 14), leverage=risk.max_leverage or math.inf,
        daily_loss=risk.daily_loss or math.inf, days=bars.index.floor("1D").asi8,
        rebalance=p["rebalance"], tick=p["tick"], lot=p["lot"],
    )  # fmt: skip
    result = backtest.run(bars, position, **kwargs)
    np.testing.assert_allclose(result.equity, curve, rtol=1e-9, atol=1e-11)
    closed = result.trades[result.trades.reason != "open"]
    assert len(closed) == len(trades)
    for ours, theirs in zip(closed.to_dict("records"), trades, strict=True):
        assert (ours["side"], ours["reason"]) == theirs[2:4]
        assert (ours["entry_time"], ours["exit_time"]) == tuple(bars.index[list(theirs[:2])])
        assert ours["pnl"] == pytest.approx(theirs[4], rel=1e-9, abs=1e-11)


def on_step(values, step):
    steps = np.asarray(values, float) / step
    return np.allclose(steps, np.round(steps), rtol=0, atol=1e-6)


def test_fills_lie_on_the_tick_and_sizes_are_whole_lots():
    bars = random_candles(5).round(2)
    costs = Costs(5.5, 2.0, 1.0, tick=0.5, lot=0.001)
    free = Costs(5.5, 2.0, 1.0)
    for order in ("taker", "maker"):
        run = backtest.run(bars, np.ones(len(bars)), costs=costs, order=order, close_at_end=True)
        plain = backtest.run(bars, np.ones(len(bars)), costs=free, order=order, close_at_end=True)
        trade, other = run.trades.iloc[0], plain.trades.iloc[0]
        assert on_step(trade["entry_price"], 0.5)
        assert on_step(trade["exit_price"], 0.5)
        assert on_step(trade["size"], 0.001)
        assert 0 <= trade["entry_price"] - other["entry_price"] < 0.5  # a buy moves up
        assert 0 <= other["exit_price"] - trade["exit_price"] < 0.5  # a sale moves down
        assert trade["size"] <= other["size"]
        assert run.equity.iloc[-1] <= plain.equity.iloc[-1]
    stops = Risk(stop_atr=1.0, take_profit=1.0)
    trades = backtest.run(bars, random_positions(5), costs=costs, risk=stops).trades
    assert {"stop", "target"} <= set(trades["reason"])
    ended = trades[trades["reason"] != "open"]
    assert on_step(ended["exit_price"], 0.5)
    assert on_step(trades["entry_price"], 0.5)
    assert on_step(trades["size"], 0.001)
    large = Costs(0, 0, 0, lot=1e6)
    assert not len(backtest.run(bars, np.ones(len(bars)), costs=large).trades)
    with pytest.raises(ArgumentError, match="costs.*tick"):
        backtest.run(bars, np.ones(len(bars)), costs=Costs(tick=1e6))


def test_many_sets_know_tick_and_lot():
    bars, score = random_candles(6).round(2), random_positions(6)
    costs = Costs(5.5, 2.0, 1.0, tick=0.5, lot=0.001)
    sets = pd.DataFrame({"fee_bps": [0.0, 5.5], "stop_atr": [np.nan, 2.0]})
    table = backtest.run_many(bars, score, sets, costs=costs)
    for k, (fee, stop) in enumerate([(0.0, None), (5.5, 2.0)]):
        one = backtest.run(bars, score, costs=dataclasses.replace(costs, fee_bps=fee),
                           risk=Risk(stop_atr=stop))  # fmt: skip
        assert table["final_equity"][k] == pytest.approx(one.equity.iloc[-1], rel=1e-12)


def test_the_scale_of_prices_changes_nothing():
    """Sizes of 1e-300 once multiplied to zero: closing became adding."""
    bars, position = random_candles(7), random_positions(7)
    figures = backtest.run(bars, position).metrics()
    for scale in (1e-290, 1e290):
        scaled = bars.assign(**{c: bars[c] * scale for c in ("open", "high", "low", "close")})
        assert backtest.run(scaled, position).metrics() == pytest.approx(figures, rel=1e-6)


@QUICK
@given(runs)
def test_law_the_ledger_balances(p):
    """Equity = cash + unrealised at each bar; Δequity = Σ pnl; Δcash = Σ gross − costs."""
    bars, position, kwargs = setting(p)
    result = backtest.run(bars, position, **kwargs)
    t, last = result.trades, result.trades.iloc[-1]
    assert result.equity.iloc[-1] - 1 == pytest.approx(t.pnl.sum(), abs=1e-9)
    np.testing.assert_allclose(
        t.gross, t.side * t["size"] * (t.exit_price - t.entry_price), atol=1e-9
    )
    np.testing.assert_allclose(t.pnl, t.gross - t.fees - t.funding, atol=1e-12)
    flat = (result.units == 0).to_numpy()
    np.testing.assert_array_equal(result.equity[flat], result.cash[flat])
    done = t[t.reason != "open"].set_index("exit_time").pnl.groupby(level=0).sum()
    booked = done.reindex(bars.index, fill_value=0.0).cumsum()  # between trades: nothing else
    np.testing.assert_allclose(result.cash[flat], 1 + booked[flat], atol=1e-9)
    figures = result.metrics()
    assert figures["fees"] == pytest.approx(t.fees.sum(), abs=1e-9)
    assert figures["funding"] == pytest.approx(t.funding.sum(), abs=1e-9)
    if last.reason == "open" and not kwargs["rebalance"] and p["size"] == 1.0:
        unrealised = result.units * (bars.close - last.entry_price)
        held = (bars.index >= last.entry_time) & (result.units == result.units.iloc[-1])
        if held.sum() == (bars.index >= last.entry_time).sum():  # never added to or reduced
            np.testing.assert_allclose(
                (result.cash + unrealised)[held], result.equity[held], atol=1e-9
            )


@QUICK
@given(
    seed=st.integers(0, 10_000),
    enter=st.integers(14, 200),
    length=st.integers(1, 90),
    side=st.sampled_from([-1.0, 1.0]),
    stop=st.none() | st.floats(0.5, 6),
    target=st.none() | st.floats(0.3, 4),
)
def test_law_mirror(seed, enter, length, side, stop, target):
    """Reflect a path about the fill price and change the side: the same equity, bar by bar.

    Without costs a long from c earns p − c, a short on the reflected path c − (2c − p). Stops
    and targets take part: the average true range is its own mirror image.
    """
    bars = random_candles(seed, vol=0.003)
    centre = bars.open.iloc[enter + 1]
    mirror = 2 * centre - bars[["open", "low", "high", "close"]]
    mirror.columns = ["open", "high", "low", "close"]
    mirror = mirror[["open", "high", "low", "close"]].assign(volume=1.0)
    if (mirror[["low"]] <= 0).any().any():
        return
    position = np.zeros(300)
    position[enter : enter + length] = side
    kwargs = {"costs": FREE, "risk": Risk(stop_atr=stop, take_profit=stop and target)}
    ours, theirs = backtest.run(bars, position, **kwargs), backtest.run(mirror, -position, **kwargs)
    np.testing.assert_allclose(ours.equity, theirs.equity, rtol=1e-9)
    assert ours.trades.reason.tolist() == theirs.trades.reason.tolist()
    short = backtest.run(bars, -position, costs=FREE)  # same path, other side: opposite profit
    plain = backtest.run(bars, position, costs=FREE)
    np.testing.assert_allclose(plain.equity - 1, 1 - short.equity, atol=1e-9)


@QUICK
@given(runs, st.integers(-6, 6))
def test_law_scaling_prices_changes_nothing(p, power):
    bars, position, kwargs = setting(p)
    scaled = bars.copy()
    scaled[["open", "high", "low", "close"]] *= 2.0**power
    grid = {"tick": p["tick"] * 2.0**power, "lot": p["lot"] / 2.0**power}
    costs = dataclasses.replace(kwargs["costs"], **grid)
    ours = backtest.run(bars, position, **kwargs)
    theirs = backtest.run(scaled, position, **(kwargs | {"costs": costs}))
    np.testing.assert_allclose(ours.equity, theirs.equity, rtol=1e-12)
    np.testing.assert_allclose(ours.units, theirs.units * 2.0**power, rtol=1e-9)
    if p["lot"]:
        return  # a larger account loses less to whole lots
    grown = backtest.run(bars, position, equity=1000.0, **kwargs)
    np.testing.assert_allclose(ours.equity * 1000, grown.equity, rtol=1e-9)


@QUICK
@given(
    position=st.lists(st.floats(-1, 1), min_size=2, max_size=60), price=st.floats(1e-3, 1e6)
)  # fmt: skip
def test_law_no_costs_on_a_flat_price(position, price):
    equity = backtest.run(frame([price] * len(position)), position, costs=FREE).equity
    np.testing.assert_allclose(equity, 1.0, rtol=1e-12)


def test_law_truncation():
    """Bars after t change no equity up to t; `position` is part of what was known."""
    bars = random_candles(7)
    everything = Risk(stop_atr=2.0, take_profit=1.5, daily_loss=0.03, max_jump=0.05, max_stale=2)

    def compute(frame_):
        position = np.sign(frame_.close.diff(5).fillna(0.0)).to_numpy()
        result = backtest.run(frame_, position, risk=everything)
        return np.column_stack([result.equity, result.cash, result.units])

    assert_causal(compute, bars, cuts=range(20, 299, 31))


def test_with_nothing_left_nothing_is_opened_and_no_trade_is_lost():
    """Costs of half the price take more than everything: the account closes and stays flat."""
    bars = frame(np.ones(30), interval="1h")
    position = np.where(np.arange(30) < 3, 3.0, -3.0)
    limits = Risk(max_position=3, max_leverage=3.3)
    costs = Costs(5000.0, 5000.0, 5000.0)
    for rebalance in (False, True):
        result = backtest.run(
            bars, position, costs=costs, order="maker", risk=limits, rebalance=rebalance
        )
        assert len(result.trades) == result.account["trades"] == 1
        assert result.trades.pnl.sum() == pytest.approx(result.equity.iloc[-1] - 1.0)
        assert result.units.iloc[-1] == 0


def test_a_sale_of_the_lowest_price_lies_on_a_tick_above_zero():
    bars = frame([1.0, 2.0, 1.0, 1.0])
    with pytest.raises(ArgumentError, match="tick of at most 0.9999"):
        backtest.run(bars, np.array([-1.0, 0, 0, 0]), costs=Costs(tick=1.0))
    assert np.isfinite(backtest.run(bars, -np.ones(4), costs=Costs(tick=0.99)).equity).all()


@pytest.mark.parametrize("n", [1023, 1024, 1025, 2049, 5000])
@pytest.mark.parametrize("stop", [None, 3.0, 40.0])
@pytest.mark.parametrize("every", [7, 700])
def test_bars_jumped_over_hold_no_event(n, stop, every):
    """A guard that never strikes makes the engine stop at every bar: the same account."""
    bars, position = random_candles(n, n, 0.004), random_positions(n, n, every=every)
    rates = pd.Series(1e-3, bars.index[:: n // 3])
    for funding in (None, rates):
        for leverage in (None, 1.7):
            limits = {"stop_atr": stop, "take_profit": stop and 2.0, "max_leverage": leverage}
            quick, slow = (
                backtest.run(bars, position, funding=funding, risk=Risk(**limits, max_stale=stale))
                for stale in (None, 10**9)
            )
            assert len(quick.statements) < n == len(slow.statements)
            pd.testing.assert_frame_equal(quick.trades, slow.trades)
            pd.testing.assert_series_equal(quick.equity, slow.equity)


@QUICK
@given(st.lists(st.sampled_from([-1.0, -0.0, 0.0, 0.5, 1.0]), min_size=2, max_size=40))
def test_law_decisions_are_where_the_position_turns(values):
    position = np.array(values)
    bars, inside = engine.decide(position, 0.5)
    assert inside == (np.abs(position) <= 0.5).all()
    wanted = np.flatnonzero(position[:-1] != np.r_[0.0, position[:-2]]) + 1
    assert bars.tolist() == [*wanted.tolist(), len(position)]


@QUICK
@given(runs)
def test_law_many_sets_equal_single_runs(p):
    bars, position, kwargs = setting(p)
    scores = np.stack([position, random_candles(p["seed"] + 1).close.diff().fillna(0.0)])
    nan = math.nan
    table = pd.DataFrame({
        "series": [0, 0, 1, 1], "threshold": [nan, nan, 0.5, 1.0], "size": [1.0, 1.0, 0.5, 1.0],
        "fee_bps": [5.5, 0.0, 2.0, 10.0], "stop_atr": [nan, 2.0, 1.0, nan],
        "daily_loss": [nan, nan, 0.02, 0.1],
    })  # fmt: skip
    kwargs["risk"] = Risk(max_position=p["size"], max_leverage=p["leverage"])
    many, curves = backtest.run_many(bars, scores, table, curves=True, **kwargs)
    for s, row in table.iterrows():
        score = scores[int(row.series)]
        beyond = row["size"] * np.sign(score) * (np.abs(score) > row.threshold)
        wanted = score if math.isnan(row.threshold) else beyond
        limits = {n: None if math.isnan(row[n]) else row[n] for n in ("stop_atr", "daily_loss")}
        risk = Risk(max_position=p["size"], max_leverage=p["leverage"], **limits)
        costs = dataclasses.replace(kwargs["costs"], fee_bps=row.fee_bps)
        one = backtest.run(bars, wanted, **(kwargs | {"costs": costs, "risk": risk}))
        np.testing.assert_allclose(curves[s], one.equity, rtol=1e-12)
        assert many.trades[s] == len(one.trades)
        for name, value in one.metrics().items():
            assert many[name][s] == pytest.approx(value, rel=1e-7, abs=1e-9, nan_ok=True), name


# --- many sets, results ------------------------------------------------------------------


def test_grid():
    table = backtest.grid(threshold=[0.1, 0.2], stop_atr=[1, 2, None])
    assert table.shape == (6, 2)
    assert table.stop_atr.isna().sum() == 2


def test_memory_grows_with_bars_not_with_bars_times_sets():
    import tracemalloc

    bars, sets = random_candles(8, n=20_000), backtest.grid(threshold=np.linspace(0, 1, 400))
    scores = np.random.default_rng(0).normal(0, 0.3, 20_000)
    backtest.run_many(bars, scores, sets[:2])  # compiled and warm
    tracemalloc.start()
    backtest.run_many(bars, scores, sets)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * len(bars) * len(sets) / 20


def test_metrics_of_a_run_that_never_trades():
    figures = backtest.run(random_candles(9), np.zeros(300)).metrics()
    assert tuple(figures) == METRICS
    undefined = {"sharpe", "sortino", "calmar", "win_rate", "profit_factor"}
    assert {n for n, v in figures.items() if math.isnan(v)} == undefined
    assert all(figures[n] == 0 for n in METRICS if n not in undefined)


def test_turnover_and_exposure_by_hand():
    bars = frame([100.0] * 9)
    result = backtest.run(bars, [1, 1, 0, 0, -1, 0, 0, 0, 0], costs=FREE)
    figures = result.metrics()
    assert figures["exposure"] == pytest.approx(3 / 9)
    assert figures["turnover"] == pytest.approx(4 * 365 * 96 / 8)  # two round trips in 8 returns


def test_drawdown_with_dates_and_table_with_buy_and_hold():
    bars = frame([100.0, 100, 100, 100, 100], closes=[100.0, 120, 90, 120, 121])
    bars["high"] = bars[["open", "close"]].max(axis=1)
    result = backtest.run(bars, np.ones(5), costs=FREE)
    assert result.drawdown() == (pytest.approx(-0.25), *bars.index[[1, 2, 3]])
    table = result.table()
    assert list(table.index) == list(METRICS)
    pd.testing.assert_series_equal(table.strategy, table.buy_and_hold, check_names=False)


def test_series_and_array_positions_agree_and_inputs_are_left_alone():
    bars, position = random_candles(10), random_positions(10)
    before = bars.copy()
    ours = backtest.run(bars, pd.Series(position, bars.index))
    pd.testing.assert_series_equal(ours.equity, backtest.run(bars, position).equity)
    pd.testing.assert_frame_equal(bars, before)
    assert ours.equity.index.equals(bars.index)


def test_order_kinds():
    bars, position = random_candles(11), random_positions(11)
    taker = backtest.run(bars, position).metrics()["fees"]
    maker = backtest.run(bars, position, order="maker").metrics()["fees"]
    assert 0 < maker < taker


# --- peers -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 10, 200])
def test_agreement_with_vectorbt(every):
    """Same model: all in, long, short and reversals, fees and slippage, fills at the open."""
    vectorbt = pytest.importorskip("vectorbt")
    bars = random_candles(12, n=5_000, vol=0.002)
    position = random_positions(12, 5_000, levels=(-1.0, 0.0, 1.0), every=every)
    fill = np.r_[0.0, position[:-1]]
    theirs = vectorbt.Portfolio.from_signals(
        bars.close.to_numpy(), fill > 0, fill <= 0, fill < 0, fill >= 0,
        price=bars.open.to_numpy(), init_cash=1e6, fees=5.5e-4, slippage=1e-4,
    ).value()  # fmt: skip
    ours = backtest.run(bars, position, equity=1e6).equity
    np.testing.assert_allclose(ours, np.asarray(theirs), rtol=1e-9)


def test_metrics_agree_with_empyrical():
    empyrical = pytest.importorskip("empyrical")
    result = backtest.run(random_candles(13), random_positions(13))
    r, year = result.equity.pct_change().dropna(), {"annualization": 365 * 96}
    figures = result.metrics()
    assert figures["sharpe"] == pytest.approx(empyrical.sharpe_ratio(r, **year), rel=1e-9)
    assert figures["sortino"] == pytest.approx(empyrical.sortino_ratio(r, **year), rel=1e-9)
    assert figures["annual_return"] == pytest.approx(empyrical.annual_return(r, **year), rel=1e-9)
    assert figures["max_drawdown"] == pytest.approx(empyrical.max_drawdown(r), rel=1e-9)


# --- bad input ---------------------------------------------------------------------------

GOOD = random_candles(14, n=50)


@QUICK
@given(
    row=st.integers(0, 49),
    column=st.sampled_from(["open", "high", "low", "close", "volume"]),
    value=st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -1.0, 1e9, 1e-9, 100.0]),
)
def test_the_quick_check_agrees_with_candles_check(row, column, value):
    bars = GOOD.copy()
    bars.loc[bars.index[row], column] = value
    try:
        candles.check(bars)
    except candles.CandleError:
        with pytest.raises(candles.CandleError):
            backtest.run(bars, np.zeros(50))
    else:
        backtest.run(bars, np.zeros(50))


def moved(bars: pd.DataFrame, unit: str, days: int, step: str) -> pd.DataFrame:
    """Return the bars on stamps of a unit, so many days from 1970 on, a step apart."""
    first = np.datetime64(days, "D").astype(f"M8[{unit}]")
    ahead = np.arange(len(bars)) * pd.Timedelta(step).to_timedelta64().astype(f"m8[{unit}]")
    return bars.set_axis(pd.DatetimeIndex(first + ahead, tz="UTC", name="time"))


@QUICK
@given(
    unit=st.sampled_from(["s", "ms", "us", "ns"]),
    days=st.sampled_from([-106_751, -106_651, -106_650, -1, 0, 19_723, 106_648, 106_650, 10**6]),
    step=st.sampled_from(["1ms", "500ms", "1s", "7s", "15min", "1h", "7h", "1D", "2D"]),
    offset=st.sampled_from([None, "0s", "16h", "30min", "99h"]),
    kind=st.sampled_from(["float64", "float32", "int64", "Float64", "Sparse[float64]", "bool"]),
    whole=st.booleans(),
)
def test_the_quick_check_agrees_on_stamps_and_types(unit, days, step, offset, kind, whole):
    if (unit == "ns" and abs(days) > 106_700) or (unit == "s" and step.endswith("ms")):
        return  # no such stamps
    bars = GOOD.round() if kind == "int64" else GOOD
    bars = bars.astype(kind) if whole else bars.assign(volume=bars["volume"].astype(kind))
    bars = moved(bars, unit, days, step)
    bars.attrs = {} if offset is None else {"offset": offset}
    try:
        candles.check(bars)
    except (candles.CandleError, ArgumentError):  # of two faults either may be named first
        with pytest.raises((candles.CandleError, ArgumentError)):
            backtest.run(bars, np.zeros(50))
    else:
        assert len(backtest.run(bars, np.zeros(50)).metrics()) == len(METRICS)


@pytest.mark.parametrize("change", [
    lambda index: index.tz_convert("Etc/UTC"), lambda index: index.as_unit("ns"),
    lambda index: index.tz_convert("Etc/UTC").as_unit("ms"),
])  # fmt: skip
def test_the_same_instants_spelled_otherwise_are_the_same_index(change):
    position = random_positions(14, 50)
    named = pd.Series(position, change(GOOD.index))
    ours = backtest.run(GOOD, position).equity
    pd.testing.assert_series_equal(backtest.run(GOOD, named).equity, ours)
    one = backtest.run_many(GOOD, named, {"size": [1.0]})
    assert one["final_equity"].tolist() == [ours.iloc[-1]]


MADE = backtest.run(GOOD, np.sign(np.sin(np.arange(50))))


@pytest.mark.parametrize(("column", "value"), [
    *((name, value) for name in ("opened", "closed") for value in (-5, 0.5, 1e9, math.nan)),
    ("opened", 49), ("reason", 99), ("reason", -1), ("reason", 0.5), ("side", 0.5),
])  # fmt: skip
def test_a_ledger_that_names_no_bar_or_reason_is_refused(column, value):
    assert len(MADE.ledger) > 5
    ledger = MADE.ledger.copy()
    ledger[column][1] = value
    with pytest.raises(ArgumentError, match="ledger"):
        dataclasses.replace(MADE, ledger=ledger)


@pytest.mark.parametrize("value", [0.5, math.nan, 1e9, -1.0])
def test_statements_of_no_bar_are_refused(value):
    said = MADE.statements.copy()
    said[-1, 0] = value
    for statements in (said, said.tolist()):
        with pytest.raises(ArgumentError, match="statements"):
            dataclasses.replace(MADE, statements=statements)


@pytest.mark.parametrize(
    "bars",
    [
        GOOD[::-1],
        GOOD.iloc[[0, 2, 1, *range(3, 50)]],
        GOOD.drop(GOOD.index[10]),
        GOOD.set_axis(GOOD.index.tz_localize(None)),
        GOOD.rename_axis("t"),
        GOOD.set_axis(GOOD.index + pd.Timedelta(minutes=1)),
        GOOD.drop(columns="volume"),
        GOOD.iloc[:0],
        GOOD.to_numpy(),
        None,
    ],
)
def test_bad_candles(bars):
    with pytest.raises(candles.CandleError):
        backtest.run(bars, np.zeros(50))


def test_other_sound_frames_give_the_same():
    position = random_positions(14, 50)
    ours = backtest.run(GOOD, position).equity.to_numpy()
    for bars in (
        GOOD.assign(turnover=1.0),
        GOOD.astype({"volume": "int64"}),
        GOOD.set_axis(GOOD.index.as_unit("ms")),
        pd.DataFrame(np.ascontiguousarray(GOOD.to_numpy()), GOOD.index, GOOD.columns),
    ):
        np.testing.assert_array_equal(backtest.run(bars, position).equity, ours)


BAD = [
    ("position", np.zeros(51)), ("position", np.zeros(49)), ("position", np.zeros((50, 1))),
    ("position", np.r_[np.zeros(49), math.nan]), ("position", np.r_[1.01, np.zeros(49)]),
    ("position", np.full(50, -math.inf)), ("position", pd.Series(np.zeros(50))),
    ("position", pd.Series(np.zeros(50), GOOD.index + pd.Timedelta("15min"))),
    ("position", ["a"] * 50), ("position", np.zeros(50, bool)), ("position", None),
    ("costs", 5.5), ("risk", {"stop_atr": 2}), ("equity", 0), ("equity", -1.0),
    ("equity", math.nan), ("equity", "1"), ("order", "limit"), ("funding", [0.1]),
    ("confidence", np.full(50, 1.1)), ("confidence", np.zeros(49)),
    ("confidence", np.full(50, -0.1)), ("confidence", np.full(50, math.nan)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), BAD)
def test_bad_input_names_the_argument(name, value):
    with pytest.raises(ArgumentError, match=name):
        backtest.run(GOOD, **({"position": np.zeros(50)} | {name: value}))


def test_one_bar_is_too_few():
    with pytest.raises(ArgumentError, match="candles"):
        backtest.run(GOOD[:1], [0.0])


@pytest.mark.parametrize(
    ("name", "sets"),
    [
        ("sets", {}), ("sets", {"stop": [1]}), ("sets", {"threshold": ["a"]}), ("sets", 3),
        *(("sets", {"threshold": [x]}) for x in (True, np.True_, "0.1", b"1", 1j)),
        ("sets", {"threshold": [0.1, True]}), ("sets", {"threshold": [None, "0.1"]}),
        ("sets", {"threshold": pd.to_timedelta([1], "s")}),
        ("sets", {"threshold": [math.inf]}), ("threshold", {"threshold": [-1.0]}),
        ("size", {"size": [1.5]}), ("size", {"size": [math.nan]}), ("series", {"series": [1]}),
        ("series", {"series": [0.5]}), ("row 1: fee_bps", {"fee_bps": [1.0, -1.0]}),
        ("row 0: take_profit", {"take_profit": [2.0]}), ("max_stale", {"max_stale": [1.5]}),
    ],
)  # fmt: skip
def test_bad_sets_name_the_argument(name, sets):
    with pytest.raises(ArgumentError, match=name):
        backtest.run_many(GOOD, np.zeros(50), sets)


@pytest.mark.parametrize(
    ("name", "scores"),
    [
        ("scores", np.zeros(49)), ("scores", np.full(50, 2.0)), ("scores", np.full(50, math.nan)),
        ("scores", pd.Series(np.zeros(50))),
        ("scores", pd.DataFrame(np.zeros((2, 50)), columns=GOOD.index[::-1])),
    ],
)  # fmt: skip
def test_bad_scores(name, scores):
    with pytest.raises(ArgumentError, match=name):
        backtest.run_many(GOOD, scores, {"size": [1.0]})


def test_grid_refuses_what_it_does_not_know():
    with pytest.raises(ArgumentError, match="columns"):
        backtest.grid(stop=[1])
    with pytest.raises(ArgumentError, match="threshold"):
        backtest.grid(threshold=[])
    for values in ("12", b"12", {1: 2}):
        with pytest.raises(ArgumentError, match="threshold"):
            backtest.grid(threshold=values)


def test_metrics_module_is_what_the_result_uses():
    result = backtest.run(random_candles(15), random_positions(15))
    pnl = result.trades.pnl[result.trades.reason != "open"]
    assert result.metrics()["win_rate"] == metrics.win_rate(pnl)
    assert result.metrics()["profit_factor"] == metrics.profit_factor(pnl)


# --- one cost after the other ------------------------------------------------------------


def test_waterfall_by_hand():
    """Hold from the open of bar 1: three flat bars, then a fee of 1 %, slippage of 2 %, a rent."""
    bars = frame([100, 100, 100, 110], interval="1D")
    rent = pd.Series([0.05], pd.DatetimeIndex(["2024-01-03"], tz="UTC"))
    steps = backtest.cost_steps(bars, [1.0] * 4, costs=Costs(100, 0, 200), funding=rent)
    units = {"gross": 1 / 100, "fees": 1 / 101, "slippage": 1 / (102 * 1.01)}
    ends = [110 * u for u in units.values()]
    ends.append(ends[-1] - 0.05 * 100 * units["slippage"])
    assert [run.equity.iloc[-1] for run in steps.values()] == pytest.approx(ends)
    table = backtest.waterfall(bars, [1.0] * 4, costs=Costs(100, 0, 200), funding=rent)
    a_year = [metrics.returns(run.equity.to_numpy()).mean() * 365 for run in steps.values()]
    turn = table["in_turn"]
    assert turn["gross"] == pytest.approx(a_year[0])
    assert turn["slippage"] == pytest.approx(a_year[2] - a_year[1])
    assert turn["net"] == pytest.approx(a_year[3])


@QUICK
@given(seed=st.integers(0, 10_000), fee=st.floats(0, 50), slip=st.floats(0, 20))
def test_a_waterfall_sums_to_what_is_left(seed, fee, slip):
    bars, wanted = random_candles(seed), random_positions(seed)
    rates = pd.Series(np.random.default_rng(seed).normal(0, 1e-3, 9), bars.index[5:300:33])
    table = backtest.waterfall(bars, wanted, costs=Costs(fee, 0, slip), funding=rates)
    assert list(table.index) == [*backtest.STEPS, "interaction", "net"]
    for column in ("in_turn", "alone"):
        assert table[column].iloc[:-1].sum() == pytest.approx(table[column]["net"], abs=1e-9)
    assert table["in_turn"]["interaction"] == 0
    free = backtest.run(bars, wanted, costs=FREE)
    mean = metrics.returns(free.equity.to_numpy()).mean() * free.periods
    assert table["in_turn"]["gross"] == table["alone"]["gross"] == pytest.approx(mean)


def test_without_funding_there_is_no_rent():
    bars, wanted = random_candles(1), random_positions(1)
    steps = backtest.cost_steps(bars, wanted)
    assert steps["funding"] is steps["slippage"]
    assert (backtest.waterfall(bars, wanted).loc["funding"] == 0).all()
    maker = backtest.cost_steps(bars, wanted, order="maker")
    assert maker["slippage"].equity.equals(maker["fees"].equity)  # a maker does not slip
    with pytest.raises(ArgumentError, match="costs"):
        backtest.waterfall(bars, wanted, costs=5.5)
