"""What `frames_real` looks at: three frames of the same bars, joined on closes; regimes; targets.

It runs nothing by itself. A decision is taken when an hour closes. The bars of 5 and 15 minutes
and of the hour that closed at that instant are the last that its pictures show
(`timeframes.known_at`); windows and labels lie inside one stretch of bars.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from picture_folds import Bars, Drawn, future
from scipy.optimize import brentq
from scipy.stats import norm
from torch import Tensor, nn

from setrade import candles, regimes
from setrade.efficientnet import EfficientNet
from setrade.models import timeframes
from setrade.regimes.rules import REGIMES
from setrade.study import StudyError

FRAMES = ("5min", "15min", "1h")
LOOKBACK = 32  # bars of a window
HISTORY, NOW, TREND = 480, 48, 0.2  # of the rules; at 0.2 a fifth of all hours are trends
MARKED, LOUD = {"5min": 8, "15min": 4, "1h": 1}, 4.0  # bars that carry a planted mark, and how
LABEL = 2  # hours after a decision that its label reads: the next open, and the one after
STATES, HMM_WINDOW = 3, 24
TRENDS = [k for k, name in enumerate(REGIMES) if name.startswith("trending")]
KINDS = ("rules", "hmm")
ALONE = "15min"  # the frame whose nets are told the regime: eight hours show no regime of days


def frames_of(bars: Bars) -> dict[str, Bars]:
    """Return the bars and the longer ones made of them, stretch by stretch: none bridges a hole."""
    out = {FRAMES[0]: bars}
    parts = [(k, part) for k, part in enumerate(bars.parts()) if len(part) >= LOOKBACK]
    for name in FRAMES[1:]:
        joined = [candles.resample(part, name) for _, part in parts]
        stretch = [np.full(len(one), k) for (k, _), one in zip(parts, joined, strict=True)]
        out[name] = Bars(pd.concat(joined), np.concatenate(stretch), bars.sha256, bars.file)
    return out


def aligned(frames: dict[str, Bars]) -> dict[str, np.ndarray]:
    """Return, by frame, the row (n,) of the last bar that is known when each hour closes.

    Hours are left out where a frame's window would bridge a hole.
    """
    index = pd.DatetimeIndex(frames[FRAMES[0]].frame.index)
    known = {}
    for name, bars in frames.items():
        rows = pd.DataFrame({"row": np.arange(len(bars.frame), dtype=float)}, bars.frame.index)
        known[name] = timeframes.known_at(rows, name, index)["row"].to_numpy()
    use = ((index + pd.Timedelta(FRAMES[0])).minute == 0) & np.isfinite(list(known.values())).all(0)
    rows = {name: place[use].astype(int) for name, place in known.items()}
    where = np.array([frames[name].stretch[place] for name, place in rows.items()])
    whole = [frames[name].whole(LOOKBACK)[place] for name, place in rows.items()]
    good = np.all(whole, axis=0) & (where == where[0]).all(0)
    return {name: place[good] for name, place in rows.items()}


def rules_of(hours: Bars) -> np.ndarray:
    """Return the regime by rules after each hour as a code of `REGIMES`, -1 where not known."""

    def codes(part: pd.DataFrame) -> np.ndarray:
        if len(part) <= NOW + HISTORY:
            return np.full(len(part), -1)
        return regimes.by_rules(part, window=NOW, history=HISTORY, trend=TREND).cat.codes.to_numpy()

    return hours.each(codes)


def states_of(hours: Bars, last: int) -> np.ndarray:
    """Return filtered chances (n, 3) of falling, flat and rising after each hour; NaN: not known.

    The Markov model is fitted on the longest stretch among the first ``last`` hours.
    """
    past = [part for _, part in hours.frame[:last].groupby(hours.stretch[:last])]
    model = regimes.fit_hmm(max(past, key=len), STATES, window=HMM_WINDOW, order="move", restarts=3)

    def chances(part: pd.DataFrame) -> np.ndarray:
        if len(part) <= 2 * HMM_WINDOW:
            return np.full((len(part), STATES), np.nan)
        return model.filtered(part).to_numpy()

    return hours.each(chances)


@dataclass(frozen=True)
class Market:
    """Decisions in time order, with what is known at each and what came.

    Attributes:
        frames: the bars by frame.
        rows: by frame (n,) the last bar of each decision's window.
        time: (n,) when the hour closed.
        up, ahead: (n,) the side of the next hour (0 or 1) and its return.
        rules: (n,) regime by rules.
    """

    frames: dict[str, Bars]
    rows: dict[str, np.ndarray]
    time: pd.DatetimeIndex
    up: np.ndarray
    ahead: np.ndarray
    rules: np.ndarray

    def windows(self, frame: str, chosen: np.ndarray) -> np.ndarray:
        """Return the windows (m, 5, 32) of a frame at the chosen decisions."""
        return self.frames[frame].windows(LOOKBACK)[self.rows[frame][chosen] - LOOKBACK + 1]


def market(bars: Bars) -> Market:
    """Return every decision whose windows are whole, whose side has come and regime is known.

    Raises:
        StudyError: there is none.
    """
    frames = frames_of(bars)
    rows, hours = aligned(frames), frames[FRAMES[-1]]
    ahead, up = future(hours, 1)
    place = rows[FRAMES[-1]]
    good = ~np.isnan(up[place]) & (rules_of(hours)[place] >= 0)
    good &= (hours.stretch == hours.stretch[np.maximum(np.arange(len(up)) - HMM_WINDOW, 0)])[place]
    if not good.any():
        raise StudyError(f"{bars.file}: no hour has whole windows, a regime and an hour after it")
    rows = {name: one[good] for name, one in rows.items()}
    place = rows[FRAMES[-1]]
    time = pd.DatetimeIndex(hours.frame.index[place] + hours.step)
    return Market(frames, rows, time, up[place], ahead[place], rules_of(hours)[place])


def split(found: Market, shares: tuple[float, ...]) -> list[np.ndarray]:
    """Return the decisions of training, stopping, weighing and test, in this order.

    Each set but the last ends so early that no later window or label shares a bar with it.

    Args:
        found: the decisions.
        shares: where each set begins and the last one ends, as shares of all decisions.
    """
    n = len(found.time)
    cuts = [round(share * n) for share in shares]
    apart = pd.Timedelta(hours=LOOKBACK + LABEL)
    out = []
    for k, (first, stop) in enumerate(pairwise(cuts)):
        rows = np.arange(first, stop)
        last = k == len(cuts) - 2
        out.append(rows if last else rows[found.time[rows] + apart <= found.time[stop]])
    return out


# ---- A net that is told the regime.


class ByRegime(nn.Module):
    """An EfficientNet with a last layer for each regime; the chances of the regimes weigh them."""

    def __init__(self, regimes: int):
        super().__init__()
        self.trunk, self.regimes = EfficientNet("micro", 2 * regimes), regimes

    def forward(self, x: tuple[Tensor, Tensor]) -> Tensor:
        """Return logits (B, 2) of pictures (B, 3, H, W) and chances (B, regimes)."""
        pictures, chances = x
        each = self.trunk(pictures).view(len(pictures), self.regimes, 2)
        return (each * chances[:, :, None]).sum(1)


class WithRegime:
    """Pictures and what is told beside them."""

    def __init__(self, pictures: Drawn, told: np.ndarray):
        self.pictures, self.told = pictures, torch.from_numpy(told.astype(np.float32))

    def __len__(self) -> int:
        return len(self.pictures)

    def batch(self, rows: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Return pictures with chances, and classes."""
        x, y = self.pictures.batch(rows)
        return (x, self.told[rows]), y


# ---- Planted: what would be there if a claim held.


def pooled_and_alone(strength: float) -> tuple[float, float]:
    """Return how often who reads three marks is right, and who reads one of them.

    The marks are +1 or -1 by the toss of a coin; up has chance Φ(strength · their sum).
    """
    one, three = norm.cdf(strength), norm.cdf(3 * strength)
    both = 0.75 * one + 0.25 * three
    return float(both), float(0.25 * three + 0.5 * one + 0.25 * (1 - one))


def strength_of(gain: float) -> float:
    """Return the strength at which three marks are right by ``gain`` more often than one."""

    def short_of(strength: float) -> float:
        both, one = pooled_and_alone(strength)
        return both / one - 1 - gain

    root: float = brentq(short_of, 1e-3, 5.0)  # type: ignore[assignment]
    return root


def marked(bars: Bars, last: np.ndarray, mark: np.ndarray, count: int) -> Bars:
    """Return bars with the volume of the ``count`` last of each window times 4, or a quarter."""
    frame = bars.frame.copy()
    volume = frame["volume"].to_numpy(float).copy()
    for back in range(count):
        volume[last - back] *= np.where(mark > 0, LOUD, 1 / LOUD)
    return Bars(frame.assign(volume=volume), bars.stretch, bars.sha256, bars.file)


def planted(
    found: Market, kind: str, claimed: float, seed: int, trend: np.ndarray | None = None
) -> Market:
    """Return the same bars with marks in their volumes, and sides of which a claimed gain is true.

    Every frame has a mark of its own at every decision, which no other frame shows: real frames
    are drawn from the same trades, and what one knows the next one half knows. Prices stay.

    Args:
        found: the real decisions.
        kind: "frames": the marks foretell the next hour so that all three together are right by
            ``claimed`` more often than one. Else a regime: in trends `ALONE`'s mark is right in
            (1 + ``claimed``) / 2 of hours, elsewhere wrong, just so often that it says nothing to
            who does not know the regime.
        claimed: the gain, a share.
        seed: of marks and luck.
        trend: (n,) whether the regime is a trend; not used for "frames".
    """
    rng = np.random.default_rng(seed)
    mark = rng.choice([-1.0, 1.0], (len(found.time), len(FRAMES)))
    frames = {
        name: marked(found.frames[name], found.rows[name], mark[:, j], MARKED[name])
        for j, name in enumerate(FRAMES)
    }
    if kind == "frames":
        up = norm.cdf(strength_of(claimed) * mark.sum(1))
    else:
        assert trend is not None
        edge = claimed / 2
        other = edge * trend.mean() / (1 - trend.mean())
        up = 0.5 + mark[:, FRAMES.index(ALONE)] * np.where(trend, edge, -other)
    return replace(found, frames=frames, up=(rng.random(len(up)) < up).astype(float))
