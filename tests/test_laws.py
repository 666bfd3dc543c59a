"""The truncation law must catch leaks, and must let honest work pass."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from laws import alter_future, assert_causal

N = 200


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """A random walk with the columns of candles."""
    rng = np.random.default_rng(0)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, N)))
    return pd.DataFrame(
        {"open": close, "high": close * 1.01, "low": close * 0.99, "close": close,
         "volume": rng.gamma(2, 5, N)},
        index=pd.date_range("2024-01-01", periods=N, freq="h", tz="UTC", name="time"),
    )  # fmt: skip


LEAKS = {
    "centred moving average": lambda f: f["close"].rolling(9, center=True).mean(),
    "whole-history z-score": lambda f: (f["close"] - f["close"].mean()) / f["close"].std(),
    "negative shift": lambda f: f["close"].shift(-1) / f["close"] - 1,
    "whole-history rank": lambda f: f["volume"].rank(pct=True),
    "scaled by the last price": lambda f: f["close"] / f["close"].iloc[-1],
    "smoothed backwards": lambda f: f["close"][::-1].ewm(span=5).mean()[::-1],
    "one column of three leaks": lambda f: f[["open", "low"]].assign(x=f["high"].shift(-1)),
    "warm-up filled from later": lambda f: f["close"].rolling(120).mean().bfill(),
}
HONEST = {
    "trailing mean": lambda f: f["close"].rolling(9).mean(),
    "expanding z-score": lambda f: f["close"] - f["close"].expanding().mean(),
    "positive shift": lambda f: f["close"].shift(1),
    "exponential mean": lambda f: f["close"].ewm(span=5).mean(),
    "whole frame": lambda f: f,
}


@pytest.mark.parametrize("name", LEAKS)
def test_every_leak_is_caught(frame, name):
    with pytest.raises(AssertionError, match="future"):
        assert_causal(LEAKS[name], frame)


@pytest.mark.parametrize("name", HONEST)
def test_honest_work_passes(frame, name):
    assert_causal(HONEST[name], frame)


def test_a_sparse_leak_wants_many_cuts(frame):
    """One bar in seven is filled from the next: three cuts may miss it, seven in a row cannot."""

    def filled(f: pd.DataFrame) -> pd.Series:
        return f["close"].where(np.arange(len(f)) % 7 > 0).bfill()

    assert_causal(filled, frame, cuts=[100])
    with pytest.raises(AssertionError, match="future"):
        assert_causal(filled, frame, cuts=range(100, 107))


def test_offset_counts_rows_lost_at_the_front(frame):
    def windows(f: pd.DataFrame) -> np.ndarray:  # row i holds bars i .. i + 9
        return np.lib.stride_tricks.sliding_window_view(f["close"].to_numpy(), 10)

    assert_causal(windows, frame, offset=9)
    with pytest.raises(AssertionError):
        assert_causal(windows, frame, offset=8)


def test_dropped_rows_are_caught(frame):
    with pytest.raises(AssertionError, match="rows <"):
        assert_causal(lambda f: f["close"].iloc[:-1], frame)


def test_a_cut_that_compares_nothing_is_refused(frame):
    with pytest.raises(AssertionError, match="nothing to compare"):
        assert_causal(HONEST["trailing mean"], frame, cuts=[4], offset=5)


def test_the_altered_future_is_valid_and_differs(frame):
    other = alter_future(frame, 99)
    pd.testing.assert_frame_equal(other.iloc[:100], frame.iloc[:100])
    tail = other.iloc[100:]
    assert (tail["high"] >= tail[["open", "close", "low"]].max(axis=1)).all()
    assert (tail > 0).all().all()
    assert (tail["close"] != frame["close"].iloc[100:]).all()


def test_a_leak_in_the_altered_future_only_is_caught(frame):
    """Truncation alone misses what reads ahead only where a future exists."""

    def peek(f: pd.DataFrame) -> pd.Series:
        return f["close"] if len(f) < N else f["close"] + f["volume"].iloc[-1]

    with pytest.raises(AssertionError, match="altered|cut off"):
        assert_causal(peek, frame)
