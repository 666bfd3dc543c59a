"""Where runs are computed: in this process, in others of this machine, or on a cluster.

A worker of this machine that dies does not say which run it was at. Runs go out one by one and in
order, so it was among the first of those that are not back: `runner` repeats these alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from setrade import results
from setrade.study.errors import StudyError
from setrade.study.grid import Cell
from setrade.study.store import Row

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
            from setrade.study.cluster import Client, DaskPool

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
