"""A new checkpoint beside the one that decides: asked of the same bars, it gives no orders.

    python -m setrade.live --model se_trader --shadow NEW ...
    python -m setrade.live compare JOURNAL     # agreement, turnover, hypothetical equity
    python -m setrade.live promote JOURNAL     # the shadow decides from the next start on
    python -m setrade.live rollback JOURNAL    # what decided before does so again

The shadow works in a process of its own, of low priority, on a copy of its file that lies beside
the journal: it may crash, hang or take all memory there. A promotion is one transaction of the
journal; killed at any moment, either the old or the new one decides. Position, stops and orders
stand in the same journal, and the next start goes on with them.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from setrade import backtest
from setrade.costs import Costs
from setrade.errors import ArgumentError
from setrade.files import write_atomic
from setrade.live.config import Config, UsageError
from setrade.live.failover import HangError, TimeoutModel
from setrade.live.journal import Journal, JournalBusyError
from setrade.live.types import Bar, Model
from setrade.signals import Signal

PROGRAM, COMMANDS = "python -m setrade.live", ("compare", "promote", "rollback")
SHADOW, PROMOTED = "shadow", "promoted"  # settings of the journal: the newest; all, oldest first
REPLAY_WAIT = 120.0  # seconds that a file played without pauses waits for each answer
NICE = 10


class ShadowEndedError(RuntimeError):
    """The shadow's process is there no more."""


class Shadow:
    """Asks a model after each bar, never waits for it, and writes what it says.

    Events: ``shadow_skipped`` (a bar came while it was busy), ``shadow_failed`` (an answer is
    missing), ``shadow_ended`` (it is asked no more).

    Args:
        journal: of the run. checkpoint: name of the answers there. model: asked in a thread.
        wait: seconds that the caller may be held up for an answer (a recording is played).
    """

    def __init__(
        self, journal: Journal, checkpoint: str, model: Model, *, wait: float = 0.0
    ) -> None:
        self.journal, self.checkpoint, self.model, self.wait = journal, checkpoint, model, wait
        self._asked, self.over = TimeoutModel(self._timed, 1.0), False  # type: ignore[arg-type]
        self._pending: tuple[int, Future[Any]] | None = None

    def _timed(self, window: pd.DataFrame) -> tuple[Signal, float]:
        start = time.monotonic()
        signal = self.model(window)
        if not isinstance(signal, Signal):
            raise ArgumentError("model", signal, "a function that returns a signals.Signal")
        return signal, time.monotonic() - start

    def step(self, time_ns: int, window: pd.DataFrame) -> None:
        """Write what it has answered since, and ask after the bar that opened at ``time_ns``."""
        self._collect()
        if self.over:
            return
        try:
            answer: Future[Any] = self._asked.begin(window)  # type: ignore[assignment]
        except HangError:
            with self.journal.aside():
                self.journal.event("shadow_skipped", bar=time_ns)
            return
        self._pending = time_ns, answer
        if self.wait:
            wait([answer], self.wait)
            self._collect()

    def _collect(self) -> None:
        if self._pending is None or not self._pending[1].done():
            return
        (at, answer), self._pending = self._pending, None
        error = answer.exception()
        self.over = isinstance(error, ShadowEndedError)
        with self.journal.aside():
            if error is None:
                self.journal.shadow(at, self.checkpoint, *answer.result())
            else:
                kind = "shadow_ended" if self.over else "shadow_failed"
                self.journal.event(kind, bar=at, error=f"{type(error).__name__}: {error}")

    def close(self) -> None:
        """Write the last answer, if there is one, and end the model's process."""
        self._collect()
        if isinstance(self.model, Isolated):
            self.model.close()


class Isolated:
    """A net in a process of its own, on the CPU with one thread; it ends with this one.

    Args:
        file: of weights. interval: length of the bars that it is given.
    """

    def __init__(self, file: str, interval: str) -> None:
        self.file, self.interval = file, interval
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self, window: pd.DataFrame) -> Signal:
        """Return the net's answer.

        Raises:
            ShadowEndedError: the process is there no more. RuntimeError: what the net raised.
        """
        try:
            answer = self._exchange(window)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            code = None if self.process is None else self.process.poll()
            raise ShadowEndedError(f"its process has ended (status {code})") from error
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return answer

    def _exchange(self, window: pd.DataFrame) -> Any:
        first = self.process is None
        if self.process is None:  # begun here, so that nobody waits for it
            command = [sys.executable, "-m", "setrade.live.shadow"]
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C is not for it
            )  # fmt: skip
        pipe = self.process.stdin
        assert pipe is not None
        assert self.process.stdout is not None
        if first:
            pickle.dump((self.file, self.interval), pipe)
        pickle.dump(window, pipe)
        pipe.flush()
        return pickle.load(self.process.stdout)

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def serve() -> None:
    """Answer windows on standard input until it ends: what `Isolated` starts."""
    asked, told = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what libraries print is no answer
    if hasattr(os, "nice"):  # the trader comes first
        os.nice(NICE)
    with suppress(OSError):  # and where memory runs out, this is what goes (Linux)
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    net: Any = None
    file, interval = pickle.load(asked)
    while True:
        try:
            window = pickle.load(asked)
        except EOFError:
            return
        try:
            net = net or _load(file, interval)
            answer: Any = replace(net(window), attention=None)
        except Exception as error:  # told in place of an answer
            answer = f"{type(error).__name__}: {error}"
        pickle.dump(answer, told)
        told.flush()


def _load(file: str, interval: str) -> Model:
    import torch  # in the shadow's process, or for a promotion

    from setrade.live.models import load_net

    torch.set_num_threads(1)
    return load_net(file, interval, "cpu", None)


def in_force(config: Config, journal: Journal, say: Callable[[str], None]) -> Config:
    """Return the options with the checkpoint that was promoted in the journal, if one was.

    Its file is a copy beside the journal. One that is not as it was compared is set aside, and
    what is left to do without it is the next level's (`failover`).

    Raises:
        UsageError: it belongs to another ``--model``.
    """
    promoted = journal.kept(PROMOTED) or []
    if not promoted:
        return config
    newest = promoted[-1]
    if config.model != newest["model"]:
        why = f"{newest['model']}: a checkpoint of it was promoted in this journal"
        raise UsageError("--model", config.model, why)
    say(f"model: {newest['file']} ({newest['checkpoint']}), promoted {newest['at']}")
    journal.event("checkpoint", **newest)
    copy = _copy(journal, newest)
    if copy.is_file() and hashlib.sha256(copy.read_bytes()).hexdigest() != newest["sha256"]:
        journal.event("checkpoint_changed", file=copy.name)
        say(f"{copy} is not the file that was promoted: set aside, it does not decide")
        copy.replace(f"{copy}.changed")
    return replace(config, checkpoint=str(copy))


def begin(config: Config, journal: Journal, say: Callable[[str], None]) -> Shadow | None:
    """Return the shadow that the options ask for; where there can be none, say why and go on."""
    if config.shadow is None:
        return None
    try:
        data = _named(config.shadow).read_bytes()
        record = _record(config, data)
        if _decides(config) == record["sha256"]:
            raise ArgumentError("shadow", config.shadow, "another file than the one that decides")
        if not _copy(journal, record).exists():
            write_atomic(_copy(journal, record), data)
        journal.keep(SHADOW, record)
        journal.event("shadow_begun", **record)
    except (OSError, ValueError) as error:
        journal.event("shadow_ended", error=f"{type(error).__name__}: {error}")
        say(f"no shadow: {type(error).__name__}: {error}")
        return None
    say(f"shadow: {config.shadow} ({record['checkpoint']}), without orders")
    model = Isolated(str(_copy(journal, record)), config.interval)
    waits = REPLAY_WAIT if config.source == "file" and not config.speed else 0.0
    return Shadow(journal, record["checkpoint"], model, wait=waits)


def _named(file: str) -> Path:
    """Return the path of a file of weights, or of one that comes with the package."""
    from setrade.inference import FOLDER

    inside = FOLDER / f"{file}.safetensors"
    return inside if inside.exists() and not Path(file).exists() else Path(file)


def _decides(config: Config) -> str:
    """Return the SHA-256 of the file that decides."""
    from setrade.live.models import CHECKPOINTS

    file = _named(config.checkpoint or CHECKPOINTS[config.model])
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _record(config: Config, data: bytes) -> dict[str, Any]:
    """Return what is kept of a shadow: its name, and what the comparison needs."""
    sha256 = hashlib.sha256(data).hexdigest()
    return {
        "file": config.shadow, "sha256": sha256, "checkpoint": sha256[:12], "model": config.model,
        "interval": config.interval, "size": config.size, "budget": config.budget,
        "fee_bps": config.fee_bps, "slippage_bps": config.slippage_bps,
    }  # fmt: skip


def _copy(journal: Journal, record: dict[str, Any]) -> Path:
    """Return the path of the file's copy: what was compared is what is promoted."""
    return Path(f"{journal.path}.{record['checkpoint']}.safetensors")


def promote(journal: Journal) -> str:
    """Let the newest shadow decide from the next start on; return what was done, in words.

    Raises:
        ArgumentError: there is none, or it decides already, or its file is not as it was.
    """
    record, promoted = journal.kept(SHADOW), journal.kept(PROMOTED) or []
    if record is None:
        raise ArgumentError("journal", journal.path, "one of a run with --shadow")
    if promoted and promoted[-1]["sha256"] == record["sha256"]:
        raise ArgumentError("shadow", record["file"], "one that does not decide already")
    copy = _copy(journal, record)
    if hashlib.sha256(copy.read_bytes()).hexdigest() != record["sha256"]:
        raise ArgumentError("shadow", str(copy), "the file that was compared, as it was")
    _load(str(copy), record["interval"])
    record["at"] = f"{pd.Timestamp.now('UTC'):%Y-%m-%d %H:%M} UTC"
    journal.keep(PROMOTED, [*promoted, record])
    journal.event("promoted", **record)
    journal.commit()  # both lines or none
    return f"promoted: {record['file']} ({record['checkpoint']}) decides from the next start on"


def rollback(journal: Journal) -> str:
    """Take the last promotion back; return what was done, in words.

    Raises:
        ArgumentError: nothing was promoted.
    """
    promoted = journal.kept(PROMOTED) or []
    if not promoted:
        raise ArgumentError("journal", journal.path, "one in which a shadow was promoted")
    *before, last = promoted
    journal.keep(PROMOTED, before)
    journal.event("rolled_back", **last)
    journal.commit()
    now = f"{before[-1]['file']} ({before[-1]['checkpoint']})" if before else "what the options say"
    return f"rolled back: {last['file']} ({last['checkpoint']}); {now} decides from the next start"


def compare(journal: Journal) -> dict[str, Any]:
    """Return how the newest shadow did beside the model that decided.

    Returned are ``bars`` that both answered in time, answers that came later than ``--budget``
    (``late``), bars ``skipped`` and ``failed``; ``agreement``, the share of bars with the same
    side; ``difference`` of the positions on average; of each ``turnover``, the changes of
    position added up, and ``equity`` that 1 would have become after costs, without stops.

    Raises:
        ArgumentError: there was no shadow, or there are not two bars to compare.
    """
    record = journal.kept(SHADOW)
    if record is None:
        raise ArgumentError("journal", journal.path, "one of a run with --shadow")
    pairs = journal.pairs(record["checkpoint"])
    said = [row for row in pairs if row[3] <= record["budget"]]
    if len(said) < 2:
        raise ArgumentError("journal", journal.path, "two bars or more that both answered in time")
    at = np.array([row[0] for row in said])
    live, shadow = record["size"] * np.array([row[1:3] for row in said]).T
    costs = Costs(fee_bps=record["fee_bps"], slippage_bps=record["slippage_bps"])
    bars = journal.bars(int(at[0]), int(at[-1]))
    found: dict[str, Any] = {
        "checkpoint": record["checkpoint"], "file": record["file"], "bars": len(said),
        "late": len(pairs) - len(said), "skipped": len(journal.events("shadow_skipped")),
        "failed": len(journal.events("shadow_failed")),
        "agreement": float((np.sign(live) == np.sign(shadow)).mean()),
        "difference": float(np.abs(live - shadow).mean()),
    }  # fmt: skip
    for name, wanted in (("live", live), ("shadow", shadow)):
        turnover = float(np.abs(np.diff(wanted, prepend=0.0)).sum())
        found[name] = {"turnover": turnover, "equity": _worth(bars, at, wanted, costs)}
    return found


def _worth(bars: list[Bar], at: np.ndarray, wanted: np.ndarray, costs: Costs) -> float:
    """Return what 1 becomes; a position stays until the next answer, and ends at a hole."""
    times = np.array([bar.time for bar in bars])
    held = wanted[np.searchsorted(at, times, "right") - 1]
    table = pd.DataFrame(bars, pd.DatetimeIndex(times, tz="UTC", name="time")).drop(columns="time")
    step, worth = np.diff(times).min(), 1.0
    for part in np.split(np.arange(len(times)), np.flatnonzero(np.diff(times) != step) + 1):
        if len(part) > 1 and worth > 0:
            limit = backtest.Risk(max_position=max(1.0, float(np.abs(held).max())))
            run = backtest.run(table.iloc[part], held[part], costs=costs, risk=limit,
                               equity=worth, close_at_end=True)  # fmt: skip
            worth = float(run.equity.iloc[-1])
    return worth


@contextmanager
def _reading(path: str) -> Iterator[Journal]:
    """Yield a journal to read; of one that a run holds, a copy of what is on the disk."""
    try:
        journal = Journal(path)
    except JournalBusyError:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, "copy.sqlite")
            for end in ("-wal", ""):  # the log first: what moves on meanwhile is in both
                with suppress(FileNotFoundError):
                    shutil.copyfile(f"{path}{end}", f"{copy}{end}")
            journal = Journal(copy)
            try:
                yield journal
            finally:
                journal.close()
        return
    try:
        yield journal
    finally:
        journal.close()


def told(found: dict[str, Any]) -> str:
    """Return a comparison as a few lines."""
    rows = [
        f"shadow {found['file']} ({found['checkpoint']}): {found['bars']} bars compared, "
        f"{found['late']} late, {found['skipped']} skipped, {found['failed']} failed",
        f"same side {found['agreement']:.1%}, positions {found['difference']:.3f} apart",
    ]
    for name in ("live", "shadow"):
        one = found[name]
        rows.append(f"{name:<7} turnover {one['turnover']:10.2f}  equity {one['equity']:.6f}")
    return "\n".join(rows)


def command(words: Sequence[str]) -> str:
    """Carry out ``compare``, ``promote`` or ``rollback``; return what to print.

    Raises:
        JournalBusyError: a run holds the journal (promote, rollback): end it first.
        ArgumentError: there is nothing to compare, to promote or to take back.
    """
    shown = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(PROGRAM, description=__doc__, formatter_class=shown)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("journal", help="of a run with --shadow")
    args = parser.parse_args(words)
    if not Path(args.journal).is_file():
        raise ArgumentError("journal", args.journal, "the journal of a run")
    if args.command == "compare":
        with _reading(args.journal) as journal:
            return told(compare(journal))
    journal = Journal(args.journal)
    try:
        return (promote if args.command == "promote" else rollback)(journal)
    finally:
        journal.close()


if __name__ == "__main__":
    serve()
