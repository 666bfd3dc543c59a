"""Closing everything: tried again until nothing is held, each attempt an order of its own name."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from .desk import Move
from .executor import Executor
from .journal import Journal, JournalError
from .patience import waits

FLATTEN = 20  # number of the leg: names of orders are made of it


class UnattendedError(RuntimeError):
    """A position is held, or may be, that nobody cares for: a person has to look at it now."""


class HeldError(UnattendedError):
    """The broker holds something that a new journal knows nothing of."""

    def __init__(self, symbol: str, units: float) -> None:
        self.symbol, self.units = symbol, units
        super().__init__(
            f"the broker holds {units:g} {symbol}, and this journal is new: go on with the "
            "journal of the run that opened it, or close it at the broker first"
        )


class Closer:
    """Closes what the broker holds, however often it has to be tried.

    An attempt that was refused is over; the next one has another name, in the journal before it
    is sent. One whose fate is unknown is asked for, and sent again under the same name.
    While it has to be tried again, a person may give it up (`heard`).

    Args:
        executor, journal: the trader's.
        patience: seconds after which it is given up; the waits between tries double, up to 15 s.

    ``told`` are called with the trouble after each try that failed.
    """

    def __init__(self, executor: Executor, journal: Journal, patience: float) -> None:
        self.executor, self.journal, self.patience = executor, journal, patience
        self.told: list[Callable[[str], None]] = []
        self._failing, self._given_up = False, threading.Event()

    def heard(self, reason: str) -> None:
        """Give up on an interrupt (Ctrl-C) that comes after a try has failed."""
        if reason == "interrupt" and self._failing:
            self._given_up.set()

    def close(self, reason: str, price: float, at: int) -> tuple[float, int]:
        """Close everything at the market; return the account's worth and the orders sent.

        Args:
            reason: for the journal. price: about which. at: time that the names are made of.

        Raises:
            UnattendedError: something is still held, or the broker does not say, when time is up
                or a person gave up.
        """
        sent, trouble = 0, ""
        for k, wait in enumerate(waits(self.patience)):
            try:
                held, equity = self.executor.standing()
                if held:
                    sent += self._once(Move(-held, price, reason, True), at, k)
                    held, equity = self.executor.standing()
                if not held:
                    self._failing = False
                    return equity, sent
                trouble = f"{held:g} still held"
            except Exception as error:  # whatever it is: nobody else cares for the position
                trouble = f"{type(error).__name__}: {error}"
            self._failing = True
            self._tell(reason, k + 1, trouble)
            if self._given_up.wait(wait):
                raise UnattendedError(f"after {reason}: given up by hand, not closed: {trouble}")
        raise UnattendedError(f"after {reason}: not closed in {self.patience:g} s: {trouble}")

    def _tell(self, reason: str, tries: int, trouble: str) -> None:
        with suppress(JournalError):
            self.journal.event("closing", reason=reason, tries=tries, trouble=trouble)
            self.journal.commit()
        for tell in self.told:
            with suppress(Exception):
                tell(f"closing after {reason}, try {tries}: {trouble}")

    def _once(self, move: Move, at: int, tries: int) -> int:
        """Send an attempt, if need be without a line in the journal: it can only close."""
        try:
            return self._send(move, at, tries)
        except JournalError:
            self.journal.release()
        try:
            return self._send(move, at, tries)
        except JournalError as error:
            self.journal.give_up(error)
        return self._send(move, at, tries)

    def _send(self, move: Move, at: int, tries: int) -> int:
        """Send under a new name, or under that of the attempt whose fate is not known."""
        at += tries if self.journal.lost else 0  # nothing is written: count attempts here
        return len(self.executor.send([move], self.executor.untried(at, FLATTEN), FLATTEN))
