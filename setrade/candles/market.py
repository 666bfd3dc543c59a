"""A market whose truth is known: regimes, and in each one channel that foretells."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from setrade.candles.checks import parse_interval, stamps
from setrade.compiled import kernel
from setrade.errors import ArgumentError, generator, integer

REGIMES = ("trending", "ranging", "accumulating")
INFORMATIVE = {"trending": "roc", "ranging": "bollinger_percent_b", "accumulating": "volume_ma"}
START = pd.Timestamp("2024-01-01", tz="UTC")
STAY = 299 / 300  # a regime lasts 300 bars on average
STRENGTH = 0.15  # share of the forecast in the next return: a rank correlation of about 0.1
VOLUME_LEVEL = -0.045  # long-run mean of the log of the 20-bar mean volume, over 100
QUARTER = 900_000_000_000  # 15 minutes in ns
BAR_VOL = 0.0025  # standard deviation of a 15-minute log return


@dataclass(frozen=True)
class Market:
    """Synthetic candles with their truth; ``books`` is None until somebody draws some."""

    candles: pd.DataFrame
    regime: pd.Series
    informative: dict[str, str] = field(default_factory=lambda: dict(INFORMATIVE))
    books: object | None = None

    def __post_init__(self) -> None:
        if len(self.regime) != len(self.candles):
            raise ArgumentError("regime", self.regime, f"{len(self.candles)} labels, one a candle")


@kernel
def _signal(regime, t, log_close, log_volume, vol):
    """Return what the regime's channel foretells after bar t, bounded to [-1, 1].

    The bound keeps a trend from feeding on itself without end.
    """
    if t < 20:
        return 0.0
    if regime == 0:  # rate of change over 10 bars
        return math.tanh((log_close[t] - log_close[t - 10]) / (vol * math.sqrt(10.0)))
    mean = 0.0
    if regime == 1:  # distance from the 20-bar mean, in its standard deviations
        for lag in range(20):
            mean += log_close[t - lag] / 20.0
        square = 0.0
        for lag in range(20):
            square += (log_close[t - lag] - mean) ** 2 / 20.0
        return -math.tanh((log_close[t] - mean) / (math.sqrt(square) + 1e-12) / 1.5)
    for lag in range(20):  # 20-bar mean of volume against its long-run level
        mean += math.exp(log_volume[t - lag]) / 20.0
    return math.tanh((math.log(mean) - VOLUME_LEVEL) / 0.5)


@kernel
def _simulate(stay, jump, shock, noise, vol, strength):
    """Run the chain, the volatility and the two series bar by bar; all arrays (n,)."""
    n = len(stay)
    regime = np.empty(n, np.int64)
    log_close, log_volume, sigma = np.zeros(n), np.zeros(n), np.empty(n)
    state, variance, busy = int(jump[0] * 3), vol * vol, 0.0
    last, forecast = 0.0, 0.0
    for t in range(n):
        sigma[t] = math.sqrt(variance)
        move = sigma[t] * (strength * forecast + math.sqrt(1 - strength**2) * shock[t])
        log_close[t] = last + move
        last = log_close[t]
        busy = 0.95 * busy + 0.15 * noise[t]
        log_volume[t] = busy + (abs(move) / vol - 0.7) / (1 + abs(move) / vol)
        variance = 0.04 * vol * vol + 0.08 * move * move + 0.88 * variance
        if t > 0 and stay[t] > STAY:
            state = (state + (1 if jump[t] < 0.5 else 2)) % 3
        regime[t] = state
        forecast = _signal(state, t, log_close, log_volume, vol)
    return regime, log_close, log_volume, sigma


def synthetic(
    n_bars: int, *, seed: int | np.random.Generator, interval: str | pd.Timedelta = "15min"
) -> Market:
    """Draw a market with planted regimes, each with one channel that foretells the next bar.

    The regimes follow a Markov chain and last 300 bars on average. After bar t the next
    return is, in units of a GARCH volatility, 0.15 times a bounded forecast plus a fat-tailed
    shock (Student, 5 degrees). The forecast is made of past prices and volumes alone:

    - trending: the 10-bar rate of change, upwards when it is high (``roc``);
    - ranging: the distance from the 20-bar mean in its deviations, back towards it
      (``bollinger_percent_b``);
    - accumulating: the 20-bar mean volume, upwards when it is high (``volume_ma``).

    The rank correlation of that channel with the next return is about 0.1 in its regime, and
    no other channel's is higher. Siblings come close, for they measure nearly the same:
    ``momentum`` beside ``roc``; the distance to a moving average or to VWAP, ``rsi`` and ``roc``
    beside ``bollinger_percent_b``. Trending and ranging read the same prices with opposite
    signs; ``volume_ma`` shares its information with ``volume`` only. A bar opens at the close
    before it.

    Args:
        n_bars: number of candles. The first k of them do not depend on it.
        seed: seed (an integer from 0 on) or generator.
        interval: bar length; the volatility (0.25 % at 15 min) grows with its square root.

    Returns:
        A `Market`: ``candles``, from 2024-01-01 and 30,000 on; ``regime`` (n_bars,), the
        regime's name that rules the return **after** each bar; ``informative``, the channel
        that leads in each regime.

    Raises:
        ArgumentError: ``n_bars`` below 1, an impossible ``interval`` or ``seed``.
    """
    n_bars, length = integer("n_bars", n_bars, 1), parse_interval("interval", interval)
    stay, jump, shock, noise, wick = generator(seed).spawn(5)
    vol = BAR_VOL * math.sqrt(length.value / QUARTER)
    regime, log_close, log_volume, sigma = _simulate(
        stay.random(n_bars), jump.random(n_bars), shock.standard_t(5, n_bars) * math.sqrt(0.6),
        noise.standard_normal(n_bars), vol, STRENGTH,
    )  # fmt: skip
    spread = np.exp(np.abs(wick.standard_normal((n_bars, 2))) * 0.4 * sigma[:, None])
    candles = draw_candles(log_close, spread, 100.0 * np.exp(log_volume), length)
    return Market(candles, pd.Series(np.array(REGIMES)[regime], candles.index, name="regime"))


def draw_candles(
    log_close: np.ndarray, spread: np.ndarray, volume: np.ndarray, interval: pd.Timedelta
) -> pd.DataFrame:
    """Return candles from 2024-01-01 and 30,000 on, each opening at the close before it.

    Args:
        log_close: (n,) over the logarithm of 30,000.
        spread: (n, 2) factors from a bar's body to its high and from its low to its body.
        volume: (n,).
        interval: length of a bar.
    """
    close = 30_000.0 * np.exp(log_close)
    first = np.concatenate([[30_000.0], close[:-1]])
    columns = {
        "open": first, "high": np.maximum(first, close) * spread[:, 0],
        "low": np.minimum(first, close) / spread[:, 1], "close": close, "volume": volume,
    }  # fmt: skip
    return pd.DataFrame(columns, stamps(START, interval, len(close)))
