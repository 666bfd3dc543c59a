"""Runs on a Dask cluster; imported when one is asked for, since the package is an extra."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any
from warnings import warn

import distributed
from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm import tqdm

from setrade import results
from setrade.errors import choice, integer
from setrade.study.store import Cell, Row, Store, StudyError, Work, attempt, begin, died, key

# ---- Where runs are computed: in this process, in others of this machine, or on a cluster.
#
# A worker of this machine that dies does not say which run it was at. Runs go out one by one and in
# order, so it was among the first of those that are not back: `runner` repeats these alone.


BACKENDS = ("loky", "dask", "ray")
Task = Callable[[Cell], Row]


class WorkerDiedError(RuntimeError):
    """A worker process died with the run it was at."""


class Pool:
    """Workers of this machine; with one of them, everything runs in this process.

    ``commit`` is the one that all runs of this pool are made at.
    """

    deaths: tuple[type[Exception], ...] = (TerminatedWorkerError,)

    def __init__(self, n_jobs: int) -> None:
        self.n_jobs, self.commit = n_jobs, results.commit()

    def spread(self, task: Task, cells: list[Cell]) -> Iterator[Row]:
        """Yield ``task(cell)`` of every cell as it ends.

        Raises:
            WorkerDiedError: what was not yielded has to be run again.
        """
        one_by_one: Any = 1  # runs a batch
        pool: Any = Parallel(self.n_jobs, return_as="generator_unordered", batch_size=one_by_one)
        try:
            yield from pool(delayed(task)(cell) for cell in cells)
        except self.deaths as error:
            raise WorkerDiedError(str(error)) from error

    def alone(self, task: Task, cell: Cell) -> Row:
        """Return ``task(cell)``, run while no other run is under way.

        Raises:
            WorkerDiedError: this run kills its process.
        """
        try:
            return task(cell) if self.n_jobs == 1 else self._alone(task, cell)
        except self.deaths as error:
            raise WorkerDiedError(str(error)) from error

    def _alone(self, task: Task, cell: Cell) -> Row:
        with ProcessPoolExecutor(1) as one:
            return one.submit(task, cell).result()


@contextmanager
def connect(
    backend: str, address: str | None, n_jobs: int, timeout: float = 10.0
) -> Iterator[Pool]:
    """Reach the backend while the block runs; yield its pool.

    A Dask cluster without workers is waited for, they may come yet; a warning says so.

    Raises:
        StudyError: the scheduler at ``address`` does not answer or is lost on the way, the address
            is none, or the package is missing.
    """
    try:
        with ExitStack() as stack:
            pool = _reach(stack, backend, address, n_jobs, timeout)
            yield pool
    except _lost(backend) as error:
        raise StudyError(f"the {backend} scheduler at {address} is lost: {error}") from error


def _reach(
    stack: ExitStack, backend: str, address: str | None, n_jobs: int, timeout: float
) -> Pool:
    try:
        if backend == "dask":
            return DaskPool(n_jobs, stack.enter_context(Client(address, timeout=timeout)))
        if backend == "ray":
            import ray  # pyright: ignore[reportMissingImports]
            from ray.util.joblib import register_ray  # pyright: ignore[reportMissingImports]

            ray.init(address=address)
            stack.callback(ray.shutdown)
            register_ray()
    except ImportError as error:
        wanted = {"dask": ".[cluster]", "ray": "ray[default]"}[backend]
        raise StudyError(f"{backend} is not installed: pip install '{wanted}'") from error
    except (OSError, ValueError) as error:  # a timeout is an OSError; a bad address a ValueError
        raise StudyError(f"no {backend} scheduler answers at {address}: {error}") from error
    stack.enter_context(parallel_config(backend))
    return Pool(n_jobs)


def _lost(backend: str) -> tuple[type[Exception], ...]:
    if backend != "dask":
        return ()
    from distributed.client import FutureCancelledError

    return (FutureCancelledError,)


class Client(distributed.Client):
    """A client that is closed when it cannot start.

    Else it is closed when its memory is freed. That may be while the next client starts, in the
    same thread, and both want one lock: the process hangs (distributed 2026.8).
    """

    def start(self, **kwargs: Any) -> None:
        """Start, or leave nothing behind."""
        try:
            super().start(**kwargs)
        except BaseException:
            self.close()
            raise


class DaskPool(Pool):
    """Workers of a Dask cluster; a dead worker's runs go to others, a few times.

    Not through joblib, whose Dask backend waits for ever when a run is given up (joblib 1.6).
    """

    deaths = (distributed.KilledWorker,)

    def __init__(self, n_jobs: int, client: Client) -> None:
        super().__init__(n_jobs)
        self.client = client
        known = client.scheduler_info()
        if not known["workers"]:
            where = known["address"]
            warn(f"the cluster at {where} has no worker: runs begin when one joins", stacklevel=2)

    def spread(self, task: Task, cells: list[Cell]) -> Iterator[Row]:
        """Yield ``task(cell)`` of every cell as it ends; one that kills its workers as failed."""
        begun, left = {}, iter(cells)

        def submit(cell: Cell) -> Any:
            future = self.client.submit(task, cell, pure=False)
            begun[future.key] = begin(cell, self.commit)
            return future

        running = distributed.as_completed([submit(cell) for cell in islice(left, self.n_jobs)])
        for future in running:
            start = begun.pop(future.key)
            try:
                row = future.result()
            except self.deaths as error:
                row = died(start, error)
            yield row
            running.update(map(submit, islice(left, 1)))

    def _alone(self, task: Task, cell: Cell) -> Row:
        return self.client.submit(task, cell, pure=False).result()


# ---- Fill what a study lacks: joblib underneath, on one machine or on a cluster, the same code.
#
# Workers compute, this process alone writes: a run is stored as soon as it arrives. A run that
# raises is stored as failed, with its traceback, and tried again by the next `run`. So is a run
# that kills its worker; what was under way beside it is repeated.


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
