"""Nets that learned nothing are named, and planted effects have the size that is said."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from setrade import candles, evidence
from setrade.errors import ArgumentError
from setrade.evidence.power import volume_signal

BARS = candles.sample()
R = np.log(BARS["close"]).diff().to_numpy()[1:]


def test_the_constant_forecast_by_hand():
    train, validation = np.array([0] * 9 + [1] * 19 + [2] * 9), np.array([0, 1, 1, 2])
    expected = -(2 * np.log(10 / 40) + 2 * np.log(20 / 40)) / 4
    assert evidence.constant_loss(train, validation) == pytest.approx(expected)
    assert np.isfinite(evidence.constant_loss(np.zeros(5, int), np.full(5, 2)))


@pytest.mark.parametrize(
    ("losses", "word"),
    [
        ([0.90, 0.91, 0.89], "learned"),
        ([0.97, 0.99, 1.01], "not learned"),  # at the constant's 1.0, within the scatter
        ([0.70, 1.20, 0.90], "not learned"),
        ([1.1, 1.1], "not learned"),
        ([0.9, 0.9], "learned"),
        ([1.0 - 1e-9, 1.0 - 1e-9], "not learned"),
        ([0.5, np.nan], "not learned"),
        ([0.5, -np.inf], "not learned"),
    ],
)
def test_a_net_learned_when_it_beats_the_constant_by_more_than_seeds_scatter(losses, word):
    got = evidence.learned(losses, 1.0)
    assert got.word == word
    assert bool(got) == (word == "learned")
    assert str(got).startswith(word)


@given(st.lists(st.floats(0.1, 3), min_size=2, max_size=8), st.floats(0.5, 1.5))
def test_a_worse_seed_never_makes_a_net_learn(losses, constant):
    got = evidence.learned(losses, constant)
    worse = evidence.learned([*losses, max(constant, *losses) + got.scatter + 1], constant)
    assert bool(got) or not bool(worse)


def test_gates_that_keep_their_order_have_not_moved():
    rng = np.random.default_rng(0)
    start = rng.uniform(0.3, 0.7, (4, 14))
    near = start + 0.001 * rng.normal(size=(4, 14))
    still = evidence.learned([0.9] * 4, 1.0, gates=(start, near))
    assert still.gates == "not moved"
    assert still.order_kept > 0.9
    assert still.distance == pytest.approx(0.001, rel=0.3)
    moved = evidence.learned([0.9] * 4, 1.0, gates=(start, rng.uniform(0.3, 0.7, (4, 14))))
    assert moved.gates == "moved"
    flat = np.full((4, 14), 0.5)
    assert evidence.learned([0.9] * 4, 1.0, gates=(flat, flat)).gates == "not moved"
    assert evidence.learned([0.9] * 4, 1.0, gates=(flat, start)).gates == "moved"


@pytest.mark.parametrize("size", [0.0, 0.05, 0.2])
def test_an_effect_has_its_size_and_the_market_its_volatility(size):
    found = []
    for seed in range(8):
        got = evidence.plant(BARS, size, seed=seed)
        candles.check(got)
        r = np.log(got["close"]).diff().to_numpy()[1:]
        assert r.std() == pytest.approx(R.std(), rel=0.15)
        assert (r**4).mean() / (r**2).mean() ** 2 > 6  # tails of the real bars
        v = np.sqrt(pd.Series(r**2).rolling(48).mean().shift(1))
        found.append(pd.Series(volume_signal(got)[:-1]).corr(np.sign(r) * (np.abs(r) / v)))
    assert np.mean(found) == pytest.approx(size, abs=0.02)


def test_nothing_planted_is_the_same_bars():
    same = evidence.plant(BARS, 0.0)
    assert same.to_numpy() == pytest.approx(BARS[same.columns].to_numpy(), rel=1e-9)


def test_the_signal_is_known_before_it_is_needed():
    """Bars after t do not change the signal, nor the planted prices, up to t."""
    cut = BARS.iloc[:2000]
    assert (volume_signal(BARS)[:2000] == volume_signal(cut)).all()
    whole, part = evidence.plant(BARS, 0.1), evidence.plant(cut, 0.1)
    assert part.to_numpy() == pytest.approx(whole.iloc[:2000].to_numpy(), rel=1e-9)


def rank_finds(size: float, seed: int) -> bool:
    """A pipeline in one line: is the correlation of signal and next move above chance?"""
    bars = evidence.plant(BARS, size, seed=seed)
    moves = np.sign(np.log(bars["close"]).diff().to_numpy()[1:])
    return bool(np.corrcoef(volume_signal(bars)[:-1], moves)[0, 1] > 1.96 / np.sqrt(len(BARS)))


def test_a_pipeline_finds_what_is_large_and_not_what_is_small():
    got = evidence.detectable(rank_finds, [0.001, 0.02, 0.05, 0.1, 0.3], tries=10, needed=8)
    assert got.size in (0.05, 0.1)
    assert all(got.hits[s] >= 8 for s in got.hits if s >= got.size)
    assert all(got.hits[s] < 8 for s in got.hits if s < got.size)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=9, unique=True), st.floats(0, 12))
def test_the_search_finds_the_first_size_above_a_threshold(sizes, threshold):
    asked = []

    def finds(size, seed):
        asked.append((size, seed))
        return size >= threshold

    got = evidence.detectable(finds, sizes, tries=3, needed=2)
    assert got.size == min((s for s in sizes if s >= threshold), default=np.inf)
    assert len(asked) == len(set(asked)) <= 2 * (len(sizes).bit_length())


def test_a_search_goes_on_from_what_is_known():
    known: dict = {}
    first = evidence.detectable(rank_finds, [0.02, 0.3], tries=4, needed=4, known=known)

    def never(size, seed):
        raise AssertionError("asked again")

    assert evidence.detectable(never, [0.02, 0.3], tries=4, needed=4, known=known) == first


def test_a_long_pipeline_plants_the_claimed_size_only():
    got = evidence.detectable(lambda s, k: k != 1, [0.3], tries=2, needed=2)
    assert (got.size, got.hits, got.runs) == (np.inf, {0.3: 1}, {0.3: 2})


FLAT = BARS.assign(**dict.fromkeys(("open", "high", "low", "close"), 100.0))
OTHER = np.ones((2, 6))


def test_a_price_that_never_moves_has_no_volatility_to_plant_in():
    assert (evidence.plant(FLAT, 0.5)["close"] - 100).abs().max() < 1e-9


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: evidence.learned([0.9], 1.0), "losses"),
        (lambda: evidence.learned([0.9, 0.8], np.nan), "constant"),
        (lambda: evidence.learned([0.9, 0.8], 1.0, gates=(OTHER[:, :5], OTHER[:, :4])), "gates"),
        (lambda: evidence.constant_loss([0.5], [1]), "train"),
        (lambda: evidence.constant_loss([0], [3]), "validation"),
        (lambda: evidence.plant(BARS, 1.0), "size"),
        (lambda: evidence.plant(BARS.iloc[:60], 0.1), "candles"),
        (lambda: evidence.plant(BARS.iloc[::-1], 0.1), "candles"),
        (lambda: evidence.plant(BARS, 0.1, signal=np.ones(3)), "signal"),
        (lambda: evidence.plant(BARS, 0.1, signal=np.full(len(BARS), 2.0)), "signal"),
        (lambda: evidence.plant(BARS, 0.1, signal=np.ones(len(BARS)), seed=1), "signal"),
        (lambda: evidence.detectable(rank_finds, []), "sizes"),
        (lambda: evidence.detectable(rank_finds, [0.0]), "sizes"),
        (lambda: evidence.detectable(rank_finds, [0.1], tries=3, needed=4), "needed"),
        (lambda: evidence.detectable(lambda s, k: np.nan, [0.1]), "finds"),
    ],
)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: evidence.detectable(None, [0.1]), "finds"),  # type: ignore[arg-type]
        (lambda: evidence.detectable(lambda s, k: True, 0.1), "sizes"),  # type: ignore[arg-type]
        (lambda: evidence.detectable(lambda s, k: True, [0.1], known=[]), "known"),  # type: ignore[arg-type]
        (lambda: evidence.learned([1.0, 0.9], 1.0, gates=(1, 2, 3)), "gates"),  # type: ignore[arg-type]
        (lambda: evidence.learned([1.0, 0.9], 1.0, gates=5), "gates"),  # type: ignore[arg-type]
    ],
)
def test_arguments_of_another_kind_are_named(call, name):
    with pytest.raises(ArgumentError, match=name):
        call()


def test_a_signal_is_planted_at_its_own_stamps():
    bars = candles.synthetic(300, seed=1).candles
    signal = pd.Series(np.sign(np.sin(np.arange(300) / 3)), bars.index)
    planted = evidence.plant(bars, 0.5, signal=signal.to_numpy())
    for index in (bars.index, bars.index.tz_convert("Etc/UTC"), bars.index.as_unit("s")):
        found = evidence.plant(bars, 0.5, signal=signal.set_axis(index))
        pd.testing.assert_frame_equal(found, planted)
    for bad in (signal[::-1], signal.set_axis(bars.index + pd.Timedelta("1D"))):
        with pytest.raises(ArgumentError, match="^signal: .* same stamps"):
            evidence.plant(bars, 0.5, signal=bad)
    with pytest.raises(ArgumentError, match="^candles: .* index that rises"):
        volume_signal(bars[::-1])
