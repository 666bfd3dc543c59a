"""Did the net learn, and could the study have seen what it looked for?

A result of a net that learned nothing is no result, and «nothing found» is no finding unless
something of that size would have been found. Effects of known size are planted in real bars, and
the whole pipeline has to find them.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from setrade.candles import check
from setrade.errors import ArgumentError, array, integer, number, paired, timed
from setrade.evidence.multiple import histories

FLAT = 1e-6  # nats: what training a net to say nothing leaves of rounding
KEPT = 0.9  # rank correlation with the start above which an order of gates counts as kept


@dataclass(frozen=True)
class Learned:
    """Whether a net learned, and the numbers behind the word.

    Attributes:
        word: "learned" or "not learned"; a Learned is true when it is the first.
        gain: what the validation losses lie below ``constant``, the mean over seeds, in nats;
            -inf where a seed diverged.
        scatter: standard deviation of the losses over seeds.
        constant: loss of the forecast that always gives the class shares.
        seeds: how many.
        order_kept: rank correlation of the gates at the start with those at the end, the median
            over seeds; NaN without gates, or where they do not differ at all.
        distance: how far gates moved (root mean square over seeds and channels); NaN without.
        gates: "moved" or "not moved", "" without. An order above 0.9 is that of the first draw.
    """

    word: str
    gain: float
    scatter: float
    constant: float
    seeds: int
    order_kept: float
    distance: float
    gates: str

    def __bool__(self) -> bool:
        """Say whether the net learned."""
        return self.word == "learned"

    def __str__(self) -> str:
        gates = f", gates {self.gates} (order {self.order_kept:.2f})" if self.gates else ""
        below = f"{self.gain:.4f} nats below {self.constant:.4f}"
        return f"{self.word}: {below}, seeds scatter {self.scatter:.4f}{gates}"


def constant_loss(train: Any, validation: Any, num_classes: int = 3) -> float:
    """Return the loss in nats of a forecast that gives the training's class shares to every bar.

    Args:
        train: ``(n,)`` classes 0 … ``num_classes`` - 1 that the net was trained on.
        validation: ``(m,)`` classes on which its loss is measured.
        num_classes: k. One example is added to each class: a class that training never saw has no
            share of zero, which would cost an infinite loss.
    """
    k, shares = integer("num_classes", num_classes, 2), []
    for name, value in (("train", train), ("validation", validation)):
        y = array(name, value, ndim=1)
        if y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= k:
            raise ArgumentError(name, value, f"integer classes 0 … {k - 1}")
        shares.append(np.bincount(y, minlength=k).astype(float))
    given, seen = shares[0] + 1, shares[1]
    return float(-(seen / seen.sum()) @ np.log(given / given.sum()))


def learned(
    losses: Any, constant: float, *, gates: tuple[np.ndarray, np.ndarray] | None = None
) -> Learned:
    """Say whether nets learned: whether their losses beat a constant by more than seeds scatter.

    Args:
        losses: ``(seeds,)`` lowest validation loss of each seed (`training.History.val_loss`), two
            or more: one seed has no scatter. A seed that diverged (NaN, infinite) counts as one
            that did not learn, and so does the net.
        constant: `constant_loss` of the same examples, in the same units.
        gates: mean gates before training and after it, each ``(seeds, channels)``.

    Returns:
        A `Learned`. Losses that equal the constant, up to 1e-6, are not below it.
    """
    x = array("losses", losses, ndim=1, min_length=2, finite=False).astype(float)
    constant = number("constant", constant)
    sound = bool(np.isfinite(x).all())
    gain = constant - float(x.mean()) if sound else -np.inf
    scatter = float(x.std(ddof=1)) if sound else np.inf
    word = "learned" if gain > max(scatter, FLAT) else "not learned"
    if gates is not None and (not isinstance(gates, tuple | list) or len(gates) != 2):
        raise ArgumentError("gates", gates, "two arrays: mean gates before training and after it")
    kept, distance, moved = (np.nan, np.nan, "") if gates is None else _moved(*gates, len(x))
    return Learned(word, gain, scatter, constant, len(x), kept, distance, moved)


def _moved(start: Any, end: Any, seeds: int) -> tuple[float, float, str]:
    """Return the median rank correlation of gates before and after, their distance, and a word."""
    a, b = (array("gates", x, ndim=2, min_length=3).astype(float) for x in (start, end))
    if a.shape != b.shape or len(a) != seeds:
        raise ArgumentError("gates", end, f"two arrays ({seeds} seeds, channels) of one shape")
    distance = float(np.sqrt(((b - a) ** 2).mean()))
    varied = (np.ptp(a, axis=1) > FLAT) & (np.ptp(b, axis=1) > FLAT)
    orders = [float(spearmanr(*pair)[0]) for pair in zip(a[varied], b[varied], strict=True)]  # type: ignore[arg-type]
    kept = float(np.median(orders)) if orders else np.nan
    # Gates that are all alike at one end have no order to keep: then the distance decides.
    still = kept >= KEPT if orders else distance <= FLAT
    return kept, distance, "not moved" if still else "moved"


# ---- Effects of known size in real bars.


def volume_signal(candles: pd.DataFrame, hold: int = 1) -> np.ndarray:
    """Return a signal (n,) of +1 and -1 that can be read from bars up to each: is volume high?

    Every ``hold`` bars the volume of the last ``hold`` bars is held against the median of the 24
    such sums before; the answer stands until the next. Planting moves prices and leaves volume
    as it is, so the planted signal stays readable. A tie counts as low, so volume that never
    changes gives -1 throughout; 0 at the start, where there is no history.
    """
    hold = integer("hold", hold, 1, max(1, len(timed("candles", candles)) // 50))
    total = candles["volume"].rolling(hold).sum().iloc[hold - 1 :: hold]
    usual = total.shift(1).rolling(24).median()
    sign = pd.Series(np.where(total > usual, 1.0, -1.0), total.index).where(usual.notna())
    return sign.reindex(candles.index).ffill().fillna(0.0).to_numpy()


def plant(
    candles: pd.DataFrame,
    size: float,
    *,
    signal: np.ndarray | None = None,
    hold: int = 1,
    seed: int | None = None,
    window: int = 48,
    block: float = 168.0,
) -> pd.DataFrame:
    """Return real bars with an effect of known size: a signal that foretells each next bar.

    A bar's log return, in units of its own volatility v (the root mean square of the ``window``
    before it), z = r / v, becomes ``size · s + √(1 - size²) · z``, with s the signal after the bar
    before. So the correlation of signal and next return in units of v rises by about ``size``,
    and volatility, its clusters, tails, wicks and volume stay those of the real bars: a strategy
    that trades on the signal pays the costs that it would pay there.

    Args:
        candles: n checked bars, 100 or more.
        size: in [0, 1): 0 plants nothing.
        signal: ``(n,)`` in [-1, 1], known after each bar; None: `volume_signal`.
        hold: bars for which one answer of `volume_signal` stands.
        seed: redraws the history first, in stretches of about ``block`` bars, each upside down or
            not at random, so that each try is another market and what leans to one side in the
            real bars cancels; None keeps the real order. With a seed ``signal`` must be None.
        window: bars that a bar's volatility is taken from.
        block: mean length of a stretch.

    Returns:
        Candles on the same index; with ``size`` 0 and no seed the same bars, up to rounding.
    """
    check(candles)
    size, window = number("size", size, 0.0, 0.999), integer("window", window, 2)
    if len(candles) < max(100, 2 * window):
        raise ArgumentError("candles", candles, f"{max(100, 2 * window)} bars or more")
    close = candles["close"].to_numpy(float)
    before = np.r_[candles["open"].iloc[0], close[:-1]]
    shape = np.log(candles[["open", "high", "low", "close"]].to_numpy(float) / before[:, None])
    volume = candles["volume"].to_numpy(float)
    if seed is not None:
        if signal is not None:
            raise ArgumentError("signal", signal, "None where a seed redraws the bars")
        rng = np.random.default_rng(integer("seed", seed, 0))
        rows = histories(len(close), number("block", block, 1.0), 1, rng)[0]
        shape, volume = _mirrored(shape[rows], rows, rng), volume[rows]
    frame = candles[["open", "high", "low", "close", "volume"]].assign(volume=volume)
    paired("signal", signal, candles)
    s = volume_signal(frame, hold) if signal is None else array("signal", signal, ndim=1)
    if len(s) != len(close) or np.abs(s).max() > 1:
        raise ArgumentError("signal", signal, f"{len(close)} numbers in [-1, 1], one a bar")
    moved = _with_effect(shape[:, 3], np.r_[0.0, s[:-1]], size, window)
    frame[["open", "high", "low", "close"]] = _prices(shape, moved, before[0])
    return frame


def _mirrored(shape: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return bars of which about half of the stretches are turned upside down: -log price."""
    stretch = np.cumsum(np.r_[True, np.diff(rows) != 1])
    down = (rng.random(len(rows) + 1) < 0.5)[stretch]
    return np.where(down[:, None], -shape[:, [0, 2, 1, 3]], shape)


def _with_effect(r: np.ndarray, s: np.ndarray, size: float, window: int) -> np.ndarray:
    """Return log returns with the effect; as they are while volatility is not known, or is 0."""
    square = pd.Series(r**2).rolling(window).mean().shift(1).to_numpy()
    v = np.sqrt(np.maximum(np.nan_to_num(square), 0.0))
    used = (v > 1e-12) & (s != 0)
    return np.where(used, size * s * v + np.sqrt(1 - size**2) * r, r)


def _prices(shape: np.ndarray, moved: np.ndarray, start: float) -> np.ndarray:
    """Return open, high, low, close (n, 4): bodies end where the new returns say, wicks are kept.

    ``shape`` (n, 4) are log prices over the close before, ``moved`` (n,) the new log returns.
    """
    first, high, low, last = shape.T
    upper = high - np.maximum(first, last)
    lower = np.minimum(first, last) - low
    top, bottom = np.maximum(first, moved) + upper, np.minimum(first, moved) - lower
    base = np.log(start) + np.r_[0.0, np.cumsum(moved)[:-1]]
    out = np.exp(base[:, None] + np.stack([first, top, bottom, moved], axis=1))
    out[:, 1], out[:, 2] = out.max(axis=1), out.min(axis=1)  # rounding cuts no wick
    return out


@dataclass(frozen=True)
class Detectable:
    """The smallest effect that a study finds, and how often it found each that was planted.

    Attributes:
        size: the smallest found in ``needed`` of ``tries``; infinite where none was.
        hits: size to how often it was found.
        runs: size to how often it was tried: a size that is decided is not tried further.
        needed, tries: the rule.
    """

    size: float
    hits: dict[float, int]
    runs: dict[float, int]
    needed: int
    tries: int

    def __str__(self) -> str:
        tried = ", ".join(f"{s:g}: {self.hits[s]} of {self.runs[s]}" for s in sorted(self.hits))
        return f"{self.size:g} is found in {self.needed} of {self.tries} ({tried})"


def detectable(
    finds: Callable[[float, int], bool],
    sizes: Sequence[float],
    *,
    tries: int = 20,
    needed: int = 16,
    seed: int = 0,
    known: MutableMapping[tuple[float, int], bool] | None = None,
) -> Detectable:
    """Return the smallest planted effect that a pipeline finds in ``needed`` of ``tries``.

    Sizes are halved between: a size that is found sends the search to smaller ones, one that is
    not to larger ones, since a larger effect is found more often. A pipeline of more than ten
    minutes plants the claimed size alone, twice: ``sizes=[claimed], tries=2, needed=2``.

    Args:
        finds: ``finds(size, seed)``: plants (`plant`), runs the very pipeline that gave the
            verdict, and returns True where its verdict says that something is there. Another
            answer than True or False is refused: NaN would count as found.
        sizes: what to plant, each above 0, in any order.
        tries: seeds a size, ``seed``, ``seed`` + 1 …
        needed: finds that are asked for.
        seed: the first.
        known: answers by (size, seed) of an earlier call: they are not asked again, and new ones
            are put there, so that a search that was cut short goes on.
    """
    if not callable(finds):
        raise ArgumentError("finds", finds, "a function of a size and a seed")
    if known is not None and not isinstance(known, MutableMapping):
        raise ArgumentError("known", known, "a dict of answers by (size, seed)")
    sizes = sizes if np.iterable(sizes) else []
    ladder = sorted({number("sizes", x, 0.0, above=True) for x in sizes})
    if not ladder:
        raise ArgumentError("sizes", sizes, "at least one size above 0")
    tries, seed = integer("tries", tries, 1), integer("seed", seed, 0)
    needed, answers = integer("needed", needed, 1, tries), {} if known is None else known
    hits: dict[float, int] = {}
    runs: dict[float, int] = {}
    low, high = 0, len(ladder)  # what is found lies from `high` on
    while low < high:
        middle = (low + high) // 2
        size = ladder[middle]
        hits[size], runs[size] = _count(finds, size, seed, tries, needed, answers)
        low, high = (low, middle) if hits[size] >= needed else (middle + 1, high)
    best = ladder[high] if high < len(ladder) else float("inf")
    return Detectable(best, hits, runs, needed, tries)


def _count(
    finds: Callable[[float, int], bool],
    size: float,
    seed: int,
    tries: int,
    needed: int,
    answers: MutableMapping[tuple[float, int], bool],
) -> tuple[int, int]:
    """Return finds and runs, ended as soon as the rest cannot change which side it falls on."""
    hits = 0
    for run in range(tries):
        place = (size, seed + run)
        if place not in answers:
            answer = finds(*place)
            if not isinstance(answer, bool | np.bool_):
                raise ArgumentError("finds", answer, "True or False")
            answers[place] = bool(answer)
        hits += answers[place]
        if hits >= needed or hits + tries - run - 1 < needed:
            return hits, run + 1
    return hits, tries
