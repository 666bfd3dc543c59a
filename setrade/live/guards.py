"""What is done about bars that cannot be true, and how a person stops the machine.

=================  =======================================================================
seen               outcome
=================  =======================================================================
NaN, no bar        left out, counted as missing; the position keeps its stop
duplicate, late    left out; the clock going back is the same: bars of a past time
far ahead          left out until the next bar confirms it: a false stamp would make all
                   the others late, after a restart as well
gap                bar taken; no new decision until the window is whole again
price jump         bar taken; `Risk.max_jump` refuses new exposure, stops still work
too many faults    ``limit`` left out in a row: position closed, run ended
stale, dead        no good bar for ``patience`` seconds: position closed, run ended
kill switch        file or signal: position closed, run ended
=================  =======================================================================
"""

from __future__ import annotations

import math
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from setrade.errors import integer

from .schema import Bar

REACH = 30  # bars: a longer leap is believed only when a second bar follows it


class BarGuard:
    """Lets each good bar through once, in order.

    Args:
        step: length of a bar in ns.
        limit: bars left out in a row after which the source is not believed any more.

    ``faults`` counts ``duplicate late malformed off_grid ahead gap`` so far.
    """

    def __init__(self, step: int, limit: int = 5) -> None:
        self.step, self.limit = integer("step", step, 1), integer("limit", limit, 1)
        self.faults: Counter[str] = Counter()
        self.newest = self._ahead = -1
        self.in_a_row = 0

    def judge(self, bar: Bar) -> str:
        """Return the bar's fault, empty for none; ``"gap"`` is a good bar after missing ones."""
        fault = self._fault(bar)
        if fault:
            self.faults[fault] += 1
        if fault and fault != "gap":
            self.in_a_row += fault != "duplicate"  # to say a thing twice is no contradiction
            return fault
        self.in_a_row, self.newest, self._ahead = 0, bar.time, -1
        return fault

    @property
    def exhausted(self) -> bool:
        """True when the source has sent nothing but faults for too long."""
        return self.in_a_row >= self.limit

    def _fault(self, bar: Bar) -> str:
        if not all(map(math.isfinite, bar)):
            return "malformed"
        sound = 0 < bar.low <= min(bar.open, bar.close) and max(bar.open, bar.close) <= bar.high
        if not sound or bar.volume < 0:
            return "malformed"
        if bar.time % self.step:
            return "off_grid"
        if bar.time == self.newest:
            return "duplicate"
        if bar.time < self.newest:
            return "late"
        if self.newest < 0 or bar.time == self.newest + self.step:
            return ""
        return "gap" if self._follows(bar, self.newest) or self._confirmed(bar) else "ahead"

    def _follows(self, bar: Bar, time: int) -> bool:
        return 0 < bar.time - time <= (REACH + 1) * self.step

    def _confirmed(self, bar: Bar) -> bool:
        before, self._ahead = self._ahead, bar.time
        return before >= 0 and self._follows(bar, before)


class KillSwitch:
    """A file whose existence, or signals whose arrival, stops the run.

    Args:
        file: looked for at each `pressed`; None: no file.

    ``told`` are called with the reason of each signal, also of those after the first.
    """

    def __init__(self, file: str | os.PathLike[str] | None = None) -> None:
        self.file = None if file is None else Path(file)
        self.reason = ""
        self.told: list[Callable[[str], None]] = []

    def press(self, reason: str) -> None:
        """Stop the run; the first reason is kept."""
        self.reason = self.reason or reason

    def pressed(self) -> str:
        """Return why the run must stop; empty while it may go on."""
        if self.file is not None and self.file.exists():
            self.press("kill_file")
        return self.reason

    def listen(self, numbers: dict[int, str]) -> Callable[[], None]:
        """Press on operating-system signals (main thread only); return what undoes it.

        Args:
            numbers: reason by signal number.
        """
        before = {number: signal.getsignal(number) for number in numbers}
        for number, reason in numbers.items():
            signal.signal(number, lambda *_, reason=reason: self._heard(reason))

        def undo() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        return undo

    def _heard(self, reason: str) -> None:
        self.press(reason)
        for tell in self.told:
            tell(reason)
