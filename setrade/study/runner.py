"""Run what a study lacks, on processes of this machine (loky) or on a Dask cluster.

Workers compute, this process alone writes: a run is stored as soon as it arrives. A run that
raises is stored as failed, with its traceback, and tried again by the next `run`. So is a run
that kills its worker; what was under way beside it is repeated.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from statistics import median_high
from typing import Any
from warnings import warn

from joblib import Parallel, delayed
from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm import tqdm

from setrade import results
from setrade.errors import choice, integer
from setrade.study.store import Row, RunConfig, Store, StudyError, Work, attempt, begin, died, key

BACKENDS = ("loky", "dask")
Task = Callable[[RunConfig], Row]


class Pool:
    """Workers of this machine; with one of them, everything runs in this process.

    A worker that dies raises one of ``deaths`` and does not say which run it was at. Runs go out
    one by one and in order, so it was among the first of those that are not back.
    """

    deaths: tuple[type[Exception], ...] = (TerminatedWorkerError,)

    def __init__(self, n_jobs: int) -> None:
        self.n_jobs, self.commit = n_jobs, results.commit()  # that all its runs are made at

    def spread(self, task: Task, configs: list[RunConfig]) -> Iterator[Row]:
        """Yield ``task(config)`` of every configuration as it ends."""
        one_by_one: Any = 1  # runs a batch
        pool: Any = Parallel(
            self.n_jobs, "loky", return_as="generator_unordered", batch_size=one_by_one
        )
        yield from pool(delayed(task)(config) for config in configs)

    def alone(self, task: Task, config: RunConfig) -> Row:
        """Return the row of a run that has its worker for itself, failed if it kills it."""
        begun = begin(config, self.commit)
        try:
            return self._alone(task, config)
        except self.deaths as error:
            return died(begun, error)

    def _alone(self, task: Task, config: RunConfig) -> Row:
        if self.n_jobs == 1:
            return task(config)
        with ProcessPoolExecutor(1) as one:
            return one.submit(task, config).result()


class DaskPool(Pool):
    """Workers of a Dask cluster; a dead worker's runs go to others, a few times.

    Not through joblib, whose Dask backend waits for ever when a run is given up (joblib 1.6).
    """

    def __init__(self, n_jobs: int, client: Any) -> None:
        super().__init__(n_jobs)
        from distributed import KilledWorker

        self.client, self.deaths = client, (KilledWorker,)
        known = client.scheduler_info()
        if not known["workers"]:
            where = known["address"]
            warn(f"the cluster at {where} has no worker: runs begin when one joins", stacklevel=2)

    def spread(self, task: Task, configs: list[RunConfig]) -> Iterator[Row]:
        """Yield ``task(config)`` of all as they end; one that kills its workers as failed."""
        from distributed import as_completed

        begun, left = {}, iter(configs)

        def submit(config: RunConfig) -> Any:
            future = self.client.submit(task, config, pure=False)
            begun[future.key] = begin(config, self.commit)
            return future

        running = as_completed([submit(config) for config in islice(left, self.n_jobs)])
        for future in running:
            start = begun.pop(future.key)
            try:
                row = future.result()
            except self.deaths as error:
                row = died(start, error)
            yield row
            running.update(map(submit, islice(left, 1)))

    def _alone(self, task: Task, config: RunConfig) -> Row:
        return self.client.submit(task, config, pure=False).result()


def _client(address: str | None, timeout: float) -> Any:
    """Return a client of a Dask cluster, closed when it cannot start.

    Else it is closed when its memory is freed. That may be while the next client starts, in the
    same thread, and both want one lock: the process hangs (distributed 2026.8).
    """
    import distributed

    class Client(distributed.Client):
        def start(self, **kwargs: Any) -> None:
            try:
                super().start(**kwargs)
            except BaseException:
                self.close()
                raise

    return Client(address, timeout=timeout)


@contextmanager
def connect(
    backend: str, address: str | None, n_jobs: int, timeout: float = 10.0
) -> Iterator[Pool]:
    """Reach the backend while the block runs; yield its pool.

    A Dask cluster without workers is waited for, they may come yet; a warning says so.

    Raises:
        StudyError: the scheduler at ``address`` does not answer or is lost on the way, the address
            is none, or Dask, which is an extra, is not installed.
    """
    if backend == "loky":
        yield Pool(n_jobs)
        return
    try:
        client = _client(address, timeout)
    except ImportError as error:
        raise StudyError("dask is not installed: pip install '.[cluster]'") from error
    except (OSError, ValueError) as error:  # a timeout is an OSError; a bad address a ValueError
        raise StudyError(f"no dask scheduler answers at {address}: {error}") from error
    from distributed.client import FutureCancelledError
    from distributed.comm.core import CommClosedError

    try:
        with client:
            yield DaskPool(n_jobs, client)
    except (FutureCancelledError, CommClosedError) as error:  # the second: while a result is sent
        raise StudyError(f"the dask scheduler at {address} is lost: {error}") from error


@dataclass(frozen=True)
class StudyReport:
    """What a call of `run` did; seconds of wall clock, and of work summed over workers."""

    ran: int
    failed: int
    skipped: int
    wall_seconds: float
    work_seconds: float


def run(
    work: Work,
    configs: list[RunConfig],
    store: Store,
    *,
    n_jobs: int = 1,
    backend: str = "loky",
    address: str | None = None,
    say: Callable[[str], None] = tqdm.write,
) -> StudyReport:
    """Run every configuration that has no successful run yet, and store each run as it ends.

    The first of them runs alone where nothing is known yet: its time gives the estimate that
    is printed before the others start.

    Args:
        work: takes a configuration, returns its measures; a module-level function (or a
            ``partial``).
        configs: what there is to run, as `grid` gives it.
        store: where runs go.
        n_jobs: workers; on a cluster, runs under way at a time. One worker of loky is this
            process: a run that kills it ends the study.
        backend: "loky" (processes of this machine) or "dask".
        address: of the cluster's scheduler, for "dask".
        say: takes the estimate and the notes.

    Raises:
        StudyError: the cluster cannot be reached or is lost, or the store fails.
    """
    choice("backend", backend, BACKENDS)
    n_jobs = integer("n_jobs", n_jobs, 1)
    start = time.perf_counter()
    with store.locked():
        before, left = len(store.rows()), store.missing(configs)
        if left:
            with connect(backend, address, n_jobs) as pool:
                device = store.header["setting"].get("device", "cpu")
                task = partial(attempt, work, commit=pool.commit, device=device)
                _fill(pool, task, left, store, say)
    mine = store.rows()[before:]
    failed = sum(row["status"] != "ok" for row in mine)
    spent = sum(row["seconds"] for row in mine)
    wall = time.perf_counter() - start
    return StudyReport(len(mine), failed, len(configs) - len(left), wall, spent)


def _fill(
    pool: Pool, task: Task, left: list[RunConfig], store: Store, say: Callable[[str], None]
) -> None:
    """Run ``left``; what is not back when a worker dies goes on, its first runs one by one."""
    if not store.done():
        store.add(pool.alone(task, left[0]))
        left = left[1:]
    if not left:
        return
    say(estimate(store, len(left), pool.n_jobs))
    with tqdm(total=len(left), unit="run") as bar:
        while left:
            back = set()
            try:
                for row in pool.spread(task, left):
                    store.add(row)
                    back.add(row["key"])
                    bar.update()
                return
            except pool.deaths:
                left = [config for config in left if key(config) not in back]
                say(f"a worker died; {len(left)} runs left, the first {pool.n_jobs} one by one")
            for config in left[: pool.n_jobs]:
                store.add(pool.alone(task, config))
                bar.update()
            left = left[pool.n_jobs :]


def estimate(store: Store, left: int, n_jobs: int) -> str:
    """Return the sentence that says how long ``left`` runs will take, from the runs done."""
    seconds = [row["seconds"] for row in store.done().values()]
    if not seconds:
        return f"{left} runs left; the first one failed, so their time is not known"
    median = median_high(seconds)
    minutes = left * median / n_jobs / 60
    return (
        f"{left} runs left, about {minutes:.1f} minutes with {n_jobs} at a time "
        f"(median of {len(seconds)} done: {median:.1f} s)"
    )
