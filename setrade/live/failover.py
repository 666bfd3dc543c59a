"""Failover: when the best model fails or is too slow, the next one answers, within a time limit.

Down at once on an error (the same bar is answered by the next level), and after ``slow`` late
answers among the newest ``within``. Up again only after the better level has answered ``good``
trial questions in a row well inside its budget, one every ``pause`` bars, so that a level on
the edge does not flap. When the last level fails there is no answer: the pipeline closes the
position and stops.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from setrade.errors import ArgumentError, integer, number
from setrade.live.types import Model
from setrade.signals import Signal

LOOK = 0.25  # seconds between looks at how long a broker may take
MARGIN = 0.8  # a trial counts as good only within this part of the budget


class FailoverError(RuntimeError):
    """Every level has failed; the last error is chained."""


class HangError(RuntimeError):
    """The model has not answered in time, or is still busy with an earlier question."""


class Bounded:
    """A broker each of whose calls comes to an end: `HangError` where it would not.

    The call itself goes on in its thread, and its late answer is thrown away; an order that it
    may still send has its name, which the exchange takes once.

    Args:
        broker: whose calls they are. limit: seconds, longer than the broker tries by itself.
    """

    def __init__(self, broker: Any, limit: float) -> None:
        self.broker = broker
        self.limits: dict[str, float] = {"ask": limit, "submit": limit}

    def hurry(self, ask: float, submit: float) -> None:
        """Wait so many seconds from now on, for calls that have begun as well."""
        self.limits.update(ask=ask, submit=submit)

    def __getattr__(self, name: str) -> Any:
        work = getattr(self.broker, name)
        return partial(self._bounded, name, work) if callable(work) else work

    def _bounded(self, name: str, work: Callable[..., Any], *args: Any) -> Any:
        answer, start = Future[Any](), time.monotonic()

        def ask() -> None:
            try:
                answer.set_result(work(*args))
            except BaseException as error:  # raised where it is waited for
                answer.set_exception(error)

        try:
            threading.Thread(target=ask, name="setrade-broker", daemon=True).start()
        except RuntimeError:  # no thread is to be had any more: better unbounded than not at all
            return work(*args)
        kind = "submit" if name == "submit" else "ask"
        while not wait([answer], min(self.limits[kind], LOOK)).done:
            if time.monotonic() - start >= self.limits[kind]:
                raise HangError(f"{name}: no answer within {self.limits[kind]:g} s")
        return answer.result()


class Failover:
    """A model made of levels; callable like any other, it signs answers with the level's name.

    Args:
        levels: name and model, best first; at least one.
        budget: seconds that an answer may take.
        slow: late answers after which a level is left.
        within: newest answers among which they are counted; None: ``slow``, so that they must
            follow each other. A net on long bars works at their closes only: count over several.
        good: good trials in a row after which the better level is taken again.
        pause: bars between trials.
        changed: called with the old level's name, the new one's and why.
        clock: seconds that only go forward.

    ``level`` is the place of the one that answers now.
    """

    def __init__(
        self, levels: Sequence[tuple[str, Model]], *, budget: float, slow: int = 3,
        within: int | None = None, good: int = 3, pause: int = 5,
        changed: Callable[[str, str, str], None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:  # fmt: skip
        pairs = levels if isinstance(levels, Sequence) else ()
        two = [x for x in pairs if isinstance(x, tuple | list) and len(x) == 2]
        fit = [name for name, model in two if isinstance(name, str) and callable(model)]
        if not fit or len(fit) < len(pairs):
            raise ArgumentError("levels", levels, "names and models, at least one")
        self.levels, self.level = list(levels), 0
        self.budget = number("budget", budget, 0.0, above=True)
        self.slow, self.good = integer("slow", slow, 1), integer("good", good, 1)
        self.pause = integer("pause", pause, 1)
        among = self.slow if within is None else integer("within", within, self.slow)
        self._late: deque[bool] = deque(maxlen=among)
        self._changed, self._clock = changed or (lambda old, new, why: None), clock
        self._trials = self._since = 0

    @property
    def name(self) -> str:
        """Name of the level that answers now."""
        return self.levels[self.level][0]

    def __call__(self, x: Any) -> Signal:
        """Answer from the best level that works; raise `FailoverError` if none does."""
        if self.level > 0:
            self._since += 1
            if self._since % self.pause == 0 and (signal := self._trial(x)) is not None:
                return signal
        while True:
            try:
                signal, seconds = self._timed(self.level, x)
            except Exception as error:
                self._down(f"{type(error).__name__}: {error}", error)
                continue
            self._late.append(seconds > self.budget)
            if sum(self._late) >= self.slow and self.level + 1 < len(self.levels):
                self._down(f"{self.slow} answers over {self.budget:g} s")
            return signal

    def _timed(self, level: int, x: Any) -> tuple[Signal, float]:
        (name, model), start = self.levels[level], self._clock()
        signal = model(x)
        if not isinstance(signal, Signal):
            raise ArgumentError(name, signal, "a signals.Signal")
        return replace(signal, model=name), self._clock() - start

    def _trial(self, x: Any) -> Signal | None:
        """Ask the better level; return its answer if it is taken again."""
        try:
            signal, seconds = self._timed(self.level - 1, x)
        except Exception:  # still broken: that is what a trial is for
            self._trials = 0
            return None
        self._trials = self._trials + 1 if seconds <= MARGIN * self.budget else 0
        if self._trials < self.good:
            return None
        self._go(self.level - 1, f"{self._trials} good trials")
        return signal

    def _down(self, why: str, error: Exception | None = None) -> None:
        if self.level + 1 == len(self.levels):
            raise FailoverError(f"the last level, {self.name}, failed: {why}") from error
        self._go(self.level + 1, why)

    def _go(self, level: int, why: str) -> None:
        old, self.level = self.name, level
        self._trials = self._since = 0
        self._late.clear()
        self._changed(old, self.name, why)


class TimeoutModel:
    """Asks a model in a thread of its own, and waits ``limit`` seconds at most.

    A thread cannot be ended from outside: the model goes on, its late answer is thrown away,
    and until then every question is refused at once. (An executor's thread would be waited for
    when the process ends; this one is a daemon.)

    Args:
        model: called in one thread, always the same.
        limit: seconds to wait for an answer.
    """

    def __init__(self, model: Model, limit: float) -> None:
        self.model, self.limit = model, number("limit", limit, 0.0, above=True)
        self._asked: queue.SimpleQueue[tuple[Future[Signal], Any]] = queue.SimpleQueue()
        self._answer: Future[Signal] | None = None
        threading.Thread(target=self._work, name="setrade-model", daemon=True).start()

    def _work(self) -> None:
        while True:
            answer, x = self._asked.get()
            try:
                answer.set_result(self.model(x))
            except Exception as error:
                answer.set_exception(error)

    def warm(self, x: Any, limit: float) -> None:
        """Ask a question whose answer does not matter, and wait ``limit`` seconds for it.

        A first answer may take minutes: code is compiled, an engine built, and kept for the
        thread that asked, which is this one's. A model that fails will do so again, when asked.
        """
        with suppress(Exception):
            self._ask(x, limit)

    def __call__(self, x: Any) -> Signal:
        """Return the model's answer, or raise what it raised; `HangError` after ``limit``."""
        return self._ask(x, self.limit)

    def begin(self, x: Any) -> Future[Signal]:
        """Ask without waiting; `HangError` while it is busy."""
        if self._answer is not None and not self._answer.done():
            raise HangError("still busy with an earlier question")
        self._answer = Future()
        self._asked.put((self._answer, x))
        return self._answer

    def _ask(self, x: Any, limit: float) -> Signal:
        answer = self.begin(x)
        if not wait([answer], limit).done:
            raise HangError(f"no answer within {limit:g} s")
        return answer.result()
