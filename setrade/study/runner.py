"""Fill what a study lacks: joblib underneath, on one machine or on a cluster, the same code.

Workers compute, this process alone writes: a run is stored as soon as it arrives. A run that
raises is stored as failed, with its traceback, and tried again by the next `run`. So is a run
that kills its worker; what was under way beside it is repeated.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from tqdm import tqdm

from setrade.errors import choice, integer
from setrade.study.grid import Cell, key
from setrade.study.pool import BACKENDS, Pool, Task, WorkerDiedError, connect
from setrade.study.record import Work, attempt, begin, died
from setrade.study.store import Row, Store


@dataclass(frozen=True)
class Report:
    """What a call of `run` did; seconds of wall clock, and of work summed over workers."""

    ran: int
    failed: int
    skipped: int
    wall_seconds: float
    work_seconds: float


def run(
    work: Work,
    cells: list[Cell],
    store: Store,
    *,
    n_jobs: int = 1,
    backend: str = "loky",
    address: str | None = None,
    say: Callable[[str], None] = tqdm.write,
) -> Report:
    """Run every cell that has no successful run yet, and store each as it ends.

    The first of them runs alone where nothing is known yet: its time gives the estimate that
    is printed before the others start.

    Args:
        work: takes a cell, returns its measures; a module-level function (or a ``partial``).
        cells: what there is to run, as `grid` gives it.
        store: where runs go.
        n_jobs: workers; on a cluster, runs under way at a time. One worker of loky is this
            process: a run that kills it ends the study.
        backend: "loky" (processes of this machine), "dask" or "ray".
        address: of the cluster's scheduler, for "dask" and "ray".
        say: takes the estimate and the notes.

    Returns:
        A `Report`.

    Raises:
        StudyError: the cluster cannot be reached or is lost, or the store fails.
    """
    choice("backend", backend, BACKENDS)
    n_jobs = integer("n_jobs", n_jobs, 1)
    start, before = time.perf_counter(), len(store.rows())
    with store.locked(), ExitStack() as stack:
        left = store.missing(cells)
        skipped = len(cells) - len(left)
        if left:
            pool = stack.enter_context(connect(backend, address, n_jobs))
            device = store.header["setting"].get("device", "cpu")
            task = partial(attempt, work, commit=pool.commit, device=device)
            if not store.done():
                store.add(alone(pool, task, left[0]))
                left = left[1:]
            if left:
                say(estimate(store, len(left), n_jobs))
                _fill(pool, task, left, store, say)
    mine = store.rows()[before:]
    failed = sum(row["status"] != "ok" for row in mine)
    spent = sum(row["seconds"] for row in mine)
    return Report(len(mine), failed, skipped, time.perf_counter() - start, spent)


def _fill(pool: Pool, task: Task, left: list[Cell], store: Store, say: Callable) -> None:
    """Run ``left``; what is not back when a worker dies goes on, its first runs one by one."""
    with tqdm(total=len(left), unit="run") as bar:
        while left:
            back = set()
            try:
                for row in pool.spread(task, left):
                    store.add(row)
                    back.add(row["key"])
                    bar.update()
                return
            except WorkerDiedError:
                left = [cell for cell in left if key(cell) not in back]
                say(f"a worker died; {len(left)} runs left, the first {pool.n_jobs} one by one")
            for cell in left[: pool.n_jobs]:
                store.add(alone(pool, task, cell))
                bar.update()
            left = left[pool.n_jobs :]


def alone(pool: Pool, task: Task, cell: Cell) -> Row:
    """Return the row of a run that has its worker for itself, failed if it kills it."""
    begun = begin(cell, pool.commit)
    try:
        return pool.alone(task, cell)
    except WorkerDiedError as error:
        return died(begun, error)


def estimate(store: Store, left: int, n_jobs: int) -> str:
    """Return the sentence that says how long ``left`` runs will take, from the runs done."""
    seconds = sorted(row["seconds"] for row in store.done().values())
    if not seconds:
        return f"{left} runs left; the first one failed, so their time is not known"
    median = seconds[len(seconds) // 2]
    minutes = left * median / n_jobs / 60
    return (
        f"{left} runs left, about {minutes:.1f} minutes with {n_jobs} at a time "
        f"(median of {len(seconds)} done: {median:.1f} s)"
    )
