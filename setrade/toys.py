"""Planted tasks whose best answer is known, and the small nets that are asked to find it.

`draw_switch`: when is channel 0 to be trusted (chapter 04)? `draw_pictures` and `SmallNet`: more
pixels, channels or layers (chapter 12)? `planted`: windows of four market states (chapter 15).
`two_states`: how much to hold in a market of two states (chapter 27)? `HedgeNet`: how many units
cover a call (chapter 28)?
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from scipy.special import ndtr
from torch import Tensor, nn

from setrade.charts import candlesticks
from setrade.efficientnet.net import ConvNorm, MBConv, init_weights
from setrade.efficientnet.scaling import Scale, multiply_adds, search_coefficients
from setrade.errors import (
    ArgumentError,
    array,
    choice,
    generator,
    instance,
    integer,
    number,
    tensor,
)

# ---- Switches: the target is the newest bar of channel 0, the signal, while a switch is on, and 0
# while it is off. Channels 1 and 2 say whether it is on; channel 3 is noise. Each switch is made
# for one squeeze: a gate that finds it solves the task, and a squeeze that cannot see it cannot.

CHANNELS, SIGNAL, CONTEXT, MARKER = 4, 0, 1, 2
PLANTED_HALFLIFE = 2.0  # bars


def _level(x: Tensor, rng: torch.Generator) -> Tensor:
    on = torch.rand(len(x), generator=rng) < 0.5
    x[:, CONTEXT] += torch.where(on, 0.8, -0.8)[:, None]
    return on


def _spike(x: Tensor, rng: torch.Generator) -> Tensor:
    on = torch.rand(len(x), generator=rng) < 0.5
    bars = torch.rand(len(x), x.shape[-1], generator=rng).argsort(1)[:, :7]
    jump = torch.tensor([6.0] + [-1.0] * 6) * torch.where(on, 1.0, -1.0)[:, None]
    x[:, CONTEXT] = x[:, CONTEXT].scatter_add(1, bars, jump)  # the mean does not move
    return on


def _now(x: Tensor, rng: torch.Generator) -> Tensor:
    return x[:, CONTEXT, -1] > 0


def _recent(x: Tensor, rng: torch.Generator) -> Tensor:
    age = torch.arange(x.shape[-1] - 1, -1, -1)
    return (x[:, CONTEXT] * 0.5 ** (age / PLANTED_HALFLIFE)).sum(-1) > 0


def _marked(x: Tensor, rng: torch.Generator) -> Tensor:
    bar = torch.randint(x.shape[-1], (len(x), 1), generator=rng)
    x[:, MARKER] = torch.zeros_like(x[:, MARKER]).scatter(1, bar, 1.0)
    return x[:, CONTEXT].gather(1, bar)[:, 0] > 0


SWITCHES: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "level": _level,  # the context's mean is +0.8 or -0.8
    "spike": _spike,  # one context bar jumps up, six sink a little, or the other way round
    "now": _now,  # the newest context bar is positive
    "recent": _recent,  # the context, weighted by a half-life of 2 bars, is positive
    "marked": _marked,  # the context is positive at the one bar where the marker is 1
}


def draw_switch(task: str, n: int, time: int = 16, *, seed: int) -> tuple[Tensor, Tensor]:
    """Draw ``n`` windows of a task from ``SWITCHES``, of at least 7 bars, and their targets.

    Returns:
        ``X`` float32 ``(n, 4, time)`` and ``y`` float32 ``(n,)``: the newest signal where the
        switch is on, else 0.
    """
    plant = SWITCHES[choice("task", task, SWITCHES)]
    shape = (integer("n", n, 1), CHANNELS, integer("time", time, 7))
    rng = torch.Generator().manual_seed(integer("seed", seed, 0))
    x = torch.randn(shape, generator=rng)
    on = plant(x, rng)
    return x, torch.where(on, x[:, SIGNAL, -1], 0.0)


# ---- Formations: a random walk with one large candle hidden in it. The class is its form (which
# needs fine detail) together with the trend before it (which needs the context): a hammer and a
# hanging man are the same candle, one after a fall, the other after a rise.

FORMS = ("long lower wick", "long upper wick", "long body up", "long body down")
CLASSES = tuple(f"{form} after a {trend}" for form in FORMS for trend in ("fall", "rise"))
N_BARS, SIDE = 20, 80  # bars in a window; side of the picture before it is averaged down
DRIFT, WICK, LENGTH = 0.6, 0.8, 3.0  # in standard deviations of a bar's body


def draw_formations(n: int, *, seed: int) -> tuple[np.ndarray, Tensor]:
    """Draw ``n`` windows with a planted candle, and their classes.

    Returns:
        Candles float64 ``(n, 5, N_BARS)`` as `charts.candlesticks` takes them, and classes int64
        ``(n,)``, the index in ``CLASSES``: twice the form, plus 1 after a rise.
    """
    n, rng = integer("n", n, 1), np.random.default_rng(integer("seed", seed, 0))
    form, rise = rng.integers(0, len(FORMS), n), rng.integers(0, 2, n)
    body = rng.normal(size=(n, N_BARS))
    wicks = rng.exponential(WICK, (2, n, N_BARS))  # upper, lower
    row, place = np.arange(n), rng.integers(N_BARS // 2, N_BARS - 2, n)
    before = np.arange(N_BARS) < place[:, None]
    recent = before & (np.arange(N_BARS) >= place[:, None] - 8)
    body += np.where(recent, DRIFT * (2 * rise[:, None] - 1), 0.0)
    size = LENGTH * rng.uniform(0.7, 1.3, n)
    body[row, place] = np.select([form == 2, form == 3], [size, -size], body[row, place] / 3)
    wicks[0, row, place] = np.where(form == 1, size, wicks[0, row, place] / 3)
    wicks[1, row, place] = np.where(form == 0, size, wicks[1, row, place] / 3)
    close = 100 + body.cumsum(1)
    opened = close - body
    high, low = np.maximum(opened, close) + wicks[0], np.minimum(opened, close) - wicks[1]
    windows = np.stack([opened, high, low, close, np.ones_like(close)], 1)
    return windows, torch.as_tensor(2 * form + rise)


def draw_pictures(n: int, side: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Draw the windows of `draw_formations` as candlestick charts of a given side in pixels.

    Each chart is painted at ``SIDE`` pixels and averaged down, so a smaller side shows the same
    picture with less detail.

    Returns:
        Pictures float32 ``(n, 3, side, side)`` in [0, 1] and classes int64 ``(n,)``.
    """
    windows, y = draw_formations(n, seed=seed)
    return averaged(candlesticks(windows, SIDE, SIDE, volume=False), side), y


def averaged(pictures: np.ndarray, side: int) -> Tensor:
    """Return uint8 pictures ``(n, C, H, W)`` as float32 ``(n, C, side, side)`` in [0, 1]."""
    pictures = array("pictures", pictures, ndim=4)
    if pictures.dtype != np.uint8:
        raise ArgumentError("pictures", pictures, "uint8 (n, channels, height, width)")
    side = integer("side", side, 1, min(pictures.shape[2:]))
    parts = torch.as_tensor(np.ascontiguousarray(pictures)).split(256)
    return torch.cat([F.interpolate(p.float(), (side, side), mode="area") for p in parts]) / 255


# ---- A net small enough to scale by hand. The published search gave every candidate twice the
# operations of B0 (Tan and Le 2019, section 3.3, step 1); here the base takes seconds to train.

STEM, STAGES, HEAD = 8, (12, 24), 96  # channels of the base
BLOCKS, EXPAND, BASE_SIDE = 5, 4, 24
KNOBS = ("depth", "width", "resolution")


class SmallNet(nn.Module):
    """Stem, two stages of MBConv, head, mean over pixels, classifier; three whole knobs.

    Args:
        blocks: MBConv blocks in all, at least 2; the second stage has the odd one.
        width: factor on the base's channels, rounded to whole channels (no multiple of 8:
            at this size that rounding would hide the knob).
        num_classes: outputs.
    """

    def __init__(self, blocks: int = BLOCKS, width: float = 1.0, num_classes: int = 8) -> None:
        super().__init__()
        blocks, width = integer("blocks", blocks, 2), number("width", width, 0, above=True)
        stem, first, second, head = (max(1, round(c * width)) for c in (STEM, *STAGES, HEAD))
        start, layers, channels = blocks // 2, [], stem
        for i in range(blocks):
            out = first if i < start else second
            layers.append(MBConv(channels, out, EXPAND, 3, 2 if i == start else 1))
            channels = out
        self.stem = ConvNorm(3, stem, 3, 2)
        self.blocks = nn.Sequential(*layers)
        self.head = ConvNorm(channels, head, 1)
        self.classifier = nn.Linear(head, integer("num_classes", num_classes, 1))
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures (B, 3, H, W) to (B, num_classes)."""
        return self.classifier(self.head(self.blocks(self.stem(x))).mean((2, 3)))


def relative_cost(blocks: int, width: float, side: int) -> float:
    """Return the multiply-adds of a `SmallNet` for one picture, in units of the base's."""
    shape = integer("blocks", blocks, 2), number("width", width, 0, above=True)
    return _cost(*shape, integer("side", side, 1)) / _cost(BLOCKS, 1.0, BASE_SIDE)


@cache
def _cost(blocks: int, width: float, side: int) -> int:
    with torch.device("meta"):
        return multiply_adds(SmallNet(blocks, width), side)


def spend(shares: tuple[float, float, float], budget: float = 2.0) -> tuple[int, float, int]:
    """Return (blocks, width, side) that spend ``budget`` times the base's multiply-adds.

    Blocks, alone, are added until the counted cost is nearest ``budget ** share``, and so are
    pixels. Both are whole numbers, so the width, the finest knob, then settles the total.

    Args:
        shares: of depth, width and resolution in log(budget), each at least 0, with sum 1.
        budget: factor on the base's multiply-adds, above 1.

    Raises:
        ArgumentError: shares that are negative or do not sum to 1.
    """
    budget = number("budget", budget, 1, 64, above=True)
    parts = array("shares", shares, ndim=1)
    if parts.shape != (3,) or parts.min() < 0 or abs(parts.sum() - 1) > 1e-6:
        raise ArgumentError("shares", shares, "three shares that sum to 1")
    a, _, c = parts.tolist()
    most = range(BLOCKS, int(BLOCKS * budget) + 3)
    blocks = min(most, key=lambda n: abs(relative_cost(n, 1.0, BASE_SIDE) - budget**a))
    sides = range(BASE_SIDE, int(BASE_SIDE * budget**0.5) + 5)
    side = min(sides, key=lambda s: abs(relative_cost(BLOCKS, 1.0, s) - budget**c))
    widths = [round(0.5 + 0.01 * i, 2) for i in range(int(100 * budget))]
    place = bisect_left(widths, budget, key=lambda w: relative_cost(blocks, w, side))
    near = widths[place - 1 : place + 1]
    width = min(near, key=lambda w: abs(relative_cost(blocks, w, side) - budget))
    return blocks, width, side


def shares(scale: Scale) -> tuple[float, float, float]:
    """Return which share of the growth in operations goes to depth, width and resolution."""
    depth, width, resolution = instance("scale", scale, Scale, "a Scale")
    parts = [math.log(f) for f in (depth, width**2, resolution**2)]
    if min(parts) < 0 or sum(parts) == 0:
        raise ArgumentError("scale", scale, "factors of at least 1 that make the net dearer")
    a, b, c = (part / sum(parts) for part in parts)
    return a, b, c


def _terms(points: np.ndarray) -> np.ndarray:
    """Return the six terms of a quadratic surface over shares (n, 3)."""
    a, b, _ = points.T
    return np.stack([np.ones_like(a), a, b, a * a, a * b, b * b], -1)


def smooth_coefficients(points: np.ndarray, accuracy: np.ndarray) -> tuple[float, float, float]:
    """Return the (alpha, beta, gamma) of the published grid that a smooth surface likes best.

    A quadratic surface is fitted to the accuracies by least squares; `search_coefficients` asks
    the surface where it would have trained a net.

    Args:
        points: shares of depth, width and resolution ``(n, 3)``, n at least 6.
        accuracy: of each point ``(n,)``.
    """
    x = array("points", points, ndim=2, min_length=3).astype(np.float64)
    y = array("accuracy", accuracy, ndim=1).astype(np.float64)
    if x.shape[1] != 3 or len(x) < 6 or len(x) != len(y):
        raise ArgumentError("points", points, f"{len(y)} points of three shares, 6 or more")
    surface, *_ = np.linalg.lstsq(_terms(x), y, rcond=None)
    return search_coefficients(lambda scale: float(_terms(np.array([shares(scale)]))[0] @ surface))


BATCH, LR, N_TEST, TEST_SEED = 32, 6e-3, 2048, 10**6


class Trial(NamedTuple):
    """Share of fresh pictures classed right, and the mean cross-entropy on them."""

    accuracy: float
    loss: float


def run_trial(
    blocks: int, width: float, side: int, *, seed: int, steps: int = 200, device: str = "cpu"
) -> Trial:
    """Train a `SmallNet` on ``steps`` batches that it sees once, and test it on fresh pictures.

    The seed decides the pictures, their order and the first weights. The pictures tested on are
    the same in every trial. The learning rate rises and falls once (Smith and Topin 2019).
    """
    steps = integer("steps", steps, 2)
    x, y = draw_pictures(steps * BATCH, side, seed=seed)
    torch.manual_seed(seed)
    net = SmallNet(blocks, width, len(CLASSES)).to(device)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(net.parameters(), lr=LR)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps)
    for pictures, classes in zip(x.split(BATCH), y.split(BATCH), strict=True):
        optimizer.zero_grad()
        F.cross_entropy(net(_put(pictures, device)), classes.to(device)).backward()
        optimizer.step()
        schedule.step()
    return _test(net, side, device)


def _put(pictures: Tensor, device: str) -> Tensor:
    """Return pictures on ``device``, channels last: faster for nets this narrow."""
    return pictures.to(device, memory_format=torch.channels_last)


@torch.no_grad()
def _test(net: SmallNet, side: int, device: str) -> Trial:
    x, y = draw_pictures(N_TEST, side, seed=TEST_SEED)
    net.eval()
    outputs = torch.cat([net(_put(part, device)).cpu() for part in x.split(256)])
    accuracy = (outputs.argmax(1) == y).double().mean()
    return Trial(float(accuracy), float(F.cross_entropy(outputs, y)))


# ---- Four market states: log returns are independent and normal, with drift up or down and
# volatility calm or wild. A window stays in one state, and so does the future behind it, so Bayes'
# rule gives the exact probability of every state, of every direction and of two windows sharing a
# state: no net can do better on average.

STATES = ("calm down", "calm up", "wild down", "wild up")
PRICE = 30_000.0


@dataclass(frozen=True, eq=False)
class Planted:
    """Windows (n, 5, length), their states (n,), and the log returns behind them (n, horizon).

    ``drift`` and ``sigma`` (4,) are those of ``STATES``, a bar; ``threshold`` is the log return
    of the horizon beyond which the direction is not hold.
    """

    windows: np.ndarray
    state: np.ndarray
    future: np.ndarray
    drift: np.ndarray
    sigma: np.ndarray
    threshold: float

    def targets(self) -> dict[str, np.ndarray]:
        """Return direction (0, 1, 2), magnitude (log return) and volatility (log rms return)."""
        move = self.future.sum(1)
        direction = 1 + (move > self.threshold).astype(np.int64) - (move < -self.threshold)
        volatility = np.log((self.future**2).mean(1)) / 2
        return {"direction": direction, "magnitude": move, "volatility": volatility}

    def posterior(self) -> np.ndarray:
        """Return the probability (n, 4) of each state, given the window's returns."""
        r = np.log(self.windows[:, 3] / self.windows[:, 0])[:, None]  # (n, 1, length)
        drift, sigma = self.drift[:, None], self.sigma[:, None]
        fit = (-(((r - drift) / sigma) ** 2) / 2 - np.log(sigma)).sum(2)  # (n, 4)
        likelihood = np.exp(fit - fit.max(1, keepdims=True))
        return likelihood / likelihood.sum(1, keepdims=True)

    def direction_probabilities(self) -> np.ndarray:
        """Return the best probabilities (n, 3) of sell, hold, buy that a window allows."""
        bars = self.future.shape[1]
        spread = self.sigma * np.sqrt(bars)
        below = ndtr((np.array([[-1.0], [1.0]]) * self.threshold - bars * self.drift) / spread)
        by_state = np.diff(np.vstack([np.zeros(4), below, np.ones(4)]), axis=0).T  # (4, 3)
        return self.posterior() @ by_state

    def same_state(self, pairs: np.ndarray) -> np.ndarray:
        """Return the probability (P,) that both windows of ``pairs`` (P, 2) share a state."""
        p = self.posterior()
        return (p[pairs[:, 0]] * p[pairs[:, 1]]).sum(1)


def planted(
    n: int, *, seed: int | np.random.Generator, length: int = 32, horizon: int = 8,
    drift: float = 0.25, calm: float = 0.004, wild: float = 0.008,
) -> Planted:  # fmt: skip
    """Draw ``n`` windows, each from one of four states with equal chance.

    Args:
        n: windows.
        seed: seed or generator.
        length: bars of a window.
        horizon: bars behind it.
        drift: mean log return of a bar over its standard deviation, upwards or downwards.
        calm: standard deviation of a bar's log return in a calm state.
        wild: the same in a wild one.

    Returns:
        `Planted`. A bar opens at the close before it; wicks and volumes are noise.
    """
    n, length = integer("n", n, 1), integer("length", length, 2)
    horizon, lean = integer("horizon", horizon, 1), number("drift", drift, 0, 1)
    calm = number("calm", calm, 0, 0.1, above=True)
    sigma = np.repeat([calm, number("wild", wild, calm, 0.1)], 2)
    mean = np.array([-1, 1, -1, 1]) * lean * sigma
    rng = generator(seed)
    state = rng.integers(0, 4, n)
    r = mean[state, None] + sigma[state, None] * rng.standard_normal((n, length + horizon))
    close = PRICE * np.exp(r[:, :length].cumsum(1))
    first = np.concatenate([np.full((n, 1), PRICE), close[:, :-1]], axis=1)
    wick = np.exp(0.4 * sigma[state, None] * np.abs(rng.standard_normal((2, n, length))))
    high, low_price = np.maximum(first, close) * wick[0], np.minimum(first, close) / wick[1]
    volume = np.exp(0.3 * rng.standard_normal((n, length)))
    windows = np.stack([first, high, low_price, close, volume], axis=1)
    threshold = 0.43 * float(np.sqrt(horizon * (sigma**2).mean()))  # about a third is hold
    return Planted(windows, state, r[:, length:], mean, sigma, threshold)


# ---- Two states: a bar moves by ``spread`` up or down, with equal chance, around the mean of the
# state that was seen before it. What to hold is then known to the last digit.


class TwoStates(NamedTuple):
    """Candles of n bars, the state 0 or 1 (n,) known after each, and what rules the next bar."""

    candles: pd.DataFrame
    state: pd.Series
    mean: tuple[float, float]
    spread: float

    def best(self) -> np.ndarray:
        """Return the two positions at which the account grows fastest, without costs.

        ½ log(1 + f(m + s)) + ½ log(1 + f(m − s)) is largest at f = m / (s² − m²).
        """
        m = np.array(self.mean)
        return m / (self.spread**2 - m**2)


def two_states(
    n: int, *, seed: int | np.random.Generator, mean: tuple[float, float] = (-0.004, 0.008),
    spread: float = 0.1, stay: float = 0.95,
) -> TwoStates:  # fmt: skip
    """Draw a market whose two states can be seen, each with its own mean return of the next bar.

    Args:
        n: bars of eight hours, from 2 to 250,000 (stamps end in 2262); a bar opens at the close
            before it.
        seed: seed or generator.
        mean: simple return of the next bar, on average, in states 0 and 1.
        spread: what a bar moves around it, up or down; above both means, below 1 less them.
        stay: chance that a state lasts for one bar more.
    """
    n, rng = integer("n", n, 2, 250_000), generator(seed)
    m = array("mean", mean, ndim=1)
    if m.shape != (2,):
        raise ArgumentError("mean", mean, "two mean returns, one a state")
    most = float(np.abs(m).max())
    spread = number("spread", spread, most, 1 - most, above=True)
    leaves = rng.random(n) >= number("stay", stay, 0.0, 1.0)
    state = np.cumsum(leaves) % 2
    move = m[np.r_[state[0], state[:-1]]] + spread * rng.choice([-1.0, 1.0], n)
    with np.errstate(over="ignore"):
        close = PRICE * np.exp(np.log1p(move).cumsum())
    if not (close.min() > 0 and np.isfinite(close).all()):
        raise ArgumentError("n", n, "fewer bars: the price has left what a number can hold")
    first = np.r_[PRICE, close[:-1]]
    time = pd.date_range("2000-01-01", periods=n, freq="8h", tz="UTC", name="time")
    columns = {"open": first, "high": np.maximum(first, close), "low": np.minimum(first, close)}
    frame = pd.DataFrame(columns | {"close": close, "volume": 1.0}, time)
    return TwoStates(frame, pd.Series(state, time, name="state"), (m[0], m[1]), spread)


# ---- Hedges: a call was sold, and a net decides step by step how many units cover it. Without
# costs the answer that varies least is known: the delta of the formula.


def walks(n: int, steps: int, years: float, sigma: float, seed: int) -> np.ndarray:
    """Return n paths (n, steps + 1) of a price that starts at 1 and has no drift."""
    rng, dt = generator(seed), number("years", years, 0.0, above=True) / integer("steps", steps, 1)
    sigma = number("sigma", sigma, 0.0, above=True)
    moves = rng.normal(-(sigma**2) * dt / 2, sigma * math.sqrt(dt), (integer("n", n, 1), steps))
    return np.exp(np.c_[np.zeros(n), moves.cumsum(axis=1)])


class HedgeNet(nn.Module):
    """Units to hold at each step, from the moneyness and the time left.

    A small net proposes a centre and a half-width for each step; what is held moves to the nearer
    edge of that band, and stays where it lies inside.

    Source: H. Buehler et al., Deep Hedging, Quantitative Finance 19 (2019); the band as in
    S. Imaki et al., No-Transaction Band Network, arXiv:2103.01775 (2021).
    """

    def __init__(self, sigma: float, years: float, width: int = 16) -> None:
        super().__init__()
        self.sigma = number("sigma", sigma, 0.0, above=True)
        self.years, width = number("years", years, 0.0, above=True), integer("width", width, 1)
        self.layers = nn.Sequential(
            nn.Linear(2, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2)
        )

    def band(self, paths: Tensor) -> tuple[Tensor, Tensor]:
        """Return centre and half-width (n, steps) for paths (n, steps + 1), strike 1."""
        left = (1 - torch.arange(paths.shape[1] - 1) / (paths.shape[1] - 1)).sqrt()
        distance = paths[:, :-1].log() / (self.sigma * self.years**0.5 * left)
        seen = torch.stack([distance, left.expand_as(distance)], dim=-1)
        centre, half = self.layers(seen).unbind(-1)
        return centre.sigmoid(), 0.1 * F.softplus(half)

    def forward(self, paths: Tensor) -> Tensor:
        """Return units (n, steps) held from each step to the next."""
        centre, half = self.band(paths)
        held, units = torch.zeros(len(paths)), []
        for low, high in zip((centre - half).unbind(1), (centre + half).unbind(1), strict=True):
            held = torch.maximum(torch.minimum(held, high), low)
            units.append(held)
        return torch.stack(units, dim=1)


def hedged(paths: Tensor, units: Tensor, rate: float) -> Tensor:
    """Return what is left (n,) of a call struck at 1 that was sold for nothing, hedge and all."""
    paths, units = tensor("paths", paths, ndim=2), tensor("units", units, ndim=2)
    if units.shape != (len(paths), paths.shape[1] - 1):
        raise ArgumentError("units", units, "units from each step of ``paths`` to the next")
    rate, owed = number("rate", rate, 0), (paths[:, -1] - 1.0).relu()
    edge = torch.zeros(len(paths), 1)
    traded = torch.diff(torch.cat([edge, units, edge], dim=1), dim=1).abs()
    return (units * paths.diff(dim=1)).sum(1) - rate * (traded * paths).sum(1) - owed


def train_hedge(
    net: HedgeNet, steps: int, rate: float, *, seed: int, share: float = 1.0, updates: int = 300,
) -> HedgeNet:  # fmt: skip
    """Train on fresh paths: least variance, or with ``share`` < 1 least mean of the worst losses.

    The mean of the worst share is min over w of w + mean(max(loss − w, 0)) / share (Rockafellar
    and Uryasev, Journal of Risk 2, 2000); w is one more parameter.
    """
    level = nn.Parameter(torch.tensor(0.05))
    optimizer = torch.optim.Adam([*net.parameters(), level], lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    for update in range(updates):
        paths = walks(1_024, steps, net.years, net.sigma, seed * 1_000_003 + update)
        x = torch.from_numpy(paths).float()
        left = hedged(x, net(x), rate)
        worst = level + (-left - level).relu().mean() / share
        loss = left.var() if share == 1.0 else worst
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net


# ---- Two regimes at once (chapter 25): each decides about channels of its own, and shows itself
# where one squeeze looks and another does not.

REGIME_TASKS = ("alike", "apart", "sign")
LEVEL, NEWEST = 4, 5  # the channels that show the regimes


def draw_regimes(task: str, n: int, time: int = 16, *, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw windows of eight channels in which two regimes are on or off by themselves.

    The first shows in the mean of channel 4, +0.8 or -0.8. While it is on, channel 0 informs, else
    channel 1. The second chooses between channels 2 and 3 in the same way. It shows

    - ``alike``: in the mean of channel 5,
    - ``apart``: in the sign of the newest bar of channel 5 alone,
    - ``sign``: as apart; and while the first is off, channel 0 informs turned upside down.

    Channels 6 and 7 are noise. The target is the sum of the two newest bars that inform.

    Returns:
        ``X`` float32 ``(n, 8, time)``, ``y`` float32 ``(n,)`` with variance 2, and the regimes
        bool ``(n, 2)``.
    """
    choice("task", task, REGIME_TASKS)
    shape = (integer("n", n, 1), 8, integer("time", time, 2))
    rng = torch.Generator().manual_seed(integer("seed", seed, 0))
    x = torch.randn(shape, generator=rng)
    on = torch.rand(n, 2, generator=rng) < 0.5
    x[:, LEVEL] += torch.where(on[:, 0], 0.8, -0.8)[:, None]
    if task == "alike":
        x[:, NEWEST] += torch.where(on[:, 1], 0.8, -0.8)[:, None]
    else:
        on[:, 1] = x[:, NEWEST, -1] > 0
    now = x[..., -1]
    other = -now[:, 0] if task == "sign" else now[:, 1]
    first = torch.where(on[:, 0], now[:, 0], other)
    return x, first + torch.where(on[:, 1], now[:, 2], now[:, 3]), on
