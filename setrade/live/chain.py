"""The models that the command line can name, as a chain from the best to the plainest."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from setrade import candles
from setrade.candles.intervals import parse_interval
from setrade.errors import ArgumentError
from setrade.inference import CheckpointError, Predictor, plain
from setrade.training import device as pick_device

from .failover import Failover
from .models import Answer, Ensemble, Net, Rule
from .window import Model
from .worker import Worker

# "rules" ends every chain; when it fails as well, the position is closed and the run ended.
CHAINS = {
    "rules": ("rules",),
    "se_trader": ("se_trader", "rules"),
    "efficientnet": ("efficientnet", "se_trader", "rules"),
    "ensemble": ("ensemble", "se_trader", "rules"),
}
CHECKPOINTS = {"se_trader": "se_trader", "efficientnet": "efficientnet_micro"}
FRAMES = ("1min", "5min")
PATIENCE = 5.0  # budgets after which an answer is not waited for any more
WARM = 600.0  # seconds that the very first answer may take, before the first bar
WITHIN, PAUSE = 60, 15  # bars: the nets work at the closes of long ones, every fifteenth or so


@dataclass(frozen=True)
class Sized:
    """A model whose positions are scaled, and that signs its answers with a name."""

    name: str
    model: Any
    size: float

    def __call__(self, window: Any) -> Answer:
        """Return the model's answer, its position times ``size``."""
        s = self.model(window)
        agreement = getattr(s, "agreement", float("nan"))
        return Answer(
            self.size * s.position, s.confidence, self.name, s.probabilities, s.attention, agreement
        )


class Broken:
    """Stands for a model that could not be loaded: each question raises why."""

    needs = 0

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, window: Any) -> Answer:
        """Raise the error."""
        raise self.error


def chain(
    o: argparse.Namespace, changed: Callable[[str, str, str], None], *, resumed: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Failover, int, int]:  # fmt: skip
    """Return the chain that the options ask for, and the most and least bars that it needs.

    The first level is on the device that `training.device` gives (or ``o.device``) and runs as
    ``o.runtime`` says; the others are on the CPU, with the plain runtime. All have answered once
    when this returns: what is compiled at a first answer would not be ready at the first bar.

    Args:
        o: options, as `options.parser` makes them.
        changed: told of each change of level.
        resumed: the run goes on with a journal, so that there may be a position to care for: a
            file of weights that is damaged takes its level out of the chain. A new run does not
            start with it.
        clock: of the budget.

    Raises:
        CheckpointError: a damaged or missing file of weights, in a new run.
        ArgumentError: bars that the models cannot be asked on, or another wrong option.
    """
    levels: list[tuple[str, Model]] = []
    needs: list[int] = []
    for place, name in enumerate(CHAINS[o.model]):
        try:
            model: Any = _make(name, o, first=place == 0)
        except CheckpointError as error:
            if not resumed:
                raise
            model = Broken(error)
        needs.append(model.needs)
        worker = Worker(Sized(name, model, o.size), PATIENCE * o.budget)
        if model.needs:
            worker.warm(candles.synthetic(model.needs, seed=0, interval=o.interval).candles, WARM)
        levels.append((name, worker))
    made = Failover(
        levels, budget=o.budget, within=WITHIN, pause=PAUSE, changed=changed, clock=clock
    )
    return made, max(needs), needs[-1]


def _make(name: str, o: argparse.Namespace, *, first: bool) -> Any:
    """Return one level."""
    where = (o.device, o.runtime) if first else ("cpu", None)
    rule = {"lookback": o.lookback, "threshold": o.threshold}
    if name == "rules":
        return Rule(o.interval, **rule)
    if name == "ensemble":
        nets = [_net(member, o, *where) for member in CHECKPOINTS.values()]
        return Ensemble([*nets, *(Rule(o.interval, interval=f, **rule) for f in _frames(o))])
    return _net(o.checkpoint if first and o.checkpoint else CHECKPOINTS[name], o, *where)


def _frames(o: argparse.Namespace) -> list[str]:
    """Return the bar lengths on which the rule votes."""
    if o.frames:
        return o.frames.split(",")
    own = parse_interval("interval", o.interval).value
    return [f for f in FRAMES if not parse_interval("frames", f).value % own] or [o.interval]


def _net(file: str, o: argparse.Namespace, device: str | None, runtime: str | None) -> Net:
    """Return a net on bars of the length that it was trained on."""
    on = pick_device(device)
    predictor = Predictor.load(file, on, runtime=runtime or plain(on), batch_size=1)
    try:
        return Net(predictor, o.interval)
    except ArgumentError as error:
        allowed = f"bars of which {predictor.spec.interval} ones can be made, or --model rules"
        raise ArgumentError("interval", o.interval, allowed) from error
