"""A model in a thread of its own, so that one which never answers does not stop the rest."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from typing import Any

from setrade.errors import number

from .window import Model, Signal


class HangError(RuntimeError):
    """The model has not answered in time, or is still busy with an earlier question."""


class Worker:
    """Asks a model, and waits ``limit`` seconds at most.

    A thread cannot be ended from outside: the model goes on, its late answer is thrown away,
    and until then every question is refused at once.

    Args:
        model: called in one thread, always the same.
        limit: seconds to wait for an answer.
    """

    def __init__(self, model: Model, limit: float) -> None:
        self.model, self.limit = model, number("limit", limit, 0.0, above=True)
        self._in: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._out: queue.SimpleQueue[tuple[Signal | None, Exception | None]] = queue.SimpleQueue()
        self._busy = False
        threading.Thread(target=self._work, name="setrade-model", daemon=True).start()

    def _work(self) -> None:
        while True:
            x = self._in.get()
            try:
                answer: tuple[Signal | None, Exception | None] = self.model(x), None
            except Exception as error:
                answer = None, error
            self._out.put(answer)

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

    def _ask(self, x: Any, limit: float) -> Signal:
        if self._busy and self._out.empty():
            raise HangError("still busy with an earlier question")
        if self._busy:
            self._out.get()  # too late, to a question of long ago
        self._in.put(x)
        self._busy = True
        try:
            signal, error = self._out.get(timeout=limit)
        except queue.Empty:
            raise HangError(f"no answer within {limit:g} s") from None
        self._busy = False
        if error is not None:
            raise error
        assert signal is not None
        return signal
