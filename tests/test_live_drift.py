"""Drift: PSI and KS against a reference, false alarms, and how soon a shift is found."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import assert_causal
from scipy.stats import binom

from setrade import candles
from setrade.errors import ArgumentError
from setrade.live.drift import INPUTS, Drift, Watch, inputs, psi, spacing

NORMAL = pd.DataFrame({"a": np.random.default_rng(0).normal(size=2_000)})


def feed(drift, rows):
    """Feed rows; return what changed, with the row's place."""
    return [(k, c) for k, row in enumerate(rows) for c in drift.update(np.atleast_1d(row))]


def moving_average(rng, n: int, length: int) -> np.ndarray:
    """Return noise seen through overlapping windows, of spread one."""
    noise = rng.normal(size=n + length - 1)
    return np.convolve(noise, np.ones(length), "valid") / math.sqrt(length)


def test_psi_by_hand():
    """Two bins, cut at 4.5; three below and one above, half a sample more in each bin."""
    reference, recent = np.arange(10.0), np.array([0.0, 1.0, 2.0, 9.0])
    s, r = np.array([3.5, 1.5]) / 5, np.array([5.5, 5.5]) / 11
    by_hand = 0.2 * math.log(1.4) + (-0.2) * math.log(0.6)
    assert psi(recent, reference, bins=2) == pytest.approx(by_hand)
    assert ((s - r) * np.log(s / r)).sum() == pytest.approx(by_hand)


def test_psi_against_histograms():
    rng = np.random.default_rng(1)
    y, x = rng.normal(size=(800, 3)), rng.normal(0.4, 1.3, (300, 3))
    for k in range(3):
        inner = np.quantile(y[:, k], np.linspace(0.1, 0.9, 9))
        edges = np.concatenate([[-1e9], inner, [1e9]])
        s, r = (np.histogram(v[:, k], edges)[0] + 0.5 for v in (x, y))
        s, r = s / s.sum(), r / r.sum()
        assert psi(x, y)[k] == pytest.approx(((s - r) * np.log(s / r)).sum())


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.25, 1.0, 8.0]),
    st.floats(0.1, 4),
    st.floats(-3, 3),
)
def test_psi_knows_no_units_and_is_never_negative(seed, unit, spread, shift):
    rng = np.random.default_rng(seed)
    y, x = rng.normal(size=100), rng.normal(shift, spread, 80)
    assert psi(x, y) >= 0
    assert psi(unit * x, unit * y) == psi(x, y)
    assert psi(y, y) == pytest.approx(0, abs=1e-12)


def test_chance_alone_crosses_the_line_as_often_as_stated():
    """With 50 samples the custom of 0.1 means nothing: chance is above it most of the time."""
    rng, drift = np.random.default_rng(2), Drift(NORMAL[:500], window=50, every=1, level=0.05)
    y = NORMAL[:500].to_numpy()
    found = np.array([psi(rng.normal(size=(50, 1)), y)[0] for _ in range(2_000)])
    assert (found > 0.1).mean() > 0.7
    assert drift.lines[0] > 0.3
    assert (found > drift.lines[0]).mean() < 0.05  # its share of the level is a half
    large = Drift(NORMAL, window=1_000, every=1)
    assert large.lines == (0.1, 0.25)


def test_false_alarms_stay_below_the_level():
    """Independent samples of three columns: tests that leave calm, out of all tests."""
    rng, tests, left = np.random.default_rng(3), 0, 0
    for _ in range(6):
        x = rng.normal(size=(3_000, 3))
        drift = Drift(pd.DataFrame(x[:1_000]), window=100, every=1, level=0.05)
        left += sum(c.before == "calm" for _, c in feed(drift, x[1_000:]))
        tests += (2_000 - 100) // 25 + 1
    assert left <= binom.ppf(0.999, tests, 0.05)


@pytest.mark.parametrize(
    "move",
    [lambda x: x + 1.0, lambda x: 2 * x, lambda x: np.abs(x)],
    ids=["shift", "spread", "sign"],
)
def test_a_planted_shift_is_found_within_a_window(move):
    rng = np.random.default_rng(14)
    drift = Drift(NORMAL, window=200, every=1)
    assert feed(drift, rng.normal(size=600)) == []
    found = feed(drift, move(rng.normal(size=200)))
    states = [c.reading.state for _, c in found]
    assert states[-1] == "alarm"
    assert found[0][0] < 150
    assert drift.readings[0].psi > 0.25


def test_a_crossing_is_told_once_and_unlearned_with_hysteresis():
    rng = np.random.default_rng(5)
    drift = Drift(NORMAL, window=200, every=1)
    path = np.repeat([0.0, 1.5, 0.0], [400, 2_000, 600])
    changes = feed(drift, path + rng.normal(size=len(path)))
    states = [c.reading.state for _, c in changes]
    assert len(states) == len(set(zip(states, [c.before for _, c in changes], strict=True)))
    assert states in (["watch", "alarm", "watch", "calm"], ["alarm", "watch", "calm"],
                      ["watch", "alarm", "calm"], ["alarm", "calm"])  # fmt: skip
    assert all(c.before != c.reading.state for _, c in changes)


def test_on_the_edge_without_hysteresis_it_flaps(monkeypatch):
    """A constant shift whose PSI lies at the line: the wrong version rings at every other test."""
    from setrade.live import drift as module

    counts = {}
    for hold in (0.8, 1.0):
        monkeypatch.setattr(module, "HOLD", hold)
        rng = np.random.default_rng(6)
        drift = Drift(NORMAL, window=200, every=1)
        counts[hold] = len(feed(drift, 0.45 + rng.normal(size=12_000)))
    assert counts[1.0] > 1.5 * counts[0.8]


def test_overlapping_windows_ring_false_alarms_and_thinning_mends_it():
    """Trap: KS takes 200 overlapping rows for 200 samples, and finds drift where none is."""
    rng, length = np.random.default_rng(7), 15
    rates = {}
    for every in (1, None):
        tests = left = 0
        for _ in range(8):
            x = moving_average(rng, 9_000, length)
            drift = Drift(pd.DataFrame({"a": x[:6_000]}), window=100, every=every)
            assert every or 10 <= drift.every <= 25
            changes = feed(drift, x[6_000:])
            left += sum(c.before == "calm" for _, c in changes)
            tests += (3_000 // drift.every - 100) // 25 + 1
        rates[every] = left / tests
    assert rates[1] > 0.1
    assert rates[None] < 0.03


def test_spacing_by_hand():
    rng = np.random.default_rng(8)
    assert spacing(pd.DataFrame({"a": rng.normal(size=4_000)})) == 1
    slow = moving_average(rng, 20_000, 30)
    assert 25 <= spacing(pd.DataFrame({"a": slow})) <= 31
    loud = np.exp(0.5 * moving_average(rng, 20_000, 40)) * rng.normal(size=20_000)
    assert spacing(pd.DataFrame({"a": loud})) > 15  # the values forget, their size does not


def test_memory_is_bounded():
    drift = Drift(NORMAL, window=100, every=2)
    size = sum(v.nbytes for v in vars(drift).values() if isinstance(v, np.ndarray))
    feed(drift, NORMAL.to_numpy().repeat(3))
    assert sum(v.nbytes for v in vars(drift).values() if isinstance(v, np.ndarray)) == size
    assert drift.kept == 3_000


BAD = pd.DataFrame({"a": [1.0, np.nan] * 100})
FLAT = pd.DataFrame({"a": np.ones(200)})


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: psi(np.ones(5), np.arange(9.0), bins=2), "reference"),
        (lambda: psi(np.array([np.nan]), np.arange(90.0)), "recent"),
        (lambda: psi(np.ones((5, 2)), np.ones((90, 3))), "recent"),
        (lambda: psi(np.ones(5), np.arange(90.0), bins=1), "bins"),
        (lambda: psi([], np.arange(90.0)), "recent"),
        (lambda: spacing(BAD), "rows"),
        (lambda: spacing(FLAT), "rows"),
        (lambda: spacing(pd.DataFrame({"a": np.arange(100.0)})), "rows"),
        (lambda: Drift(BAD), "reference"),
        (lambda: Drift(FLAT, every=1), "reference"),
        (lambda: Drift(NORMAL.to_numpy()), "reference"),  # type: ignore[arg-type]
        (lambda: Drift(NORMAL, every=0), "every"),
        (lambda: Drift(NORMAL, every=100), "reference"),
        (lambda: Drift(NORMAL, window=10), "window"),
        (lambda: Drift(NORMAL, bins=1), "bins"),
        (lambda: Drift(NORMAL, lines=(0.3, 0.2)), "lines"),
        (lambda: Drift(NORMAL, lines=(0.0, 0.2)), "lines"),
        (lambda: Drift(NORMAL, level=0.0), "level"),
        (lambda: Drift(NORMAL).update(np.array([np.nan])), "row"),
        (lambda: Drift(NORMAL).update(np.array([1.0, 2.0])), "row"),
        (lambda: Watch(0), "reference"),
        (lambda: Watch(5).update({"a": math.nan}), "a"),
        (lambda: Watch(5).update({}), "row"),
        (lambda: Watch(NORMAL).update({"b": 1.0}), "row"),
        (lambda: inputs(candles.sample(), 3), "length"),
        (lambda: inputs(candles.sample()[:20], 21), "length"),
    ],
)
def test_bad_arguments_are_named(call, name):
    with pytest.raises(ArgumentError) as error:
        call()
    assert error.value.name == name


def test_a_watch_learns_its_reference_and_begins_anew_with_other_columns():
    rng = np.random.default_rng(9)
    x = rng.normal(size=900)
    watch, drift = Watch(500, window=100, every=1), Drift(pd.DataFrame({"a": x[:500]}), window=100,
                                                          every=1)  # fmt: skip
    assert watch.progress == "learns 0/500 rows"
    for k, value in enumerate(x):
        told = watch.update({"a": value})
        assert told == ([] if k < 500 else drift.update(np.array([value])))
    assert watch.readings == drift.readings != []
    assert watch.progress == ""
    watch.update({"b": 1.0})
    assert (watch.progress, watch.readings) == ("learns 1/500 rows", [])


def test_inputs_by_hand_and_without_a_look_ahead():
    bars = candles.sample().iloc[:400]
    last = bars.iloc[:48]
    moves = np.diff(np.log(last["close"]))
    row = inputs(bars).iloc[0]
    assert row["return"] == pytest.approx(moves[-1] / moves[:-1].std())
    span = last["high"] - last["low"]
    assert row["range"] == pytest.approx(span.iloc[-1] / span.iloc[:-1].mean())
    assert list(inputs(bars).columns) == list(INPUTS)
    assert_causal(inputs, bars, offset=47)
    assert inputs(2 * bars).to_numpy() == pytest.approx(inputs(bars).to_numpy(), rel=1e-9)
