"""Nets, the rule and their ensemble as models of the pipeline, and the fallback chain of them.

A net is asked on bars of the length that it was trained on, made of the pipeline's shorter ones
(1 minute into 15, say), as known at its newest bar; between two closes its answer stands.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from setrade import candles
from setrade.candles.checks import bar_interval, parse_interval
from setrade.channels import WARM_UP
from setrade.errors import ArgumentError, integer, number
from setrade.inference import CheckpointError, Predictor, Spec, from_candles, plain
from setrade.live.config import Config, named
from setrade.live.failover import Failover, TimeoutModel
from setrade.live.types import Model
from setrade.models import TimeframeEnsemble
from setrade.models.timeframes import directions
from setrade.pictures import encoder
from setrade.signals import Signal, follow_moves
from setrade.training import device as pick_device

# "rules" ends every chain; when it fails as well, the position is closed and the run ended.
CHAINS = {
    "rules": ("rules",),
    "se_trader": ("se_trader", "rules"),
    "efficientnet": ("efficientnet", "se_trader", "rules"),
    "ensemble": ("ensemble", "se_trader", "rules"),
}
CHECKPOINTS = {"se_trader": "se_trader", "efficientnet": "efficientnet_micro"}
FRAMES = ("1min", "5min")
HANG = 5.0  # budgets after which an answer is not waited for any more
WARM = 600.0  # seconds that the very first answer may take, before the first bar
WITHIN, PAUSE = 60, 15  # bars: the nets work at the closes of long ones, every fifteenth or so


class Timeframe:
    """Cuts the newest complete bars of one length out of a window of shorter bars.

    A long bar is complete when its last short bar has closed; the one that is forming is left
    out. ``needs`` is how many short bars it takes, wherever the window ends.

    Args:
        interval: length of the bars that are wanted. step: of the window's own, such as "1min".
        count: how many are wanted.

    Raises:
        ArgumentError: long bars cannot be made of such short ones.
    """

    def __init__(self, interval: str, step: str, count: int) -> None:
        self.interval, self.count = interval, integer("count", count, 2)
        length, own = parse_interval("interval", interval).value, parse_interval("step", step).value
        if length % own:
            raise ArgumentError("interval", interval, f"bars of {step}, or a multiple")
        self.ratio, self.length = length // own, length
        self.needs = self.count * self.ratio + self.ratio - 1

    def span(self, window: pd.DataFrame) -> pd.DataFrame:
        """Return the short bars that the newest complete long ones are made of."""
        if len(window) < self.needs:
            allowed = f"{self.needs} bars or more, for {self.count} of {self.interval}"
            raise ArgumentError("window", window, allowed)
        stamps = window.index[-2:].as_unit("ns").asi8  # type: ignore[attr-defined]
        forming = int(2 * stamps[1] - stamps[0]) % self.length * self.ratio // self.length
        end = len(window) - forming
        return window.iloc[end - self.count * self.ratio : end]

    def __call__(self, window: pd.DataFrame) -> pd.DataFrame:
        """Return the newest ``count`` complete bars.

        Raises:
            ArgumentError: the window is too short.
            CandleError: it has faults.
        """
        bars = self.span(window)
        return bars if self.ratio == 1 else candles.resample(bars, self.interval)


class Net:
    """A `Predictor` on the newest complete bars.

    Args:
        predictor: the net and how it is fed.
        step: length of the window's bars.
        interval: bars that the net is given; None: those that it was trained on.
        foreign: let it be other ones; its answers then mean nothing (for timing).

    ``needs`` is how many bars the window must have. Pictures are drawn into a kept buffer.

    Raises:
        ArgumentError: bars that the net was not trained on, or that cannot be made.
    """

    def __init__(
        self, predictor: Predictor, step: str, *, interval: str | None = None,
        foreign: bool = False,
    ) -> None:  # fmt: skip
        trained = predictor.spec.interval
        if interval not in (None, trained) and not foreign:
            raise ArgumentError("interval", interval, f"{trained}: the net was trained on no other")
        self.predictor = predictor
        self.spec: Spec = replace(predictor.spec, interval=interval or trained)
        self.frame = Timeframe(self.spec.interval, step, history(self.spec))
        self.needs = self.frame.needs
        self._drawn: np.ndarray | None = None
        self._last: tuple[pd.Timestamp, np.ndarray, Signal] | None = None

    def __call__(self, window: pd.DataFrame) -> Signal:
        """Return the signal after the newest complete bar."""
        span = self.frame.span(window)
        newest, figures = span.index[-1], span.to_numpy()
        last = self._last
        if last is not None and last[0] == newest and np.array_equal(last[1], figures):
            return last[2]  # nothing new has closed
        bars = self.frame(window)
        signal = self.predictor.predict(self.images(bars), [bars.index[-1]])[0]
        self._last = newest, figures.copy(), signal
        return signal

    def images(self, bars: pd.DataFrame) -> np.ndarray:
        """Return what the net is given after the newest of its bars, one example."""
        given, length = self.spec.preprocessing, self.frame.count
        if self.spec.kind == "windows":
            return from_candles(bars, self.spec, 1)[0]
        draw = encoder(given["encoder"], self.spec.input_shape[-1], **given["options"]).draw
        self._drawn = draw(candles.windows(bars, length), out=self._drawn)
        return self._drawn


def history(spec: Spec) -> int:
    """Return how many bars a net's input is made of.

    Channels warm up twice: after once, averages that never forget still tell where the window
    began, in the fifth digit of a probability.
    """
    if spec.kind == "pictures":
        return int(spec.preprocessing["bars"])
    return spec.input_shape[1] + 2 * WARM_UP


class Rule:
    """The plain momentum rule, on bars of any length.

    Args:
        step: length of the window's bars. interval: of those that it looks at; None: the same.
        lookback, threshold: as `signals.momentum` takes them.
    """

    def __init__(
        self, step: str, *, interval: str | None = None, lookback: int = 48, threshold: float = 0.5
    ) -> None:
        self.lookback = integer("lookback", lookback, 2)
        self.threshold = number("threshold", threshold, 0.0)
        self.frame = Timeframe(step if interval is None else interval, step, lookback + 1)
        self.needs = self.frame.needs

    def __call__(self, window: pd.DataFrame) -> Signal:
        """Return the signal after the newest complete bar."""
        bars = self.frame(window)
        position = follow_moves(bars["close"], self.lookback, self.threshold).iloc[-1]
        return Signal(bars.index[-1], float(position), abs(float(position)), source="rule")


class Ensemble:
    """Members pooled with equal weights, with the share of them that points where the pool does.

    Args:
        members: each a `Net` or a `Rule`; two at least.

    ``needs`` is the most that a member needs.
    """

    def __init__(self, members: Sequence[Net | Rule]) -> None:
        if len(members) < 2:
            raise ArgumentError("members", members, "two models or more")
        self.members, self.needs = tuple(members), max(m.needs for m in members)
        names = tuple(f"{type(m).__name__} {m.frame.interval}" for m in members)
        self.pool = TimeframeEnsemble.equal(names)

    def __call__(self, window: pd.DataFrame) -> Signal:
        """Return the pooled answer; its ``agreement`` is in [0, 1]."""
        said = [member(window) for member in self.members]
        shares = np.array([[share(signal) for signal in said]])  # (1, members, 3)
        sell, hold, buy = (min(float(p), 1.0) for p in self.pool.combine(shares)[0])
        return Signal(
            max(signal.time for signal in said), buy - sell, max(sell, hold, buy),
            (sell, hold, buy), next((s.attention for s in said if s.attention), None), "ensemble",
            agreement=float((directions(shares)[0] == np.sign(buy - sell)).mean()),
        )  # fmt: skip


def share(signal: Signal) -> tuple[float, float, float]:
    """Return probabilities of sell, hold and buy; a rule's position counts as certainty."""
    if signal.probabilities is not None:
        return signal.probabilities
    up, down = max(signal.position, 0.0), max(-signal.position, 0.0)
    return down, 1.0 - up - down, up


class PrecomputedModel:
    """A net whose answers to a recording are worked out in batches beforehand, and looked up.

    Args:
        net: whose answers they are. recorded: candles that the pipeline will replay, without a
            hole. batch: inputs that are made at a time.

    Batches change the last digits of an answer (by about 1e-7), nothing else.
    """

    def __init__(self, net: Net, recorded: pd.DataFrame, *, batch: int = 2_048) -> None:
        step = bar_interval(recorded).value
        if step * net.frame.ratio != net.frame.length:
            raise ArgumentError("recorded", recorded, "bars of the length that the net expects")
        self.net, self.needs = net, net.needs
        bars = recorded if net.frame.ratio == 1 else candles.resample(recorded, net.spec.interval)
        self._signals: dict[int, Signal] = {}
        size, before = integer("batch", batch, 1), net.frame.count - 1
        for first in range(before, len(bars), size):
            part = bars.iloc[first - before : first + size]
            images, times = from_candles(part, net.spec, len(part) - before)
            signals = net.predictor.predict(images, times)
            opens = times.as_unit("ns").asi8.tolist()
            self._signals.update(zip(opens, signals, strict=True))

    def __call__(self, window: pd.DataFrame) -> Signal:
        """Return the answer after the newest complete bar of the window."""
        stamps = window.index[-2:].as_unit("ns").asi8  # type: ignore[attr-defined]
        end, length = int(2 * stamps[1] - stamps[0]), self.net.frame.length
        signal = self._signals.get(end - end % length - length)
        if signal is None:
            raise ArgumentError("window", window, f"{self.needs} bars or more of the recording")
        return signal


class Broken:
    """Stands for a model that could not be loaded: each question raises why."""

    needs = 0

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, window: Any) -> Signal:
        """Raise the error."""
        raise self.error


def fallback_chain(
    config: Config, changed: Callable[[str, str, str], None], *, resumed: bool = False,
    clock: Callable[[], float] = time.perf_counter, say: Callable[[str], None] = lambda text: None,
) -> tuple[Failover, int, int]:  # fmt: skip
    """Return the chain that the options ask for, and the most and least bars that it needs.

    Device and runtime of the options are the first level's; the others are on the CPU, with the
    plain runtime. All have answered once when this returns: what is compiled at a first answer
    would not be ready at the first bar.

    Args:
        config: of the run. changed: told of each change of level. clock: of the budget.
        say: told what the start is at, since it may take minutes.
        resumed: there may be a position to care for: a damaged file of weights takes its level
            out of the chain. A new run does not start with it.

    Raises:
        CheckpointError: a damaged or missing file of weights, in a new run.
        ArgumentError: bars that the models cannot be asked on, or another wrong option.
    """
    levels: list[tuple[str, Model]] = []
    needs: list[int] = []
    for place, name in enumerate(CHAINS[config.model]):
        try:
            model: Any = _make(name, config, first=place == 0)
        except CheckpointError as error:
            if not resumed:
                raise
            model = Broken(error)
        needs.append(model.needs)
        bounded = TimeoutModel(model, HANG * config.budget)
        if model.needs:
            runs = (config.runtime if place == 0 else None) or "the plain runtime"
            say(f"start: {name} on {runs}, a first answer before the first bar")
            market = candles.synthetic(model.needs, seed=0, interval=config.interval)
            bounded.warm(market.candles, WARM)
        levels.append((name, bounded))
    made = Failover(
        levels, budget=config.budget, within=WITHIN, pause=PAUSE, changed=changed, clock=clock
    )
    return made, max(needs), needs[-1]


def _make(name: str, config: Config, *, first: bool) -> Any:
    """Return one level."""
    where = (config.device, config.runtime) if first else ("cpu", None)
    rule = {"lookback": config.lookback, "threshold": config.threshold}
    if name == "rules":
        return Rule(config.interval, **rule)
    if name != "ensemble":
        file = config.checkpoint if first and config.checkpoint else CHECKPOINTS[name]
        with named(file="checkpoint"):
            return load_net(file, config.interval, *where)
    own = parse_interval("interval", config.interval).value
    fit = [f for f in FRAMES if not parse_interval("frames", f).value % own]
    frames = config.frames.split(",") if config.frames else fit or [config.interval]
    with named(interval="frames"):
        rules = [Rule(config.interval, interval=f, **rule) for f in frames]
    nets = [load_net(file, config.interval, *where) for file in CHECKPOINTS.values()]
    return Ensemble([*nets, *rules])


def load_net(file: str, interval: str, device: str | None, runtime: str | None) -> Net:
    """Return a net on bars of the length that it was trained on."""
    with named(name="device", path="file", provider="runtime"):
        on = pick_device(device)
        predictor = Predictor.load(file, on, runtime=runtime or plain(on), batch_size=1)
    try:
        return Net(predictor, interval)
    except ArgumentError as error:
        allowed = f"bars of which {predictor.spec.interval} ones can be made, or --model rules"
        raise ArgumentError("interval", interval, allowed) from error
